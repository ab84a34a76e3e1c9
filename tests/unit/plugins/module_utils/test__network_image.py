"""What goes into one file comes out of it; a foreign or damaged file is one clear error."""

from __future__ import annotations

import shutil
import struct

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _network_image_multiboot as multiboot
from ansible_collections.oneimage.cluster.plugins.module_utils import _network_image_uki as uki
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._memory_file import memory_file

PROPER = b"kernel proper" * 100


def kernel(protocol: int = 0x20F, highest: int = 0x7FFFFFFF) -> bytes:
    """The header of a bzImage with one setup sector, as Documentation/arch/x86/boot.rst places its fields."""
    data = bytearray(1024)
    data[0x1F1], data[0x201] = 1, 0x6A
    struct.pack_into("<H", data, 0x206, protocol)
    struct.pack_into("<I", data, 0x22C, highest)
    struct.pack_into("<QI", data, 0x258, 0x1000000, 0x2345678)
    return bytes(data) + PROPER


def pe(*sections: tuple[bytes, int, bytes]) -> bytes:
    """A PE program of nothing but headers and sections (name, address, content)."""
    table = 0x40 + uki.PE_HEADER.size
    header = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    header += uki.PE_HEADER.pack(b"PE\0\0", uki.MACHINE_X86_64, len(sections), 0)
    place, rows, body = table + 40 * len(sections), b"", b""
    for name, address, content in sections:
        rows += uki.SECTION_HEADER.pack(name, len(content), address, len(content), place + len(body))
        body += content
    return header + rows + body


@pytest.mark.skipif(shutil.which("ld") is None, reason="needs binutils")
@pytest.mark.parametrize("initrd", [b"", b"an initrd, of an odd length"])
def test_a_multiboot_image_has_its_parts_where_the_kernel_looks(initrd: bytes) -> None:
    image = b"".join(multiboot.build(kernel(), [initrd], b"ro quiet"))
    parts = multiboot.read_parts(image)
    assert (bytes(parts["kernel"]), bytes(parts["initrd"])) == (PROPER, initrd)
    assert bytes(parts["parameters"]) == b"ro quiet"
    page = bytes(parts["boot_params"])
    start = 0x3346000  # the next page behind the kernel's room
    place = start + 4 * 4096 if initrd else 0
    assert struct.unpack_from("<II", page, 0x218) == (place, len(initrd))
    assert struct.unpack_from("<I", page, 0x228) == (start + 2 * 4096,)
    assert struct.unpack_from("<I", bytes(parts["start"])) == (0x1BADB002,)
    assert struct.unpack_from("<I", image, 24) == (start + 12,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (kernel(protocol=0x209), "boot protocol 2.09, older than 2.10"),
        (kernel(highest=0x3346000), "ends beyond byte 53764096, the last one"),
    ],
)
def test_a_kernel_that_multiboot_cannot_boot_is_refused(given: bytes, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        multiboot.build(given, [b"initrd"], b"")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", bytes(4096), b"MZ" * 99])
def test_what_is_no_image_is_one_clear_error(content: bytes) -> None:
    for read in (multiboot.read_parts, uki.read_parts):
        with pytest.raises(ClusterError, match="it is no"):
            read(content)


def test_the_parts_of_a_unified_kernel_image() -> None:
    image = pe((b".text", 0x1000, b"stub"), (b".cmdline", 0x3000, b"ro"), (b".linux", 0x4000, PROPER))
    parts = uki.read_parts(image)
    assert {name: bytes(part) for name, part in parts.items()} == {"parameters": b"ro", "kernel": PROPER}
    with pytest.raises(ClusterError, match="it is cut off in its section .linux"):
        uki.read_parts(image[:-1])


def test_two_programs_are_the_same_whatever_is_behind_their_sections() -> None:
    sections = ((b".text", 0x1000, b"stub"), (b".cmdline", 0x3000, b"ro"))
    assert uki.same_program(pe(*sections), pe(*sections) + b"signature")
    assert not uki.same_program(pe(*sections), pe(sections[0], (b".cmdline", 0x3000, b"rw")))
    assert not uki.same_program(pe(*sections), b"MZ")


def test_a_memory_file_can_be_read_by_its_path_and_outlives_its_descriptor() -> None:
    with memory_file(b"one ", b"two") as file:
        with open(file.path, "rb") as stream:
            assert stream.read() == b"one two"
        content = file.read()
    assert bytes(content) == b"one two"
    with memory_file() as file:
        assert file.read() == b""
