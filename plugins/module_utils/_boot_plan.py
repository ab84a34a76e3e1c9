# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Check what was declared of a boot server, and work out everything that its daemons and its self-test are told."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_architecture import (
    ARCHITECTURES,
    boot_rules,
    expected_answers,
    firmwares_of,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import (
    Network,
    parse_address,
    parse_name,
    parse_nodes,
    parse_subnet,
)

DEFAULT_LOADER = "ipxe"
HTTP_PORT = 80
LARGEST_POOL = 65536
"""Addresses; each is a line of dnsmasq's configuration."""
MAC_PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,4}")
"""One to five of the six numbers of a MAC address; three name the maker of the NIC."""

# dnsmasq, nginx, exports and ganesha.conf quote in four different ways: a path that needs quoting is refused.
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_+@=~.-]+)+")


def boot_plan(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that follows from the role's variables; raises ClusterError naming the variable that cannot work."""
    subnet = named("subnet", parse_subnet, declared["subnet"])
    address = named("address", parse_address, declared["address"])
    require_inside("address", address, subnet)
    for field in ("gateway", "ntp"):
        if declared[field]:
            named(field, parse_address, declared[field])
    if declared["gateway"]:
        require_inside("gateway", declared["gateway"], subnet)
    for server in declared["dns"]:
        named("dns", parse_address, server)
    if declared["domain"]:
        named("domain", parse_name, declared["domain"])
    require_plain_path("storage", declared["storage"])
    nodes = plan_nodes(declared["nodes"], Network(subnet, address))
    pool = plan_pool(declared["range"], subnet, address)
    allow_unknown = declared["unknown_nodes"] == "allow"
    if allow_unknown and declared["dhcp"] != "none" and pool is None:
        raise ClusterError("unknown_nodes is allow, but there is no range to give them addresses from")
    url = (
        f"http://{address}"
        if declared["http_port"] == HTTP_PORT
        else f"http://{address}:{declared['http_port']}"
    )
    if declared["mac_prefixes"] and not allow_unknown:
        raise ClusterError("mac_prefixes says which unknown nodes are allowed, but unknown_nodes is deny")
    loaders = {node["loader"] for node in nodes} | ({DEFAULT_LOADER} if allow_unknown else set())
    return {
        "network": str(subnet.network_address),
        "netmask": str(subnet.netmask),
        "url": url,
        "nodes": nodes,
        "pool": pool,
        "pool_names": pool_names(pool, nodes) if allow_unknown else [],
        "mac_masks": [mac_mask(prefix) for prefix in declared["mac_prefixes"]],
        "architectures": {name: asdict(kind) for name, kind in ARCHITECTURES.items()},
        "default_loader": DEFAULT_LOADER,
        "rules": boot_rules(loaders, url),
        "answers": expected_answers(nodes, address, url) if declared["dhcp"] != "none" else [],
        "exports": plan_exports(declared["exports"], subnet, declared["exports_outside_subnet"]),
    }


def named(field: str, parse: Any, value: object) -> Any:
    """``parse(value)``, whose error then says which variable was wrong."""
    try:
        return parse(value)
    except ClusterError as error:
        raise ClusterError(f"{field}: {error}") from error


def require_inside(field: str, address: str, subnet: ipaddress.IPv4Network) -> None:
    if ipaddress.IPv4Address(address) not in subnet:
        raise ClusterError(f"{field}: {address} lies outside the subnet {subnet}")


def require_plain_path(field: str, path: str) -> None:
    if not PLAIN_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ClusterError(
            f'{field}: "{path}" is no plain absolute path: letters, digits and _ + @ = ~ . - between single slashes'
        )


def plan_nodes(items: Iterable[Mapping[str, Any]], network: Network) -> list[dict[str, str]]:
    """The nodes with their defaults filled in; refuses a loader that the node's firmware cannot run."""
    nodes = []
    for node in parse_nodes(items, network=network, required=("mac", "address")):
        loader = node.loader or DEFAULT_LOADER
        if node.firmware not in firmwares_of(loader):
            raise ClusterError(
                f"node {node.name}: the loader {loader} runs on {' and '.join(firmwares_of(loader))}, not on {node.firmware}"
            )
        nodes.append(
            {
                "name": node.name,
                "mac": str(node.mac),
                "address": str(node.address),
                "firmware": node.firmware,
                "loader": loader,
            }
        )
    return nodes


def plan_pool(declared: str, subnet: ipaddress.IPv4Network, server: str) -> dict[str, str] | None:
    """``10.77.0.100-10.77.0.199`` -> its two ends."""
    if not declared:
        return None
    ends = [named("range", parse_address, end) for end in declared.split("-")]
    if len(ends) != 2:
        raise ClusterError(f'range: "{declared}" is no range: write it as 10.77.0.100-10.77.0.199')
    for end in ends:
        require_inside("range", end, subnet)
    first, last = (ipaddress.IPv4Address(end) for end in ends)
    if first > last:
        raise ClusterError(f"range: {declared} ends before it starts")
    if first <= ipaddress.IPv4Address(server) <= last:
        raise ClusterError(f"range: {declared} holds the boot server's own address {server}")
    return {"first": ends[0], "last": ends[1]}


def pool_names(pool: Mapping[str, str] | None, nodes: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """What nodes without a declaration are called, by the address that they got: the name that the initrd gives them."""
    if pool is None:
        return []
    first, last = (int(ipaddress.IPv4Address(pool[end])) for end in ("first", "last"))
    if last - first >= LARGEST_POOL:
        raise ClusterError(f"range: {last - first + 1} addresses for unknown nodes; at most {LARGEST_POOL}")
    declared = {node["address"] for node in nodes}
    addresses = [str(ipaddress.IPv4Address(number)) for number in range(first, last + 1)]
    return [
        {"name": f"node-{address.replace('.', '-')}", "address": address}
        for address in addresses
        if address not in declared
    ]


def mac_mask(prefix: object) -> str:
    """``52:54:00`` -> ``52:54:00:*:*:*``, as dnsmasq wants it; raises ClusterError."""
    text = str(prefix).strip().lower().replace("-", ":").rstrip(":")
    if not MAC_PREFIX.fullmatch(text):
        raise ClusterError(
            f'mac_prefixes: "{prefix}" is no beginning of a MAC address: write one to five pairs of digits, 52:54:00'
        )
    return ":".join([*text.split(":"), *"*" * (5 - text.count(":"))])


def plan_exports(
    items: Iterable[Mapping[str, Any]], subnet: ipaddress.IPv4Network, outside_subnet: bool
) -> list[dict[str, Any]]:
    """The exports, sorted by path, with their clients and a stable number each."""
    exports: dict[str, dict[str, Any]] = {}
    for item in items:
        path = str(item.get("path"))
        require_plain_path("exports", path)
        if path in exports:
            raise ClusterError(f"exports: {path} is declared twice")
        mode = item.get("mode") or "ro"
        if mode not in ("ro", "rw"):
            raise ClusterError(f'exports: {path}: mode "{mode}" is neither ro nor rw')
        clients = plan_clients(path, item.get("clients") or str(subnet), subnet, outside_subnet)
        exports[path] = {"path": path, "mode": mode, "clients": clients}
    number_exports(exports)
    return [exports[path] for path in sorted(exports)]


def plan_clients(path: str, clients: str, subnet: ipaddress.IPv4Network, outside_subnet: bool) -> str:
    """Who may mount: nobody outside the nodes' subnet, since the exports are read as root, unless that is asked for."""
    remedy = f"declare clients inside {subnet}, or set boot_server_exports_outside_subnet"
    if clients == "*":
        if outside_subnet:
            return clients
        raise ClusterError(f"exports: {path} would be open to everybody (*): {remedy}")
    try:
        network = ipaddress.IPv4Network(clients)
    except ValueError as error:
        raise ClusterError(
            f'exports: {path}: "{clients}" is neither an IPv4 address nor a subnet such as {subnet}'
        ) from error
    if not network.subnet_of(subnet) and not outside_subnet:
        raise ClusterError(f"exports: {path} would be open to {clients}: {remedy}")
    return str(network)


def number_exports(exports: dict[str, dict[str, Any]]) -> None:
    """Give each export a number that depends on its path, so that file handles outlive other exports' coming and going."""
    taken: set[int] = set()
    for path in sorted(exports):
        number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:2], "big")
        while number in taken or not 0 < number < 65535:
            number = (number + 1) % 65535
        taken.add(number)
        exports[path]["id"] = number
