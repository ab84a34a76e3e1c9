# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the nodes of several sites need of a kernel: drivers, from whatever tells of them, as options of one source tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware_makefiles import Drivers, plain
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import KernelConfig
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_wishes import LEVELS, Wish

LEVEL_OF = {"module": "m", "builtin": "y"}
DRIVER = re.compile(r"[A-Za-z0-9][\w.+-]*", re.A)
MODALIAS = re.compile(r"[a-z][\w-]*:\S+", re.A)
LSPCI = re.compile(
    r"(?:[0-9a-f:.]+\s+)?(?P<class>[0-9a-f]{4}):\s+(?P<vendor>[0-9a-f]{4}):(?P<device>[0-9a-f]{4})\b.*", re.I
)
"""A line of ``lspci -n``: ``02:00.0 0200: 8086:10d3 (rev 01)``."""
INTERFACES = {"0101": "80", "0106": "01", "0108": "02", "0c03": "30"}
"""The programming interface, which ``lspci -n`` does not tell, of what is found by class: IDE, AHCI, NVMe, xHCI."""
COMPANIONS = {
    "mlx4_core": ("MLX4_EN",),
    "mlx5_core": ("MLX5_CORE_EN",),
    "virtio_net": ("VIRTIO_PCI",),
    "virtio_blk": ("VIRTIO_PCI",),
    "virtio_scsi": ("VIRTIO_PCI",),
}
"""Options without which a driver serves no NIC or disk, although no dependency says so."""
CANNOT_DO_WITHOUT = re.compile(r"pci:\S*bc0[12]sc\S*")
"""Disks' controllers and NICs. Other devices, as ACPI's, mostly have no driver in any kernel."""
ALIAS = re.compile(r"^alias (\S+:\S*) (\S+)$", re.M)
WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Need:
    """``driver`` is empty where the ``device`` has none in the modules that were asked."""

    site: str
    driver: str
    level: str
    device: str = ""


@dataclass(frozen=True)
class Found:
    """A need, and the options of the tree that meet it; none where the tree does not know the driver."""

    need: Need
    options: tuple[str, ...]


def collect(entries: Sequence[Mapping[str, Any]], modules_folder: Path | None) -> list[Need]:
    """The needs of all sites, each once; raises ClusterError naming the entry and the faulty word."""
    needs: dict[Need, None] = {}
    aliases: list[tuple[str, str]] | None = None
    for number, entry in enumerate(entries, start=1):
        where = f"hardware: entry {number}"
        site, level = entry.get("site") or "all", LEVEL_OF[entry.get("as") or "module"]
        devices = entry.get("devices") or []
        if not devices and not entry.get("drivers"):
            raise ClusterError(f"{where} ({site}) names no hardware; give drivers, devices or a file")
        for driver in entry.get("drivers") or []:
            if not DRIVER.fullmatch(driver):
                raise ClusterError(f"{where}: {driver[:60]!r} in drivers is no name of a driver such as igb")
            needs[Need(site, driver, level)] = None
        if devices and aliases is None:
            aliases = read_aliases(modules_folder, where)
        for device in devices:
            modalias = as_modalias(device, where)
            names = drivers_of(modalias, aliases or [])
            if not names and CANNOT_DO_WITHOUT.fullmatch(modalias):
                names = [""]
            needs.update(dict.fromkeys(Need(site, name, level, device) for name in names))
    return list(needs)


def as_modalias(device: str, where: str) -> str:
    """A modalias for a modalias or a line of ``lspci -n``, whose unknown parts are zero, so that only ``*`` fits them."""
    listed = LSPCI.fullmatch(device.strip())
    if listed:
        kind = listed["class"].lower()
        vendor, model = (listed[name].upper().rjust(8, "0") for name in ("vendor", "device"))
        numbers = f"v{vendor}d{model}sv{0:08}sd{0:08}"
        return f"pci:{numbers}bc{kind[:2].upper()}sc{kind[2:].upper()}i{INTERFACES.get(kind, '00')}"
    if not MODALIAS.fullmatch(device):
        raise ClusterError(
            f"{where}: {device[:80]!r} in devices is neither a modalias nor a line of lspci -n; "
            "module hardware_info collects both"
        )
    return device


