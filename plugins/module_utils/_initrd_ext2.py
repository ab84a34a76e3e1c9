# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The oldest format of an initrd: the image of an ext2 file system for a RAM disk, as mkinitrd and LTSP's buildk made it.

Made by mke2fs and debugfs in memory: no root, no mount, and nothing that a kill leaves behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils import _command, _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Member
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_ext2_read import (
    DIRECT_BLOCKS,
    POINTER_SIZE,
    Superblock,
    read_members,
    read_superblock,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._memory_file import MemoryFile, memory_file

BLOCK = 1024
POINTERS = BLOCK // POINTER_SIZE
SMALLEST = 64
OWN_BLOCKS = 17
"""KB besides the inodes: with less mke2fs refuses; and what it takes itself, for lost+found and tables of one group."""
RESERVED_INODES = 11
"""The first ten, and lost+found."""
LONGEST_SHORT_LINK = 59
IDENTITY = "6f6e6569-6d61-6765-2e63-6c7573746572"
"""UUID and hash seed of every such file system, so that the same files make the same bytes: oneimage.cluster."""
MKE2FS = (
    # no journal, nothing newer than kernel 2.2; inodes of 128 bytes as these know them; no blocks kept for root
    *("mke2fs", "-q", "-F", "-t", "ext2", "-O", "none,filetype,sparse_super", "-b", str(BLOCK)),
    *("-I", "128", "-m", "0", "-L", "initrd", "-U", IDENTITY, "-E", f"hash_seed={IDENTITY},root_owner=0:0"),
)
ENVIRONMENT = {
    "E2FSPROGS_FAKE_TIME": "1",
    "MKE2FS_CONFIG": "/dev/null",  # what this host's administrator likes is no part of an initrd
}
TIMEOUT = 300
FILES_AT_ONCE = 200
"""Each needs a file descriptor, of which a process has 1024."""
PARAMETERS = ("root=/dev/ram0", "rw", "init=/linuxrc")


@dataclass(frozen=True)
class RamDisk:
    """The whole file system, and the sizes of its superblock; blocks are of 1 KB."""

    content: memoryview
    superblock: Superblock

    @property
    def facts(self) -> dict[str, int]:
        found = self.superblock
        return {
            "size_kb": found.blocks,
            "used_kb": found.blocks - found.free_blocks,
            "inodes": found.inodes,
            "used_inodes": found.inodes - found.free_inodes,
        }

    @property
    def parameters(self) -> list[str]:
        """What makes a kernel boot it; its RAM disks have CONFIG_BLK_DEV_RAM_SIZE, often 4096 KB, unless told."""
        return [*PARAMETERS, f"ramdisk_size={self.superblock.blocks}"]


def build(members: Sequence[Member], size_kb: int | None, inodes: int | None) -> RamDisk:
    """The file system with ``members``, of ``size_kb`` and for ``inodes``; just as large as needed where None.

    Raises ClusterError naming what is needed where the members do not fit.
    """
    _command.require("mke2fs", "debugfs", package="e2fsprogs")
    wanted = _cpio.complete(members)
    files = len(wanted) + RESERVED_INODES
    room = max(inodes or 0, files)
    needed = smallest(blocks_of(wanted), room)
    problems = (
        [f"size_kb is {size_kb}, needed are {needed}"] if size_kb is not None and size_kb < needed else []
    )
    problems += [f"inodes is {inodes}, needed are {files}"] if inodes is not None and inodes < files else []
    if problems:
        raise ClusterError(
            f"format ext2: what goes in does not fit: {'; '.join(problems)}; raise that, or ask for fewer modules"
            f" (largest: {largest(wanted)})"
        )
    with empty(size_kb or needed, room) as disk:
        for start in range(0, len(wanted), FILES_AT_ONCE):
            fill(disk, wanted[start : start + FILES_AT_ONCE])
        content = memoryview(disk.read())
    prove(content, wanted)
    return RamDisk(content, read_superblock(content))


def largest(members: Sequence[Member]) -> str:
    most = sorted(members, key=lambda member: -member.size)[:3]
    return ", ".join(f"{member.name} {-(-member.size // BLOCK)} KB" for member in most)


def smallest(blocks: int, inodes: int) -> int:
    """The size in KB of the smallest file system with that many free ``blocks``; mke2fs knows what the rest takes."""
    size = inodes // 8 + max(SMALLEST, blocks + OWN_BLOCKS)
    while True:
        with empty(size, inodes) as disk:
            lacking = blocks - read_superblock(disk.read()).free_blocks
        if lacking <= 0:
            return size
        size += lacking


@contextmanager
def empty(size_kb: int, inodes: int) -> Iterator[MemoryFile]:
    """An empty file system in memory, gone when the block ends."""
    with memory_file() as disk:
        os.ftruncate(disk.descriptor, size_kb * BLOCK)
        argv = [*MKE2FS, "-N", str(inodes), disk.path, str(size_kb)]
        try:
            _command.run(argv, environment=ENVIRONMENT, timeout=TIMEOUT)
        except ClusterError as error:
            raise ClusterError(
                f"format ext2: no file system of {size_kb} KB with {inodes} inodes: {error}"
            ) from error
        yield disk


def fill(disk: MemoryFile, members: Sequence[Member]) -> None:
    """Write ``members``, whose folders are there or come before; debugfs says on stderr what failed, not by its code."""
    commands: list[str] = []
    with ExitStack() as sources:
        for member in members:
            source = ""
            if stat.S_ISREG(member.mode):
                source = sources.enter_context(memory_file(member.data)).path
            commands += commands_for(member, source)
        script = "".join(f"{line}\n" for line in commands).encode("utf-8", "surrogateescape")
        argv = ["debugfs", "-w", "-f", "-", disk.path]
        done = _command.run(argv, stdin=script, environment=ENVIRONMENT, timeout=TIMEOUT)
    _version, *problems = done.stderr.strip().splitlines() or [b""]
    if problems:
        raise ClusterError(f"format ext2: debugfs failed: {_command.tail(b'; '.join(problems))}")


def commands_for(member: Member, source: str) -> list[str]:
    """What debugfs does for one member; it makes all but folders and links in its current folder only."""
    parent, _slash, name = member.name.rpartition("/")
    quoted = quote(name)
    target = bytes(member.data).decode("utf-8", "surrogateescape") if member.is_link else ""
    made = {
        stat.S_IFDIR: f"mkdir {quoted}",
        stat.S_IFREG: f"write {source} {quoted}",
        stat.S_IFLNK: f"symlink {quoted} {quote(target)}",
        stat.S_IFCHR: f"mknod {quoted} c {member.rdev[0]} {member.rdev[1]}",
        stat.S_IFBLK: f"mknod {quoted} b {member.rdev[0]} {member.rdev[1]}",
    }[stat.S_IFMT(member.mode)]
    fields = {"mode": f"0{member.mode:o}", "uid": member.uid, "gid": member.gid}
    changes = [f"set_inode_field {quoted} {field} {value}" for field, value in fields.items() if value]
    return [f"cd {quote('/' + parent)}", made, *(changes if not member.is_link else [])]


def quote(text: str) -> str:
    if "\n" in text:
        raise ClusterError(
            f"format ext2: debugfs takes no line break in a name, as in {text[:80]!r}; rename the file"
        )
    return '"' + text.replace('"', '""') + '"'


def blocks_of(members: Sequence[Member]) -> int:
    """How many blocks debugfs takes for ``members``, those of pointers and folders included."""
    names: dict[str, list[str]] = {"": []}
    total = 0
    for member in members:
        parent, _slash, name = member.name.rpartition("/")
        names[parent].append(name)
        if member.is_folder:
            names[member.name] = []
        elif not member.is_link or member.size > LONGEST_SHORT_LINK:
            total += file_blocks(member.data)
    # the root has its first block from the start, and lost+found in it
    return (
        total - 1 + sum(folder_blocks(["lost+found"] * (not path) + inside) for path, inside in names.items())
    )


def file_blocks(data: _cpio.Content) -> int:
    """Blocks of zeros become holes."""
    zeros = bytes(BLOCK)
    starts = range(0, len(data), BLOCK)
    return with_pointers([at // BLOCK for at in starts if data[at : at + BLOCK] != zeros[: len(data) - at]])


def with_pointers(used: Sequence[int]) -> int:
    """How many blocks the ``used`` ones of a file are with those of pointers, each of which is there if needed."""
    pointers: set[tuple[int, ...]] = set()
    for block in used:
        beyond = block - DIRECT_BLOCKS
        for level in (1, 2, 3):
            if beyond < POINTERS**level:
                break
            beyond -= POINTERS**level
        if beyond >= 0:
            pointers.update((level, depth, beyond // POINTERS**depth) for depth in range(1, level + 1))
    return len(used) + len(pointers)


def folder_blocks(names: Sequence[str]) -> int:
    """An entry takes 8 bytes and its name, in steps of 4, in the first block with room; ``.`` and ``..`` 12 each."""
    room = [BLOCK - 24]
    for name in names:
        size = 8 + -(-len(name.encode("utf-8", "surrogateescape")) // 4) * 4
        for at, left in enumerate(room):
            if left >= size:
                room[at] -= size
                break
        else:
            room.append(BLOCK - size)
    return with_pointers(range(len(room)))


def prove(content: memoryview, wanted: Sequence[Member]) -> None:
    """What was written is read back: a debugfs that did something else must not reach a node."""
    found = {member.name: member for member in read_members(content)}
    for member in wanted:
        there = found.get(member.name, member)
        kept = all(getattr(there, name) == getattr(member, name) for name in ("mode", "uid", "gid", "rdev"))
        same_data = member.is_folder or there.data == memoryview(member.data)
        if member.name not in found or not kept or not same_data:
            raise ClusterError(
                f"format ext2: debugfs did not write {member.name} as it is; is e2fsprogs whole?"
            )
