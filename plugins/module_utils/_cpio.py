# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The archive format of an initramfs: SVR4 cpio ("newc"), read from anybody, written reproducibly."""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Union

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MAGICS = (b"070701", b"070702")
HEADER_SIZE = 110
TRAILER = "TRAILER!!!"
ALIGNMENT = 4
BLOCK = 512
Content = Union[bytes, memoryview, mmap.mmap]


@dataclass(frozen=True)
class Member:
    """One file, folder, link or device of an archive; ``data`` of a symbolic link is its target."""

    name: str
    mode: int
    data: Content = b""
    mtime: int = 0
    uid: int = 0
    gid: int = 0
    rdev: tuple[int, int] = (0, 0)

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


def folder(name: str, mode: int = 0o755) -> Member:
    return Member(name, stat.S_IFDIR | mode)


def regular(name: str, data: Content, mode: int = 0o644) -> Member:
    return Member(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Member:
    return Member(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, mode: int = 0o600) -> Member:
    return Member(name, stat.S_IFCHR | mode, rdev=(major, minor))


def pack(members: Iterable[Member]) -> Iterator[Content]:
    """The archive of ``members`` in pieces: sorted, with their parent folders; same members, same bytes."""
    written = 0
    for inode, member in enumerate(complete(members), start=1):
        for piece in (header(member, inode), member.data, bytes(-member.size % ALIGNMENT)):
            written += len(piece)
            yield piece
    trailer = header(Member(TRAILER, 0), 0)
    yield trailer + bytes(-(written + len(trailer)) % BLOCK)


def complete(members: Iterable[Member]) -> list[Member]:
    """``members`` sorted by name, each after its parent folders; of two with one name the last."""
    wanted = {member.name: member for member in members}
    for name in list(wanted):
        for parent in parents(name):
            wanted.setdefault(parent, folder(parent))
    return [wanted[name] for name in sorted(wanted)]


def parents(name: str) -> Iterator[str]:
    """``a/b/c`` has ``a`` and ``a/b``."""
    parts = name.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])


def header(member: Member, inode: int) -> bytes:
    name = member.name.encode() + b"\0"
    links = 2 if member.is_folder else 1
    fields = (
        *(inode, member.mode, member.uid, member.gid, links, member.mtime, member.size),
        *(0, 0, *member.rdev, len(name), 0),
    )
    packed = MAGICS[0] + b"".join(b"%08X" % field for field in fields) + name
    return packed + bytes(-len(packed) % ALIGNMENT)


def unpack(data: memoryview, start: int = 0) -> tuple[list[Member], int]:
    """The members of the archive at ``start`` and the offset behind its trailer; their data are views.

    Raises ClusterError saying what is wrong at which offset, without a path: the caller knows the file.
    """
    members: list[Member] = []
    offset = start
    while True:
        fields = read_fields(data, offset)
        name_end = offset + HEADER_SIZE + fields[11]
        name = bytes(data[offset + HEADER_SIZE : name_end]).rstrip(b"\0").decode("utf-8", "surrogateescape")
        content_start = start + aligned(name_end - start)
        content_end = content_start + fields[6]
        if name_end > len(data) or content_end > len(data):
            raise torn(f"cut off in the middle of {name or 'a name'!r}")
        offset = min(start + aligned(content_end - start), len(data))
        if name == TRAILER:
            return members, offset
        members.append(
            Member(
                name=plain_name(name),
                mode=fields[1],
                data=data[content_start:content_end],
                mtime=fields[5],
                uid=fields[2],
                gid=fields[3],
                rdev=(fields[9], fields[10]),
            )
        )


def read_fields(data: memoryview, offset: int) -> list[int]:
    """The 13 hexadecimal numbers of the header at ``offset``."""
    raw = bytes(data[offset : offset + HEADER_SIZE])
    if len(raw) < HEADER_SIZE:
        raise torn(f"cut off at byte {offset}, before its trailer")
    if raw[:6] not in MAGICS:
        raise torn(f"damaged at byte {offset}: no header there")
    try:
        return [int(raw[at : at + 8], 16) for at in range(6, HEADER_SIZE, 8)]
    except ValueError as error:
        raise torn(f"damaged at byte {offset}: torn header") from error


def torn(what: str) -> ClusterError:
    return ClusterError(f"the cpio archive is {what}; copy or build it again")


def plain_name(name: str) -> str:
    """``./usr/lib`` and ``/usr/lib`` are both ``usr/lib``; the archive's own root is ``.``."""
    while name.startswith("./"):
        name = name[2:]
    return name.strip("/") or "."


def aligned(offset: int) -> int:
    return offset + -offset % ALIGNMENT
