# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A unified kernel image: kernel, initrd and command line as sections of systemd's EFI stub, one program for UEFI.

Made as systemd-stub(7) says, by objcopy; signed by sbsign.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _command
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._memory_file import memory_file

STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
SECTION_OF = {"os_release": ".osrel", "parameters": ".cmdline", "kernel": ".linux", "initrd": ".initrd"}
"""In this order behind those of the stub."""
PAGE = 0x1000
TIMEOUT = 600
PE_OFFSET_AT = 0x3C
MACHINE_X86_64 = 0x8664
PE_HEADER = struct.Struct("<4sHH12xH2x")
"""Signature, machine, number of sections, size of the optional header (Microsoft's PE format)."""
SECTION_HEADER = struct.Struct("<8sIIII16x")
"""Name, size in memory, address, size in the file, place in the file."""


@dataclass(frozen=True)
class Section:
    address: int
    content: Content


def build(stub: Content, parts: Mapping[str, Sequence[Content]]) -> Content:
    """``parts``, by the names of SECTION_OF, behind the sections of ``stub``; the same input makes the same bytes."""
    _command.require("objcopy", package="binutils")
    end = max(section.address + len(section.content) for section in read_sections(stub, "the stub").values())
    argv = ["objcopy", "--preserve-dates"]  # else the time goes into the header
    with ExitStack() as files:
        source, target = files.enter_context(memory_file(stub)), files.enter_context(memory_file())
        for part, name in SECTION_OF.items():
            if part not in parts:
                continue
            address = end + -end % PAGE
            file = files.enter_context(memory_file(*parts[part]))
            argv += [f"--add-section={name}={file.path}", f"--change-section-vma={name}={address:#x}"]
            argv += [f"--set-section-flags={name}=data,readonly"]
            end = address + sum(map(len, parts[part]))
        _command.run([*argv, source.path, target.path], timeout=TIMEOUT)
        return target.read()


def read_parts(image: Content) -> dict[str, Content]:
    """What ``build`` put in, by the names of SECTION_OF; raises ClusterError where ``image`` is no program for UEFI."""
    found = read_sections(image, "it")
    return {part: found[name].content for part, name in SECTION_OF.items() if name in found}


def read_sections(image: Content, what: str) -> dict[str, Section]:
    """The sections of a PE program for x86-64 by name."""
    data = memoryview(image)
    try:
        (offset,) = struct.unpack_from("<I", data, PE_OFFSET_AT)
        signature, machine, count, optional_size = PE_HEADER.unpack_from(data, offset)
        if (bytes(data[:2]), signature, machine) != (b"MZ", b"PE\0\0", MACHINE_X86_64):
            raise ClusterError(f"{what} is no program for UEFI on x86-64")
        first = offset + PE_HEADER.size + optional_size
        headers = [SECTION_HEADER.unpack_from(data, first + at * SECTION_HEADER.size) for at in range(count)]
    except struct.error as error:
        raise ClusterError(f"{what} is no program for UEFI, or cut off") from error
    sections = {}
    for name, memory_size, address, file_size, place in headers:
        size = min(memory_size, file_size)
        if place + size > len(data):
            raise ClusterError(f"{what} is cut off in its section {name.decode('ascii', 'replace')}")
        sections[name.rstrip(b"\0").decode("ascii", "replace")] = Section(address, data[place : place + size])
    return sections


def same_program(one: Content, other: Content) -> bool:
    """Whether two differ in nothing but their signatures, which have the time in them."""
    try:
        return read_sections(one, "it") == read_sections(other, "it")
    except ClusterError:
        return False


def sign(image: Content, key: Path, certificate: Path) -> Content:
    """``image`` with a signature that Secure Boot accepts where ``certificate`` is enrolled; both files are PEM."""
    with memory_file(image) as source, memory_file() as target:
        argv = ["sbsign", "--key", str(key), "--cert", str(certificate), "--output", target.path, source.path]
        try:
            _command.run(argv, timeout=TIMEOUT)
        except ClusterError as error:
            raise ClusterError(f"signing_key: cannot sign with {key} and {certificate}: {error}") from error
        return target.read()


def is_signed(image: Content, certificate: Path) -> bool:
    """Whether the signature is there and ``certificate`` verifies it."""
    with memory_file(image) as file:
        argv = ["sbverify", "--cert", str(certificate), file.path]
        return _command.run(argv, timeout=TIMEOUT, accept=(0, 1)).returncode == 0
