# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read anybody's initrd as the kernel does: archives one after the other, each compressed in its own way."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Union

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _command,
    _cpio,
    _filter,
    _initrd_ext2_read,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Member
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MODULE_FILE = re.compile(r"([^/]+)\.ko(?:\.(?:xz|zst|gz))?")
OF_VERSION = re.compile(r"(?:usr/)?lib/modules/([^/]+)/(?:modules\.|.*\.ko)")
EXT2_MAGIC_AT = 1080
EXT2_MAGIC = b"\x53\xef"
UNPACK_TIMEOUT = 300
Unpacked = tuple[_cpio.Content, int]
"""The content, and how many bytes of the file it took."""
Undo = Callable[[memoryview], Unpacked]


@dataclass(frozen=True)
class Segment:
    """One part of an initrd that the kernel unpacks by itself.

    ``size`` is what it takes in the file, ``content_size`` what a RAM disk takes once it is unpacked, else 0.
    """

    format: str
    compression: str
    offset: int
    size: int
    members: tuple[Member, ...] = ()
    content_size: int = 0


@dataclass(frozen=True)
class InitrdContent:
    """What an initrd holds; ``files`` has all but folders; a later segment wins, as in the kernel."""

    path: Path
    size: int
    segments: tuple[Segment, ...]
    members: list[Member] = field(default_factory=list)
    files: dict[str, Member] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    kernel_versions: set[str] = field(default_factory=set)

    @property
    def main(self) -> Segment:
        """The segment with ``init``, else the last: microcode and the like come first."""
        with_init = [part for part in self.segments if any(member.name == "init" for member in part.members)]
        return (with_init or list(self.segments))[-1]

    @property
    def format(self) -> str:
        return self.main.format

    @property
    def compression(self) -> str:
        return self.main.compression


def read_initrd(path: Path) -> InitrdContent:
    """Unpack ``path`` in memory; raises ClusterError where it is unreadable, truncated or no initrd."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClusterError(f"cannot read the initrd {path}: {error.strerror}") from error
    try:
        segments = tuple(split(memoryview(data)))
    except ClusterError as error:
        raise ClusterError(f"initrd {path}: {error}") from error
    members = [member for segment in segments for member in segment.members]
    files = {member.name: member for member in members if not member.is_folder}
    return InitrdContent(
        path=path,
        size=len(data),
        segments=segments,
        members=members,
        files=files,
        modules={name for name in map(module_name, files) if name},
        kernel_versions={found[1] for found in map(OF_VERSION.match, files) if found},
    )


def module_name(path: str) -> str | None:
    """The module in a file, with underscores as the kernel spells it, or None where the file is no module."""
    found = MODULE_FILE.fullmatch(path.rpartition("/")[2])
    return found[1].replace("-", "_") if found else None


def split(data: memoryview) -> list[Segment]:
    """The segments of a whole initrd; zeros between them are padding."""
    segments: list[Segment] = []
    offset = next_content(data, 0)
    if offset == len(data):
        raise ClusterError("is empty" if not data else "holds nothing but zeros")
    while offset < len(data):
        rest = data[offset:]
        compression = recognise(rest)
        if compression is None and not segments and is_ext2(data):
            return [ram_disk(data, "none", 0, len(data))]
        if compression is None:
            begins = bytes(rest[:4]).hex(" ")
            kinds = ", ".join(("cpio", "ext2", *(kind.name for kind in COMPRESSIONS[1:])))
            raise ClusterError(f"is no initrd: byte {offset} begins {begins}, none of {kinds}")
        if compression.name == "none":
            members, used = _cpio.unpack(data, offset)
            segments.append(Segment("cpio", "none", offset, used - offset, tuple(members)))
        else:
            unpacked, size = decompress(compression, rest)
            used = offset + size
            segments.append(inner_segment(memoryview(unpacked), compression.name, offset, size))
        offset = next_content(data, used)
    return segments


def inner_segment(data: memoryview, compression: str, offset: int, size: int) -> Segment:
    """What a decompressed segment holds: archives one after the other, or a RAM disk's file system."""
    if is_ext2(data):
        return ram_disk(data, compression, offset, size)
    members: list[Member] = []
    at = next_content(data, 0)
    if at == len(data):
        raise ClusterError(f"the {compression} data at byte {offset} are empty")
    while at < len(data):
        if bytes(data[at : at + 6]) not in _cpio.MAGICS:
            raise ClusterError(f"its {compression} data at byte {offset} hold neither cpio nor ext2")
        found, at = _cpio.unpack(data, at)
        members += found
        at = next_content(data, at)
    return Segment("cpio", compression, offset, size, tuple(members))


def ram_disk(data: memoryview, compression: str, offset: int, size: int) -> Segment:
    members = tuple(_initrd_ext2_read.read_members(data))
    return Segment("ext2", compression, offset, size, members, _initrd_ext2_read.read_superblock(data).size)


