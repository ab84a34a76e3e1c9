# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""What a running node has: its devices and the drivers that took them, from /sys alone.

Layout: Documentation/ABI/testing/sysfs-bus-* of the kernel. ``/sys/bus/BUS/devices/ID`` is a link to the device's
folder, which lies in that of the device it hangs on; ``driver/module`` there is a link to the module, built in or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware_makefiles import plain

VIRTUAL = "devices/virtual"
"""Loop devices, bridges and the like: no hardware."""


def inspect(sysfs: Path) -> dict[str, Any]:
    """The result of module hardware_info; raises ClusterError where ``sysfs`` is none."""
    if not (sysfs / "bus").is_dir():
        raise ClusterError(
            f"sysfs: {sysfs} has no folder bus; mount sysfs there, or give the folder it is mounted on"
        )
    devices = sorted(read_devices(sysfs), key=lambda device: (device["bus"], device["id"]))
    return {
        "devices": devices,
        "modaliases": unique(device["modalias"] for device in devices),
        "pci": [line for line in map(lspci, pci_folders(sysfs)) if line],
        "drivers": unique(sorted(device["driver"] for device in devices if device["driver"])),
        "network_drivers": unique(drivers_to(sysfs, sysfs / "class/net")),
        "storage_drivers": unique(drivers_to(sysfs, sysfs / "block", sysfs / "class/block")),
    }


def unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def read_devices(sysfs: Path) -> Iterator[dict[str, str]]:
    """Every device with a modalias: what it is, and the module that took it."""
    for bus in entries(sysfs / "bus"):
        for device in entries(bus / "devices"):
            modalias = word(device / "modalias")
            if modalias:
                yield {"bus": bus.name, "id": device.name, "modalias": modalias, "driver": driver(device)}


def driver(device: Path) -> str:
    """The name of the module of a device's driver; that of the driver where it tells of none; empty without one."""
    taken = device / "driver"
    if not taken.exists():
        return ""
    module = taken / "module"
    return plain((module if module.exists() else taken).resolve().name)


def drivers_to(sysfs: Path, *classes: Path) -> Iterator[str]:
    """The drivers of real devices of a class and of all that they hang on, the device's own first."""
    root = (sysfs / "devices").resolve()
    for entry in (one for folder in classes for one in entries(folder)):
        place = entry.resolve()
        if str(place).startswith(str(sysfs.resolve() / VIRTUAL)):
            continue
        while place not in (root, place.parent):
            name = driver(place)
            if name:
                yield name
            place = place.parent


def pci_folders(sysfs: Path) -> list[Path]:
    return entries(sysfs / "bus/pci/devices")


def lspci(device: Path) -> str:
    """The line that ``lspci -n`` has for a device: ``02:00.0 0200: 8086:10d3 (rev 01)``."""
    kind, vendor, model = (word(device / name)[2:] for name in ("class", "vendor", "device"))
    if not (kind and vendor and model):
        return ""
    revision = word(device / "revision")[2:]
    slot = device.name[5:] if device.name.startswith("0000:") else device.name
    return f"{slot} {kind[:4]}: {vendor}:{model}" + (f" (rev {revision})" if revision.strip("0") else "")


def word(path: Path) -> str:
    """The content of a small file, empty where it cannot be read: devices come and go."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
