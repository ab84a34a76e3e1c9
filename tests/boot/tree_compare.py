"""What an image has to bring back of a root: ``tree_compare.py ROOT`` prints it as JSON, by path.

Runs in place or on a node, sent over ssh to ``python3 -``: plain Python 3.9, no other file. Names are told with bytes
that are no UTF-8 escaped as Python does.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

Facts = dict[str, Any]


def walk(root: str) -> Iterator[str]:
    """Every path below ``root``, relative and sorted, on its own file system only."""
    device = os.lstat(root).st_dev
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for name in sorted(os.listdir(os.path.join(root, folder))):
            path = os.path.join(folder, name)
            yield path
            status = os.lstat(os.path.join(root, path))
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                waiting.append(path)


def facts_of(path: str) -> Facts:
    """Mode, owners, device numbers, time of change, extended attributes (ACLs and capabilities are some) and content."""
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    found: Facts = {
        "mode": oct(status.st_mode),
        "owner": [status.st_uid, status.st_gid],
        "attributes": {
            name: os.getxattr(path, name, follow_symlinks=False).hex()
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        },
    }
    if kind in (stat.S_IFBLK, stat.S_IFCHR):
        found["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    if kind == stat.S_IFLNK:
        found["content"] = os.readlink(path)
    if kind == stat.S_IFREG:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while piece := stream.read(1 << 20):
                digest.update(piece)
        found["content"] = digest.hexdigest()
        found["size"] = status.st_size
    if kind != stat.S_IFDIR:  # a folder's time changes with what hygiene leaves out
        found["time"] = status.st_mtime_ns
    return found


def tree(root: str) -> dict[str, Facts]:
    """By path; ``links`` are all the names of a file that has several."""
    found: dict[str, Facts] = {}
    names: dict[int, list[str]] = {}
    for path in walk(root):
        full = os.path.join(root, path)
        try:
            found[path] = facts_of(full)
            status = os.lstat(full)
        except FileNotFoundError:  # the root of a running machine
            continue
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names.setdefault(status.st_ino, []).append(path)
    for together in names.values():
        for path in together:
            found[path]["links"] = together
    return found


def differences(
    source: Mapping[str, Facts], restored: Mapping[str, Facts], outside: Collection[str]
) -> list[str]:
    """One line per difference; ``outside`` holds paths that are not compared, nor what is below them."""
    lines = []
    for path in sorted({*source, *restored}):
        if any(path == one or path.startswith(f"{one}/") for one in outside):
            continue
        if path not in restored or path not in source:
            lines.append(f"{path}: only in the {'source' if path in source else 'restored root'}")
            continue
        lines.extend(
            f"{path}: {key} was {source[path].get(key)}, is {restored[path].get(key)}"
            for key in sorted({*source[path], *restored[path]})
            if source[path].get(key) != restored[path].get(key)
        )
    return lines


if __name__ == "__main__":
    json.dump(tree(sys.argv[1]), sys.stdout)
