# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kernel, initrd and command line as one ELF file that loaders on PC BIOS start by the Multiboot Specification 0.6.96.

The file holds the kernel as the 32-bit boot protocol of the kernel's Documentation/arch/x86/boot.rst wants it: everything
is at its place when the loader jumps to START, which only passes on the loader's map of the memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils import _command
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._memory_file import memory_file

START = r"""
        .set    MAGIC, 0x1BADB002               # the loader looks for these three words
        .set    WANTED, 2                       # the map of the memory
        .set    BOOTED, 0x2BADB002              # what the loader has in %eax, its information at %ebx
        .set    HAS_MAP, 0x40
        .set    E820, 0x2d0                     # places in the kernel's boot_params
        .set    E820_ENTRIES, 0x1e8
        .set    ALT_MEM_K, 0x1e0
        .set    E820_ROOM, 128 * 20

        .long   MAGIC, WANTED, -(MAGIC + WANTED)
        .globl  _start
_start: cli
        cld
        lgdt    gdt_pointer
        ljmp    $0x10, $flat
flat:   mov     $0x18, %ecx
        mov     %ecx, %ds
        mov     %ecx, %es
        mov     %ecx, %fs
        mov     %ecx, %gs
        mov     %ecx, %ss
        cmp     $BOOTED, %eax
        jne     stop
        mov     8(%ebx), %eax                   # KB above the first MB, for a loader without a map
        mov     %eax, BOOT_PARAMS + ALT_MEM_K
        testb   $HAS_MAP, (%ebx)
        jz      enter
        mov     48(%ebx), %esi                  # the map, and its end
        mov     44(%ebx), %edx
        add     %esi, %edx
        mov     $BOOT_PARAMS + E820, %edi
next:   cmp     %edx, %esi
        jae     enter
        cmp     $BOOT_PARAMS + E820 + E820_ROOM, %edi
        jae     enter
        lodsl                                   # the size of the rest of this entry
        lea     (%esi, %eax), %eax
        mov     $5, %ecx                        # address, length and kind, which Linux numbers alike
        rep movsl
        mov     %eax, %esi
        incb    BOOT_PARAMS + E820_ENTRIES
        jmp     next
enter:  mov     $BOOT_PARAMS, %esi
        xor     %ebp, %ebp
        xor     %edi, %edi
        xor     %ebx, %ebx
        mov     $KERNEL, %eax
        jmp     *%eax
stop:   hlt
        jmp     stop

        .balign 8
gdt:    .quad   0, 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt
"""
PAGE = 0x1000
PARTS = ("start", "boot_params", "parameters", "kernel", "initrd")
"""The segments of the file in their order."""
SETUP_SECTORS_AT = 0x1F1
HEADER_LENGTH_AT = 0x201
PROTOCOL_AT = 0x206
LEAST_PROTOCOL = 0x20A
"""Linux 2.6.31: the first that says where it wants to be, and how much room it takes."""
ELF_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
ELF_IDENTITY = b"\x7fELF\x01\x01\x01"
SEGMENT_HEADER = struct.Struct("<8I")
LOAD, EXECUTABLE, I386, READ_WRITE_EXECUTE = 1, 2, 3, 7
TIMEOUT = 60


@dataclass(frozen=True)
class Layout:
    """Addresses in memory: the kernel where it wants to be, all else behind the room that it unpacks itself in."""

    kernel: int
    start: int

    @property
    def boot_params(self) -> int:
        return self.start + PAGE

    @property
    def parameters(self) -> int:
        return self.start + 2 * PAGE

    @property
    def initrd(self) -> int:
        return self.start + 4 * PAGE


def build(kernel: Content, initrd: Sequence[Content], parameters: bytes) -> list[Content]:
    """The file in pieces; raises ClusterError where the kernel is too old or the initrd does not fit in its reach."""
    data = memoryview(kernel)
    (protocol,) = struct.unpack_from("<H", data, PROTOCOL_AT)
    if protocol < LEAST_PROTOCOL:
        raise ClusterError(
            f"format multiboot: the kernel has boot protocol {protocol >> 8}.{protocol & 0xFF:02}, older than 2.10 (Linux"
            " 2.6.31); boot it by PXELINUX or iPXE as two files"
        )
    (preferred,) = struct.unpack_from("<Q", data, 0x258)
    (room, highest) = (struct.unpack_from("<I", data, at)[0] for at in (0x260, 0x22C))
    end = preferred + room
    layout = Layout(preferred, end + -end % PAGE)
    size = sum(map(len, initrd))
    if layout.initrd + size > highest + 1:
        raise ClusterError(
            f"format multiboot: an initrd of {size} bytes ends beyond byte {highest}, the last one that the kernel takes"
        )
    code = data[((data[SETUP_SECTORS_AT] or 4) + 1) * 512 :]
    segments: list[tuple[int, Sequence[Content]]] = [
        (layout.start, [start_code(layout)]),
        (layout.boot_params, [boot_params(data, layout, size)]),
        (layout.parameters, [parameters + b"\0"]),
        (layout.kernel, [code]),
        (layout.initrd, initrd),
    ]
    return elf(layout.start + 12, segments)


