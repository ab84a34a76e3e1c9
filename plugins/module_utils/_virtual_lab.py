# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a virtual lab is: its declaration, checked before anything is made, and the paths and names that follow."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
CREDENTIAL = re.compile(r"[!#-\[\]-~]{1,16}")
"""Printable, no blank, quote or backslash: it stands between quotes in the BMC's configuration."""
SOCKET_PATH_LIMIT = 107
"""The kernel's limit for the path of a unix socket."""
SMALLEST_MEMORY = 128
"""MiB; firmware and loader alone want about as much."""


@dataclass(frozen=True)
class Bmc:
    """The baseboard management controller of a node: its address in the lab and its one account."""

    address: str
    port: int
    user: str
    password: str


@dataclass(frozen=True)
class Node:
    """A virtual machine that boots from the lab's network."""

    name: str
    mac: str
    firmware: str
    memory: int
    disk: int
    bmc: Bmc

    @property
    def tap(self) -> str:
        """Its network device: derived from the MAC, so that it fits 15 characters and never changes places."""
        return f"tap{self.mac.replace(':', '')}"


@dataclass(frozen=True)
class BootServer:
    """A container that runs systemd and is managed over ssh like any other host."""

    hostname: str
    address: str
    release: str | None
    mirror: str | None
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """One private network on this machine, with its boot server and its nodes."""

    name: str
    directory: Path
    storage: Path
    cache: Path
    subnet: ipaddress.IPv4Network
    client_address: str
    controller_user: str
    boot_server: BootServer | None
    nodes: tuple[Node, ...]
    acceleration: str
    probe_kernel: Path | None

    @property
    def namespace(self) -> str:
        """The network namespace of the bridge, the nodes and their BMCs."""
        return f"oneimage-{self.name}"

    @property
    def boot_namespace(self) -> str:
        """The boot server's network namespace; also the name of its container."""
        return f"oneimage-{self.name}-boot"

    @property
    def marker(self) -> Path:
        """Says that the directory is a lab's, so that removal never touches a foreign one."""
        return self.directory / "lab.json"

    def node_directory(self, name: str) -> Path:
        """Configuration, sockets and logs of one node."""
        return self.directory / "nodes" / name


class Step:
    """One change that the lab needs, in words, and how to make it."""

    def __init__(self, what: str, function: Callable[..., object], *arguments: Any, **options: Any) -> None:
        self.what = what
        self.make = functools.partial(function, *arguments, **options)


def parse_lab(options: Mapping[str, Any]) -> Lab:
    """Turn module options into a Lab; raises ClusterError that names the field for whatever could not work."""
    name = options["name"]
    if not NAME.fullmatch(name):
        raise ClusterError(f"name: {name!r} is no lab name: use up to 40 of a-z, 0-9 and inner dashes")
    directory = absolute("directory", options["directory"])
    server = options.get("boot_server")
    lab = Lab(
        name=name,
        directory=directory,
        storage=absolute("storage", options.get("storage") or str(directory / "srv")),
        cache=absolute("cache", options["cache"]),
        subnet=parse_subnet(options["subnet"]),
        client_address=options.get("client_address") or str(parse_subnet(options["subnet"])[-2]),
        controller_user=options.get("controller_user") or "root",
        boot_server=server and BootServer(**{**server, "packages": tuple(server["packages"])}),
        nodes=tuple(parse_node(node) for node in options.get("nodes") or ()),
        acceleration=options["acceleration"],
        probe_kernel=Path(options["probe_kernel"]) if options.get("probe_kernel") else None,
    )
    check_unique("name", [(f"node {node.name}", node.name) for node in lab.nodes])
    check_unique("mac", [(f"node {node.name}", node.mac) for node in lab.nodes])
    check_addresses(lab, {n["name"]: n["address"] for n in options.get("nodes") or () if n.get("address")})
    check_socket_paths(lab)
    return lab


