# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read the file system of an ext2 RAM disk in memory, without mounting it.

The layout is that of the kernel's Documentation/filesystems/ext4: superblock at byte 1024, group descriptors, inodes
with 12 direct blocks and three levels of indirect ones, folders as linear lists of entries.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content, Member
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SUPERBLOCK_AT = 1024
SUPERBLOCK_SIZE = 1024
MAGIC = 0xEF53
DYNAMIC_REVISION = 1
OLD_INODE_SIZE = 128
KNOWN_FEATURES = 0x0002
"""Of those that a reader must know: the kind of a file in its folder's entry."""
ROOT_INODE = 2
DESCRIPTOR_SIZE = 32
POINTER_SIZE = 4
DIRECT_BLOCKS = 12
BLOCK_AREA = slice(40, 100)
MOST_LEVELS = 3
MOST_HOLES = 64 << 20
"""A file may have holes and so be larger than its disk; one of more bytes than this is damage, not worth the memory."""


@dataclass(frozen=True)
class Superblock:
    """Sizes in bytes; ``blocks`` and ``inodes`` are how many there are, ``free_*`` how many nobody uses."""

    inodes: int
    blocks: int
    free_blocks: int
    free_inodes: int
    first_block: int
    block_size: int
    inodes_per_group: int
    inode_size: int

    @property
    def size(self) -> int:
        return self.blocks * self.block_size


def read_superblock(data: Content) -> Superblock:
    """Raises ClusterError where ``data`` holds less than the file system, or one that is newer than ext2."""
    raw = bytes(data[SUPERBLOCK_AT : SUPERBLOCK_AT + SUPERBLOCK_SIZE])
    if len(raw) < SUPERBLOCK_SIZE:
        raise ClusterError("the ext2 file system is cut off in its superblock; copy or build it again")
    inodes, blocks, _reserved, free_blocks, free_inodes, first_block, log_size = struct.unpack_from(
        "<7I", raw
    )
    (inodes_per_group,) = struct.unpack_from("<I", raw, 40)
    (magic,) = struct.unpack_from("<H", raw, 56)
    (revision,) = struct.unpack_from("<I", raw, 76)
    (inode_size,) = struct.unpack_from("<H", raw, 88)
    (features,) = struct.unpack_from("<I", raw, 96)
    dynamic = revision >= DYNAMIC_REVISION
    if magic != MAGIC or log_size > 6 or not inodes_per_group or (dynamic and inode_size < OLD_INODE_SIZE):
        raise ClusterError("the ext2 file system has a damaged superblock; copy or build it again")
    if dynamic and features & ~KNOWN_FEATURES:
        raise ClusterError(
            f"the file system has features of ext3 or ext4 ({features & ~KNOWN_FEATURES:#x}) that ext2 has not;"
            " make it by mke2fs -t ext2"
        )
    block_size = 1024 << log_size
    if blocks * block_size > len(data):
        raise ClusterError(
            f"the ext2 file system is cut off: it has {blocks * block_size} bytes, of which {len(data)} are there;"
            " copy or build it again"
        )
    return Superblock(
        *(inodes, blocks, free_blocks, free_inodes, first_block, block_size, inodes_per_group),
        inode_size=inode_size if dynamic else OLD_INODE_SIZE,
    )


def read_members(data: memoryview) -> list[Member]:
    """All files, folders, links and devices below the root; raises ClusterError where the file system is damaged."""
    return list(Disk(data, read_superblock(data)).walk(ROOT_INODE, "", set()))


@dataclass(frozen=True)
class Inode:
    """One inode; ``area`` are the 60 bytes that hold block numbers, a short link's target or a device's number."""

    mode: int
    size: int
    blocks: int
    mtime: int
    uid: int
    gid: int
    area: bytes


