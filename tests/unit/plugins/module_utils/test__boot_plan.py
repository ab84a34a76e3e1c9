# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_plan import boot_plan
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

JOIN = {"unknown_nodes": "allow", "range": "10.77.0.100-10.77.0.102"}
NODE = {"name": "n1", "mac": "52-54-00-77-00-11", "address": "10.77.0.11"}


def declared(**changes: Any) -> dict[str, Any]:
    return {
        "address": "10.77.0.1",
        "subnet": "10.77.0.0/24",
        "gateway": "",
        "dns": [],
        "ntp": "",
        "domain": "",
        "range": "",
        "unknown_nodes": "deny",
        "mac_prefixes": [],
        "storage": "/srv/oneimage",
        "nodes": [NODE],
        "dhcp": "dnsmasq",
        "http_port": 80,
        "exports": [],
        "exports_outside_subnet": False,
        **changes,
    }


def test_defaults_are_filled_in() -> None:
    plan = boot_plan(declared())
    assert plan["nodes"] == [
        {
            "name": "n1",
            "mac": "52:54:00:77:00:11",
            "address": "10.77.0.11",
            "firmware": "bios",
            "loader": "ipxe",
        }
    ]
    assert (plan["network"], plan["netmask"], plan["url"]) == (
        "10.77.0.0",
        "255.255.255.0",
        "http://10.77.0.1",
    )
    assert len(plan["answers"]) == 2
    assert plan["pool"] is None


def test_another_port_is_part_of_every_url() -> None:
    plan = boot_plan(declared(http_port=8080))
    assert {rule["file"] for rule in plan["rules"] if rule["ipxe"]} == {
        "http://10.77.0.1:8080/ipxe/boot.ipxe"
    }


def test_no_answers_are_expected_of_foreign_dhcp() -> None:
    assert boot_plan(declared(dhcp="none"))["answers"] == []


def test_unknown_nodes_have_names_and_may_be_told_by_their_macs() -> None:
    node = {**NODE, "address": "10.77.0.101"}
    plan = boot_plan(declared(nodes=[node], mac_prefixes=["52:54:00:77:00", "02-AB", "02:"], **JOIN))
    assert plan["mac_masks"] == ["52:54:00:77:00:*", "02:ab:*:*:*:*", "02:*:*:*:*:*"]
    assert plan["pool_names"] == [
        {"name": "node-10-77-0-100", "address": "10.77.0.100"},
        {"name": "node-10-77-0-102", "address": "10.77.0.102"},
    ]


def test_unknown_nodes_get_ipxe() -> None:
    plan = boot_plan(declared(nodes=[], unknown_nodes="allow", range="10.77.0.100-10.77.0.199"))
    assert plan["pool"] == {"first": "10.77.0.100", "last": "10.77.0.199"}
    assert {rule["loader"] for rule in plan["rules"]} == {"ipxe"}


def test_exports_keep_their_number_whatever_else_is_exported() -> None:
    first = boot_plan(declared(exports=[{"path": "/srv/a"}]))["exports"][0]
    both = boot_plan(
        declared(exports=[{"path": "/srv/b", "mode": "rw", "clients": "10.77.0.11"}, {"path": "/srv/a"}])
    )["exports"]
    assert first in both
    assert [export["path"] for export in both] == ["/srv/a", "/srv/b"]
    assert both[1]["clients"] == "10.77.0.11/32"
    assert len({export["id"] for export in both}) == 2


def test_everybody_only_where_that_is_asked_for() -> None:
    plan = boot_plan(declared(exports=[{"path": "/srv/a", "clients": "*"}], exports_outside_subnet=True))
    assert plan["exports"][0]["clients"] == "*"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"address": "10.78.0.1"}, "address: 10.78.0.1 lies outside the subnet 10.77.0.0/24"),
        ({"address": "boot"}, 'address: "boot" is no IPv4 address'),
        ({"subnet": "10.77.0.1/24"}, 'subnet: "10.77.0.1/24" has host bits set'),
        ({"gateway": "10.78.0.254"}, "gateway: 10.78.0.254 lies outside"),
        ({"dns": ["10.77.0.1", "x"]}, 'dns: "x" is no IPv4 address'),
        ({"ntp": "x"}, 'ntp: "x" is no IPv4 address'),
        ({"domain": "a domain"}, 'domain: "a domain" is no host name'),
        ({"storage": "/srv/my images"}, 'storage: "/srv/my images" is no plain absolute path'),
        ({"storage": "/srv/../etc"}, "is no plain absolute path"),
        ({"storage": "srv"}, "is no plain absolute path"),
        ({"nodes": [NODE, {**NODE, "name": "n2"}]}, "nodes n1 and n2 have the same MAC address"),
        ({"nodes": [{**NODE, "address": "10.78.0.2"}]}, "node n1: address 10.78.0.2 lies outside the subnet"),
        ({"nodes": [{"name": "n1", "address": "10.77.0.11"}]}, "node n1 has no MAC address"),
        (
            {"nodes": [{**NODE, "firmware": "uefi", "loader": "pxelinux"}]},
            "node n1: the loader pxelinux runs on bios, not on uefi",
        ),
        ({"range": "10.77.0.100"}, 'range: "10.77.0.100" is no range'),
        ({"range": "10.77.0.9-10.77.0.8"}, "ends before it starts"),
        ({"range": "10.77.0.9-10.78.0.8"}, "range: 10.78.0.8 lies outside"),
        ({"range": "10.77.0.1-10.77.0.8"}, "holds the boot server's own address"),
        ({"unknown_nodes": "allow"}, "there is no range"),
        ({"mac_prefixes": ["52:54:00"]}, "mac_prefixes says which unknown nodes are allowed, but"),
        ({**JOIN, "mac_prefixes": ["5254"]}, 'mac_prefixes: "5254" is no beginning of a MAC address'),
        ({**JOIN, "mac_prefixes": [""]}, 'mac_prefixes: "" is no beginning'),
        ({**JOIN, "mac_prefixes": [NODE["mac"]]}, "is no beginning of a MAC address"),
        ({**JOIN, "subnet": "10.0.0.0/8", "range": "10.100.0.0-10.255.0.0"}, "at most 65536"),
        ({"exports": [{"path": "/srv/a", "clients": "*"}]}, "/srv/a would be open to everybody"),
        (
            {"exports": [{"path": "/srv/a", "clients": "10.0.0.0/8"}]},
            "/srv/a would be open to 10.0.0.0/8: declare clients inside 10.77",
        ),
        ({"exports": [{"path": "/srv/a", "clients": "node*"}]}, '"node*" is neither'),
        ({"exports": [{"path": "/srv/a"}, {"path": "/srv/a"}]}, "/srv/a is declared twice"),
        ({"exports": [{"path": "/srv/a", "mode": "wr"}]}, 'mode "wr" is neither ro nor rw'),
        ({"exports": [{"path": "/srv/a b"}]}, "no plain absolute path"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError) as error:
        boot_plan(declared(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
