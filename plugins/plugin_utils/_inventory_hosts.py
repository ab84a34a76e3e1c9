# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Put many hosts into Ansible's inventory at once, and foreign values that are never templates."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ansible import constants as C
from ansible.inventory.data import InventoryData
from ansible.inventory.host import Host
from ansible.template import trust_as_template

ORIGIN = ("inventory_file", "inventory_dir")
"""What Ansible notes on every host about the source that named it first."""


@contextmanager
def collection_paused() -> Iterator[None]:
    """Without Python's cyclic garbage collection, which would walk over all hosts again and again and free none of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def add_hosts(inventory: InventoryData, names: Sequence[str]) -> list[Host]:
    """The hosts called ``names``, made where another source has not made them.

    ``InventoryData.add_host`` asks the file system for the source's folder once per host, which is three quarters of its
    time; here it does so for the first, whose variables (inventory_file, inventory_dir) the others get.
    """
    hosts = inventory.hosts
    origin: dict[str, Any] = {}
    for name in names:
        if name in hosts:
            continue
        if origin and name not in C.LOCALHOST:
            hosts[name] = host = Host(name)
            host.vars.update(origin)
        else:
            inventory.add_host(name)
            origin = {key: hosts[name].vars[key] for key in ORIGIN}
    return [hosts[name] for name in names]


def add_to_group(inventory: InventoryData, group: str, hosts: Sequence[Host]) -> str:
    """Put ``hosts`` into ``group`` and return the name that Ansible gives it.

    A group that is new is put below ``all`` while it is empty, where Ansible would put it in the end, host by host. Its
    hosts need no search of their groups then, nor a walk over the group's ancestors each.
    """
    new = group not in inventory.groups
    name: str = inventory.add_group(group)
    entry, everything = inventory.groups[name], inventory.groups["all"]
    if new and not entry.hosts and not entry.parent_groups:
        everything.add_child_group(entry)
        entry.hosts.extend(hosts)
        for host in hosts:
            host.groups += (entry,) if everything in host.groups else (everything, entry)
        entry.clear_hosts_cache()
    else:
        for host in hosts:
            entry.add_host(host)
    return name


def plain_value(value: Any) -> Any:
    """``value`` of foreign origin as a variable: text without a brace cannot hold a template and is an ordinary string.

    Ansible writes other foreign text into inventories as ``__ansible_unsafe``, which importers take for the value.
    Text with a brace stays foreign, so that Ansible never evaluates it.
    """
    if isinstance(value, str):
        return value if "{" in value else trust_as_template(value)
    if isinstance(value, dict):
        return {key: plain_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain_value(member) for member in value]
    return value


def untagged(value: Any) -> Any:
    """``value`` of an inventory file as plain types, without what Ansible notes on each about origin and trust."""
    return json.loads(json.dumps(value, default=str))