NOT_ZERO = re.compile(rb"[^\0]")


def next_content(data: memoryview, offset: int) -> int:
    """The offset of the first byte from ``offset`` on that is not zero, or the end."""
    found = NOT_ZERO.search(data, offset)
    return found.start() if found else len(data)


def is_ext2(data: memoryview) -> bool:
    return bytes(data[EXT2_MAGIC_AT : EXT2_MAGIC_AT + 2]) == EXT2_MAGIC


@dataclass(frozen=True)
class Compression:
    """How the kernel knows a compression by its first bytes, and how it is undone: content and bytes used."""

    name: str
    magics: tuple[bytes, ...]
    undo: Undo


def recognise(data: memoryview) -> Compression | None:
    begins = bytes(data[:8])
    return next((kind for kind in COMPRESSIONS if begins.startswith(kind.magics)), None)


def decompress(kind: Compression, data: memoryview) -> Unpacked:
    try:
        return kind.undo(data)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ClusterError(f"the {kind.name} data are damaged: {error}; copy or build it again") from error


Decompressor = Union[bz2.BZ2Decompressor, lzma.LZMADecompressor]


def stream(make: Callable[[], Decompressor]) -> Undo:
    """For the decompressors of the standard library, which say where their stream ended."""

    def undo(data: memoryview) -> Unpacked:
        decompressor = make()
        content = decompressor.decompress(data)
        if not decompressor.eof:
            raise EOFError("the end is missing")
        return content, len(data) - len(decompressor.unused_data)

    return undo


def undo_gzip(data: memoryview) -> Unpacked:
    decompressor = zlib.decompressobj(wbits=31)
    content = decompressor.decompress(data) + decompressor.flush()
    if not decompressor.eof:
        raise EOFError("the end is missing")
    return content, len(data) - len(decompressor.unused_data)


def program(argv: list[str], length: Callable[[memoryview], int]) -> Undo:
    """For what Python cannot undo: ``length`` finds the end of the data, the program unpacks just that."""

    def undo(data: memoryview) -> Unpacked:
        _command.require(argv[0], package=argv[0])
        size = length(data)
        return _filter.through(argv, [data[:size]], UNPACK_TIMEOUT), size

    return undo


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_RLE_BLOCK = 1


def zstd_length(data: memoryview) -> int:
    """The size of the zstd frames at the start of ``data`` (RFC 8878): frames may follow each other."""
    at = 0
    while bytes(data[at : at + 4]) == ZSTD_MAGIC:
        descriptor = byte(data, at + 4)
        single_segment = descriptor >> 5 & 1
        content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
        at += 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + content_size
        last = 0
        while not last:
            block = byte(data, at) | byte(data, at + 1) << 8 | byte(data, at + 2) << 16
            last = block & 1
            at += 3 + (1 if block >> 1 & 3 == ZSTD_RLE_BLOCK else block >> 3)
        at += 4 * (descriptor >> 2 & 1)
    if at > len(data):
        raise EOFError("the end is missing")
    return at


LZ4_MAGIC = b"\x02\x21\x4c\x18"
LZ4_BLOCK_LIMIT = 9 * 1024 * 1024
"""A block unpacks to 8 MiB; a larger length is no block but what comes behind the data."""


def lz4_length(data: memoryview) -> int:
    """The size of the legacy lz4 blocks at the start of ``data``: only what follows ends them."""
    at = 4
    while at + 4 <= len(data):
        if bytes(data[at : at + 4]) == LZ4_MAGIC:
            at += 4
            continue
        size = int.from_bytes(data[at : at + 4], "little")
        if size == 0 or size > LZ4_BLOCK_LIMIT:
            break
        at += 4 + size
    if at > len(data):
        raise EOFError("the end is missing")
    return at


def byte(data: memoryview, at: int) -> int:
    if at >= len(data):
        raise EOFError("the end is missing")
    return data[at]


COMPRESSIONS = (
    Compression("none", _cpio.MAGICS, lambda data: (bytes(data), len(data))),
    Compression("gzip", (b"\x1f\x8b", b"\x1f\x9e"), undo_gzip),
    Compression("bzip2", (b"BZh",), stream(bz2.BZ2Decompressor)),
    Compression("lzma", (b"\x5d\x00\x00",), stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
    Compression("xz", (b"\xfd7zXZ\x00",), stream(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    Compression("lzo", (b"\x89LZO",), program(["lzop", "-dc"], len)),
    Compression("lz4", (LZ4_MAGIC,), program(["lz4", "-dc"], lz4_length)),
    Compression("zstd", (ZSTD_MAGIC,), program(["zstd", "-dcq"], zstd_length)),
)
