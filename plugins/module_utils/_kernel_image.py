# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read the header of a bootable x86 kernel (bzImage): its release, its EFI stub, its compressed payload.

The offsets are those of the kernel's Documentation/arch/x86/boot.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SECTOR = 512
SETUP_SECTORS_AT = 0x1F1
MAGIC_AT = 0x202
MAGIC = b"HdrS"
PROTOCOL_AT = 0x206
RELEASE_AT = 0x20E
COMMAND_LINE_SIZE_AT = 0x238
PAYLOAD_AT = 0x248
HEADER_END = 0x250
PROTOCOL_COMMAND_LINE_SIZE = 0x206
PROTOCOL_PAYLOAD = 0x208
COMMAND_LINE_SIZE_BEFORE = 255
"""What every kernel takes that does not say how much it takes."""
PE_OFFSET_AT = 0x3C


@dataclass(frozen=True)
class KernelImage:
    """``release`` is what ``uname -r`` will print; ``payload`` (start, end) is where the kernel proper is packed."""

    path: Path
    release: str
    efi_stub: bool
    command_line_size: int
    payload: tuple[int, int] | None


def is_kernel_image(data: bytes) -> bool:
    return data[MAGIC_AT : MAGIC_AT + 4] == MAGIC and len(data) >= HEADER_END


def read_kernel_image(path: Path) -> KernelImage:
    """Raises ClusterError where ``path`` is unreadable, truncated or no bootable x86 kernel."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClusterError(f"cannot read the kernel {path}: {error.strerror}") from error
    if not is_kernel_image(data):
        begins = f"it begins {data[:4].hex(' ')}" if data else "it is empty"
        raise ClusterError(
            f"{path} is no bootable x86 kernel ({begins}); give the vmlinuz of the root's /boot"
        )
    return parse_kernel_image(path, data)


def parse_kernel_image(path: Path, data: bytes) -> KernelImage:
    (protocol,) = struct.unpack_from("<H", data, PROTOCOL_AT)
    command_line_size = COMMAND_LINE_SIZE_BEFORE
    if protocol >= PROTOCOL_COMMAND_LINE_SIZE:
        (command_line_size,) = struct.unpack_from("<I", data, COMMAND_LINE_SIZE_AT)
    payload = payload_of(data) if protocol >= PROTOCOL_PAYLOAD else None
    if payload and payload[1] > len(data):
        raise ClusterError(
            f"kernel {path} is truncated: its payload ends at byte {payload[1]}, the file at {len(data)}; copy it again"
        )
    return KernelImage(path, release_of(path, data), has_efi_stub(data), command_line_size, payload)


def payload_of(data: bytes) -> tuple[int, int]:
    offset, length = struct.unpack_from("<II", data, PAYLOAD_AT)
    start = ((data[SETUP_SECTORS_AT] or 4) + 1) * SECTOR + offset  # 0 sectors mean 4, for very old kernels
    return start, start + length


def release_of(path: Path, data: bytes) -> str:
    """The first word of the version text: ``6.1.0-56-amd64 (debian-kernel@…) #1 SMP …``."""
    (pointer,) = struct.unpack_from("<H", data, RELEASE_AT)
    start = pointer + SECTOR
    words = data[start : start + SECTOR].partition(b"\0")[0].split()
    if not pointer or not words:
        raise ClusterError(f"kernel {path} does not say its version; it is truncated or was built by hand")
    return words[0].decode("ascii", "replace")


def has_efi_stub(data: bytes) -> bool:
    """UEFI firmware starts a kernel only where it is a PE executable as well."""
    (pe_offset,) = struct.unpack_from("<I", data, PE_OFFSET_AT)
    return data[:2] == b"MZ" and data[pe_offset : pe_offset + 4] == b"PE\0\0"
