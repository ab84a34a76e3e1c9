# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A mount namespace of this process's own, where a root is seen without what is mounted on top of it.

The kernel takes the namespace away with the last process in it, so that no kill leaves a mount behind. This is what
``unshare --mount`` and ``mount --bind`` do; here this process itself has to see the result.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

CLONE_NEWNS = 0x00020000
# linux/mount.h
MS_RDONLY, MS_NOATIME, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 1024, 32, 4096, 16384, 1 << 18

PLACES = ("/sys/kernel", "/sys")
"""Folders that every Linux has and that nothing we start needs: there the scratch file system goes."""


@dataclass(frozen=True)
class View:
    """``root`` shows the source, read-only; ``scratch`` lies in memory. Nobody else sees either."""

    root: Path
    scratch: Path


def private_view(source: Path) -> View:
    """Take this process into a namespace of its own; raises ClusterError where that is not allowed."""
    if os.geteuid() != 0:
        raise ClusterError(
            f"{source} can only be captured by root: owners and mounts are out of reach; use become"
        )
    place = next((folder for folder in PLACES if os.path.isdir(folder)), None)
    if place is None:
        raise ClusterError(
            f"none of {', '.join(PLACES)} exists on this host, so there is no place for a mount"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise ClusterError(
            f"cannot make a mount namespace: {os.strerror(ctypes.get_errno())}; the capability SYS_ADMIN is needed"
        )
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    if not any(line.split()[4] == "/" for line in table.splitlines()):
        raise ClusterError("/ is no mount point here, as in a chroot; capture the folder from outside of it")
    mount(libc, "none", "/", None, MS_REC | MS_PRIVATE)
    view = View(Path(place) / "root", Path(place) / "scratch")
    # opened before the scratch file system may hide it
    descriptor = os.open(source, os.O_PATH | os.O_DIRECTORY)
    try:
        mount(libc, "tmpfs", place, "tmpfs", 0)
        view.root.mkdir()
        view.scratch.mkdir()
        mount(libc, f"/proc/self/fd/{descriptor}", str(view.root), None, MS_BIND)
    finally:
        os.close(descriptor)
    # a hygiene rule that went astray cannot reach the source, and reading leaves no time of access
    mount(libc, "none", str(view.root), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOATIME)
    return view


def disks_on_top(source: Path) -> list[str]:
    """``PLACE (DEVICE)`` of every disk that is mounted below ``source``, and so is no part of its file system."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    start = f"{str(source).rstrip('/')}/"
    found = {}
    for line in table.splitlines():
        left, _dash, right = line.partition(" - ")
        place, device = left.split()[4], right.split()[1]
        if place.startswith(start) and place != start and device.startswith("/dev/"):
            found[place] = f"{place} ({device})"
    return sorted(found.values())


def mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int) -> None:
    done = libc.mount(
        source.encode(), os.fsencode(target), kind.encode() if kind else None, ctypes.c_ulong(flags), None
    )
    if done != 0:
        raise ClusterError(
            f"cannot mount {source} on {target} in a namespace of its own: {os.strerror(ctypes.get_errno())}"
        )
