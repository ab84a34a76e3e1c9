# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What lies in a root, wherever the root lies: its kernels, initrds, architecture and distribution."""

from __future__ import annotations

import os
import re
import shlex
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import (
    MAGIC,
    MAGIC_AT,
    RELEASE_AT,
    SECTOR,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import follow

HEAD = 64 << 10
"""Bytes of a file that are read: a kernel's header, an ELF header, os-release."""

KERNEL_NAME = re.compile(r"(?:vmlinu[xz]|bzImage|zImage|Image|kernel|linux)(?:[-.].*)?")
INITRD_NAME = re.compile(r"(?:initrd|initramfs|initrd\.img)(?:[-.].*)?")
NO_BOOT_FILE = re.compile(r".*\.(?:sig|asc|hmac|bak|dpkg-\w+|cfg|conf|txt|efi)")
PROGRAMS = (
    "/bin/sh",
    "/bin/bash",
    "/bin/dash",
    "/bin/busybox",
    "/bin/true",
    "/sbin/init",
    "/usr/lib/systemd/systemd",
)
"""Where an ELF header is looked for, which tells the architecture."""
RELEASES = ("/etc/os-release", "/usr/lib/os-release")

MACHINES = {
    (62, 2, 1): "x86_64",
    (3, 1, 1): "i686",
    (183, 2, 1): "aarch64",
    (40, 1, 1): "armv7l",
    (21, 2, 1): "ppc64le",
    (21, 2, 2): "ppc64",
    (243, 2, 1): "riscv64",
    (22, 2, 2): "s390x",
    (258, 2, 1): "loongarch64",
}
"""(e_machine, word size, byte order) of elf.h, and what ``uname -m`` says."""


class Reader(Protocol):
    """A root that can be looked into. Paths are absolute as the root sees them; links never lead out of it."""

    def names(self, folder: str) -> list[str]:
        """The names in ``folder``, none where it is no folder."""

    def real(self, path: str) -> str | None:
        """``path`` without links, whether or not something is there; None where links turn in circles."""

    def head(self, path: str) -> bytes | None:
        """The first ``HEAD`` bytes of a regular file, links followed; None where there is none."""


class TreeReader:
    """A root that is a folder of this host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def real(self, path: str) -> str | None:
        return follow(path, self.target)

    def place(self, path: str) -> Path | None:
        resolved = self.real(path)
        return None if resolved is None else self.root / resolved.lstrip("/")

    def target(self, path: str) -> str | None:
        try:
            return os.readlink(self.root / path.lstrip("/"))
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.place(folder) or "")
        except OSError:
            return []

    def head(self, path: str) -> bytes | None:
        place = self.place(path)
        try:
            if place is None or not stat.S_ISREG(place.lstat().st_mode):
                return None
            with place.open("rb") as stream:
                return stream.read(HEAD)
        except OSError:
            return None


def facts(reader: Reader) -> dict[str, Any]:
    """``architecture``, ``distribution``, ``kernels`` and ``initrds`` as a manifest holds them."""
    return {
        "architecture": architecture(reader),
        "distribution": distribution(reader),
        "kernels": boot_files(reader, KERNEL_NAME, kernel_version),
        "initrds": boot_files(reader, INITRD_NAME, lambda name, _head: version_in(name)),
    }


def boot_files(
    reader: Reader, wanted: re.Pattern[str], version: Callable[[str, bytes], str | None]
) -> list[dict[str, Any]]:
    """What is named so in /boot and /, links among it, as far as it leads to a file."""
    found = []
    for folder in ("/boot", "/"):
        for name in sorted(reader.names(folder)):
            if not wanted.fullmatch(name) or NO_BOOT_FILE.fullmatch(name):
                continue
            path = f"{folder.rstrip('/')}/{name}"
            real, head = reader.real(path), reader.head(path)
            if real is not None and head is not None:
                found.append({"path": path, "version": version(real.rpartition("/")[2], head)})
    return found


def version_in(name: str) -> str | None:
    """The version in ``vmlinuz-6.1.0-56-amd64``, ``initrd.img-6.1``, ``initramfs-6.1.img``."""
    match = re.fullmatch(r"\D*?[-](\d[^/]*?)(?:\.img|\.gz)?", name)
    return match.group(1) if match else None


def kernel_version(name: str, head: bytes) -> str | None:
    """What an x86 kernel says of itself; for others what its name says."""
    if head[MAGIC_AT : MAGIC_AT + 4] == MAGIC:
        (pointer,) = struct.unpack_from("<H", head, RELEASE_AT)
        words = head[pointer + SECTOR : pointer + 2 * SECTOR].partition(b"\0")[0].split()
        if pointer and words:
            return words[0].decode("ascii", "replace")
    return version_in(name)


def architecture(reader: Reader) -> str | None:
    for program in PROGRAMS:
        head = reader.head(program) or b""
        if head[:4] == b"\x7fELF" and len(head) > 20:
            size, order = head[4], head[5]
            (machine,) = struct.unpack_from("<H" if order == 1 else ">H", head, 18)
            return MACHINES.get((machine, size, order), f"elf-{machine}")
    return None


def distribution(reader: Reader) -> dict[str, str | None] | None:
    """``id``, ``version_id``, ``pretty_name`` of os-release (freedesktop.org, os-release(5))."""
    for path in RELEASES:
        head = reader.head(path)
        if head is not None:
            return read_release(head.decode("utf-8", "replace"))
    return None


def read_release(text: str) -> dict[str, str | None]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            try:
                values[key.strip()] = "".join(shlex.split(value))
            except ValueError:
                values[key.strip()] = value
    return {key: values.get(key.upper()) for key in ("id", "version_id", "pretty_name")}
