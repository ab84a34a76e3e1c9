from __future__ import annotations

from typing import Any

import pytest

AnsibleFilterError = pytest.importorskip("ansible.errors").AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.filter.node_list import node_list

HOST = {"inventory_hostname": "n1", "node_mac": "52-54-00-00-00-0A", "ansible_host": "x", "node_secret": "s"}


def test_defaults_and_canonical_spelling() -> None:
    assert node_list([HOST]) == [
        {
            "name": "n1",
            "mac": "52:54:00:00:00:0a",
            "address": None,
            "uuid": None,
            "firmware": "bios",
            "loader": "ipxe",
            "root_mode": "nfs_ro",
            "initrd": "native",
            "bmc": None,
        }
    ]


def test_extra_variables() -> None:
    (node,) = node_list([{**HOST, "node_disk": "sda"}], extra=["disk", "none"])
    assert (node["disk"], node["none"]) == ("sda", None)


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([HOST, {**HOST, "inventory_hostname": "n2"}], "nodes n1 and n2 have the same MAC address"),
        ([{"inventory_hostname": "n1"}], "node n1 has no MAC address"),
        ([{**HOST, "node_address": "10.78.0.1"}], "lies outside the subnet 10.77.0.0/24"),
        ([{**HOST, "node_address": "10.77.0.1"}], "of the boot server"),
        ([{**HOST, "node_loader": "lilo"}], 'loader "lilo" is none of'),
        (["n1"], "each item must be a host's variables"),
        ([{"name": "n1"}], "each item must be a host's variables"),
    ],
)
def test_refused(hosts: list[Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        node_list(hosts, subnet="10.77.0.0/24", server="10.77.0.1")
