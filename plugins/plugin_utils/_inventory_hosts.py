# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Put many hosts into Ansible's inventory at once, and foreign values that are never templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ansible.inventory.data import InventoryData
from ansible.inventory.host import Host
from ansible.template import trust_as_template


def add_hosts(inventory: InventoryData, names: Sequence[str]) -> list[Host]:
    """The hosts called ``names``, made where another source has not made them."""
    for name in names:
        inventory.add_host(name)
    hosts = inventory.hosts
    return [hosts[name] for name in names]


def add_to_group(inventory: InventoryData, group: str, hosts: Sequence[Host]) -> str:
    """Put ``hosts`` into ``group`` and return the name that Ansible gives it.

    A group that is new has neither ancestors nor hosts, so that Ansible's walk over both, per host, is left out.
    """
    new = group not in inventory.groups
    name: str = inventory.add_group(group)
    entry = inventory.groups[name]
    if new and not entry.hosts and not entry.parent_groups:
        entry.hosts.extend(hosts)
        for host in hosts:
            host.groups.append(entry)
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
