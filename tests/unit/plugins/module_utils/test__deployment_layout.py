# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where partitions lie, what sfdisk is told, and whose a table is; sfdisk itself is the judge."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_layout as layouts
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Layout, Partition
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MAC = "52:54:00:00:00:01"
MIB = layouts.MIB
KADEPLOY = (
    Partition("swap", 40, "swap"),
    Partition("prod", 30),
    Partition("deploy", 300, filesystem="ext4"),
    Partition("tmp", 0),
)
MANY = (*KADEPLOY[:3], Partition("scratch", 50), Partition("home", 60), Partition("tmp", 0))


def table(
    partitions: tuple[Partition, ...], firmware: str = "bios", kind: str = "auto", size: int = 1000
) -> layouts.Table:
    layout = Layout(partitions, table=kind)
    layouts.check_layout(layout)
    return layouts.arrange(layout, firmware, MAC, "/dev/vda", size * MIB, 512)


def by_sfdisk(made: layouts.Table, disk: Path, size: int = 1000) -> dict[str, Any]:
    """What the real sfdisk wrote for the script, as it reads it back, with the names that a disk has."""
    if shutil.which("sfdisk") is None:
        pytest.skip("sfdisk is not installed")
    with disk.open("wb") as file:
        file.truncate(size * MIB)
    script = layouts.sfdisk_script(made, boots="deploy")
    subprocess.run(["sfdisk", "--quiet", disk], input=script, text=True, check=True)
    said = subprocess.run(["sfdisk", "--json", disk], text=True, capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(said.replace(str(disk), made.disk))["partitiontable"]
    return found


@pytest.mark.parametrize(
    ("firmware", "kind", "partitions", "roles"),
    [
        ("bios", "auto", KADEPLOY, ["swap", "prod", "deploy", "tmp"]),
        ("bios", "gpt", KADEPLOY, ["swap", "prod", "deploy", "tmp", "bios_boot"]),
        ("uefi", "auto", KADEPLOY, ["swap", "prod", "deploy", "tmp", "efi"]),
        ("uefi", "mbr", KADEPLOY[2:], ["deploy", "tmp", "efi"]),
        ("bios", "mbr", MANY, ["swap", "prod", "deploy", "", "scratch", "home", "tmp"]),
        ("uefi", "gpt", (layouts.EFI, *KADEPLOY), ["efi", "swap", "prod", "deploy", "tmp"]),
    ],
)
def test_sfdisk_writes_what_was_arranged(
    firmware: str, kind: str, partitions: tuple[Partition, ...], roles: list[str], tmp_path: Path
) -> None:
    made = table(partitions, firmware, kind)
    assert [place.role for place in made.places] == roles
    found = by_sfdisk(made, tmp_path / "disk")
    assert layouts.is_same(made, found)
    assert layouts.is_ours(found)
    assert made == table(partitions, firmware, kind)
    marked = [one["node"] for one in found["partitions"] if one.get("bootable") or one.get("attrs")]
    deploy = made.of_role("deploy")
    assert deploy is not None and marked == [made.device(deploy)]


def test_partitions_neither_overlap_nor_leave_the_disk() -> None:
    for partitions in (KADEPLOY, MANY):
        made = table(partitions)
        flat = [place for place in made.places if place.role]
        assert flat[0].start == 1
        for before, after in zip(flat, flat[1:]):
            assert before.start + before.size <= after.start
        assert flat[-1].start + flat[-1].size <= 1000
    assert [place.number for place in table(MANY).places] == [1, 2, 3, 4, 5, 6, 7]


def test_another_layout_is_not_the_same(tmp_path: Path) -> None:
    found = by_sfdisk(table(KADEPLOY), tmp_path / "disk")
    assert not layouts.is_same(table((*KADEPLOY[:2], Partition("deploy", 301), KADEPLOY[3])), found)
    assert not layouts.is_same(table(KADEPLOY, kind="gpt"), found)
    assert not layouts.is_same(table(KADEPLOY), {})
    assert layouts.is_ours(found)


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        ({"label": "gpt", "partitions": [{"node": "/dev/vda1", "name": "oneimage-deploy"}]}, True),
        ({"label": "gpt", "partitions": [{"name": "oneimage-deploy"}, {"name": "Basic data"}]}, False),
        ({"label": "gpt", "partitions": [{}]}, False),
        ({"label": "dos", "id": "0x6f6e6599", "partitions": [{}]}, True),
        ({"label": "dos", "id": "0x00000000", "partitions": [{}]}, False),
        ({"label": "sun", "partitions": [{}]}, False),
        ({"label": "dos", "id": "0x1234", "partitions": []}, True),
    ],
)
def test_whose_a_table_is(found: dict[str, Any], ours: bool) -> None:
    assert layouts.is_ours(found) is ours


def test_two_nodes_have_different_identifiers() -> None:
    layout = Layout(KADEPLOY, table="gpt")
    one, two = (layouts.arrange(layout, "uefi", mac, "/dev/vda", 1 << 30, 512) for mac in (MAC, "other"))
    assert one.identifier != two.identifier


@pytest.mark.parametrize(("disk", "device"), [("/dev/sda", "/dev/sda3"), ("/dev/nvme0n1", "/dev/nvme0n1p3")])
def test_names_of_partitions(disk: str, device: str) -> None:
    made = layouts.arrange(Layout(KADEPLOY), "bios", MAC, disk, 1 << 30, 512)
    assert made.device(made.places[2]) == device


def test_sectors_of_4096_bytes() -> None:
    made = layouts.arrange(Layout(KADEPLOY), "bios", MAC, "/dev/sda", 1 << 30, 4096)
    assert "1 : start=256, size=10240, type=82" in layouts.sfdisk_script(made, boots="deploy")


@pytest.mark.parametrize(
    ("partitions", "size", "says"),
    [
        (KADEPLOY, 300, "needs 387 MiB, it has 300 MiB"),
        ((Partition("deploy", 500),), 500, "needs 501 MiB, it has 500 MiB"),
    ],
)
def test_a_disk_that_is_too_small(partitions: tuple[Partition, ...], size: int, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        table(partitions, size=size)


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (Layout((Partition("deploy", 1), Partition("deploy", 2))), "deploy, twice"),
        (Layout((Partition("my disk", 1),)), "no good role of a partition: my disk"),
        (Layout((Partition("deploy", 1, "zfs"),)), "no type of partition zfs; there are linux, swap"),
        (Layout((Partition("deploy", 1),), table="sun"), "table sun is none of"),
        (Layout((Partition("deploy", 1),), overwrite="yes"), "overwrite yes is neither"),
        (Layout((Partition("deploy", 0), Partition("tmp", 0))), "one partition alone may be 0"),
        (Layout((Partition("deploy", -5),)), "sizes are in MiB"),
        (Layout((Partition("tmp", 0),)), "no partition has the role deploy"),
        (Layout((Partition("deploy", 0), layouts.BIOS_BOOT), table="mbr"), "is for a GPT alone"),
        (
            Layout((Partition("deploy", 0), Partition("boot", 99, "efi"))),
            "role efi and the type efi go together",
        ),
    ],
)
def test_a_layout_that_no_disk_satisfies(layout: Layout, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        layouts.check_layout(layout)
