# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Programs of a root as members of a small system: each with the shared libraries that it names, and theirs."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio, _root_paths
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import elf_section

PROGRAMS = {
    "sh": "dash",
    "dropbear": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "curl": "curl",
    "tar": "tar",
    "gzip": "gzip",
    "bzip2": "bzip2",
    "xz": "xz-utils",
    "zstd": "zstd",
    "sha256sum": "coreutils",
    "dd": "coreutils",
    "sfdisk": "fdisk",
    "wipefs": "util-linux",
    "blkid": "util-linux",
    "blockdev": "util-linux",
    "mkswap": "util-linux",
    "mke2fs": "e2fsprogs",
    "mkfs.ext2": "e2fsprogs",
    "mkfs.ext3": "e2fsprogs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
}
"""What every deployment needs, by the Debian package that holds it.

The shell is not busybox's: that of busybox-static runs its own applets instead of the programs of the same names, and its
tar knows no extended attributes.
"""

OPTIONAL = (
    *("pigz", "unpigz", "partprobe", "e2fsck", "resize2fs", "tune2fs", "mkfs.xfs", "mkfs.btrfs"),
    *("extlinux", "efibootmgr", "kexec"),
)
"""Goes along where the root has it; a step that needs one says so."""

FILES = {
    "lib/oneimage/boot/mbr.bin": "usr/lib/syslinux/mbr/mbr.bin",
    "lib/oneimage/boot/gptmbr.bin": "usr/lib/syslinux/mbr/gptmbr.bin",
    "lib/oneimage/boot/grubx64.efi": "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi",
    "lib/oneimage/boot/grubaa64.efi": "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
    "etc/mke2fs.conf": "etc/mke2fs.conf",
}
"""Boot sectors (syslinux-common), GRUB for UEFI (grub-efi-amd64-bin) and settings, as far as the root has them."""

BY_NAME_AT_RUN_TIME = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")
"""What glibc loads when it is needed: to end a thread, and, before version 2.34, to look names up."""

PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin")
LIBRARY_FOLDERS = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib64", "lib64", "usr/lib", "lib")
NEEDED, END_OF_TABLE, STRINGS_END = 1, 0, b"\0"


@dataclass
class Collection:
    """What goes into the small system, by its path there, and the names of the programs of the root in it."""

    root: Path
    members: dict[str, _cpio.Member] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


def collect(root: Path, asked: Iterable[str]) -> Collection:
    """All programs above, those ``asked`` for, by name or path, and the files; raises ClusterError naming all missing."""
    found = Collection(root)
    found.folders = library_folders(root)
    missing = []
    for name in dict.fromkeys((*PROGRAMS, *asked)):
        if not add_program(found, name):
            package = PROGRAMS.get(name)
            missing.append(f"{name} (package {package})" if package else name)
    if missing:
        raise ClusterError(f"programs_root {root} lacks {', '.join(missing)}; install them there")
    for name in OPTIONAL:
        add_program(found, name)
    for soname in BY_NAME_AT_RUN_TIME:
        add_library(found, soname, found.members["bin/dropbear"].data, optional=True)
    for inside, path in FILES.items():
        source = final(root, path)
        if source:
            found.members[inside] = _cpio.regular(inside, read(source))
    found.programs.sort()
    return found


def final(root: Path, path: str) -> Path | None:
    """The file that ``path`` leads to in ``root``, through links that may be absolute; None where there is none."""
    for _unused in range(_root_paths.DEEPEST_LINK):
        here = _root_paths.inside(root, path)
        if not here.is_symlink():
            return here if here.is_file() else None
        target = os.readlink(here)
        path = target if target.startswith("/") else f"{here.parent.relative_to(root)}/{target}"
    return None


def read(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read {path}: {error}; install its package again") from error


def add_program(found: Collection, name: str) -> bool:
    """``name``, a bare one or a path in the root, into /bin; programs that are links stay links."""
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in PROGRAM_FOLDERS]
    source = next((path for path in (final(found.root, place) for place in places) if path), None)
    if source is None:
        return False
    called = name.rpartition("/")[2]
    content = read(source)
    found.members[f"bin/{source.name}"] = _cpio.regular(f"bin/{source.name}", content, 0o755)
    if called != source.name:
        found.members[f"bin/{called}"] = _cpio.link(f"bin/{called}", source.name)
    found.programs.append(called)
    add_libraries(found, source, content)
    return True


def add_libraries(found: Collection, path: Path, content: bytes | mmap.mmap) -> None:
    """The interpreter and the libraries of the ELF file at ``path``, and theirs; a script or a static program has none."""
    if content[:4] != b"\x7fELF":
        return
    try:
        interpreter, needed = elf_needs(content)
    except (ValueError, IndexError, struct.error) as error:
        raise ClusterError(f"the program {path} is damaged: {error}; install its package again") from error
    for soname in (*interpreter, *needed):
        if not add_library(found, soname, content):
            raise ClusterError(f"programs_root {found.root} lacks the library {soname} of {path}")


def add_library(found: Collection, soname: str, user: _cpio.Content, optional: bool = False) -> bool:
    """``soname`` for the same machine as its ``user``, into /lib, where every dynamic linker looks."""
    inside = f"lib/{soname}"
    if inside in found.members:
        return True
    for folder in found.folders:
        source = final(found.root, f"{folder.relative_to(found.root)}/{soname}")
        content = read(source) if source else b""
        if source and content[:6] == user[:6] and content[18:20] == user[18:20]:
            found.members[inside] = _cpio.regular(inside, content, 0o755)
            add_libraries(found, source, content)
            return True
    return optional


def library_folders(root: Path) -> list[Path]:
    """Where the root's dynamic linker looks, each as a path in the root."""
    named = [
        line.strip().strip("/")
        for path in sorted((root / "etc/ld.so.conf.d").glob("*.conf"))
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("/")
    ]
    patterns = (*named, *LIBRARY_FOLDERS)
    return list(dict.fromkeys(path for pattern in patterns for path in sorted(root.glob(pattern))))


def elf_needs(content: bytes | mmap.mmap) -> tuple[list[str], list[str]]:
    """The name of the dynamic linker, if any, and those of the libraries (DT_NEEDED) of an ELF file."""
    try:
        dynamic, strings = elf_section(content, b".dynamic"), elf_section(content, b".dynstr")
    except ValueError:
        return [], []
    try:
        interpreter = [elf_section(content, b".interp").rstrip(STRINGS_END).decode().rpartition("/")[2]]
    except ValueError:
        interpreter = []
    entry = ("<" if content[5] == 1 else ">") + ("qQ" if content[4] == 2 else "iI")
    return interpreter, list(needed_names(dynamic, strings, entry))


def needed_names(dynamic: bytes, strings: bytes, entry: str) -> Iterator[str]:
    whole = len(dynamic) - len(dynamic) % struct.calcsize(entry)
    for tag, value in struct.iter_unpack(entry, dynamic[:whole]):
        if tag == END_OF_TABLE:
            return
        if tag == NEEDED:
            yield strings[value : strings.index(STRINGS_END, value)].decode()
