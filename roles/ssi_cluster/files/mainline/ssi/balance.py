# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which process goes where, with Kerrighed's policies and the names of its scheduler's files, in a folder that all nodes share.

A load is the number of processes that want a CPU, for each CPU: 1 / CPUs is that of a single process.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import NamedTuple

from ssi import capabilities, node
from ssi.errors import SsiError
from ssi.membership import State
from ssi.process import Process

ROOT = f"{node.SHARED}/config/krg_scheduler"
POLICIES = ("mosix_load_balancer", "round_robin_balancer")

# Below this part of one CPU a process is no reason for a load.
BUSY = 0.2
# Seconds after which `running`, a mean, knows of a process that came or went.
SETTLED = 10.0


class Scheduler(NamedTuple):
    """A policy with its settings; the defaults are those of krg_legacy_scheduler."""

    policy: str
    threshold: float = 1.5  # loads of a single process, below which nothing moves
    min_interval: float = 2.0  # seconds between two migrations away from a node
    polling_period: float = 1.0  # seconds
    handle_all: bool = False
    attached: frozenset[int] = frozenset()  # pids, where it does not handle all

    def handles(self, pid: int) -> bool:
        return self.handle_all or pid in self.attached


class Candidate(NamedTuple):
    """A process that may move."""

    process: Process
    usage: float  # of one CPU, since the last look


def schedulers(root: str = ROOT) -> list[Scheduler]:
    """The schedulers of the tree: a folder below `schedulers` with one of a policy's name in it.

    SsiError: a file holds no number.
    """
    found = []
    for policy in POLICIES:
        for path in sorted(glob.glob(f"{glob.escape(root)}/schedulers/*/{policy}")):
            parts = os.path.join(os.path.dirname(path), "process_set")
            known = {
                "threshold": _number(path, "threshold", 1), "min_interval": _number(path, "min_interval", 1e-9),
                "polling_period": _number(path, "polling_period", 1e-3),
            }  # fmt: skip
            attached = frozenset(int(name) for name in _names(parts) if name.isdigit())
            given = {name: value for name, value in known.items() if value is not None}
            handle_all = _number(parts, "handle_all", 1) == 1
            found.append(Scheduler(policy, **given, handle_all=handle_all, attached=attached))
    return found


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _number(folder: str, name: str, unit: float) -> float | None:
    """The value of the first file of that name, however deep it lies, as filters can be chained; None where there is none."""
    for path in sorted(glob.glob(f"{glob.escape(folder)}/**/{name}", recursive=True)):
        text = node.read(path).strip()
        try:
            return float(text) * unit
        except ValueError as error:
            raise SsiError(f"{path} holds '{text}', not a number") from error
    return None


def least_loaded(scheduler: Scheduler, local: State, others: Sequence[State]) -> int | None:
    """mosix_load_balancer: the node to which a process of this one should go, or None.

    This node must be above the threshold, and the other one better off with one process more than this one is now.
    """
    single = 1 / local.cpus
    if local.running < scheduler.threshold * single or not others:
        return None
    best = min(others, key=upper_load)
    return best.node_id if upper_load(best) + 1 / best.cpus < local.running else None


def without(state: State, gone: int) -> State:
    """A node's state without processes that have just gone: the mean holds each of them still, and the work of moving it."""
    return state._replace(running=max(0.0, state.running - 2 * gone / state.cpus))


def upper_load(state: State) -> float:
    """A node's load with those that have just come and are not in its mean yet."""
    return state.running + state.arrived / state.cpus


def busiest(candidates: Sequence[Candidate]) -> Process | None:
    """The process whose move takes most load away."""
    best = max(candidates, key=lambda candidate: candidate.usage, default=None)
    return best.process if best and best.usage >= BUSY else None


def next_in_turn(online: Sequence[int], last: int) -> int:
    """round_robin_balancer: the node after the last one, from the first again after all."""
    later = [number for number in sorted(online) if number > last]
    return later[0] if later else min(online)


def usage(
    before: dict[tuple[int, int], int], processes: Sequence[Process], seconds: float, ticks: int
) -> list[Candidate]:
    """What part of a CPU each process took. `before`: ticks by pid and start; `ticks`: of a second."""
    return [
        Candidate(found, (found.ticks - before[found.pid, found.start]) / ticks / seconds)
        for found in processes
        if (found.pid, found.start) in before and seconds > 0
    ]


def movable(known: dict[int, Process], capability: str, scheduler: Scheduler) -> list[Process]:
    """Processes of the session on this node that have the capability, without those that move along with a parent."""
    first_pid = 16384  # range 0 belongs to what every system runs by itself
    chosen = []
    for found in known.values():
        if found.pid < first_pid or not scheduler.handles(found.pid):
            continue
        if _has(found.pid, capability) and not (
            found.parent in known and found.parent >= first_pid and _has(found.parent, capability)
        ):
            chosen.append(found)
    return chosen


def _has(pid: int, capability: str) -> bool:
    try:
        return capabilities.get(pid).has(capability)
    except (SsiError, OSError):  # it has just ended
        return False
