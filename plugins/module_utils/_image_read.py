# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read any image once, as a stream: what kind it is, what it holds, and whether it is whole and safe to unpack."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import tempfile
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import (
    HEAD,
    INITRD_NAME,
    KERNEL_NAME,
    PROGRAMS,
    RELEASES,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_filesystem import (
    HEAD as FILE_SYSTEM_HEAD,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_filesystem import (
    ExtReader,
    FileSystem,
    recognise,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import PIECE, Stage, row

MOST_MEMBERS = 5_000_000
LARGEST_HEADER = 64 << 20
"""Bytes of one extended header: a sparse file with a million holes has some; more would only fill the memory."""

BLOCK = 64 << 10
FOLDERS = re.compile(
    r"boot/[^/]+|[^/]+|(?:usr/)?s?bin/(?:sh|bash|dash|busybox|true|init)|(?:usr/)?lib/systemd/systemd"
)
HEADED = re.compile("|".join([*(re.escape(path[1:]) for path in (*PROGRAMS, *RELEASES)), FOLDERS.pattern]))
"""Members whose first bytes are kept, at their real places too: /bin/sh may be usr/bin/dash."""
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import follow


@dataclass
class TarContent:
    """Names are normal: no leading ``/`` or ``./``. ``links`` holds hard links too, their target beginning with /."""

    files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    heads: dict[str, bytes] = field(default_factory=dict)
    unsafe: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    members: int = 0

    def real(self, path: str) -> str | None:
        return follow(path, lambda name: self.links.get(name[1:]))

    def names(self, folder: str) -> list[str]:
        real = self.real(folder)
        if real is None:
            return []
        start = f"{real.strip('/')}/".lstrip("/")
        every = (name for names in (self.files, self.links) for name in names)
        return [
            name[len(start) :] for name in every if name.startswith(start) and "/" not in name[len(start) :]
        ]

    def head(self, path: str) -> bytes | None:
        """The first bytes of a file; empty for one that is of no interest, None where there is none."""
        real = (self.real(path) or "/")[1:]
        return self.heads.get(real, b"") if real in self.files else None


@dataclass(frozen=True)
class Content:
    """``size`` is that of the raw stream. ``reader`` None: a device whose files cannot be read here."""

    kind: str
    compression: str
    size: int
    tar: TarContent | None = None
    filesystem: FileSystem | None = None
    head: bytes = b""
    reader: TarContent | ExtReader | None = None


class Counted:
    """A stream whose first bytes were already read, and which knows how many came in all."""

    def __init__(self, head: bytes, stream: t.IO[bytes]) -> None:
        self.pending, self.stream, self.size = head, stream, 0

    def read(self, size: int = PIECE) -> bytes:
        piece, self.pending = self.pending[:size], self.pending[size:]
        while len(piece) < size:
            more = self.stream.read(size - len(piece))
            if not more:
                break
            piece += more
        self.size += len(piece)
        return piece


class Member(tarfile.TarInfo):
    """tarfile takes a broken header in the middle for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Member:  # type: ignore[override]  # pylint: disable=arguments-renamed
        try:
            return super().fromtarfile(archive)  # type: ignore[return-value]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError as error:  # type: ignore[attr-defined]
            raise ClusterError("it ends without the mark of its end, so it is cut off") from error
        except tarfile.HeaderError as error:
            raise ClusterError(f"the header at byte {archive.offset} is broken ({error})") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:  # pylint: disable=arguments-renamed
        extended = {*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE} - {tarfile.GNUTYPE_SPARSE}
        if self.type in extended and self.size > LARGEST_HEADER:
            raise ClusterError(f"the header at byte {archive.offset} says that it has {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


@contextmanager
def opened(path: Path) -> Iterator[tuple[str, Counted, bytes]]:
    """Yield (compression, stream, head) of an image; raises ClusterError where it cannot be read or is corrupt."""
    try:
        with path.open("rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ClusterError(f"{path} is no regular file")
            compression = _image_compress.recognise(file.read(8))
            file.seek(0)
            try:
                argv = _image_compress.decompressor(compression)
            except ClusterError as error:
                raise ClusterError(f"{path}: {error}") from error
            with row([Stage(argv)], stdin=file) as output:
                head = Counted(b"", output).read(FILE_SYSTEM_HEAD)
                stream = Counted(head, output)
                yield compression, stream, head
                while stream.read():  # a checksum at the very end proves the rest
                    pass
    except OSError as error:
        raise ClusterError(f"cannot read the image {path}: {error.strerror}") from error
    except ClusterError as error:
        if str(error).startswith(str(path)):
            raise
        raise ClusterError(f"{path}: {error}; the image is corrupt or cut off, copy it again") from error


def is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def read_image(path: Path, files: bool = True) -> Content:
    """What is in an image, whatever its name says.

    ``files`` False keeps a dd image from being written to a scratch file, which reading its files takes.
    Raises ClusterError where the image is corrupt, cut off, empty, or holds neither an archive nor a device.
    """
    with opened(path) as (compression, stream, head):
        if not head:
            raise ClusterError(f"{path}: nothing is in it")
        if is_tar(head):
            content = TarContent()
            scan_tar(content, stream)
            while stream.read():
                pass
            return Content("tar", compression, stream.size, tar=content, reader=content)
        filesystem = recognise(head)
        if filesystem is None and compression == "none":
            raise ClusterError(
                f"{path} is no image: it begins {head[:4].hex(' ')}, which is neither an archive nor a file system,"
                " nor compressed by gzip, zstd, xz or bzip2"
            )
        reader = None
        if files and filesystem and filesystem.is_ext and ExtReader.usable():
            reader = unpacked_device(stream)
        while stream.read():
            pass
        return Content("dd", compression, stream.size, filesystem=filesystem, head=head, reader=reader)


class ScratchReader(ExtReader):
    """An ext file system in a file without a name, which goes with this object."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        super().__init__(f"/proc/{os.getpid()}/fd/{self.file.fileno()}")


def unpacked_device(stream: Counted) -> ExtReader:
    """Write the used blocks of a raw stream where debugfs can read them."""
    reader, zeros, at = ScratchReader(), bytes(BLOCK), 0
    while piece := stream.read(BLOCK):
        if piece != zeros[: len(piece)]:
            os.pwrite(reader.file.fileno(), piece, at)
        at += len(piece)
    os.ftruncate(reader.file.fileno(), at)
    return reader


def scan_tar(content: TarContent, stream: Counted) -> None:
    """Note all members; memory grows with their number, never with their sizes."""
    last = "the start"
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE, tarinfo=Member) as archive:  # type: ignore[call-overload]
            for member in archive:
                last = member.name
                note(content, archive, member)
                archive.members = []
    except ClusterError as error:
        raise ClusterError(f"the archive is broken after {last}: {error}") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ClusterError(f"the archive is broken after {last}: {error}") from error


def note(content: TarContent, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    content.members += 1
    if content.members > MOST_MEMBERS:
        raise ClusterError(f"it holds more than {MOST_MEMBERS} members")
    fault = fault_of(content, member)
    if fault:
        content.unsafe.append(fault)
        return
    name = normal(member.name)
    content.files.discard(name)
    content.links.pop(name, None)
    if member.issym():
        content.links[name] = member.linkname
    elif member.islnk():
        content.links[name] = "/" + normal(member.linkname)
    elif member.isreg():
        content.files.add(name)
        base = name.rpartition("/")[2]
        if HEADED.fullmatch(name) or KERNEL_NAME.fullmatch(base) or INITRD_NAME.fullmatch(base):
            file = archive.extractfile(member)
            content.heads[name] = file.read(HEAD) if file else b""
    elif member.ischr() or member.isblk():
        content.devices.append(name)


def normal(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def fault_of(content: TarContent, member: tarfile.TarInfo) -> str | None:
    """Why a member could be written outside the folder that the image is unpacked in."""
    if member.name.startswith("/"):
        return f"{member.name} is an absolute path"
    parts = normal(member.name).split("/")
    if ".." in parts:
        return f"{member.name} leads out of the root"
    if member.islnk() and (member.linkname.startswith("/") or ".." in member.linkname.split("/")):
        return f"{member.name} is a hard link to {member.linkname}, outside the root"
    for depth in range(1, len(parts)):
        target = content.links.get("/".join(parts[:depth]), "") if content.links else ""
        if target.startswith("/") or ".." in target.split("/"):
            return f"{member.name} lies behind the link {'/'.join(parts[:depth])} to {target}"
    return None
