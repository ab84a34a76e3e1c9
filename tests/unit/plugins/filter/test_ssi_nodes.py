# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter, with the flavours of the collection: what is told of good lists, and what is wrong with bad ones."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.filter.ssi_flavour import ssi_flavour
from ansible_collections.oneimage.cluster.plugins.filter.ssi_nodes import ssi_nodes

TWO = [{"id": 1, "nodes_min": 2}, {"id": 7, "policy": "round_robin_balancer"}]


def host(number: int, session: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "inventory_hostname": f"n{number}",
        "node_mac": f"52:54:00:77:00:{number:02x}",
        "node_address": f"10.77.0.{number}",
        "node_session": session,
        **{f"node_{name}": value for name, value in more.items()},
    }


FIVE = [
    host(11, 1),
    host(12, 1),
    host(13, "7", ssi_id=1),
    host(14, 7, ssi_id="2", interface="eth1"),
    host(15),
]


def files(found: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["content"] for file in found["files"]}


def test_one_list_tells_all() -> None:
    found = ssi_nodes(FIVE, "kerrighed_3_0", TWO, subnet="10.77.0.0/24", server="10.77.0.1")
    assert [(node["name"], node["session"], node["node_id"]) for node in found["nodes"]] == [
        ("n11", 1, 11),
        ("n12", 1, 12),
        ("n13", 7, 1),
        ("n14", 7, 2),
        ("n15", None, None),
    ]
    assert found["nodes"][0]["parameters"] == [
        *("session_id=1", "node_id=11", "autonodeid=0", "nb_nodes_min=2", "panic=1")
    ]
    assert (found["nodes"][4]["parameters"], found["spares"]) == ([], ["n15"])
    assert [(session["id"], session["nodes_min"], session["policy"]) for session in found["sessions"]] == [
        (1, 2, None),
        (7, 2, "round_robin_balancer"),
    ]
    assert [node["name"] for node in found["sessions"][1]["nodes"]] == ["n13", "n14"]
    written = files(found)
    assert written["/etc/kerrighed_nodes"] == "n11:11:eth0\nn12:12:eth0\nn13:1:eth0\nn14:2:eth1\n"
    assert '*" session_id=7 "*) BOOT_ID=1 ;;\n' in written["/etc/default/kerrighed-host"]


def test_a_root_of_one_session_names_it() -> None:
    written = files(ssi_nodes(FIVE[:2], "kerrighed_2_4", [{"id": 3, "nodes_min": 4} | {"id": 1}]))
    assert written["/etc/kerrighed_nodes"] == "session=1\nnbmin=4\nn11:11:eth0\nn12:12:eth0\n"


def test_openmosix_gets_its_map() -> None:
    found = ssi_nodes([host(12, 1, ssi_id=2), host(11, 1, ssi_id=1)], "openmosix_2_4", [{"id": 1}])
    assert files(found)["/etc/openmosix.map"] == "1 10.77.0.11 1\n2 10.77.0.12 1\n"
    assert files(found)["/etc/sysconfig/openmosix"] == 'NODE_AUTODISCOVERY="no"\n'


def test_machines_that_nobody_declared_may_join() -> None:
    join = {"session": 1, "range": "10.77.0.100-10.77.0.199", "limit": 3}
    found = ssi_nodes(FIVE[:1], "kerrighed_3_0", TWO, join)
    assert found["join_range"] == "10.77.0.100-10.77.0.102"
    assert found["join_parameters"] == ["session_id=1", "autonodeid=1", "nb_nodes_min=2", "panic=1"]
    assert ssi_nodes(FIVE, "kerrighed_3_0", TWO)["join_range"] == ""


def test_256_nodes_and_254_sessions_are_no_more_than_there_may_be() -> None:
    kind = {
        **ssi_flavour("kerrighed_3_0"),
        "limits": {"session": [1, 254], "node_id": [0, 255], "nodes": [2, 256]},
    }
    most = [
        host(1, 1, ssi_id=number) | {"inventory_hostname": f"m{number}", "node_mac": None}
        for number in range(256)
    ]
    for number, node in enumerate(most):
        node["node_address"] = f"10.77.1.{number}"
    assert len(ssi_nodes(most, kind, [{"id": 1}])["sessions"][0]["nodes"]) == 256
    assert (
        len(ssi_nodes([], "kerrighed_3_0", [{"id": number} for number in range(1, 255)])["sessions"]) == 254
    )


JOIN = {"session": 1, "range": "10.77.0.100-10.77.0.199", "limit": 10}


