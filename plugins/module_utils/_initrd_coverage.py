# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One initrd for the hardware of several sites: which drivers each of them needs, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _hardware
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware import Need
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import ModuleTree, plain

PLACES = ("initrd", "builtin", "missing", "unknown")


def needs_of(tree: ModuleTree, entries: Sequence[Mapping[str, Any]]) -> list[Need]:
    """What all sites need; devices are matched by the aliases of this very kernel, drivers spelled as it does.

    Raises ClusterError naming the faulty entry.
    """
    return _hardware.collect(entries, tree.folder)


def drivers(tree: ModuleTree, needs: Iterable[Need]) -> list[str]:
    """The drivers that the kernel has, as modules or built in, each once."""
    return list(
        dict.fromkeys(plain(need.driver) for need in needs if place(tree, need) in ("initrd", "builtin"))
    )


def place(tree: ModuleTree, need: Need) -> str:
    """One of PLACES; ``unknown`` is a device that no driver of this kernel takes."""
    name = plain(need.driver)
    if not name:
        return "unknown"
    if name in tree.paths:
        return "initrd"
    return "builtin" if name in tree.builtin else "missing"


def coverage(tree: ModuleTree, needs: Iterable[Need]) -> dict[str, dict[str, list[str]]]:
    """Site to PLACES to drivers, or to devices where unknown."""
    sites: dict[str, dict[str, list[str]]] = {}
    for need in needs:
        found = sites.setdefault(need.site, {name: [] for name in PLACES})[place(tree, need)]
        word = plain(need.driver) or need.device
        if word not in found:
            found.append(word)
    return sites


def refuse_gaps(tree: ModuleTree, needs: Iterable[Need]) -> None:
    """Raise ClusterError naming every driver that the kernel lacks, and every device without one, with their sites."""
    sites: dict[str, list[str]] = {}
    for need in needs:
        where = place(tree, need)
        if where in ("missing", "unknown"):
            what = f"driver {plain(need.driver)}" if where == "missing" else f"device {need.device}"
            sites.setdefault(what, []).append(need.site)
    if sites:
        gaps = "; ".join(f"{what} ({', '.join(dict.fromkeys(names))})" for what, names in sites.items())
        raise ClusterError(
            f"hardware: the kernel {tree.version} in {tree.root} has no module, nor anything built in, for: {gaps};"
            " build it with these drivers, correct the names, or set strict: false"
        )
