# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_facts as subject


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("vmlinuz-6.1.0-56-amd64", "6.1.0-56-amd64"),
        ("vmlinuz-2.6.26-2-amd64", "2.6.26-2-amd64"),
        ("initrd.img-6.1.0-56-cloud-amd64", "6.1.0-56-cloud-amd64"),
        ("initramfs-5.14.0-427.el9.x86_64.img", "5.14.0-427.el9.x86_64"),
        ("initrd-6.4.0-default.gz", "6.4.0-default"),
        ("vmlinuz", None),
        ("initrd.img", None),
        ("bzImage-kerrighed", None),
    ],
)
def test_versions_in_names(name: str, version: str | None) -> None:
    assert subject.version_in(name) == version


@pytest.mark.parametrize("name", ["vmlinuz-6.1", "vmlinux", "bzImage", "Image", "kernel-5", "vmlinuz.old"])
def test_names_of_kernels(name: str) -> None:
    assert subject.KERNEL_NAME.fullmatch(name) and not subject.NO_BOOT_FILE.fullmatch(name)


@pytest.mark.parametrize("name", ["config-6.1", "System.map-6.1", "grub", "efi", "lost+found", "initrd.img"])
def test_names_of_no_kernels(name: str) -> None:
    assert not subject.KERNEL_NAME.fullmatch(name)


def elf(machine: int, size: int = 2, order: int = 1) -> bytes:
    return (
        b"\x7fELF"
        + bytes([size, order])
        + bytes(10)
        + struct.pack("<HH" if order == 1 else ">HH", 2, machine)
        + bytes(40)
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (elf(62), "x86_64"),
        (elf(183), "aarch64"),
        (elf(3, 1), "i686"),
        (elf(21, 2, 2), "ppc64"),
        (elf(21), "ppc64le"),
        (elf(9999), "elf-9999"),
        (b"#!/bin/sh\n", None),
        (b"\x7fELF", None),
    ],
)
def test_architectures(head: bytes, name: str | None, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").write_bytes(head)
    assert subject.architecture(subject.TreeReader(tmp_path)) == name


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
            ("debian", "12", "Debian GNU/Linux 12"),
        ),
        ("# ID=no\nID='arch'\n", ("arch", None, None)),
        ('ID="unclosed\n', ('"unclosed', None, None)),
        ("", (None, None, None)),
    ],
)
def test_releases(text: str, release: tuple[str | None, ...]) -> None:
    assert tuple(subject.read_release(text).values()) == release


def test_a_root_is_never_left_by_its_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("ID=outside\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").symlink_to(outside)
    (root / "boot").symlink_to("/../..")
    os.mkfifo(root / "vmlinuz")  # would wait for ever when opened
    found = subject.facts(subject.TreeReader(root))
    assert found == {"architecture": None, "distribution": None, "kernels": [], "initrds": []}
