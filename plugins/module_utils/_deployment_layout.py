# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A layout as data: where its partitions lie on one disk, as sfdisk's script, and whose an existing table is."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Layout, Partition
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MIB = 1 << 20
MOST_PRIMARY = 4
"""Of an MBR; with more partitions the fourth is the extended one, and Kadeploy's tmp is number 5."""

SMALLEST_REST = 16
"""MiB that must be left for the partition that takes the rest."""

MARK = "oneimage-"
"""How the names of our GPT partitions begin."""

MBR_MARK = 0x6F6E6500
"""The first 24 bits of the identifier of our MBRs."""

NAMES = uuid.UUID("6f6e6569-6d61-4765-8000-636c75737465")
"""Identifiers are made from MAC and disk: the same order gives the same table."""

TYPES: Mapping[str, tuple[str, str]] = {
    "linux": ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", "83"),
    "swap": ("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "82"),
    "efi": ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ef"),
    "bios_boot": ("21686148-6449-6E6F-744E-656564454649", ""),
    "lvm": ("E6D6D379-F507-44C2-A23C-238F2A3DF928", "8e"),
    "raid": ("A19D880F-05FC-4D3B-A006-743F0F84911E", "fd"),
    "fat": ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "c"),
}
"""Type of a partition to its GUID in a GPT and its code in an MBR; UEFI 2.10 and util-linux' table of types."""

EXTENDED = "5"

EFI = Partition(role="efi", size=128, type="efi", filesystem="vfat", label="EFI")
BIOS_BOOT = Partition(role="bios_boot", size=1, type="bios_boot")
ROLE = re.compile(r"[a-z][a-z0-9_]{0,15}")


@dataclass(frozen=True)
class Place:
    """One partition on a disk; ``start`` and ``size`` in MiB. The role of an extended partition is empty."""

    role: str
    number: int
    start: int
    size: int
    code: str
    filesystem: str = ""
    label: str = ""
    boots: bool = False


@dataclass(frozen=True)
class Table:
    """A partition table as it shall be on ``disk``, such as ``/dev/vda``. ``sector`` is the disk's, in bytes."""

    disk: str
    kind: str
    identifier: str
    sector: int
    places: tuple[Place, ...]

    def device(self, place: Place) -> str:
        return f"{self.disk}{'p' if self.disk[-1].isdigit() else ''}{place.number}"

    def of_role(self, role: str) -> Place | None:
        return next((place for place in self.places if place.role == role), None)


def check_layout(layout: Layout, deploy_role: str = "deploy") -> None:
    """Raises ClusterError naming what no disk could satisfy."""
    roles = [partition.role for partition in layout.partitions]
    wrong = [role for role in roles if not ROLE.fullmatch(role)]
    wrong += [f"{role}, twice" for role in sorted({role for role in roles if roles.count(role) > 1})]
    if wrong:
        raise ClusterError(f"layout: no good role of a partition: {', '.join(wrong)}")
    strays = [one.role for one in layout.partitions if (one.type == "efi") != (one.role == "efi")]
    if strays:
        raise ClusterError(f"layout: the role efi and the type efi go together, unlike in {strays[0]}")
    unknown = sorted({partition.type for partition in layout.partitions} - set(TYPES))
    if unknown:
        raise ClusterError(
            f"layout: there is no type of partition {', '.join(unknown)}; there are {', '.join(TYPES)}"
        )
    if layout.table not in ("auto", "gpt", "mbr"):
        raise ClusterError(f"layout: the table {layout.table} is none of auto, gpt, mbr")
    if layout.overwrite not in ("ours", "any"):
        raise ClusterError(f"layout: overwrite {layout.overwrite} is neither ours nor any")
    rest = [partition.role for partition in layout.partitions if partition.size == 0]
    if len(rest) > 1 or any(partition.size < 0 for partition in layout.partitions):
        raise ClusterError(
            "layout: sizes are in MiB, and one partition alone may be 0, which is the rest of the disk"
        )
    if roles and deploy_role not in roles:
        raise ClusterError(f"layout: no partition has the role {deploy_role}, which the environment goes to")
    if layout.table == "mbr" and any(not TYPES[partition.type][1] for partition in layout.partitions):
        raise ClusterError("layout: a partition bios_boot is for a GPT alone")


def kind_of(layout: Layout, firmware: str) -> str:
    return layout.table if layout.table != "auto" else "gpt" if firmware == "uefi" else "mbr"


def completed(layout: Layout, firmware: str) -> tuple[Partition, ...]:
    """With the partition that the firmware needs, last, so that the numbers of the others stay."""
    types = {partition.type for partition in layout.partitions}
    if firmware == "uefi" and "efi" not in types:
        return (*layout.partitions, EFI)
    if firmware == "bios" and kind_of(layout, firmware) == "gpt" and "bios_boot" not in types:
        return (*layout.partitions, BIOS_BOOT)
    return layout.partitions


