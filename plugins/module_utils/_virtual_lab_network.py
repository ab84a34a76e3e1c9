# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The lab's network: two namespaces, a bridge, a tap per node; none of it is seen from the machine's own network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import Lab, Step

NAMESPACES = Path("/run/netns")
BRIDGE = "br0"
UPLINK = "boot"
"""The bridge's end of the boot server's cable."""
SERVER_DEVICE = "eth0"
TIMEOUT = 20
Devices = Mapping[str, Mapping[str, Any]]


def network_steps(lab: Lab) -> Iterator[Step]:
    """What the network lacks, each step computed from what the ones before it have made."""
    yield from namespace_steps(lab.namespace)
    if lab.boot_server:
        yield from namespace_steps(lab.boot_namespace)
    yield from bridge_steps(lab)
    yield from address_steps(lab)
    if lab.boot_server:
        yield from boot_server_steps(lab, lab.boot_server.address)
    yield from tap_steps(lab)


def namespace_steps(namespace: str) -> Iterator[Step]:
    """A namespace with its loopback up; a name that a crash left without a namespace behind it is made anew."""
    if not namespace_exists(namespace):
        yield Step(f"make network namespace {namespace}", make_namespace, namespace)
    if not is_up(devices(namespace), "lo"):
        yield ip_step(f"{namespace}: bring lo up", namespace, "link", "set", "lo", "up")


def bridge_steps(lab: Lab) -> Iterator[Step]:
    """The switch; without spanning tree, whose first 30 s of silence outlast a PXE client's patience."""
    if BRIDGE not in devices(lab.namespace):
        settings = ("type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        yield ip_step(
            f"{lab.namespace}: make bridge {BRIDGE}", lab.namespace, "link", "add", BRIDGE, *settings
        )
    if not is_up(devices(lab.namespace), BRIDGE):
        yield ip_step(f"{lab.namespace}: bring {BRIDGE} up", lab.namespace, "link", "set", BRIDGE, "up")


def address_steps(lab: Lab) -> Iterator[Step]:
    """The client's address first: the kernel takes it as the source of what tests send; then one per BMC."""
    wanted = [
        f"{address}/{lab.subnet.prefixlen}"
        for address in (lab.client_address, *(n.bmc.address for n in lab.nodes))
    ]
    found = addresses(devices(lab.namespace), BRIDGE)
    if found and found[0] != wanted[0]:
        yield ip_step(
            f"{lab.namespace}: drop foreign addresses of {BRIDGE}",
            lab.namespace,
            "addr",
            "flush",
            "dev",
            BRIDGE,
        )
        found = []
    for address in found:
        if address not in wanted:
            yield ip_step(
                f"{lab.namespace}: remove address {address}",
                lab.namespace,
                "addr",
                "del",
                address,
                "dev",
                BRIDGE,
            )
    for address in wanted:
        if address not in found:
            yield ip_step(
                f"{lab.namespace}: add address {address}",
                lab.namespace,
                "addr",
                "add",
                address,
                "dev",
                BRIDGE,
            )


def boot_server_steps(lab: Lab, server_address: str) -> Iterator[Step]:
    """The cable between the bridge and the boot server's namespace, and the boot server's address."""
    ends = ((lab.namespace, UPLINK), (lab.boot_namespace, SERVER_DEVICE))
    plugged = [end for end in ends if end[1] in devices(end[0])]
    if len(plugged) < len(ends):
        for namespace, device in plugged:  # its other end lies in a namespace that has lost its name
            yield ip_step(f"{namespace}: unplug {device}", namespace, "link", "del", device)
        peer = ("type", "veth", "peer", "name", SERVER_DEVICE, "netns", lab.boot_namespace)
        yield ip_step(
            f"{lab.namespace}: plug {lab.boot_namespace} in", lab.namespace, "link", "add", UPLINK, *peer
        )
    yield from plug_steps(lab, UPLINK)
    address = f"{server_address}/{lab.subnet.prefixlen}"
    found = addresses(devices(lab.boot_namespace), SERVER_DEVICE)
    for other in found:
        if other != address:
            arguments = ("addr", "del", other, "dev", SERVER_DEVICE)
            yield ip_step(f"{lab.boot_namespace}: remove address {other}", lab.boot_namespace, *arguments)
    if address not in found:
        arguments = ("addr", "add", address, "dev", SERVER_DEVICE)
        yield ip_step(f"{lab.boot_namespace}: add address {address}", lab.boot_namespace, *arguments)
    if not is_up(devices(lab.boot_namespace), SERVER_DEVICE):
        what = f"{lab.boot_namespace}: bring {SERVER_DEVICE} up"
        yield ip_step(what, lab.boot_namespace, "link", "set", SERVER_DEVICE, "up")


