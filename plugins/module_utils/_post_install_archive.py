# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Archives that Kadeploy unpacks into its deployment system and runs a script of: built, linted, tried, published."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import os
import posixpath
import shlex
import stat
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._post_install_try import run_in_root

MIB = 1 << 20
LARGEST_TREE = 256 * MIB
"""What an archive may hold unpacked: it is unpacked into memory, on every node."""

TIME = 946684800
"""Of every member: 2000-01-01, since tar doubts earlier times."""

NO_SCRIPT = ("none", "breakpoint")
"""Words that Kadeploy takes instead of a script: just unpack; unpack and wait."""


def deflate(data: bytes) -> bytes:
    """gzip without a time or a name in its header."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": deflate,
    "bzip2": lambda data: bz2.compress(data, 9),
    "xz": lambda data: lzma.compress(data, preset=9),
    "zstd": lambda data: run(["zstd", "-19", "--stdout", "--quiet"], stdin=data).stdout,
}
DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}
"""Those of the standard library, which stop at a size; zstd is a program."""

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

KINDS = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
PROGRAM_STARTS = (b"#!", b"\x7fELF")


def unpack(data: bytes, compression: str) -> bytes:
    """The tar in ``data``; raises EOFError where it is cut off, ClusterError where it would fill the memory."""
    if compression == "zstd":
        tar = unpack_zstd(data)
    else:
        decompressor = DECOMPRESSORS[compression]()
        tar = decompressor.decompress(data, LARGEST_TREE + 1)
        if len(tar) <= LARGEST_TREE and not decompressor.eof:
            raise EOFError("it ends too early")
    if len(tar) > LARGEST_TREE:
        raise ClusterError(
            f"the archive holds more than {LARGEST_TREE // MIB} MiB, which no node could unpack"
        )
    return tar


def unpack_zstd(data: bytes) -> bytes:
    require("zstd", package="zstd")
    with tempfile.TemporaryFile() as packed:
        packed.write(data)
        packed.seek(0)
        # it is ended as soon as it has said too much, which _command.run cannot do
        with subprocess.Popen(  # pylint: disable=ansible-bad-function
            ["zstd", "--decompress", "--stdout", "--quiet"],
            stdin=packed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            tar = process.stdout.read(LARGEST_TREE + 1) if process.stdout else b""
            if len(tar) > LARGEST_TREE:
                process.kill()
    if process.returncode > 0:
        raise EOFError("zstd cannot decompress it")
    return tar


def provide(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module ``post_install_archive``: its result; raises ClusterError with every fault that lint finds."""
    source = Path(options["src"])
    building = source.is_dir()
    if building != bool(options["dest"]):
        raise ClusterError(
            f"dest is mandatory for the directory {source}"
            if building
            else f"{source} is no directory, so there is nothing to build: leave dest out to check an archive"
        )
    tar = pack(source) if building else b""
    data = COMPRESSORS[options["compression"]](tar) if building else read_bytes(source)
    compression = options["compression"] if building else recognise(data, source)
    members = open_archive(data, compression, source)
    faults = list(lint(members, options["script"], len(data), options["size_limit"]))
    if faults:
        raise ClusterError(f"post-install archive of {source}: {'; '.join(faults)}")
    names = [member.name for member, _content in members]
    result = {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.new("md5", data, usedforsecurity=False).hexdigest(),
        "members": names,
        "trial": trial(options, data, compression),
    }
    place = Path(options["dest"]) if building else source
    before = read_bytes(place) if building and place.is_file() else None
    changed = building and before != data
    if changed and not check_mode:
        write_file(place, data)
    postinstall = {"archive": f"server://{place}", "compression": compression, "script": options["script"]}
    return {
        **result,
        "changed": changed,
        "postinstall": postinstall,
        "diff": diff(place, before, names, changed),
    }


def read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_TREE:
            raise ClusterError(f"{path} is larger than {LARGEST_TREE // MIB} MiB, which no node could unpack")
        return path.read_bytes()
    except OSError as error:
        raise ClusterError(f"cannot read {path}: {error.strerror}") from error


def recognise(data: bytes, source: Path) -> str:
    for magic, compression in MAGIC.items():
        if data.startswith(magic):
            return compression
    raise ClusterError(f"{source} is no archive of {', '.join(MAGIC.values())}")


def pack(source: Path) -> bytes:
    """The tree as a tar, the same bytes for the same names, contents and execute bits, whoever owns them."""
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in tree(source):
            member = describe(path, str(path.relative_to(source)))
            total += member.size
            if total > LARGEST_TREE:
                raise ClusterError(
                    f"{source} holds more than {LARGEST_TREE // MIB} MiB, which no node could unpack"
                )
            archive.addfile(member, io.BytesIO(read_bytes(path)) if member.isreg() else None)
    return buffer.getvalue()


