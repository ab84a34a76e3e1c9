# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ssi import node, pids
from ssi.errors import SsiError


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("root=/dev/nfs ro", None),
        ("session_id=3 node_id=7 nb_nodes_min=2", (3, 7, 2)),
        ("session_id=3 node_id=7", (3, 7, 0)),
        ("session_id=3 node_id=7 node_id=8", (3, 8, 0)),
        ("session_id=3 autonodeid=1", (3, 101, 0)),
        ("session_id=3 autonodeid=1 node_id=7", (3, 101, 0)),
        ("session_id=3 autonodeid=0 node_id=7", (3, 7, 0)),
    ],
)
def test_identity(line: str, found: tuple[int, int, int] | None) -> None:
    assert node.identity(node.parameters(line), "10.0.0.101") == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("session_id=0 node_id=1", "session_id=0 is not a number from 1 to 254"),
        ("session_id=255 node_id=1", "session_id=255"),
        ("session_id=x node_id=1", "session_id=x"),
        ("session_id=1 node_id=0", "node_id=0"),
        ("session_id=1 node_id=255", "node_id=255"),
        ("session_id=1", "without node_id or autonodeid=1"),
        ("session_id=1 node_id=1 nb_nodes_min=-1", "nb_nodes_min=-1"),
    ],
)
def test_identity_out_of_range(line: str, said: str) -> None:
    with pytest.raises(SsiError, match=said):
        node.identity(node.parameters(line), "10.0.0.101")


def test_ranges_are_disjoint_and_end_with_the_largest_pid() -> None:
    assert [pids.home(pid) for pid in (1, 16383, 16384, 32767, 32768)] == [0, 0, 1, 1, 2]
    assert 256 * pids.SIZE == 2**22


@pytest.mark.parametrize(
    ("last", "elsewhere", "wanted"),
    [
        (700, [], 32768),  # at boot
        (32768, [], 32768),
        (40000, [], 40000),
        (32768 + pids.SIZE - pids.MARGIN, [], 32768),  # starts over before the end
        (70000, [], 32768),  # far outside
        (40000, [39999, 50000], 40000),
        (40000, [40001], 40001),  # the next one would be given twice
        (40000, [40010, 40300], 40300),
        (700, [32770], 32770),
    ],
)
def test_next_last(last: int, elsewhere: list[int], wanted: int) -> None:
    assert pids.next_last(last, 2, elsewhere) == wanted
