# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disjoint ranges of pids, so that a pid names one process of the whole session: node N owns [N * 16384, N * 16384 + 16384)."""

from __future__ import annotations

from collections.abc import Collection

from ssi.node import read

SIZE = 16384  # 256 nodes share the 2**22 pids that Linux can have
MARGIN = 4096  # forks that a node may do between two looks
LAST_PID = "/proc/sys/kernel/ns_last_pid"


def home(pid: int) -> int:
    """Number of the node whose range a pid is in."""
    return pid // SIZE


def next_last(last: int, node_id: int, elsewhere: Collection[int]) -> int:
    """What ns_last_pid should be where it is `last`; the kernel gives the next free pid above it.

    It starts over at the end of the range, and jumps over pids of processes that moved away: theirs must not be given again.
    """
    first = node_id * SIZE
    if not first <= last < first + SIZE - MARGIN:
        last = first
    ahead = [pid for pid in elsewhere if last < pid <= last + MARGIN // 8]
    return max(ahead, default=last)


def keep(node_id: int, elsewhere: Collection[int]) -> None:
    """Bring the kernel's counter back into the node's range where it left it."""
    last = int(read(LAST_PID))
    wanted = next_last(last, node_id, elsewhere)
    if wanted != last:
        with open(LAST_PID, "w", encoding="ascii") as file:
            file.write(str(wanted))
