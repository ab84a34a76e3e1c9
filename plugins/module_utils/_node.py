# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Nodes as a user declares them: every field checked, every duplicate named, before anything uses the list."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

FIRMWARES = ("bios", "uefi")
LOADERS = ("ipxe", "pxelinux", "grub")
SHOWN_PROBLEMS = 10
"""How many problems one error lists: enough to mend a list, few enough to read."""

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Node:
    """One machine; the spelling of every field is canonical (lower-case MAC with colons, dotted address)."""

    name: str
    mac: str | None = None
    address: str | None = None
    uuid: str | None = None
    firmware: str = "bios"
    loader: str | None = None


@dataclass(frozen=True)
class Network:
    """The nodes' subnet and what in it no node may have."""

    subnet: ipaddress.IPv4Network | None = None
    server: str | None = None


def parse_mac(value: object) -> str:
    """``52-54-00-AB-CD-EF`` or with colons -> ``52:54:00:ab:cd:ef``; raises ClusterError."""
    mac = str(value).strip().lower().replace("-", ":")
    if not MAC.fullmatch(mac):
        raise ClusterError(
            f'"{value}" is no MAC address: write six pairs of hexadecimal digits, 52:54:00:12:34:56'
        )
    if mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise ClusterError(f'"{value}" is the MAC address of no single NIC (all zeros, or a group address)')
    return mac


def parse_address(value: object) -> str:
    """A dotted IPv4 address; raises ClusterError."""
    try:
        return str(ipaddress.IPv4Address(str(value).strip()))
    except ValueError as error:
        raise ClusterError(f'"{value}" is no IPv4 address') from error


def parse_uuid(value: object) -> str:
    """A UUID in lower case, 8-4-4-4-12; raises ClusterError."""
    uuid = str(value).strip().lower()
    if not UUID.fullmatch(uuid):
        raise ClusterError(f'"{value}" is no UUID: write it as dmidecode does, 8-4-4-4-12 hexadecimal digits')
    return uuid


def parse_name(value: object) -> str:
    """A host name; raises ClusterError."""
    name = str(value)
    if not NAME.fullmatch(name):
        raise ClusterError(f'"{value}" is no host name: letters, digits, "-", "_" and "." only')
    return name


def parse_subnet(value: object) -> ipaddress.IPv4Network:
    """``10.77.0.0/24``; raises ClusterError, also where host bits are set (it says which subnet was meant)."""
    text = str(value).strip()
    try:
        if "/" not in text:
            raise ValueError("prefix length missing")
        subnet = ipaddress.IPv4Network(text, strict=False)
    except ValueError as error:
        raise ClusterError(f'"{value}" is no IPv4 subnet: write it as 10.77.0.0/24') from error
    if str(subnet.network_address) != text.partition("/")[0]:
        raise ClusterError(f'"{value}" has host bits set: the subnet is {subnet}')
    return subnet


def parse_choice(choices: Sequence[str]) -> Callable[[object], str]:
    """A parser that accepts ``choices`` only."""

    def parse(value: object) -> str:
        if value not in choices:
            raise ClusterError(f'"{value}" is none of {", ".join(choices)}')
        return str(value)

    return parse


FIELDS: Mapping[str, Callable[[object], str]] = {
    "name": parse_name,
    "mac": parse_mac,
    "address": parse_address,
    "uuid": parse_uuid,
    "firmware": parse_choice(FIRMWARES),
    "loader": parse_choice(LOADERS),
}
UNIQUE = {"name": "name", "mac": "MAC address", "address": "address", "uuid": "UUID"}


def parse_nodes(
    items: Iterable[Mapping[str, Any]],
    *,
    network: Network = Network(),
    required: Sequence[str] = (),
    needs_identity: bool = False,
) -> list[Node]:
    """The declared ``items`` as nodes; raises one ClusterError that lists what is wrong and names every node of it.

    ``required`` names fields that each node must have; ``needs_identity`` asks for a MAC, a UUID or an address,
    by one of which a loader knows the node. Fields that are no part of a Node are left to the caller.
    """
    problems: list[str] = []
    nodes: list[Node] = []
    for number, item in enumerate(items, 1):
        label = f"node {item['name']}" if item.get("name") else f"node number {number}"
        fields: dict[str, str] = {}
        for field, parse in FIELDS.items():
            if item.get(field) in (None, ""):
                continue
            try:
                fields[field] = parse(item[field])
            except ClusterError as error:
                problems.append(f"{label}: {field} {error}")
        missing = [field for field in ("name", *required) if item.get(field) in (None, "")]
        problems += [f"{label} has no {UNIQUE.get(field, field)}" for field in missing]
        if needs_identity and not any(item.get(field) for field in ("mac", "uuid", "address")):
            problems.append(f"{label} has neither MAC, UUID nor address: no loader could tell it from others")
        if "name" in fields:
            nodes.append(Node(**fields))
    problems += [*duplicates(nodes), *strays(nodes, network)]
    if problems:
        more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise ClusterError("; ".join(problems[:SHOWN_PROBLEMS]) + more)
    return nodes


def duplicates(nodes: Iterable[Node]) -> Iterator[str]:
    """One sentence per value that two nodes share."""
    owners: dict[tuple[str, str], Node] = {}
    for node in nodes:
        for field, word in UNIQUE.items():
            value = getattr(node, field)
            if value is None:
                continue
            first = owners.setdefault((field, value.lower()), node)
            if first is not node and field == "name":
                yield f"two nodes are named {first.name}" + (
                    f" and {node.name}" if node.name != first.name else ""
                )
            elif first is not node:
                yield f"nodes {first.name} and {node.name} have the same {word} {value}"


def strays(nodes: Iterable[Node], network: Network) -> Iterator[str]:
    """One sentence per address that no node of ``network`` may have."""
    for node in nodes:
        if node.address is None:
            continue
        address = ipaddress.IPv4Address(node.address)
        if network.server is not None and node.address == network.server:
            yield f"node {node.name} has the address {address} of the boot server"
        subnet = network.subnet
        if subnet is None:
            continue
        if address not in subnet:
            yield f"node {node.name}: address {address} lies outside the subnet {subnet}"
        elif subnet.prefixlen < 31 and address == subnet.network_address:
            yield f"node {node.name}: address {address} is the network address of {subnet}"
        elif subnet.prefixlen < 31 and address == subnet.broadcast_address:
            yield f"node {node.name}: address {address} is the broadcast address of {subnet}"


def parse_network(subnet: str | None, server: str | None) -> Network:
    """The two optional declarations as a Network; raises ClusterError."""
    return Network(parse_subnet(subnet) if subnet else None, parse_address(server) if server else None)
