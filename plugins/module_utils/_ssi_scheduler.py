# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A scheduler that is put together of directories, values and links, as Kerrighed's is in configfs.

In configfs a directory is an object: mkdir loads its module, and the kernel adds its attributes and the directories that
belong to it, which go with it at rmdir. Attributes are never created by writing; what is read back is what the kernel
made of what was written. A directory that a link leads to, or that has others' directories in it, is busy. On any other
file system the same tree is made of plain directories and files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, line
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import ask, read_lines
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_plan import (
    OFF,
    Found,
    Plan,
    goal,
    listing,
    make_plan,
    same,
    sources,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_tree import (
    Tree,
    check_scheduler,
    wanted_tree,
)

CONFIGFS = "62656570"
"""CONFIGFS_MAGIC (linux/magic.h) as ``stat -f -c %t`` prints it."""
NO_FLAVOUR: Mapping[str, Any] = {"root": None, "filesystem": None, "kernel_groups": [], "presets": {}}


@dataclass(frozen=True)
class Folder:
    """The root on the entry node; ``objects``: it is configfs, so that the kernel makes what is in a directory."""

    entry: Entry
    root: str
    objects: bool

    def path(self, below: str) -> str:
        return f"{self.root}/{below}"

    def do(self, what: str, argv: Sequence[str], stdin: bytes | None = None) -> None:
        said = ask(self.entry, argv, stdin)
        if said.code:
            raise ClusterError(f"cannot {what}: {line(said.err)}")

    def look(self, wanted: Tree) -> Found:
        """What is there now, with the values that matter."""
        said = ask(self.entry, ["find", "-H", self.root, "-mindepth", "1", "-printf", r"%y\t%P\t%l\n"])
        found = Found()
        for entry in said.out.splitlines():
            kind, path, target = entry.split("\t", 2)
            if kind == "d":
                found.directories.add(path)
            elif kind == "l":
                found.links[path] = self._target(path, target)
            else:
                found.files.add(path)
        found.values = self.values({*wanted.values, *sources(wanted.values)} & found.files)
        return found

    def _target(self, path: str, target: str) -> str:
        """Where a link leads: readlink prints a way that begins at the link's own directory."""
        whole = posixpath.normpath(posixpath.join(self.root, posixpath.dirname(path), target))
        return whole[len(self.root) + 1 :] if whole.startswith(self.root + "/") else whole

    def values(self, paths: Collection[str]) -> dict[str, str]:
        """The values of files that are there."""
        lines = read_lines(self.entry, [self.path(path) for path in sorted(paths)]) if paths else {}
        return {path: "\n".join(lines[self.path(path)]) for path in paths}

    def carry_out(self, plan: Plan, wanted: Tree, now: Found) -> dict[str, str]:
        """Remove, switch off, make, link, write; returns the values that were written, as they are read back."""
        self._remove(plan, now)
        # what handles all processes takes no single ones: what is switched off is so before anything is added
        off = {path: text for path, text in plan.written.items() if text == OFF and path in now.files}
        for path in off:
            self._write(path, OFF)
        # in configfs the kernel makes what is around values and links with the object above, or there is none
        around = [] if self.objects else [posixpath.dirname(path) for path in [*plan.linked, *plan.written]]
        made = list(dict.fromkeys([*plan.made, *(path for path in around if path not in now.directories)]))
        if made:
            self.do("make the directories", ["mkdir", "-p", "--", *map(self.path, made)])
        for path, target in plan.linked.items():
            self.do(f"link {path} to {target}", ["ln", "-s", "--", self.path(target), self.path(path)])
        texts = {}
        for path in plan.written:
            given = wanted.values[path]
            text = goal(given, self.values(sources({path: given})))
            texts[path] = str(text)
            if path not in off:
                self._write(path, texts[path])
        return self._read_back(texts)

    def _remove(self, plan: Plan, now: Found) -> None:
        """Links first, since a directory that one leads to is busy; then directories, the deepest first."""
        if plan.unlinked:
            self.do("remove links", ["rm", "-f", "--", *map(self.path, plan.unlinked)])
        if not plan.removed:
            return
        if not self.objects:
            inside = [path for path in sorted(now.files) if posixpath.dirname(path) in plan.removed]
            self.do("remove values", ["rm", "-f", "--", *map(self.path, inside)])
        said = ask(self.entry, ["rmdir", "--", *map(self.path, plan.removed)])
        if said.code:
            left = self.look(Tree()).directories & set(plan.removed)
            if left:
                raise ClusterError(
                    f"cannot remove {', '.join(sorted(left))}: {line(said.err)}; "
                    "what the kernel itself made belongs into kernel_groups of the flavour"
                )

    def _write(self, path: str, text: str) -> None:
        whole, content = self.path(path), f"{text}\n".encode()
        if self.objects:
            self.do(f"write {text} to {path}", ["tee", "--", whole], content)
            return
        folder, name = posixpath.split(whole)
        part = f"{folder}/.oneimage-partial-{name}"
        self.do(f"write {text} to {path}", ["tee", "--", part], content)
        self.do(f"write {text} to {path}", ["mv", "-f", "--", part, whole])

    def _read_back(self, texts: Mapping[str, str]) -> dict[str, str]:
        kept = self.values(texts)
        for path, text in texts.items():
            if not same(text, kept[path]):
                raise ClusterError(
                    f"{path}: the kernel made {kept[path].strip()!r} of {text!r}; "
                    "declare what it makes of it, or every run would change it again"
                )
        return {path: text.strip() for path, text in kept.items()}


def schedule(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Make the tree that the options declare and return the module's result; with ``check`` nothing is touched.

    Raises ClusterError for a wrong tree or root before anything is changed, and where the kernel refuses a part.
    """
    section, where = _section(options)
    wanted = wanted_tree(section, options.get("preset"), options.get("tree"), where)
    folder = _open(Entry(tuple(options["entry"])), options.get("root") or section["root"], section)
    now = folder.look(wanted)
    groups = section["kernel_groups"]
    plan = make_plan(now, wanted, groups, bool(options["exact"]))
    if folder.objects:
        plan.removed = [path for path in plan.removed if posixpath.basename(path) not in groups]
    written: Mapping[str, str | None] = plan.written
    if not check and plan != Plan():
        written = plan.written = dict(folder.carry_out(plan, wanted, now))
    before, after = listing(now, plan, wanted)
    return {
        "changed": plan != Plan(),
        "root": folder.root,
        "made": plan.made,
        "linked": list(plan.linked),
        "written": dict(written),
        "removed": [path for path in [*plan.unlinked, *plan.removed] if path not in plan.linked],
        "diff": {"before": before, "after": after},
    }


def _section(options: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The flavour's section, checked, and how errors call it."""
    if options.get("preset") is None and options.get("tree") is None:
        raise ClusterError("nothing to do: give a tree, or a preset of a flavour")
    flavour = options.get("flavour")
    if flavour is None:
        if options.get("preset") is not None or options.get("root") is None:
            raise ClusterError("without a flavour there are no presets and no root: give root and tree")
        return NO_FLAVOUR, "tree"
    name = flavour.get("name", "without a name")
    if flavour.get("scheduler") is None:
        cannot = (flavour.get("cannot") or {}).get("scheduler", "it has no scheduler made of a tree")
        raise ClusterError(f"flavour {name}: {cannot}")
    where = f"flavour {name}: scheduler"
    return check_scheduler(flavour["scheduler"], where), where


def _open(entry: Entry, root: str, section: Mapping[str, Any]) -> Folder:
    """The root, on the file system that the flavour wants; raises ClusterError where it is not.

    A plain folder that is not there yet counts with what it would be made in.
    """
    root = posixpath.normpath(root)
    there = root
    said = ask(entry, ["stat", "-f", "-c", "%t", there])
    wanted = section["filesystem"]
    while said.code and wanted != CONFIGFS and there != "/":
        there = posixpath.dirname(there)
        said = ask(entry, ["stat", "-f", "-c", "%t", there])
    kind = said.out.strip()
    if said.code:
        raise ClusterError(
            f"cannot look at {root}: {line(said.err)}; "
            "is configfs mounted, and does the running kernel have this scheduler?"
        )
    if wanted is not None and kind != wanted:
        raise ClusterError(
            f"{root} is on a file system of type {kind} instead of {wanted} (stat -f -c %t): mount the right one"
        )
    return Folder(entry, root, kind == CONFIGFS)