@dataclass(frozen=True)
class Disk:
    data: memoryview
    superblock: Superblock

    def walk(self, folder: int, path: str, open_folders: set[int]) -> Iterator[Member]:
        """The members below the inode ``folder``, whose path is ``path``; a folder inside itself is an error."""
        if folder in open_folders:
            raise damaged(f"the folder {path} contains itself")
        open_folders.add(folder)
        for number, name in self.entries(self.content(self.inode(folder)), path):
            inode = self.inode(number)
            member = self.member(inode, path + name)
            yield member
            if member.is_folder:
                yield from self.walk(number, f"{path}{name}/", open_folders)
        open_folders.discard(folder)

    def entries(self, content: bytes, path: str) -> Iterator[tuple[int, str]]:
        """(inode, name) of each entry of a folder but ``.`` and ``..``."""
        at = 0
        while at + 8 <= len(content):
            number, length, name_length = struct.unpack_from("<IHB", content, at)
            name = content[at + 8 : at + 8 + name_length]
            if length < 8 + name_length or b"/" in name or b"\0" in name:
                raise damaged(f"the folder /{path} has a torn entry")
            if number and name not in (b".", b".."):
                yield number, name.decode("utf-8", "surrogateescape")
            at += length

    def member(self, inode: Inode, name: str) -> Member:
        regular, is_link = stat.S_ISREG(inode.mode), stat.S_ISLNK(inode.mode)
        content: bytes = b""
        if is_link and not inode.blocks:
            content = inode.area[: inode.size]
        elif regular or is_link:
            content = self.content(inode)
        return Member(
            name=name,
            mode=inode.mode,
            data=memoryview(content),
            mtime=inode.mtime,
            uid=inode.uid,
            gid=inode.gid,
            rdev=device_number(inode.area)
            if stat.S_ISCHR(inode.mode) or stat.S_ISBLK(inode.mode)
            else (0, 0),
        )

    def inode(self, number: int) -> Inode:
        superblock = self.superblock
        if not 0 < number <= superblock.inodes:
            raise damaged(f"there is no inode {number}")
        group, index = divmod(number - 1, superblock.inodes_per_group)
        at = (superblock.first_block + 1) * superblock.block_size + group * DESCRIPTOR_SIZE + 8
        (table,) = struct.unpack("<I", self.bytes_at(at, POINTER_SIZE))
        start = table * superblock.block_size + index * superblock.inode_size
        raw = self.bytes_at(start, OLD_INODE_SIZE)
        mode, uid, size, _atime, _ctime, mtime, _dtime, gid, _links, blocks = struct.unpack_from(
            "<HHIIIIIHHI", raw
        )
        uid_high, gid_high = struct.unpack_from("<HH", raw, 120)
        return Inode(mode, size, blocks, mtime, uid | uid_high << 16, gid | gid_high << 16, raw[BLOCK_AREA])

    def content(self, inode: Inode) -> bytes:
        if inode.size > max(len(self.data), MOST_HOLES):
            raise damaged(f"a file of {inode.size} bytes")
        block_size = self.superblock.block_size
        pieces, left = [], -(-inode.size // block_size)
        numbers = struct.unpack(f"<{DIRECT_BLOCKS + MOST_LEVELS}I", inode.area)
        for position, number in enumerate(numbers):
            for block in self.leaves(number, max(0, position - DIRECT_BLOCKS + 1), left):
                pieces.append(self.bytes_at(block * block_size, block_size) if block else bytes(block_size))
                left -= 1
        return b"".join(pieces)[: inode.size]

    def leaves(self, number: int, level: int, most: int) -> Iterator[int]:
        """The data blocks, at most ``most``, below a block of ``level`` levels of pointers; 0 for a hole."""
        if most <= 0:
            return
        pointers = self.superblock.block_size // POINTER_SIZE
        if not number:
            yield from [0] * min(most, pointers**level)
        elif not level:
            yield number
        else:
            raw = self.bytes_at(number * self.superblock.block_size, self.superblock.block_size)
            for below in struct.unpack(f"<{pointers}I", raw):
                found = list(self.leaves(below, level - 1, most))
                yield from found
                most -= len(found)

    def bytes_at(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise damaged(f"it refers to byte {at}, behind its end")
        return bytes(self.data[at : at + size])


def device_number(area: bytes) -> tuple[int, int]:
    """(major, minor): in 16 bits at first, in 32 bits behind where those are 0 (kernel: fs/ext2/inode.c)."""
    old, new = struct.unpack_from("<II", area)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def damaged(what: str) -> ClusterError:
    return ClusterError(f"the ext2 file system is damaged: {what}; copy or build it again")
