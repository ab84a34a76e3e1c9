# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_sources import Place
from ansible_collections.oneimage.cluster.plugins.plugin_utils._dhcp_leases import Lease, read_leases

NOW = 1000.0
RANGE = "10.77.0.100-10.77.0.109"
LEASES = """\
1500 52:54:00:77:02:02 10.77.0.102 * 01:52:54:00:77:02:02
1500 52:54:00:77:01:01 10.77.0.11 node1 *
900 52:54:00:77:02:03 10.77.0.103 * *
0 52:54:00:77:02:01 10.77.0.101 evil{{name}} *
1500 52:54:00:77:02:09 10.77.0.200 * *
duid 00:01:00:01:2f:b2:9f:4b:52:54:00:77:00:01
1500 123456 fd00::17f node1 00:01
"""


def leases(folder: Path, text: str = LEASES, **more: Any) -> list[Lease]:
    (folder / "leases").write_text(text)
    place = Place(folder, {}, lambda _text: None)
    return read_leases([{"file": "leases", "range": RANGE, **more}], place, NOW)


def test_machines_of_the_range_whose_leases_last(tmp_path: Path) -> None:
    assert leases(tmp_path) == [
        Lease("node-10-77-0-101", "52:54:00:77:02:01", "10.77.0.101"),
        Lease("node-10-77-0-102", "52:54:00:77:02:02", "10.77.0.102"),
    ]
    assert leases(tmp_path, "") == []


def test_leases_of_a_program(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text(LEASES)
    place = Place(tmp_path, {}, lambda _text: None)
    assert len(read_leases([{"command": ["cat", "leases"], "range": RANGE}], place, NOW)) == 2


def test_optional_leases_may_be_absent(tmp_path: Path) -> None:
    place, absent = Place(tmp_path, {}, lambda _text: None), {"file": "none", "range": RANGE}
    assert read_leases([{**absent, "optional": True}], place, NOW) == []
    with pytest.raises(ClusterError, match="none: does not exist"):
        read_leases([absent], place, NOW)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("what\n", {}, r"leases, line 1: .?what.? is no line of dnsmasq's leases"),
        ("x 52:54:00:77:02:02 10.77.0.102 * *\n", {}, "line 1: .* is no line"),
        ("\n1500 52:54 10.77.0.102 * *\n", {}, 'line 2: "52:54" is no MAC'),
        ("1500 52:54:00:77:02:02 10.77.0.1002 * *\n", {}, "is no IPv4 address"),
        (LEASES, {"range": "10.77.0.100"}, "leases 1: range '10.77.0.100' is none"),
        (LEASES, {"ranges": 1}, "leases 1: unknown key 'ranges'"),
        (LEASES, {"command": ["cat"]}, "give exactly one of file, command"),
        (LEASES, {"timeout": 0}, "timeout must be a number of seconds"),
    ],
)
def test_what_are_no_leases_is_told(tmp_path: Path, text: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        leases(tmp_path, text, **more)
