# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The section ``scheduler`` of a flavour, and the trees of directories, values and links that it and tasks declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _schema as schema
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

below = schema.text(
    r"(?!\.\.?(/|$))[^/\0\n]+(/(?!\.\.?(/|$))[^/\0\n]+)*", "path below the root of the scheduler"
)

COMPUTED = schema.section(
    **{"from": below}, multiply=(schema.integer(1, 1000), 1), divide=(schema.integer(1, 1000), 1)
)


def value(given: Any, where: str) -> str | dict[str, Any]:
    """A text of one line, or ``{from, multiply, divide}``: a number that another value is made of."""
    if isinstance(given, Mapping):
        computed: dict[str, Any] = COMPUTED(given, where)
        return computed
    line: str = schema.text(r"[^\0\n]*", "value of one line")(given, where)
    return line


TREE = schema.section(
    directories=(schema.listing(below), []),
    values=(schema.mapping(value), {}),
    links=(schema.mapping(below), {}),
)


def preset(given: Any, where: str) -> Any:
    """A tree, or a list of names of other presets."""
    return schema.listing(schema.text())(given, where) if isinstance(given, list) else TREE(given, where)


SCHEDULER = schema.section(
    root=schema.text(r"/[^\0]*", "absolute path"),
    filesystem=(
        schema.maybe(schema.text(r"[0-9a-f]+", "type of a file system as stat -f -c %t prints it")),
        None,
    ),
    kernel_groups=(schema.listing(schema.text(r"[^/\0\n]+", "name of a directory")), []),
    presets=(schema.mapping(preset), {}),
)


@dataclass
class Tree:
    """What shall be below the root: paths relative to it, in the order in which they are made."""

    directories: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, tree: Mapping[str, Any]) -> None:
        """Put a checked tree on top."""
        self.directories += [path for path in tree["directories"] if path not in self.directories]
        self.values.update(tree["values"])
        self.links.update(tree["links"])

    def kept(self) -> set[str]:
        """Directories that this tree needs: its own, and those above everything in it."""
        return {
            above
            for path in [*self.directories, *(f"{path}/" for path in [*self.values, *self.links])]
            for above in parents(path)
        } | set(self.directories)


def parents(path: str) -> list[str]:
    """The directories above ``path``, the highest first."""
    parts = path.rstrip("/").split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def check_scheduler(section: Any, where: str = "scheduler") -> dict[str, Any]:
    """The section with everything that it leaves out; raises ClusterError that names the first wrong field."""
    checked: dict[str, Any] = SCHEDULER(section, where)
    for name in checked["presets"]:
        wanted_tree(checked, name, None, where)
    return checked


def wanted_tree(section: Mapping[str, Any], name: str | None, tree: Any, where: str) -> Tree:
    """The preset ``name`` with ``tree``, what the task declares itself, on top of it; raises ClusterError."""
    wanted = Tree()
    if name is not None:
        for part in _trees(section["presets"], name, where, ()):
            wanted.add(part)
    if tree is not None:
        wanted.add(TREE(tree, "tree"))
    _check_kinds(wanted, f"{where}.presets.{name}" if tree is None else "tree")
    return wanted


def _trees(presets: Mapping[str, Any], name: str, where: str, seen: Sequence[str]) -> list[Any]:
    if name not in presets:
        raise ClusterError(f"{where}: no preset {name}; there are {', '.join(presets) or 'none'}")
    if name in seen:
        raise ClusterError(f"{where}: preset {name} is made of itself")
    found = presets[name]
    if not isinstance(found, list):
        return [found]
    return [part for inner in found for part in _trees(presets, inner, where, (*seen, name))]


def _check_kinds(tree: Tree, where: str) -> None:
    """Raise ClusterError for a path that shall be two things at once."""
    for path in sorted(tree.kept()):
        if path in tree.links or path in tree.values:
            raise ClusterError(f"{where}: {path} is a directory, and cannot be a {_other(tree, path)} too")
    for path in tree.links:
        if path in tree.values:
            raise ClusterError(f"{where}: {path} is a link, and cannot be a value too")


def _other(tree: Tree, path: str) -> str:
    return "link" if path in tree.links else "value"