def tree(source: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ClusterError(f"cannot read {error.filename}: {error.strerror}")

    for folder, folders, files in os.walk(source, onerror=refuse):
        folders.sort()
        yield from sorted(Path(folder, name) for name in (*folders, *files))


def describe(path: Path, name: str) -> tarfile.TarInfo:
    status = path.lstat()
    member = tarfile.TarInfo(name)
    member.mtime = TIME
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISDIR(status.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(status.st_mode):
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & 0o111 else 0o644
    else:
        raise ClusterError(f"{path} is neither file, directory nor link; an archive cannot hold it")
    return member


def open_archive(data: bytes, compression: str, source: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Every member with its first bytes; raises ClusterError for what is damaged or cut off."""
    try:
        tar = unpack(data, compression)
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            return [(member, head(archive, member)) for member in archive]
    except (tarfile.TarError, zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise ClusterError(f"{source} is damaged or cut off: {error}") from error


def head(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member) if member.isreg() else None
    return stream.read(256) if stream else b""


def lint(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], script: str, size: int, limit: int
) -> Iterator[str]:
    """Every fault: a member that lands elsewhere, a script that cannot run, a size that Kadeploy refuses (MiB)."""
    if size > limit * MIB:
        yield f"{size} bytes are more than the {limit} MiB that Kadeploy takes"
    links = {posixpath.normpath(member.name) for member, _head in members if member.issym()}
    for member, _head in members:
        yield from member_faults(member, links)
    yield from script_faults(members, script)


def member_faults(member: tarfile.TarInfo, links: set[str]) -> Iterator[str]:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        yield f"member {member.name!r} would be unpacked outside of its directory"
    if member.type in KINDS:
        yield f"member {member.name!r} is {KINDS[member.type]}"
    if member.islnk() and (member.linkname.startswith("/") or ".." in member.linkname.split("/")):
        yield f"member {member.name!r} is a hard link out of the archive, to {member.linkname!r}"
    parents = posixpath.normpath(member.name).split("/")[:-1]
    if any("/".join(parents[: depth + 1]) in links for depth in range(len(parents))):
        yield f"member {member.name!r} lies below a link, through which it would be unpacked elsewhere"


def script_faults(members: Sequence[tuple[tarfile.TarInfo, bytes]], script: str) -> Iterator[str]:
    """``script`` is a command line whose program lies in the archive."""
    if script in NO_SCRIPT:
        return
    try:
        words = shlex.split(script)
    except ValueError as error:
        yield f"script {script!r} is no command line: {error}"
        return
    known = {posixpath.normpath(member.name): (member, start) for member, start in members}
    name = posixpath.normpath(words[0]) if words else ""
    seen = 0
    while name in known and known[name][0].issym() and seen < len(known):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), known[name][0].linkname))
        seen += 1
    if name not in known or not known[name][0].isreg():
        yield f"script {words[0] if words else ''!r} is not in the archive"
        return
    member, start = known[name]
    if not member.mode & 0o100:
        yield f"script {name!r} is not executable; chmod +x it"
    if not start.startswith(PROGRAM_STARTS):
        yield f"script {name!r} has no first line that names its interpreter, such as #!/bin/sh"
    elif b"\r" in start.partition(b"\n")[0]:
        yield f"script {name!r} has the line ends of Windows, with which its interpreter is not found"


def trial(options: Mapping[str, Any], data: bytes, compression: str) -> dict[str, Any] | None:
    """What the script did in a throw-away copy of ``try_root``; raises ClusterError if it failed."""
    if not options["try_root"]:
        return None
    command = [] if options["script"] in NO_SCRIPT else shlex.split(options["script"])
    done = run_in_root(
        Path(options["try_root"]),
        Path(options["target_root"] or options["try_root"]),
        unpack(data, compression),
        command,
        options["variables"],
        options["timeout"],
    )
    if done["rc"] != 0:
        said = (
            " | ".join((done["stderr"] or done["stdout"]).strip().splitlines()[-8:]) or "it printed nothing"
        )
        raise ClusterError(
            f"script {options['script']!r} failed in {options['try_root']} with exit code {done['rc']}: {said}"
        )
    return done


def diff(place: Path, before: bytes | None, names: Sequence[str], changed: bool) -> dict[str, str]:
    old: list[str] = []
    if before is not None:
        try:
            old = [member.name for member, _head in open_archive(before, recognise(before, place), place)]
        except ClusterError:
            old = ["(no archive)"]
    after = [*names] if before is not None or changed else []
    return {
        "before_header": str(place),
        "after_header": str(place),
        "before": "".join(f"{name}\n" for name in old) if changed else "",
        "after": "".join(f"{name}\n" for name in after) if changed else "",
    }
