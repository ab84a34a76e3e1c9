# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which loader a node gets: one table, from which both the DHCP configuration and its test are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """How the firmware of one kind of client names itself in DHCP option 93, and how it fetches its first file."""

    codes: tuple[int, ...]
    firmware: str
    over_http: bool = False


ARCHITECTURES = {
    "bios": Architecture((0,), "bios"),
    # RFC 4578 says 9 for x64 and 7 for EBC; what x64 firmware really sends is 7.
    "uefi": Architecture((7, 9), "uefi"),
    "uefi-http": Architecture((16,), "uefi", over_http=True),
}
"""64-bit ARM (11, over HTTP 19) is not here: Debian 12 has no iPXE for it."""

HTTP_CODES = tuple(code for kind in ARCHITECTURES.values() if kind.over_http for code in kind.codes)

LOADER_FILES = {
    ("ipxe", "bios"): "undionly.kpxe",
    ("ipxe", "uefi"): "snponly.efi",
    ("ipxe", "uefi-http"): "snponly.efi",
    ("pxelinux", "bios"): "pxelinux.0",
    # shim asks for grubx64.efi beside it. Debian's signed GRUB has no HTTP module: TFTP alone.
    ("grub", "uefi"): "shimx64.efi",
}
"""The first file for a loader on an architecture; no row, no answer."""

LOADERS = ("ipxe", "pxelinux", "grub")
IPXE_SCRIPT = "ipxe/boot.ipxe"


def firmwares_of(loader: str) -> list[str]:
    """The firmwares that a loader runs on."""
    return sorted({ARCHITECTURES[kind].firmware for name, kind in LOADER_FILES if name == loader})


def boot_file(loader: str, architecture: str, ipxe: bool, url: str) -> str | None:
    """The boot file that DHCP names for a client; ``ipxe`` is whether iPXE itself asks.

    Only the loader ``ipxe`` gives iPXE its script: a node that is to boot another loader gets that one from an iPXE
    in its ROM too, and no loader is ever given to itself.
    """
    file = LOADER_FILES.get((loader, architecture))
    if file is None:
        return None
    if loader == "ipxe" and ipxe:
        return f"{url}/{IPXE_SCRIPT}"
    return f"{url}/{file}" if ARCHITECTURES[architecture].over_http else file


def boot_rules(loaders: Iterable[str], url: str) -> list[dict[str, Any]]:
    """One rule ``{loader, architecture, ipxe, file}`` for each kind of client, in a stable order; they exclude each other."""
    rules = []
    wanted = set(loaders)
    for loader in (loader for loader in LOADERS if loader in wanted):
        for architecture in ARCHITECTURES:
            for ipxe in (False, True):
                file = boot_file(loader, architecture, ipxe, url)
                if file is not None:
                    rules.append({"loader": loader, "architecture": architecture, "ipxe": ipxe, "file": file})
    return rules


def expected_answers(nodes: Iterable[Mapping[str, str]], server: str, url: str) -> list[dict[str, Any]]:
    """What each node must be told: once when its firmware asks, once when iPXE asks."""
    answers = []
    for node in nodes:
        for ipxe in (False, True):
            expect = {
                "address": node["address"],
                "next_server": server,
                "file": boot_file(node["loader"], node["firmware"], ipxe, url),
            }
            code = ARCHITECTURES[node["firmware"]].codes[0]
            answers.append({"mac": node["mac"], "architecture": code, "ipxe": ipxe, "expect": expect})
    return answers
