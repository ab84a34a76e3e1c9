# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-balance: every node moves its own processes, by what the heartbeats say of the others."""

from __future__ import annotations

import os
import sys
import time

from ssi import arrivals, balance, membership, migration, node, process
from ssi.balance import Scheduler
from ssi.errors import SsiError
from ssi.membership import View
from ssi.node import Node
from ssi.process import Process

IDLE = 5.0  # seconds between two looks for a scheduler
SAMPLE = 1.0  # seconds over which it is measured who takes the CPU
RETRY = 60.0  # seconds for which a process that could not move is left alone
# Seconds in which a new process is placed by round robin; longer where a move has kept the balancer from looking.
YOUNG = 10.0


def main(arguments: list[str]) -> int:
    try:
        here = node.member()
    except SsiError as error:
        print(f"ssi-balance: {error}", file=sys.stderr)
        return 0 if node.load() is None else 1
    balancer = Balancer(here)
    while True:
        try:
            time.sleep(balancer.step())
        except (SsiError, OSError) as error:
            print(f"ssi-balance: {error}", file=sys.stderr, flush=True)
            time.sleep(IDLE)


class Balancer:
    """What one step leaves to the next."""

    def __init__(self, here: Node) -> None:
        self.here = here
        self.moved = -RETRY  # when a process was moved last, or could not be
        self.gone: list[float] = []  # when processes left
        self.refused: dict[tuple[int, int], float] = {}  # when a process could not move
        self.placed: set[tuple[int, int]] = set()  # by round robin
        self.turn = here.node_id
        self.looked = _now()  # when the last step began

    def step(self) -> float:
        """Move at most one process for each scheduler. Seconds until the next step."""
        looked, self.looked = self.looked, _now()
        found = balance.schedulers()
        if not found:
            return IDLE
        seen = membership.view(self.here)
        if self.here.node_id not in seen.online():
            return IDLE
        for scheduler in found:
            if scheduler.policy == "mosix_load_balancer":
                self._by_load(scheduler, seen)
            else:
                self._in_turn(scheduler, seen, min(looked, self.looked - YOUNG))
        return min(scheduler.polling_period for scheduler in found)

    def _by_load(self, scheduler: Scheduler, seen: View) -> None:
        others = [seen.states[number] for number in seen.online() if number != self.here.node_id]
        self.gone = [left for left in self.gone if time.monotonic() - left < balance.SETTLED]
        local = balance.without(seen.states[self.here.node_id], len(self.gone))
        target = balance.least_loaded(scheduler, local, others)
        if target is None or time.monotonic() - self.moved < scheduler.min_interval:
            return
        chosen = self._busiest(scheduler)
        if chosen:
            self._move(seen, chosen, target, "CAN_MIGRATE")

    def _busiest(self, scheduler: Scheduler) -> Process | None:
        """What takes most of the CPU for a moment: /proc is read only where something is to move."""
        before = {(one.pid, one.start): one.ticks for one in process.everything().values()}
        looked = time.monotonic()
        time.sleep(SAMPLE)
        willing = self._willing("CAN_MIGRATE", scheduler)
        return balance.busiest(
            balance.usage(before, willing, time.monotonic() - looked, os.sysconf("SC_CLK_TCK"))
        )

    def _in_turn(self, scheduler: Scheduler, seen: View, since: float) -> None:
        for one in self._willing("DISTANT_FORK", scheduler):
            if (one.pid, one.start) in self.placed or one.start / os.sysconf("SC_CLK_TCK") < since:
                continue
            self.placed.add((one.pid, one.start))
            self.turn = balance.next_in_turn(seen.online(), self.turn)
            if self.turn != self.here.node_id:
                self._move(seen, one, self.turn, "DISTANT_FORK")

    def _willing(self, capability: str, scheduler: Scheduler) -> list[Process]:
        """What may move, without what has just come and what could not move lately."""
        return [
            one
            for one in balance.movable(process.everything(), capability, scheduler)
            if not arrivals.rests(one.pid)
            and time.monotonic() - self.refused.get((one.pid, one.start), -RETRY) >= RETRY
        ]

    def _move(self, seen: View, one: Process, target: int, capability: str) -> None:
        started = time.monotonic()
        try:
            migration.migrate(self.here, seen, one.pid, target, capability)
            self.gone.append(time.monotonic())
            print(
                f"process {one.pid} ({one.command}) went to node {target} in {time.monotonic() - started:.1f} s",
                flush=True,
            )
        except SsiError as error:
            self.refused[one.pid, one.start] = time.monotonic()
            print(f"process {one.pid} ({one.command}) stays: {error}", file=sys.stderr, flush=True)
        self.moved = time.monotonic()


def _now() -> float:
    """Seconds after boot, as /proc counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
