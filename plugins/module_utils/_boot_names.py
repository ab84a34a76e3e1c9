# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The names under which PXELINUX, iPXE and GRUB look for a node's boot entry, and the order in which they do.

PXELINUX (core/fs/pxe/pxe.c): UUID, 01-MAC, the address in upper-case hexadecimal shortened digit by digit, ``default``.
GRUB (net_search_config_file): the same below ``grub/grub.cfg-``, then ``grub.cfg``, which reads ``grub.cfg-default``.
iPXE has no order of its own: ``ipxe/boot.ipxe`` (see _boot_render.py) asks in the order of ``ipxe_lookup``.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import (
    MAC,
    Node,
    parse_mac,
    parse_subnet,
    parse_uuid,
)

ETHERNET = "01"
"""The hardware type that PXELINUX and GRUB put before a MAC."""
NIBBLES = tuple(range(4, 33, 4))
"""Prefix lengths that a name of hexadecimal digits can express."""
IPXE_PREFIXES = (16, 24, 32)
"""Prefix lengths that an iPXE script can cut out of its address (see SHARED in _boot_render.py)."""


def hex_address(address: str, prefix: int = 32) -> str:
    """``10.77.0.16`` -> ``0A4D0010``; with prefix 24 ``0A4D00``."""
    return f"{int(ipaddress.IPv4Address(address)):08X}"[: prefix // 4]


def dashed(mac: str) -> str:
    """``52:54:00:12:34:56`` -> ``01-52-54-00-12-34-56``, also the form of the kernel parameter BOOTIF."""
    return f"{ETHERNET}-{mac.replace(':', '-')}"


def covering(subnet: ipaddress.IPv4Network, prefixes: tuple[int, ...]) -> list[ipaddress.IPv4Network]:
    """``subnet`` as the fewest equal subnets whose length is one of ``prefixes``: a /22 is four /24."""
    length = next(prefix for prefix in prefixes if prefix >= subnet.prefixlen)
    return list(subnet.subnets(new_prefix=length))


def pxelinux_name(value: str) -> str:
    """The file below ``pxelinux.cfg/`` for a MAC, a UUID, an address or a subnet; raises ClusterError.

    A subnet must end on a hexadecimal digit, or there is no one name for it.
    """
    text = str(value).strip()
    if "/" in text:
        subnet = parse_subnet(text)
        if subnet.prefixlen not in NIBBLES:
            raise ClusterError(
                f"{subnet} has no name of its own for PXELINUX, which cuts addresses at whole hexadecimal digits:"
                f" use a prefix length of {', '.join(map(str, NIBBLES))}"
            )
        return hex_address(str(subnet.network_address), subnet.prefixlen)
    try:
        return hex_address(str(ipaddress.IPv4Address(text)))
    except ValueError:
        pass
    if MAC.fullmatch(text.lower().replace("-", ":")):
        return dashed(parse_mac(text))
    if len(text) == 36:
        return parse_uuid(text)
    raise ClusterError(f'"{value}" is no IPv4 address, MAC, UUID or subnet: PXELINUX has no file name for it')


def uuid_spellings(uuid: str | None) -> list[str]:
    """PXELINUX and GRUB print the bytes that the firmware sent, whose first three numbers are little-endian since
    SMBIOS 2.6 (dmidecode turns them round); older firmware sends them as they are read."""
    if uuid is None:
        return []
    low, middle, high, rest = uuid.split("-", 3)
    return [f"{swapped(low)}-{swapped(middle)}-{swapped(high)}-{rest}", uuid]


def swapped(digits: str) -> str:
    return bytes.fromhex(digits)[::-1].hex()


def pxelinux_own_names(node: Node) -> list[str]:
    return [*dict.fromkeys(uuid_spellings(node.uuid)), *([dashed(node.mac)] if node.mac else [])]


def pxelinux_node_names(node: Node) -> list[str]:
    """Where the entry of ``node`` lies: under its MAC and its UUID, under its address only if it has neither."""
    names = pxelinux_own_names(node)
    return names or ([hex_address(node.address)] if node.address else [])


def pxelinux_cluster_names(subnet: ipaddress.IPv4Network) -> list[str]:
    """The names that together cover ``subnet``."""
    return [hex_address(str(part.network_address), part.prefixlen) for part in covering(subnet, NIBBLES)]


def pxelinux_lookup(node: Node) -> list[str]:
    """All names that PXELINUX asks for on ``node``, in its order."""
    names = pxelinux_own_names(node)
    if node.address:
        names += [hex_address(node.address)[:digits] for digits in range(8, 0, -1)]
    return [*names, "default"]


def ipxe_address_name(subnet: ipaddress.IPv4Network) -> str:
    return f"ip-{subnet.network_address}-{subnet.prefixlen}.ipxe"


def ipxe_node_names(node: Node) -> list[str]:
    """As pxelinux_node_names, for iPXE."""
    names = [f"uuid-{node.uuid}.ipxe"] if node.uuid else []
    if node.mac:
        names.append(f"mac-{node.mac.replace(':', '-')}.ipxe")
    return names or ([ipxe_address_name(ipaddress.IPv4Network(node.address))] if node.address else [])


def ipxe_cluster_names(subnet: ipaddress.IPv4Network) -> list[str]:
    """The names that together cover ``subnet``."""
    return [ipxe_address_name(part) for part in covering(subnet, IPXE_PREFIXES)]


def ipxe_lookup(node: Node) -> list[str]:
    """All names that ``boot.ipxe`` asks for on ``node``, in its order."""
    names = ipxe_node_names(Node(name=node.name, mac=node.mac, uuid=node.uuid))
    if node.address:
        own = ipaddress.IPv4Network(node.address)
        names += [ipxe_address_name(own.supernet(new_prefix=prefix)) for prefix in reversed(IPXE_PREFIXES)]
    return [*names, "default.ipxe"]


def grub_node_names(node: Node) -> list[str]:
    """As pxelinux_node_names, for GRUB."""
    return [f"grub.cfg-{name}" for name in pxelinux_node_names(node)]


def grub_cluster_names(subnet: ipaddress.IPv4Network) -> list[str]:
    """The names that together cover ``subnet``."""
    return [f"grub.cfg-{name}" for name in pxelinux_cluster_names(subnet)]


def grub_lookup(node: Node) -> list[str]:
    """All names that GRUB asks for on ``node``, in its order."""
    return [f"grub.cfg-{name}" for name in pxelinux_lookup(node)]