def arrange(layout: Layout, firmware: str, mac: str, disk: str, disk_bytes: int, sector: int) -> Table:
    """The table for one disk; raises ClusterError naming what is needed and what is there.

    The first MiB is left to the table and to bootloaders, and the last one of a GPT to its copy.
    """
    kind = kind_of(layout, firmware)
    partitions = completed(layout, firmware)
    logical = kind == "mbr" and len(partitions) > MOST_PRIMARY
    inside = len(partitions) - (MOST_PRIMARY - 1) if logical else 0
    # before each logical partition lies a sector with a table of its own, which alignment makes a MiB
    overhead = 1 + (1 if kind == "gpt" else 0) + inside + (1 if logical else 0)
    room = disk_bytes // MIB
    fixed = overhead + sum(partition.size for partition in partitions)
    rest = room - fixed
    takes_rest = any(partition.size == 0 for partition in partitions)
    if rest < (SMALLEST_REST if takes_rest else 0):
        needed = fixed + (SMALLEST_REST if takes_rest else 0)
        raise ClusterError(f"the disk {disk} is too small: the layout needs {needed} MiB, it has {room} MiB")
    sized = [replace(partition, size=partition.size or rest) for partition in partitions]
    places = place_all(sized, kind, logical)
    name = uuid.uuid5(NAMES, f"{mac} {disk}")
    identifier = f"0x{MBR_MARK | name.bytes[0]:08x}" if kind == "mbr" else str(name).upper()
    return Table(disk, kind, identifier, sector, tuple(places))


def place_all(partitions: Sequence[Partition], kind: str, logical: bool) -> list[Place]:
    """One behind the other from the first MiB; logical ones inside an extended partition that is number 4."""
    places: list[Place] = []
    at = 1
    for index, partition in enumerate(partitions):
        if logical and index == MOST_PRIMARY - 1:
            left = partitions[index:]
            places.append(
                Place("", MOST_PRIMARY, at, sum(one.size for one in left) + len(left) + 1, EXTENDED)
            )
            at += 1
        if logical and index > MOST_PRIMARY - 1:
            at += 1
        places.append(
            Place(
                role=partition.role,
                number=index + 2 if logical and index >= MOST_PRIMARY - 1 else index + 1,
                start=at,
                size=partition.size,
                code=TYPES[partition.type][0 if kind == "gpt" else 1],
                filesystem=partition.filesystem,
                label=partition.label or partition.role,
            )
        )
        at += partition.size
    return places


def sfdisk_script(table: Table, boots: str) -> str:
    """What sfdisk reads; ``boots`` is the role of the partition that a BIOS starts."""
    per_mib = MIB // table.sector
    lines = [f"label: {'dos' if table.kind == 'mbr' else 'gpt'}", f"label-id: {table.identifier}"]
    for place in table.places:
        words = [f"start={place.start * per_mib}", f"size={place.size * per_mib}", f"type={place.code}"]
        if table.kind == "gpt":
            words.append(f'name="{MARK}{place.role}"')
            words.append(f"uuid={str(uuid.uuid5(NAMES, table.identifier + place.role)).upper()}")
        if place.role == boots:
            words.append('attrs="LegacyBIOSBootable"' if table.kind == "gpt" else "bootable")
        lines.append(f"{place.number} : {', '.join(words)}")
    return "\n".join(lines) + "\n"


def is_same(table: Table, found: Mapping[str, Any]) -> bool:
    """Whether ``found``, what ``sfdisk --json`` calls partitiontable, is this very table."""
    if str(found.get("label")) != {"mbr": "dos"}.get(table.kind, table.kind):
        return False
    if str(found.get("id", "")).lower() != table.identifier.lower():
        return False
    per_mib = MIB // table.sector
    wanted = [
        (table.device(place), place.start * per_mib, place.size * per_mib, place.code.lower())
        for place in table.places
    ]
    there = [
        (one.get("node"), one.get("start"), one.get("size"), str(one.get("type", "")).lower())
        for one in found.get("partitions", ())
    ]
    return sorted(wanted) == sorted(there)


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether an earlier deployment wrote the table ``found``, or nobody keeps a partition in it."""
    partitions = found.get("partitions", ())
    if not partitions:
        return True
    if found.get("label") == "gpt":
        return all(str(one.get("name", "")).startswith(MARK) for one in partitions)
    try:
        return int(str(found.get("id", "0")), 16) & ~0xFF == MBR_MARK
    except ValueError:
        return False


def described(found: Mapping[str, Any]) -> str:
    """A foreign table in a few words, for an error."""
    partitions = found.get("partitions", ())
    names = [f"{one.get('node')} {one.get('name', '') or one.get('type', '')}".strip() for one in partitions]
    return f"a {found.get('label')} table with {', '.join(names)}"
