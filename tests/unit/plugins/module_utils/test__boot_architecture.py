# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_architecture import (
    ARCHITECTURES,
    LOADERS,
    boot_file,
    boot_rules,
    expected_answers,
    firmwares_of,
)

URL = "http://10.77.0.1"
SCRIPT = f"{URL}/ipxe/boot.ipxe"


@pytest.mark.parametrize(
    ("loader", "architecture", "ipxe", "file"),
    [
        ("ipxe", "bios", False, "undionly.kpxe"),
        ("ipxe", "bios", True, SCRIPT),
        ("ipxe", "uefi", False, "snponly.efi"),
        ("ipxe", "uefi", True, SCRIPT),
        ("ipxe", "uefi-http", False, f"{URL}/snponly.efi"),
        ("pxelinux", "bios", False, "pxelinux.0"),
        ("pxelinux", "bios", True, "pxelinux.0"),
        ("pxelinux", "uefi", False, None),
        ("grub", "uefi", False, "shimx64.efi"),
        ("grub", "uefi-http", False, None),
        ("grub", "bios", True, None),
    ],
)
def test_boot_file(loader: str, architecture: str, ipxe: bool, file: str | None) -> None:
    assert boot_file(loader, architecture, ipxe, URL) == file


def test_rules_exclude_each_other() -> None:
    rules = boot_rules(reversed(LOADERS), URL)
    keys = [(rule["loader"], rule["architecture"], rule["ipxe"]) for rule in rules]
    assert len(keys) == len(set(keys)) == 10
    assert boot_rules(LOADERS, URL) == rules


def test_rules_only_for_the_loaders_in_use() -> None:
    assert {rule["loader"] for rule in boot_rules({"pxelinux"}, URL)} == {"pxelinux"}
    assert boot_rules([], URL) == []


def test_no_code_stands_for_two_architectures() -> None:
    codes = [code for kind in ARCHITECTURES.values() for code in kind.codes]
    assert len(codes) == len(set(codes))


def test_iPXE_is_never_given_to_itself() -> None:
    for rule in boot_rules(LOADERS, URL):
        if rule["loader"] == "ipxe":
            assert rule["file"].endswith("boot.ipxe") == rule["ipxe"]


def test_each_node_is_asked_for_twice() -> None:
    node = {
        "name": "n2",
        "mac": "52:54:00:77:00:12",
        "address": "10.77.0.12",
        "firmware": "uefi",
        "loader": "ipxe",
    }
    firmware, ipxe = expected_answers([node], "10.77.0.1", URL)
    assert firmware == {
        "mac": "52:54:00:77:00:12",
        "architecture": 7,
        "ipxe": False,
        "expect": {"address": "10.77.0.12", "next_server": "10.77.0.1", "file": "snponly.efi"},
    }
    assert (ipxe["ipxe"], ipxe["expect"]["file"]) == (True, SCRIPT)


@pytest.mark.parametrize(
    ("loader", "firmwares"), [("ipxe", ["bios", "uefi"]), ("pxelinux", ["bios"]), ("grub", ["uefi"])]
)
def test_firmwares_of(loader: str, firmwares: list[str]) -> None:
    assert firmwares_of(loader) == firmwares
