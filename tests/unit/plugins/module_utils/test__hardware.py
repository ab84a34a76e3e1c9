"""Drivers of sites become options of one tree, whatever tells of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "fixtures"))
import kconfig_trees

from ansible_collections.oneimage.cluster.plugins.module_utils import _hardware, _hardware_sysfs
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware_makefiles import read_drivers
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware_reference import (
    read_drivers as read_reference,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_tree import read_tree

GRID5000 = Path(__file__).parents[4] / "inventories/grid5000/facts"
ALIASES = """# Aliases extracted from modules themselves.
alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e
alias pci:v*d*sv*sd*bc01sc06i01* ahci
alias pci:v*d*sv*sd*bc01sc08i02* nvme
alias usb:v0BDAp8152d*dc*dsc*dp*ic*isc*ip*in* r8152
alias fs-nfs nfs
alias virtio:d00000001v* virtio-net
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    (tmp_path / "modules.alias").write_text(ALIASES)
    (tmp_path / "modules.builtin.modinfo").write_bytes(
        b"ext4.license=GPL\0virtio_blk.alias=virtio:d00000002v*\0"
    )
    return tmp_path


@pytest.mark.parametrize(
    "driver, options",
    [
        ("e1000e", ["E1000E"]),
        ("igb", ["IGB"]),
        ("mlx5-core", ["MLX5_CORE"]),
        ("sd_mod", ["BLK_DEV_SD"]),
        ("sd", ["BLK_DEV_SD"]),
        ("libahci", ["SATA_AHCI"]),
        ("gone", ["SATA_GONE"]),
        ("netdev", ["E1000E"]),
        ("nothing", []),
    ],
)
def test_makefiles_tell_the_option(tmp_path: Path, driver: str, options: list[str]) -> None:
    drivers = read_drivers(kconfig_trees.make_tree(tmp_path, kconfig_trees.NEW), "x86")
    assert drivers.options_of(driver) == options


@pytest.mark.parametrize(
    "driver, options", [("tg3", ["TIGON3"]), ("e1000", ["E1000"]), ("e1000_hw", ["E1000"]), ("e100", [])]
)
def test_makefiles_of_kernels_24_too(tmp_path: Path, driver: str, options: list[str]) -> None:
    drivers = read_drivers(kconfig_trees.make_tree(tmp_path, kconfig_trees.OPENMOSIX), "i386")
    assert drivers.options_of(driver) == options


@pytest.mark.parametrize(
    "makefile, options",
    [
        ("obj-$(CONFIG_A) += x.o", ["A"]),
        ("obj-$(CONFIG_A) := y.o x.o # why", ["A"]),
        ("obj-$(subst m,y,$(CONFIG_A)) += x.o", ["A"]),
        ("obj-$(CONFIG_A:m=y) += x.o", ["A"]),
        ("obj-$(CONFIG_A)\t+= x.o\nobj-$(CONFIG_B)\t+= x.o", ["A", "B"]),
        ("ifdef CONFIG_A\nobj-y += x.o\nendif", ["A"]),
        ("ifeq ($(CONFIG_A),m)\n obj-m += x.o\nendif\nobj-y += z.o", ["A"]),
        ("ifneq ($(CONFIG_A),)\nobj-y += x.o\nelse\nobj-$(CONFIG_B) += z.o\nendif", ["A"]),
        ("ifeq ($(CONFIG_A),)\nobj-y += x.o\nendif", []),
        ("NAMES := x.o\nobj-$(CONFIG_A) += $(NAMES)", ["A"]),
        ("obj-y += x.o", []),
        ("#obj-$(CONFIG_A) += x.o", []),
        ("obj-$(CONFIG_A) += big.o\nbig-$(CONFIG_B) += x.o", ["A"]),
    ],
)
def test_forms_of_makefiles(tmp_path: Path, makefile: str, options: list[str]) -> None:
    kconfig_trees.make_tree(tmp_path, {"arch/x86/Makefile": "", "drivers/Makefile": makefile + "\n"})
    assert read_drivers(tmp_path, "x86").options_of("x") == options