def tap_steps(lab: Lab) -> Iterator[Step]:
    """A tap per declared node; taps of nodes that are no longer declared go."""
    wanted = {node.tap for node in lab.nodes}
    for tap in sorted(
        name for name in devices(lab.namespace) if name.startswith("tap") and name not in wanted
    ):
        yield ip_step(f"{lab.namespace}: remove {tap}", lab.namespace, "link", "del", tap)
    for tap in sorted(wanted):
        if tap not in devices(lab.namespace):
            yield ip_step(
                f"{lab.namespace}: make {tap}", lab.namespace, "tuntap", "add", "dev", tap, "mode", "tap"
            )
        yield from plug_steps(lab, tap)


def plug_steps(lab: Lab, device: str) -> Iterator[Step]:
    """Put ``device`` on the bridge and bring it up."""
    found = devices(lab.namespace)
    if found.get(device, {}).get("master") != BRIDGE or not is_up(found, device):
        arguments = ("link", "set", device, "master", BRIDGE, "up")
        yield ip_step(f"{lab.namespace}: put {device} on {BRIDGE}", lab.namespace, *arguments)


def removal_steps(lab: Lab) -> Iterator[Step]:
    """Remove both namespaces and with them every device; then /run/netns's own mount, if nobody else uses it."""
    for namespace in (lab.boot_namespace, lab.namespace):
        if (NAMESPACES / namespace).exists():
            yield Step(f"remove network namespace {namespace}", remove_namespace, namespace)


def make_namespace(namespace: str) -> None:
    """``ip netns add``, after removing what a crash or a reboot left under that name."""
    if (NAMESPACES / namespace).exists():
        remove_namespace(namespace)
    run(["ip", "netns", "add", namespace], timeout=TIMEOUT)


def remove_namespace(namespace: str) -> None:
    """``ip netns del``; the last one to go takes along the mount of /run/netns that the first one brought."""
    run(["ip", "netns", "del", namespace], timeout=TIMEOUT)
    if str(NAMESPACES) in mount_points() and not any(NAMESPACES.iterdir()):
        run(["umount", str(NAMESPACES)], timeout=TIMEOUT, accept=(0, 32))


def namespace_exists(namespace: str) -> bool:
    """A name in /run/netns counts only while a namespace is mounted on it."""
    return os.path.ismount(NAMESPACES / namespace)


def mount_points() -> list[str]:
    """Where something is mounted, in the order of mounting; ``os.path.ismount`` overlooks a bind mount within a file system."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]) for line in lines]


def namespace_pids(namespace: str) -> list[int]:
    """The processes that live in ``namespace``."""
    if not namespace_exists(namespace):
        return []
    return [int(pid) for pid in run(["ip", "netns", "pids", namespace], timeout=TIMEOUT).stdout.split()]


def devices(namespace: str) -> Devices:
    """Every network device of ``namespace`` with its addresses, as ``ip`` describes it; none where it does not exist."""
    if not namespace_exists(namespace):
        return {}
    # iproute2 leaves empty objects in its list for devices that a filter hides.
    listed = json.loads(
        run(["ip", "-n", namespace, "-json", "addr", "show"], timeout=TIMEOUT).stdout or b"[]"
    )
    return {device["ifname"]: device for device in listed if device}


def addresses(found: Devices, device: str) -> list[str]:
    """The IPv4 addresses of ``device`` with their prefix lengths, first one first."""
    infos = found.get(device, {}).get("addr_info", [])
    return [f"{info['local']}/{info['prefixlen']}" for info in infos if info["family"] == "inet"]


def is_up(found: Devices, device: str) -> bool:
    """Whether ``device`` exists and was brought up."""
    return "UP" in found.get(device, {}).get("flags", ())


def ip_step(what: str, namespace: str, *arguments: str) -> Step:
    """A step that is one call of ``ip`` inside ``namespace``."""
    return Step(what, run, ["ip", "-n", namespace, *arguments], timeout=TIMEOUT)


def inside(namespace: str, *argv: str) -> list[str]:
    """``argv`` run in ``namespace``; by nsenter, which unlike ``ip netns exec`` makes no mount namespace to linger."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", *argv]