def read_aliases(folder: Path | None, where: str) -> list[tuple[str, str]]:
    """(pattern, driver) of a kernel's modules, and of what is built into kernels that tell of it."""
    if folder is None:
        raise ClusterError(
            f"{where} has devices; set modules_folder to the modules of a kernel that knows them, as /lib/modules/VERSION"
        )
    try:
        found = ALIAS.findall((folder / "modules.alias").read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ClusterError(
            f"modules_folder: cannot read {folder}/modules.alias: {error.strerror}; run depmod for that kernel"
        ) from error
    builtin = folder / "modules.builtin.modinfo"
    entries = builtin.read_bytes().split(b"\0") if builtin.is_file() else []
    lines = (entry.decode("utf-8", "replace").partition(".alias=") for entry in entries)
    return [*found, *((alias, name) for name, _equals, alias in lines if ":" in alias)]


def drivers_of(modalias: str, aliases: Iterable[tuple[str, str]]) -> list[str]:
    likely = (
        (alias, name) for alias, name in aliases if modalias.startswith(WILDCARD.split(alias, maxsplit=1)[0])
    )
    return list(dict.fromkeys(plain(name) for alias, name in likely if fnmatchcase(modalias, alias)))


def find_options(tree: KernelTree, drivers: Drivers, needs: Iterable[Need]) -> list[Found]:
    """The options of ``tree`` for each need. Of several that build a driver one is enough, first one that can be a module."""
    found = []
    for need in needs:
        known = [option for option in drivers.options_of(need.driver) if option in tree.options]
        known.sort(key=lambda option: tree.type_of(option) != "tristate")
        with_it = [option for option in COMPANIONS.get(plain(need.driver), ()) if option in tree.options]
        found.append(Found(need, (*known[:1], *with_it) if known else ()))
    return found


def wishes(tree: KernelTree, found: Iterable[Found]) -> list[Wish]:
    """One for each option, built in where any site wants it so; those that the tree knows."""
    levels: dict[str, str] = {}
    origins: dict[str, list[str]] = {}
    for one in found:
        for option in one.options:
            level = "y" if tree.type_of(option) == "bool" else one.need.level
            levels[option] = max(level, levels.get(option, level), key=LEVELS.__getitem__)
            origins.setdefault(option, []).append(f"{one.need.driver} of {one.need.site}")
    return [
        Wish(option, level, "hardware: " + ", ".join(dict.fromkeys(origins[option])), at_least=True)
        for option, level in levels.items()
    ]


def rows(config: KernelConfig, found: Iterable[Found]) -> list[dict[str, Any]]:
    """Which site needs which driver, and where it ended up: ``y``, ``m`` or ``missing``."""
    table = []
    for one in sorted(found, key=lambda one: (one.need.site, one.need.driver, one.need.device)):
        values = [config.value(option) for option in one.options] or ["n"]
        least = min(values, key=lambda value: LEVELS.get(value, 0))
        row = {
            "site": one.need.site,
            "driver": one.need.driver,
            "device": one.need.device,
            "options": [f"CONFIG_{option}" for option in one.options],
            "wanted": one.need.level,
            "value": least if least in ("y", "m") else "missing",
        }
        table.append(row)
    return table


def unknown_drivers(tree: KernelTree, found: Iterable[Found]) -> list[str]:
    """In words: the drivers that no Makefile builds, with the sites that need them; devices that have no driver."""
    sites: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if not one.options:
            subject = ("driver", one.need.driver) if one.need.driver else ("device", one.need.device)
            sites.setdefault(subject, []).append(one.need.site)
    problem = {
        "driver": f"is built by no Makefile of Linux {tree.version} in {tree.path}",
        "device": "has no driver among the modules in modules_folder",
    }
    return [
        f"{kind} {name} {problem[kind]}; needed by {', '.join(dict.fromkeys(needing))}"
        for (kind, name), needing in sites.items()
    ]


def text_table(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as aligned lines, for a play to print."""
    lines = [("site", "driver", "option", "wanted", "got")]
    for row in table:
        options = " ".join(row["options"]) or "-"
        lines.append((row["site"], row["driver"] or row["device"], options, row["wanted"], row["value"]))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