def test_folders_that_name_each_other_end(tmp_path: Path) -> None:
    makefile = "obj-$(CONFIG_A) += ../drivers/ ./\nobj-$(CONFIG_B) += x.o\n"
    kconfig_trees.make_tree(tmp_path, {"arch/x86/Makefile": "", "drivers/Makefile": makefile})
    assert read_drivers(tmp_path, "x86").options_of("x") == ["B"]


@pytest.mark.parametrize(
    "device, drivers",
    [
        ("pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00", ["e1000e"]),
        ("02:00.0 0200: 8086:10d3 (rev 01)", ["e1000e"]),
        ("0000:02:00.0 0200: 8086:10D3", ["e1000e"]),
        ("0200: 8086:10d3", ["e1000e"]),
        ("00:1f.2 0106: 8086:2922 (rev 02)", ["ahci"]),
        ("01:00.0 0108: 144d:a808", ["nvme"]),
        ("virtio:d00000001v00001AF4", ["virtio_net"]),
        ("virtio:d00000002v00001AF4", ["virtio_blk"]),
        ("acpi:PNP0C0F:", []),
        ("00:00.0 0600: 8086:1237", []),
        ("03:00.0 0200: 1234:5678", [""]),
    ],
)
def test_devices_tell_their_drivers(modules: Path, device: str, drivers: list[str]) -> None:
    needs = _hardware.collect([{"site": "a", "devices": [device]}], modules)
    assert [need.driver for need in needs] == drivers


@pytest.mark.parametrize("device", ["8086:10d3", "", "no modalias", "PCI:V", "pci:v1 d2", "../x"])
def test_what_is_no_device_is_refused(modules: Path, device: str) -> None:
    with pytest.raises(ClusterError, match="neither a modalias nor a line of lspci -n"):
        _hardware.collect([{"site": "a", "devices": [device]}], modules)


def test_built_in_wins_and_a_yes_or_no_option_is_on(tmp_path: Path) -> None:
    kconfig_trees.make_tree(tmp_path, kconfig_trees.NEW)
    tree, drivers = read_tree(tmp_path, "x86_64"), read_drivers(tmp_path, "x86")
    entries = [
        {"site": "a", "drivers": ["igb", "mlx5_core"], "as": "builtin"},
        {"site": "b", "drivers": ["igb", "ahci", "mlx5_core", "gone", "new"]},
    ]
    found = _hardware.find_options(tree, drivers, _hardware.collect(entries, None))
    wishes = {wish.option: (wish.value, wish.origin) for wish in _hardware.wishes(tree, found)}
    assert wishes == {
        "IGB": ("y", "hardware: igb of a, igb of b"),
        "MLX5_CORE": ("y", "hardware: mlx5_core of a, mlx5_core of b"),
        "MLX5_CORE_EN": ("y", "hardware: mlx5_core of a, mlx5_core of b"),
        "SATA_AHCI": ("m", "hardware: ahci of b"),
    }
    assert [text.partition(" is ")[0] for text in _hardware.unknown_drivers(tree, found)] == [
        "driver gone",
        "driver new",
    ]


@pytest.mark.parametrize(
    "site, drivers",
    [
        ("nancy", ["igb", "mlx4_core", "ahci"]),
        ("rennes", ["bnxt_en", "ixgbe", "nvme", "megaraid_sas"]),
    ],
)
def test_the_reference_api_is_read(site: str, drivers: list[str]) -> None:
    path = GRID5000 / f"{site}.json"
    assert read_reference(path.read_text(), str(path)) == {site: drivers}


@pytest.mark.parametrize(
    "document, found",
    [
        ({"network_adapters": [{"driver": "igb", "new": 1}], "what": {}}, {"file": ["igb"]}),
        ([{"storage_devices": [{"driver": "mpt3sas"}]}], {"file": ["mpt3sas"]}),
        ({"network_adapters": {"eth0": {"driver": "tg3"}}}, {"file": ["tg3"]}),
        ({"network_adapters": [{"driver": "n/a"}, {"driver": None}, {}, 7]}, {"file": []}),
        (
            {"network_adapters": [{"driver": "ipmi", "management": True}, {"driver": "tg3"}]},
            {"file": ["tg3"]},
        ),
        (
            {"network_adapters": [{"driver": ["a", "b"]}], "links": [{"href": "/3.0/sites/lyon/x"}]},
            {"lyon": ["a", "b"]},
        ),
        (
            {"network_adapters": [{"driver": "a"}], "links": "broken", "storage_devices": "none"},
            {"file": ["a"]},
        ),
    ],
)
def test_documents_may_have_what_they_like(document: Any, found: dict[str, list[str]]) -> None:
    assert read_reference(json.dumps(document), "facts/file.json") == found
    named = read_reference(json.dumps(document), "facts/file.json", "own")
    assert named == {"own": next(iter(found.values()))}


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"items": []}', '[{"network_adapters": []}]'])
def test_a_document_without_devices_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match="hardware: x.json"):
        read_reference(text, "x.json")