@pytest.mark.parametrize(
    "hosts, sessions, join, words",
    [
        ([host(11, 1, ssi_id=255), host(12, 1)], TWO, {}, "node n11: node id 255 is none of 0 to 254"),
        (
            [host(255, 1), host(12, 1)],
            TWO,
            {},
            "node n255: node id 255, the last byte of 10.77.0.255, is none of",
        ),
        ([host(11, 1, ssi_id="one"), host(12, 1)], TWO, {}, "node n11: node id 'one' is none of"),
        ([host(11, 1, ssi_id=True), host(12, 1)], TWO, {}, "node n11: node id True is none of"),
        (
            [host(11, 1, ssi_id=12), host(12, 1)],
            TWO,
            {},
            "nodes n11 and n12 of session 1 have the same node id 12",
        ),
        ([host(11, 1)], TWO, {}, "session 1 has 1 node; kerrighed_3_0 takes 2 to 256"),
        ([host(11, 3)], TWO, {}, "node n11: session 3 is not declared; declared: 1, 7"),
        ([host(11, "x")], [], {}, "node n11: session 'x' is not declared; declared: none"),
        ([], [*TWO, {"id": 7}], {}, "two sessions on one wire have the id 7"),
        (
            [],
            [{"id": 255}],
            {},
            "session number 1: id 255 is none of 1 to 254, the sessions of kerrighed_3_0",
        ),
        ([], [{"nodes_min": 2}], {}, "session number 1: id None is none of"),
        ([], [{"id": 1, "nodes_min": 300}], {}, "session 1: nodes_min 300 is no number of its nodes"),
        (
            [host(11, 1), host(12, 1, address="10.77.1.12")],
            TWO,
            {},
            "session 1 lies in several subnets: 10.77.0.0/24 (n11), 10.77.1.0/24 (n12)",
        ),
        (
            [host(11, 1, kernel="6.1.0-44-amd64"), host(12, 1, kernel="6.1.0-43-amd64")],
            TWO,
            {},
            "session 1 has nodes of different kernels: 6.1.0-44-amd64 (n11), 6.1.0-43-amd64 (n12)",
        ),
        ([host(11, 1), host(11, 1)], TWO, {}, "two nodes are named n11"),
        ([host(11, 1, address=None)], TWO, {}, "node n11 has no address"),
        (
            [host(11, 1, address="10.77.0.1"), host(12, 1)],
            TWO,
            {},
            "node n11 has the address 10.77.0.1 of the boot server",
        ),
        ([{"name": "n11"}], TWO, {}, "each item must be a host's variables"),
        ([], TWO, {**JOIN, "session": 2}, "join: session 2 is not declared"),
        ([], TWO, {**JOIN, "limit": 0}, "join: limit 0 is no number of machines from 1 on"),
        ([], TWO, {**JOIN, "range": "10.77.0.100"}, 'join: range "10.77.0.100" is no range'),
        ([], TWO, {**JOIN, "range": "a-b"}, 'join: "a" is no IPv4 address'),
        (
            [host(11, 1)],
            TWO,
            {**JOIN, "range": "10.77.1.100-10.77.1.199"},
            "lies outside the /24 of node n11",
        ),
        ([], TWO, {**JOIN, "range": "10.77.0.250-10.77.1.9"}, "is no part of one /24"),
        ([host(11, 1, ssi_id=105)], TWO, JOIN, "gives the node id 105, which is node n11's"),
        (
            [],
            TWO,
            {**JOIN, "range": "10.77.0.250-10.77.0.255"},
            "gives node ids 250 to 255; kerrighed_3_0 takes 0 to 254",
        ),
    ],
)
def test_bad_lists_are_refused(hosts: Any, sessions: Any, join: Any, words: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        ssi_nodes(hosts, "kerrighed_3_0", sessions, join, server="10.77.0.1")
    assert words in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        ssi_nodes([host(11, 1, ssi_id=300), host(12, 9)], "kerrighed_3_0", [{"id": 0}])
    assert str(refused.value).count(";") >= 2


def test_what_the_flavour_cannot_is_told_in_its_words() -> None:
    with pytest.raises(AnsibleFilterError, match="openMosix has no sessions"):
        ssi_nodes([], "openmosix_2_4", TWO)
    alone = {
        **ssi_flavour("kerrighed_2_4"),
        "join_parameters": None,
        "cannot": {"join": "it knows its nodes"},
    }
    with pytest.raises(AnsibleFilterError, match="join: it knows its nodes"):
        ssi_nodes([], alone, TWO, JOIN)


def test_a_file_that_asks_for_what_there_is_not_is_named() -> None:
    kind = {**ssi_flavour("kerrighed_2_4"), "files": [{"path": "/etc/x", "content": "{{ nodez }}"}]}
    with pytest.raises(AnsibleFilterError, match="the flavour's file /etc/x: 'nodez' is undefined"):
        ssi_nodes([], kind)
    spying = {**kind, "files": [{"path": "/etc/x", "content": "{{ nodes.__class__.__mro__ }}"}]}
    with pytest.raises(AnsibleFilterError, match="/etc/x: access to attribute '__class__'"):
        ssi_nodes([], spying)
