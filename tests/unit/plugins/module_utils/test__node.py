from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import (
    Node,
    parse_mac,
    parse_network,
    parse_nodes,
    parse_subnet,
)

UUID = "00112233-4455-6677-8899-aabbccddeeff"


def node(number: int, **fields: object) -> dict[str, object]:
    return {
        "name": f"n{number}",
        "mac": f"52:54:00:00:00:{number:02x}",
        "address": f"10.77.0.{number}",
        **fields,
    }


def test_fields_become_canonical() -> None:
    declared = {
        "name": "n1",
        "mac": "52-54-00-AB-CD-EF",
        "address": " 10.77.0.9 ",
        "uuid": UUID.upper(),
        "firmware": "uefi",
    }
    assert parse_nodes([declared]) == [Node("n1", "52:54:00:ab:cd:ef", "10.77.0.9", UUID, "uefi", None)]


def test_empty_and_missing_are_the_same() -> None:
    assert parse_nodes([{"name": "n1", "mac": None, "address": "", "loader": None}]) == [Node("n1")]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"name": "n1"}, "two nodes are named n1"),
        ({"name": "N1"}, "two nodes are named n1 and N1"),
        ({"mac": "52-54-00-00-00-01"}, "nodes n1 and n2 have the same MAC address 52:54:00:00:00:01"),
        ({"address": "10.77.0.1"}, "nodes n1 and n2 have the same address 10.77.0.1"),
        ({"uuid": UUID.upper()}, f"nodes n1 and n2 have the same UUID {UUID}"),
        ({"name": ""}, "node number 2 has no name"),
        ({"name": "-x"}, 'node -x: name "-x" is no host name'),
        ({"name": "a/b"}, 'node a/b: name "a/b" is no host name'),
        ({"name": "a\n"}, "is no host name"),
        ({"mac": "52:54:00:00:00"}, 'node n2: mac "52:54:00:00:00" is no MAC address'),
        ({"mac": "52:54:00:00:00:0g"}, "is no MAC address"),
        ({"mac": "01:54:00:00:00:01"}, "the MAC address of no single NIC"),
        ({"mac": "00:00:00:00:00:00"}, "the MAC address of no single NIC"),
        ({"address": "10.77.0.256"}, 'node n2: address "10.77.0.256" is no IPv4 address'),
        ({"address": "10.77.0.2/24"}, "is no IPv4 address"),
        ({"uuid": "00112233"}, 'node n2: uuid "00112233" is no UUID'),
        ({"firmware": "efi"}, 'node n2: firmware "efi" is none of bios, uefi'),
        ({"loader": "lilo"}, 'node n2: loader "lilo" is none of ipxe, pxelinux, grub'),
        ({"address": "10.78.0.2"}, "node n2: address 10.78.0.2 lies outside the subnet 10.77.0.0/24"),
        ({"address": "10.77.0.254"}, "node n2 has the address 10.77.0.254 of the boot server"),
        ({"address": "10.77.0.0"}, "node n2: address 10.77.0.0 is the network address of 10.77.0.0/24"),
        ({"address": "10.77.0.255"}, "node n2: address 10.77.0.255 is the broadcast address of 10.77.0.0/24"),
        ({"mac": None}, "node n2 has no MAC address"),
    ],
)
def test_refused(second: dict[str, object], said: str) -> None:
    nodes = [node(1, uuid=UUID), node(2, **second)]
    with pytest.raises(ClusterError) as caught:
        parse_nodes(nodes, network=parse_network("10.77.0.0/24", "10.77.0.254"), required=["mac"])
    assert said in str(caught.value)


def test_one_error_names_every_fault_and_stays_readable() -> None:
    with pytest.raises(ClusterError) as caught:
        parse_nodes([node(number, address="x") for number in range(1, 15)])
    assert "node n1:" in str(caught.value)
    assert "node n10:" in str(caught.value)
    assert str(caught.value).endswith("; and 4 more")


def test_identity_is_asked_for() -> None:
    with pytest.raises(ClusterError, match="node n1 has neither MAC, UUID nor address"):
        parse_nodes([{"name": "n1"}], needs_identity=True)
    assert parse_nodes([{"name": "n1", "uuid": UUID}], needs_identity=True)


def test_point_to_point_subnets_have_no_broadcast() -> None:
    assert parse_nodes([node(1, address="10.0.0.0")], network=parse_network("10.0.0.0/31", None))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("10.77.0.1/24", "has host bits set: the subnet is 10.77.0.0/24"),
        ("10.77.0.0", "is no IPv4 subnet"),
        ("10.77.0.0/33", "is no IPv4 subnet"),
        ("", "is no IPv4 subnet"),
    ],
)
def test_subnets_refused(value: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        parse_subnet(value)


def test_a_mac_of_a_local_nic_is_fine() -> None:
    assert parse_mac("52:54:00:12:34:56") == "52:54:00:12:34:56"