def sysfs_of(folder: Path) -> Path:
    """A machine with a NIC of a driver that is built in, an AHCI disk, and a device without driver, as the kernel shows it."""
    nic, disk = "devices/pci0000:00/0000:00:03.0", "devices/pci0000:00/0000:00:1f.2"
    scsi = f"{disk}/ata1/host0/target0:0:0/0:0:0:0"
    files = {
        f"{nic}/modalias": "pci:v00008086d000010D3sv00000000sd00000000bc02sc00i00\n",
        f"{nic}/class": "0x020000\n",
        f"{nic}/vendor": "0x8086\n",
        f"{nic}/device": "0x10d3\n",
        f"{nic}/revision": "0x03\n",
        f"{nic}/net/eth0/address": "00:00:5e:00:53:01\n",
        f"{disk}/modalias": "pci:v00008086d00002922sv00000000sd00000000bc01sc06i01\n",
        f"{disk}/class": "0x010601\n",
        f"{disk}/vendor": "0x8086\n",
        f"{disk}/device": "0x2922\n",
        f"{scsi}/modalias": "scsi:t-0x00\n",
        f"{scsi}/block/sda/size": "1\n",
        "devices/virtual/block/loop0/size": "0\n",
        "devices/acpi/PNP0C0F:00/modalias": "acpi:PNP0C0F:\n",
        "module/e1000e/version": "1\n",
        "module/ahci/version": "1\n",
        "bus/pci/drivers/e1000e/bind": "",
        "bus/pci/drivers/ahci/bind": "",
        "bus/scsi/drivers/sd/bind": "",
    }
    links = {
        "bus/pci/devices/0000:00:03.0": nic,
        "bus/pci/devices/0000:00:1f.2": disk,
        "bus/scsi/devices/0:0:0:0": scsi,
        "bus/acpi/devices/PNP0C0F:00": "devices/acpi/PNP0C0F:00",
        f"{nic}/driver": "bus/pci/drivers/e1000e",
        f"{disk}/driver": "bus/pci/drivers/ahci",
        f"{scsi}/driver": "bus/scsi/drivers/sd",
        "bus/pci/drivers/e1000e/module": "module/e1000e",
        "bus/pci/drivers/ahci/module": "module/ahci",
        "class/net/eth0": f"{nic}/net/eth0",
        "class/block/sda": f"{scsi}/block/sda",
        "class/block/loop0": "devices/virtual/block/loop0",
    }
    kconfig_trees.make_tree(folder, files)
    for name, target in links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / target)
    return folder


def test_a_running_node_is_read(tmp_path: Path) -> None:
    found = _hardware_sysfs.inspect(sysfs_of(tmp_path))
    assert [(one["bus"], one["id"], one["driver"]) for one in found["devices"]] == [
        ("acpi", "PNP0C0F:00", ""),
        ("pci", "0000:00:03.0", "e1000e"),
        ("pci", "0000:00:1f.2", "ahci"),
        ("scsi", "0:0:0:0", "sd"),
    ]
    assert found["pci"] == ["00:03.0 0200: 8086:10d3 (rev 03)", "00:1f.2 0106: 8086:2922"]
    assert found["drivers"] == ["ahci", "e1000e", "sd"]
    assert (found["network_drivers"], found["storage_drivers"]) == (["e1000e"], ["sd", "ahci"])
    assert len(found["modaliases"]) == 4


def test_what_is_no_sysfs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="has no folder bus"):
        _hardware_sysfs.inspect(tmp_path)