def parse_subnet(text: str) -> ipaddress.IPv4Network:
    """An IPv4 network with room for a boot server, a client and a node."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ClusterError(
            f"subnet: {error}; write the network's own address, such as 10.77.0.0/24"
        ) from error
    if not 8 <= subnet.prefixlen <= 28:
        raise ClusterError(f"subnet: {text} has an unusable size: use a prefix length from 8 to 28")
    return subnet


def parse_node(options: Mapping[str, Any]) -> Node:
    """One node with its BMC; raises ClusterError naming the node and the field."""
    name, mac, bmc = options["name"], options["mac"].lower().replace("-", ":"), options["bmc"]
    if not NAME.fullmatch(name):
        raise ClusterError(f"node {name!r}: no node name: use up to 40 of a-z, 0-9 and inner dashes")
    if not MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        raise ClusterError(
            f"node {name}: mac: {options['mac']!r} is no unicast MAC such as 52:54:00:77:00:01"
        )
    if options["memory"] < SMALLEST_MEMORY:
        raise ClusterError(
            f"node {name}: memory: {options['memory']} MiB boots nothing: {SMALLEST_MEMORY} is the least"
        )
    if options["disk"] < 0:
        raise ClusterError(f"node {name}: disk: {options['disk']} MiB: use 0 for a node without a disk")
    if not 0 < bmc["port"] < 65536:
        raise ClusterError(f"node {name}: bmc port: {bmc['port']} is no UDP port")
    for field in ("user", "password"):
        if not CREDENTIAL.fullmatch(bmc[field]):
            raise ClusterError(
                f"node {name}: bmc {field}: use 1 to 16 printable characters, no blank, quote or backslash"
            )
    return Node(name, mac, options["firmware"], options["memory"], options["disk"], Bmc(**bmc))


def absolute(field: str, text: str) -> Path:
    """A path that may be made and removed: absolute, two levels deep at least, without ``..`` or odd characters."""
    path = Path(text)
    if (
        not path.is_absolute()
        or ".." in path.parts
        or len(path.parts) < 3
        or not re.fullmatch(r"[\w./+@-]+", text)
    ):
        raise ClusterError(
            f"{field}: {text!r} must be an absolute path below a top-level folder, of letters, digits and ._+@-"
        )
    return path


def check_addresses(lab: Lab, node_addresses: Mapping[str, str]) -> None:
    """Every address is a host's in the subnet and belongs to one owner."""
    owned = [("client_address", lab.client_address)]
    if lab.boot_server:
        owned.append(("boot_server address", lab.boot_server.address))
    owned += [(f"node {node.name} bmc address", node.bmc.address) for node in lab.nodes]
    owned += [(f"node {name} address", address) for name, address in node_addresses.items()]
    for owner, text in owned:
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError as error:
            raise ClusterError(f"{owner}: {text!r} is no IPv4 address") from error
        if address not in lab.subnet or address in (lab.subnet[0], lab.subnet[-1]):
            raise ClusterError(f"{owner}: {text} is no host address of the lab's subnet {lab.subnet}")
    check_unique("address", owned)


def check_unique(kind: str, owned: Iterable[tuple[str, str]]) -> None:
    """Raise ClusterError naming both owners of a value that occurs twice."""
    owners: dict[str, str] = {}
    for owner, value in owned:
        if value in owners:
            raise ClusterError(
                f"{kind} {value} is used twice: by {owners[value]} and by {owner}; each needs its own"
            )
        owners[value] = owner


def check_socket_paths(lab: Lab) -> None:
    """The kernel cuts long socket paths, so refuse them by name before anything is made."""
    for node in lab.nodes:
        path = lab.node_directory(node.name) / "console.sock"
        if len(str(path)) > SOCKET_PATH_LIMIT:
            raise ClusterError(
                f"directory: {path} is longer than the {SOCKET_PATH_LIMIT} characters of a socket's path"
            )