def start_code(layout: Layout) -> bytes:
    """START, translated for its place."""
    _command.require("as", "ld", package="binutils")
    with memory_file() as object_file, memory_file() as code:
        symbols = [f"--defsym=BOOT_PARAMS={layout.boot_params}", f"--defsym=KERNEL={layout.kernel}"]
        _command.run(
            ["as", "--32", *symbols, "-o", object_file.path, "-"], stdin=START.encode(), timeout=TIMEOUT
        )
        place = [f"-Ttext={layout.start:#x}", "--oformat=binary", "-o", code.path]
        _command.run(["ld", "-m", "elf_i386", *place, object_file.path], timeout=TIMEOUT)
        return bytes(code.read())


def boot_params(kernel: memoryview, layout: Layout, initrd_size: int) -> bytes:
    """The page that the kernel reads: its own setup header, filled in, and a text screen as BIOS leaves it."""
    page = bytearray(PAGE)
    end = 0x202 + kernel[HEADER_LENGTH_AT]
    page[SETUP_SECTORS_AT:end] = kernel[SETUP_SECTORS_AT:end]
    struct.pack_into(
        "<BB4xBB6xBBH", page, 0, 0, 24, 3, 80, 25, 1, 16
    )  # column, line, mode, columns, lines, VGA
    struct.pack_into("<H", page, 0x1FA, 0xFFFF)  # video mode: as it is
    page[0x210] = 0xFF  # a loader without a number of its own
    fields = {0x214: layout.kernel, 0x218: layout.initrd if initrd_size else 0, 0x21C: initrd_size}
    for place, value in {**fields, 0x228: layout.parameters}.items():
        struct.pack_into("<I", page, place, value)
    return bytes(page)


def elf(entry: int, segments: Sequence[tuple[int, Sequence[Content]]]) -> list[Content]:
    """A 32-bit ELF program of ``segments`` (address, pieces), each at a multiple of 4 in the file."""
    place = ELF_HEADER.size + len(segments) * SEGMENT_HEADER.size
    headers = [
        ELF_HEADER.pack(
            *(ELF_IDENTITY, EXECUTABLE, I386, 1, entry, ELF_HEADER.size, 0, 0, ELF_HEADER.size),
            *(SEGMENT_HEADER.size, len(segments), 0, 0, 0),
        )
    ]
    content: list[Content] = []
    for address, pieces in segments:
        size = sum(map(len, pieces))
        headers.append(SEGMENT_HEADER.pack(LOAD, place, address, address, size, size, READ_WRITE_EXECUTE, 4))
        content += [*pieces, bytes(-size % 4)]
        place += size + -size % 4
    return [*headers, *content]


def read_parts(image: Content) -> dict[str, Content]:
    """What ``build`` put in, by the names of PARTS; raises ClusterError where ``image`` is no such file."""
    data = memoryview(image)
    try:
        fields = ELF_HEADER.unpack_from(data)
        headers = [
            SEGMENT_HEADER.unpack_from(data, fields[5] + at * SEGMENT_HEADER.size) for at in range(fields[10])
        ]
    except struct.error as error:
        raise ClusterError("it is no ELF program, or cut off") from error
    if not fields[0].startswith(ELF_IDENTITY) or len(headers) != len(PARTS):
        raise ClusterError("it is no network image of the format multiboot")
    parts = {name: data[header[1] : header[1] + header[4]] for name, header in zip(PARTS, headers)}
    if any(len(parts[name]) != header[4] for name, header in zip(PARTS, headers)):
        raise ClusterError("it is cut off; copy or build it again")
    return {**parts, "parameters": parts["parameters"][:-1]}
