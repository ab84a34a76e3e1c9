# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a block device or a raw image holds, read from its first bytes; the files of ext2, ext3 and ext4 by debugfs.

Offsets and magic numbers are those of the file systems' own headers, as libblkid has them.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import uuid
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import HEAD as FILE_HEAD
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import Reader

HEAD = 0x10000 + 0x1000
"""Bytes from the start that tell every file system we know; btrfs has its superblock at 64 KiB."""

SECTOR = 512
BOOT_SIGNATURE = b"\x55\xaa"
LOADERS = ((b"GRUB", "grub"), (b"LILO", "lilo"), (b"SYSLINUX", "syslinux"), (b"EXTLINUX", "extlinux"))
CONFIGURATIONS = (
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/etc/lilo.conf",
)
NAMED_FILE = re.compile(
    r"^\s*(?:linux(?:16|efi)?|kernel|initrd(?:16|efi)?|image)[ \t=]+(?:\([^)]*\))?(/\S+)", re.MULTILINE
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import follow


@dataclass(frozen=True)
class FileSystem:
    """``size`` is what the file system takes of the device, in bytes, where its superblock says so.

    ``type`` is as libblkid names it; ``block_size`` and ``dirty`` (the journal waits for a replay) are those of ext.
    """

    type: str
    label: str | None = None
    uuid: str | None = None
    size: int | None = None
    block_size: int | None = None
    dirty: bool = False

    @property
    def is_ext(self) -> bool:
        return self.type.startswith("ext")

    @property
    def facts(self) -> dict[str, Any]:
        """As a manifest holds them."""
        return {"type": self.type, "label": self.label, "uuid": self.uuid, "size": self.size}


def recognise(head: bytes) -> FileSystem | None:
    """The file system that begins with ``head`` (``HEAD`` bytes or all there is), None for none that we know."""
    head = head.ljust(HEAD, b"\0")
    if head[0x438:0x43A] == b"\x53\xef":
        return read_ext(head[0x400:0x800])
    if head[:4] == b"XFSB":
        block, blocks = struct.unpack_from(">IQ", head, 4)
        return FileSystem("xfs", text(head[108:120]), guid(head[32:48]), block * blocks, block)
    if head[0x10040:0x10048] == b"_BHRfS_M":
        (size,) = struct.unpack_from("<Q", head, 0x10070)
        return FileSystem("btrfs", text(head[0x1012B:0x1022B]), guid(head[0x10020:0x10030]), size)
    if head[4086:4096] == b"SWAPSPACE2":
        return FileSystem("swap", text(head[0x41C:0x42C]), guid(head[0x40C:0x41C]))
    if head[:4] == b"hsqs":
        return FileSystem("squashfs", size=struct.unpack_from("<Q", head, 40)[0])
    if head[:6] == b"LUKS\xba\xbe":
        return FileSystem("crypto_LUKS")
    if head[3:11] == b"NTFS    ":
        return FileSystem("ntfs")
    for kind_at, label_at in ((0x52, 0x47), (0x36, 0x2B)):
        if head[kind_at : kind_at + 3] == b"FAT" and head[510:512] == BOOT_SIGNATURE:
            serial = head[label_at - 4 : label_at][::-1].hex().upper()
            return FileSystem("vfat", text(head[label_at : label_at + 11]), f"{serial[:4]}-{serial[4:]}")
    if head[512:520] == b"EFI PART":
        return FileSystem("gpt")
    if head[512:520] == b"LABELONE":
        return FileSystem("LVM2_member")
    if (
        head[510:512] == BOOT_SIGNATURE
        and all(head[at] in (0, 0x80) for at in range(446, 510, 16))
        and any(head[446:510])
    ):
        return FileSystem("dos")
    return None


def read_ext(block: bytes) -> FileSystem:
    """A superblock as linux/fs/ext4/ext4.h lays it out."""
    (blocks,) = struct.unpack_from("<I", block, 0x4)
    (log_size,) = struct.unpack_from("<I", block, 0x18)
    compatible, incompatible, read_only = struct.unpack_from("<III", block, 0x5C)
    if incompatible & 0x80:  # 64bit
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
    # extents, 64bit, flex_bg; huge_file, gdt_csum, dir_nlink, extra_isize, metadata_csum
    new = incompatible & 0x2C0 or read_only & 0x478
    kind = "ext4" if new else "ext3" if compatible & 0x4 else "ext2"
    size = 1024 << min(log_size, 6)
    return FileSystem(
        kind, text(block[0x78:0x88]), guid(block[0x68:0x78]), blocks * size, size, bool(incompatible & 0x4)
    )


def text(field: bytes) -> str | None:
    return field.split(b"\0")[0].decode("utf-8", "replace").strip() or None


def guid(field: bytes) -> str:
    return str(uuid.UUID(bytes=field))


def boot_sector(head: bytes) -> dict[str, Any]:
    """``signature``: the BIOS would start it; ``loader``: whose code it is, None where none is known."""
    sector = head[:SECTOR]
    return {
        "signature": sector[510:512] == BOOT_SIGNATURE,
        "loader": next((name for mark, name in LOADERS if mark in sector), None),
    }


class ExtReader:
    """The files of an ext file system that is not mounted, a device or a raw image, by debugfs."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.folders: dict[str, dict[str, int]] = {}

    @staticmethod
    def usable() -> bool:
        return shutil.which("debugfs") is not None

    def ask(self, request: str, path: str) -> bytes:
        return run(self.argv(request, path), accept=range(256), timeout=600).stdout

    def argv(self, request: str, path: str) -> list[str]:
        return ["debugfs", "-R", '{} "{}"'.format(request, path.replace('"', '""')), self.device]

    def modes(self, folder: str) -> dict[str, int]:
        """Name -> mode of what is in ``folder``, which has no links in it."""
        if "\n" in folder:
            return {}
        if folder not in self.folders:
            found = {}
            for line in self.ask("ls -p", folder).decode("utf-8", "surrogateescape").splitlines():
                parts = line.split("/")  # /INODE/MODE/UID/GID/NAME/SIZE/
                if len(parts) >= 7 and parts[1].isdigit() and parts[1] != "0":
                    found[parts[5]] = int(parts[2], 8)
            self.folders[folder] = found
        return self.folders[folder]

    def mode(self, path: str) -> int:
        folder, _slash, name = path.rpartition("/")
        return self.modes(folder or "/").get(name, 0)

    def target(self, path: str) -> str | None:
        if self.mode(path) >> 12 != 0o12:
            return None
        status = self.ask("stat", path)
        match = re.search(rb'Fast link dest: "(.*)"', status)
        target = match.group(1) if match else self.ask("cat", path)
        return target.decode("utf-8", "surrogateescape")

    def real(self, path: str) -> str | None:
        return follow(path, self.target)

    def names(self, folder: str) -> list[str]:
        real = self.real(folder)
        return [name for name in self.modes(real) if name not in (".", "..")] if real else []

    def head(self, path: str) -> bytes | None:
        real = self.real(path)
        if real is None or self.mode(real) >> 12 != 0o10:
            return None
        # an initrd is large, and only its start is wanted
        with subprocess.Popen(  # pylint: disable=ansible-bad-function
            self.argv("cat", real), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            content = process.stdout.read(FILE_HEAD) if process.stdout else b""
            process.kill()
        return content


def bootloader(head: bytes, reader: Reader | None) -> tuple[dict[str, Any], list[str]]:
    """The boot sector and the configuration of the loader, and what would keep the machine from starting by it."""
    sector = boot_sector(head)
    found: dict[str, Any] = {**sector, "configuration": None, "missing": []}
    warnings = []
    if reader is not None:
        for path in CONFIGURATIONS:
            content = reader.head(path)
            if content is not None:
                named = NAMED_FILE.findall(content.decode("utf-8", "replace"))
                missing = [name for name in dict.fromkeys(named) if lacks(reader, name)]
                found.update(configuration=path, missing=missing)
                break
    if not sector["loader"] or not sector["signature"]:
        warnings.append(
            "the boot sector holds no boot loader that is known: the image only boots where another loader starts"
            " its kernel; grub-install on the partition writes one"
        )
    elif reader is not None and found["configuration"] is None:
        warnings.append(
            f"the boot sector is of {sector['loader']}, but none of {', '.join(CONFIGURATIONS)} is in the file system"
        )
    if found["missing"]:
        warnings.append(f"{found['configuration']} names what is not there: {', '.join(found['missing'])}")
    return found, warnings


def lacks(reader: Reader, name: str) -> bool:
    """Whether a file of a boot loader's configuration is missing; a /boot of its own is named without /boot."""
    return "$" not in name and reader.head(name) is None and reader.head(f"/boot{name}") is None
