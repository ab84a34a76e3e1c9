# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A block device or a raw image file as a raw stream: used blocks only where the file system tells which they are."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import Reader, facts
from ansible_collections.oneimage.cluster.plugins.module_utils._image_filesystem import (
    HEAD,
    ExtReader,
    FileSystem,
    bootloader,
    recognise,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage

MOUNTS = Path("/proc/self/mountinfo")
DEVICES = Path("/sys/dev/block")
SUPERBLOCK = 4096
NO_FACTS: dict[str, Any] = {"architecture": None, "distribution": None, "kernels": [], "initrds": []}


@dataclass(frozen=True)
class Source:
    """``size`` is that of the device; ``length`` of the raw stream, less where the file system ends earlier."""

    path: Path
    size: int
    length: int
    head: bytes
    filesystem: FileSystem | None
    mounted: bool

    @property
    def used_blocks(self) -> bool:
        return self.filesystem is not None and self.filesystem.is_ext


def examine(path: Path, allow_mounted: bool) -> Source:
    """Raises ClusterError where ``path`` cannot be read, or a file system on it is mounted read-write."""
    try:
        status = path.stat()
        if not (stat.S_ISBLK(status.st_mode) or stat.S_ISREG(status.st_mode)):
            raise ClusterError(
                f"src: {path} is neither a block device nor a file; give kind tar for a folder"
            )
        with path.open("rb") as stream:
            head = stream.read(HEAD)
            size = stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise ClusterError(f"cannot read {path}: {error.strerror}") from error
    if not size:
        raise ClusterError(f"src: {path} is empty")
    busy = writable_mounts(path, status)
    if busy and not allow_mounted:
        raise ClusterError(
            f"src: {path} is mounted read-write on {', '.join(busy)}: an image of it would be torn; remount it"
            " read-only, boot the machine from elsewhere, or say allow_mounted: true and check the result"
        )
    filesystem = recognise(head)
    length = size
    if filesystem and filesystem.is_ext:
        require("e2image", package="e2fsprogs")
        length = filesystem.size or size
        if length > size:
            raise ClusterError(
                f"src: the {filesystem.type} file system on {path} says that it has {length} bytes, but there are"
                f" only {size}; check it with e2fsck"
            )
    return Source(path, size, length, head, filesystem, bool(busy))


def stages(source: Source) -> tuple[list[Stage], bytes]:
    """What reads ``source``: no program where all blocks are wanted; and the bytes that e2image would lose."""
    if not source.used_blocks or source.filesystem is None:
        return [], b""
    force = ["-f"] if source.mounted else []
    # with blocks of 1 KiB, the boot sector is a block of its own, which e2image takes for a free one
    prefix = source.head[:1024] if source.filesystem.block_size == 1024 else b""
    return [Stage(["e2image", "-ra", *force, str(source.path), "-"])], prefix


def fingerprint(source: Source) -> str | None:
    """A digest that changes with the content, None where only reading everything would tell.

    ext writes time and counters into its superblock whenever it is mounted or written to.
    """
    status = source.path.stat()
    if stat.S_ISREG(status.st_mode):
        facts_of_file = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return hashlib.sha256(repr(facts_of_file).encode()).hexdigest()
    if source.used_blocks and not source.mounted:
        return hashlib.sha256(source.head[:SUPERBLOCK] + str(source.size).encode()).hexdigest()
    return None


def describe(source: Source) -> tuple[dict[str, Any], list[str]]:
    """The facts of a manifest and warnings about what would keep the image from booting."""
    reader: Reader | None = ExtReader(str(source.path)) if source.used_blocks and ExtReader.usable() else None
    loader, warnings = bootloader(source.head, reader)
    filesystem = source.filesystem
    if filesystem and filesystem.dirty and not source.mounted:
        warnings.append(
            f"the journal of {source.path} waits for a replay: mount it once, or run e2fsck, before"
        )
    found = {
        **(facts(reader) if reader else NO_FACTS),
        "partition_size": source.size,
        "filesystem": filesystem.facts if filesystem else None,
        "bootloader": loader,
    }
    return found, warnings


def writable_mounts(path: Path, status: os.stat_result) -> list[str]:
    """Where a file system on ``path``, on a partition of it or on a loop device over it is mounted read-write."""
    numbers = set()
    if stat.S_ISBLK(status.st_mode):
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        numbers.add(number)
        numbers.update(part.read_text().strip() for part in (DEVICES / number).glob("*/dev"))
    else:
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            if backing.read_text().strip() == str(path.resolve()):
                loop = backing.parent.parent
                numbers.update(part.read_text().strip() for part in [loop / "dev", *loop.glob("*/dev")])
    names = {str((DEVICES / number).resolve().name) for number in numbers if (DEVICES / number).exists()}
    found = []
    for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        # ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAGS] - TYPE SOURCE OPTIONS; btrfs has numbers of its own
        left, _dash, right = line.partition(" - ")
        _kind, device, options = right.split(" ", 2)
        same = left.split()[2] in numbers or Path(os.path.realpath(device)).name in names
        if same and "rw" in options.split(","):
            found.append(left.split()[4])
    return found
