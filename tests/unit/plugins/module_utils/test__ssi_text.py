# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_cluster import fold
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import clean, number, parse_nodes

KRGADM = {
    "line": r"^(?P<node_id>\d+):(?P<state>\w+)$",
    "states": {"online": "online", "present": "present", "possible": "possible"},
}
SETPE = {"line": r"^\s*(?P<node_id>\d+)\s+(?P<address>\S+)\s+(?P<count>\d+)\s*$", "states": {}}
SHOWMAP = {"line": r"^(?P<node_id>0x[0-9a-f]+)\s+\S+\s+(?P<count>\d+)$", "states": {}}


@pytest.mark.parametrize(
    "printed, shown",
    [
        ("plain\ntext\n", "plain\ntext\n"),
        (
            "Waiting for 12 nodes to join...    0/12  "
            + "\b" * 9
            + "   7/12  "
            + "\b" * 9
            + "  12/12   done\n",
            "Waiting for 12 nodes to join...   12/12   done\n",
        ),
        ("join...    2:0\b\b\b\b\b\b   2:1\b\b\b\b\b\b   3:1", "join...    3:1"),
        ("abc\b\b\b\b\bxy\n", "xyc\n"),
        ("done\r\nnext", "done\nnext"),
        ("", ""),
    ],
)
def test_a_terminal_would_show(printed: str, shown: str) -> None:
    assert clean(printed) == shown


@pytest.mark.parametrize(
    "text, rule, nodes",
    [
        ("1:online\n2:present\n", KRGADM, {1: "online", 2: "present"}),
        ("", KRGADM, {}),
        ("a warning\n1:online\n", KRGADM, {1: "online"}),
        ("1 192.168.1.1 3\n7 192.168.1.9 1\n", SETPE, dict.fromkeys((1, 2, 3, 7), "possible")),
        (
            "My Node-Id: 0x0001\n\nBase Node-Id Address          Count\n------------ ---------------- -----\n"
            "0x000a       10.0.0.1         2\n",
            SHOWMAP,
            dict.fromkeys((10, 11), "possible"),
        ),
    ],
)
def test_lists_of_nodes_are_read(text: str, rule: dict[str, object], nodes: dict[int, str]) -> None:
    assert parse_nodes(text, rule) == nodes


@pytest.mark.parametrize(
    "text, rule, words",
    [
        ("1:asleep\n", KRGADM, "unknown state 'asleep'"),
        ("Segmentation fault\n", KRGADM, "no list of nodes: 'Segmentation fault'"),
        ("1 10.0.0.1 99999999999\n", SETPE, "no cluster has 99999999999 nodes"),
    ],
)
def test_what_is_no_list_is_told(text: str, rule: dict[str, object], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        parse_nodes(text, rule)


@pytest.mark.parametrize("text, value", [("2", 2), ("0.5", 0.5), ("n1", "n1"), ("-3", -3)])
def test_numbers_are_numbers(text: str, value: object) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "nodes, text",
    [([], ""), ([3], "3"), ([2, 3], "2-3"), ([9, 2, 3, 7, 8, 6], "2-3,6-9"), ([0, 254], "0,254")],
)
def test_lists_are_written_as_krgadm_takes_them(nodes: list[int], text: str) -> None:
    assert fold(nodes) == text
