# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-top: load, processors and memory of every node of the session and of all together, as their heartbeats say."""

from __future__ import annotations

import json
import sys

from ssi import errors, membership, node
from ssi.membership import State

USAGE = "usage: ssi-top [--json]"
MIB = 1 << 20
LINE = "{:>5}  {:<20} {:<15} {:<8} {:>4} {:>6} {:>8} {:>9} {:>9}"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--json"]):
        print(USAGE, file=sys.stderr)
        return 1
    return errors.run(lambda: _run(bool(arguments)), "ssi-top")


def _run(as_json: bool) -> int:
    seen = membership.view(node.member())
    states = [seen.states[number] for number in sorted(seen.states)]
    if as_json:
        print(json.dumps([{**state._asdict(), "state": seen.state(state.node_id)} for state in states]))
        return 0
    print(LINE.format("NODE", "NAME", "ADDRESS", "STATE", "CPUS", "LOAD", "RUNNING", "MEMORY", "FREE"))
    for state in states:
        print(_line(str(state.node_id), state.name, state.address, seen.state(state.node_id), [state]))
    online = [seen.states[number] for number in seen.online()]
    print(_line("all", "", "", f"{len(online)} up", online))
    return 0


def _line(number: str, name: str, address: str, how: str, states: list[State]) -> str:
    """One node, or the sum of several."""
    load = f"{sum(state.load for state in states):.2f}"
    running = f"{sum(state.running * state.cpus for state in states):.2f}"
    memory = [
        sum(bytes_of) // MIB for bytes_of in zip(*((one.memory_total, one.memory_free) for one in states))
    ] or [0, 0]
    cpus = sum(state.cpus for state in states)
    return LINE.format(number, name, address, how, cpus, load, running, f"{memory[0]}M", f"{memory[1]}M")
