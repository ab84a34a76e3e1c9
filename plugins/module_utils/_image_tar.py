# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A root as a tar stream: GNU tar fed with the list of one walk, so that the same tree gives the same bytes."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_namespace import View
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage
from ansible_collections.oneimage.cluster.plugins.module_utils._image_walk import Tree

TAR = (
    "tar",
    "--create",
    "--format=posix",
    "--no-recursion",
    "--numeric-owner",
    # version 1.0, tar's own choice, writes its process number into names
    "--sparse",
    "--sparse-version=0.0",
    # tar's own names hold its process number too; times of access and change differ between equal trees
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    # 64 KiB at once
    "--blocking-factor=128",
    "--totals",
    # what is gone when tar comes to it is told apart from other failures by ``restless``
    "--ignore-failed-read",
    "--file=-",
)

ATTRIBUTES = (
    ("system.posix_acl_", ("--acls",)),
    ("", ("--xattrs", "--xattrs-include=*")),
)
"""What tar is asked for where the walk saw attributes that begin so: it takes a seventh of tar's work to look for them."""

TOTAL = re.compile(rb"^Total bytes written: (\d+)", re.MULTILINE)
GONE = re.compile(r"tar: (.*): Warning: Cannot (?:stat|open): No such file or directory")
CHANGED = re.compile(r"tar: (.*): (?:file changed as we read it|File shrank by \d+ bytes.*)")
SILENT = re.compile(r"Total bytes written: .*|tar: .*: socket ignored|")


@dataclass(frozen=True)
class Heard:
    """What tar said: bytes of the archive, members that changed or went while it read them."""

    size: int
    restless: list[str]


def stage(view: View, tree: Tree, clamp: int | None) -> Stage:
    """tar for the members of ``tree``; lists and replaced members go to the scratch file system of ``view``."""
    neutral = view.scratch / "neutral"
    neutral.mkdir()
    for name in [*tree.emptied, *tree.linked]:
        replace(view.root, neutral, name, tree.linked.get(name))
    argv = [*TAR]
    for start, words in ATTRIBUTES:
        if any(name.startswith(start) for name in tree.attributes):
            argv += words
    if clamp is not None:
        argv += [f"--mtime=@{clamp}", "--clamp-mtime"]
    for folder, names in ((view.root, tree.members), (neutral, [*tree.emptied, *tree.linked])):
        members = view.scratch / f"members-{folder.name}"
        members.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
        argv += ["--null", f"--directory={folder}", f"--files-from={members}"]
    # 1: a file changed while it was read, which is judged by what tar says of it
    return Stage(argv, accept=(0, 1))


def replace(root: Path, neutral: Path, name: str, target: str | None) -> None:
    """Put an empty file or a link of the same owner, mode and time into ``neutral``."""
    original, copy = root / name, neutral / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if target is None:
        copy.touch()
        status = original.lstat()
        if original.is_symlink():
            copy.chmod(0o444)
            os.utime(copy, ns=(status.st_mtime_ns, status.st_mtime_ns))
        else:
            shutil.copystat(original, copy)
    else:
        copy.symlink_to(target)
        status = original.lstat()
        os.utime(copy, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
    os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)


def heard(done: Stage) -> Heard:
    """Read what tar said; raises ClusterError for anything but totals and files that changed meanwhile."""
    said = done.said()
    total = TOTAL.search(said)
    restless, faults = [], []
    for line in said.decode("utf-8", "replace").splitlines():
        match = GONE.fullmatch(line) or CHANGED.fullmatch(line)
        if match:
            restless.append(match.group(1))
        elif not SILENT.fullmatch(line):
            faults.append(line)
    if faults or total is None:
        raise ClusterError(
            f"tar could not read all of the source: {' | '.join(faults[:8]) or 'it gave no total'}"
        )
    return Heard(int(total.group(1)), restless)
