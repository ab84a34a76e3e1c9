# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Paths below a root as the root itself sees them: a link inside it never leads out of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

DEEPEST_LINK = 40


def follow(path: str, link: Callable[[str], str | None]) -> str | None:
    """``path`` with all links followed as a chroot would; ``link`` gives the target of a path that is a link.

    None where the links turn in circles.
    """
    pending = [part for part in path.split("/") if part not in ("", ".")]
    resolved: list[str] = []
    links = 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            resolved = resolved[:-1]
            continue
        target = link("/" + "/".join([*resolved, part]))
        if target is None:
            resolved.append(part)
            continue
        links += 1
        if links > DEEPEST_LINK:
            return None
        resolved = [] if target.startswith("/") else resolved
        pending = [piece for piece in target.split("/") if piece not in ("", ".")] + pending
    return "/" + "/".join(resolved)


def inside(root: Path, path: str) -> Path:
    """Where ``path`` lies when ``root`` is /.

    Links in its folders are followed as a chroot would; the last part is not followed, so that it can be replaced.
    """

    def link(name: str) -> str | None:
        here = root / name[1:]
        return os.readlink(here) if here.is_symlink() else None

    parts = [part for part in path.split("/") if part not in ("", ".")]
    last = parts.pop() if parts and parts[-1] != ".." else ""
    resolved = follow("/".join(parts), link)
    if resolved is None:
        raise ClusterError(f"{path} in {root}: too many links")
    return root / resolved[1:] / last


def exists(root: Path, path: str) -> bool:
    """Whether ``path`` exists for a program whose / is ``root``, links followed to the end."""
    here = inside(root, path)
    for _unused in range(DEEPEST_LINK):
        if not here.is_symlink():
            return here.exists()
        target = os.readlink(here)
        folder = "/" + str(here.parent.relative_to(root))
        here = inside(root, target if target.startswith("/") else f"{folder}/{target}")
    return False


def make_way(root: Path, path: str) -> Path:
    """``path`` with its folders made and nothing at its place; a folder that lies there is an error."""
    here = inside(root, path)
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"cannot make the folder of {path} in the root: {error.strerror}") from error
    if here.is_dir() and not here.is_symlink():
        raise ClusterError(f"{path} is a folder in the root; a file or a link cannot take its place")
    here.unlink(missing_ok=True)
    return here


def write_path(root: Path, path: str, content: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Write a file of a root that nobody sees yet."""
    here = make_way(root, path)
    descriptor = os.open(here, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        stream.write(content)


def link_path(root: Path, path: str, target: str) -> None:
    make_way(root, path).symlink_to(target)


def remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
