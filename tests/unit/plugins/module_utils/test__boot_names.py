from __future__ import annotations

import ipaddress
import shutil
import subprocess

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_names as names
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import Node

UUID = "00112233-4455-6677-8899-aabbccddeeff"
SENT = "33221100-5544-7766-8899-aabbccddeeff"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("10.11.12.101", "0A0B0C65"),
        ("192.168.0.16", "C0A80010"),
        ("255.255.255.255", "FFFFFFFF"),
        ("192.168.0.0/24", "C0A800"),
        ("10.0.0.0/8", "0A"),
        ("16.0.0.0/4", "1"),
        ("10.0.0.16/28", "0A00001"),
        ("10.0.0.1/32", "0A000001"),
        ("88:99:AA:BB:CC:DD", "01-88-99-aa-bb-cc-dd"),
        ("88-99-aa-bb-cc-dd", "01-88-99-aa-bb-cc-dd"),
        (UUID.upper(), UUID),
    ],
)
def test_pxelinux_name(value: str, name: str) -> None:
    assert names.pxelinux_name(value) == name


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10.0.0.0/23", "has no name of its own"),
        ("0.0.0.0/0", "has no name of its own"),
        ("10.0.0.1/24", "host bits"),
        ("10.0.0", "is no IPv4 address, MAC, UUID or subnet"),
        ("", "is no IPv4 address, MAC, UUID or subnet"),
        ("default", "is no IPv4 address, MAC, UUID or subnet"),
        ("x" * 36, "is no UUID"),
        ("00:00:00:00:00:00", "no single NIC"),
    ],
)
def test_no_pxelinux_name(value: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        names.pxelinux_name(value)


@pytest.mark.skipif(
    shutil.which("gethostip") is None, reason="gethostip (package syslinux-utils) is not installed"
)
@pytest.mark.parametrize("address", ["10.11.12.101", "192.168.0.16", "1.2.3.4"])
def test_names_are_those_of_gethostip(address: str) -> None:
    done = subprocess.run(["gethostip", "-x", address], capture_output=True, text=True, check=True)
    assert names.hex_address(address) == done.stdout.strip()


def test_pxelinux_order() -> None:
    node = Node("n", mac="88:99:aa:bb:cc:dd", address="192.168.2.91", uuid=UUID)
    assert names.pxelinux_lookup(node) == [
        SENT,
        UUID,
        "01-88-99-aa-bb-cc-dd",
        *["C0A8025B", "C0A8025", "C0A802", "C0A80", "C0A8", "C0A", "C0", "C"],
        "default",
    ]


def test_ipxe_order() -> None:
    node = Node("n", mac="88:99:aa:bb:cc:dd", address="192.168.2.91", uuid=UUID)
    assert names.ipxe_lookup(node) == [
        f"uuid-{UUID}.ipxe",
        "mac-88-99-aa-bb-cc-dd.ipxe",
        "ip-192.168.2.91-32.ipxe",
        "ip-192.168.2.0-24.ipxe",
        "ip-192.168.0.0-16.ipxe",
        "default.ipxe",
    ]


def test_grub_order() -> None:
    assert names.grub_lookup(Node("n", mac="88:99:aa:bb:cc:dd"))[0] == "grub.cfg-01-88-99-aa-bb-cc-dd"
    assert names.grub_lookup(Node("n", address="192.168.2.91"))[-3:] == [
        "grub.cfg-C0",
        "grub.cfg-C",
        "grub.cfg-default",
    ]


@pytest.mark.parametrize(
    ("node", "pxelinux", "ipxe"),
    [
        (
            Node("n", mac="88:99:aa:bb:cc:dd", address="1.2.3.4"),
            ["01-88-99-aa-bb-cc-dd"],
            ["mac-88-99-aa-bb-cc-dd.ipxe"],
        ),
        (Node("n", address="1.2.3.4"), ["01020304"], ["ip-1.2.3.4-32.ipxe"]),
        (Node("n", uuid=UUID, address="1.2.3.4"), [SENT, UUID], [f"uuid-{UUID}.ipxe"]),
    ],
)
def test_only_needed_names(node: Node, pxelinux: list[str], ipxe: list[str]) -> None:
    assert names.pxelinux_node_names(node) == pxelinux
    assert names.grub_node_names(node) == [f"grub.cfg-{name}" for name in pxelinux]
    assert names.ipxe_node_names(node) == ipxe


@pytest.mark.parametrize(
    ("subnet", "pxelinux", "ipxe"),
    [
        ("10.77.0.0/24", ["0A4D00"], ["ip-10.77.0.0-24.ipxe"]),
        (
            "10.76.0.0/14",
            ["0A4C", "0A4D", "0A4E", "0A4F"],
            [f"ip-10.{n}.0.0-16.ipxe" for n in (76, 77, 78, 79)],
        ),
        ("10.77.2.0/23", ["0A4D02", "0A4D03"], ["ip-10.77.2.0-24.ipxe", "ip-10.77.3.0-24.ipxe"]),
        (
            "10.77.0.8/30",
            ["0A4D0008", "0A4D0009", "0A4D000A", "0A4D000B"],
            [f"ip-10.77.0.{n}-32.ipxe" for n in range(8, 12)],
        ),
    ],
)
def test_cluster_names(subnet: str, pxelinux: list[str], ipxe: list[str]) -> None:
    assert names.pxelinux_cluster_names(ipaddress.IPv4Network(subnet)) == pxelinux
    assert names.ipxe_cluster_names(ipaddress.IPv4Network(subnet)) == ipxe


@pytest.mark.parametrize("prefix", range(1, 33))
def test_every_address_of_a_cluster_finds_it_and_no_other_does(prefix: int) -> None:
    """Whatever the subnet: its first and last address look for one of its names, their neighbours for none."""
    subnet = ipaddress.IPv4Network((0x0A4D6FA5, prefix), strict=False)
    lookups = [
        (names.pxelinux_lookup, set(names.pxelinux_cluster_names(subnet))),
        (names.ipxe_lookup, set(names.ipxe_cluster_names(subnet))),
        (names.grub_lookup, set(names.grub_cluster_names(subnet))),
    ]
    for lookup, owned in lookups:
        for address in (subnet.network_address, subnet.broadcast_address):
            assert owned & set(lookup(Node("in", address=str(address))))
        for outside in (int(subnet.network_address) - 1, int(subnet.broadcast_address) + 1):
            if 0 <= outside < 2**32:
                assert not owned & set(lookup(Node("out", address=str(ipaddress.IPv4Address(outside)))))
