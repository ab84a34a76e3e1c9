# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes of this node, from /proc: who descends from whom, and a whole tree stopped, woken up or killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import NamedTuple

from ssi.errors import SsiError
from ssi.node import read

STOP_TIMEOUT = 10.0  # seconds in which a process must have stopped
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)  # what asks a process to end


class Process(NamedTuple):
    """Fields of /proc/PID/stat, see proc(5)."""

    pid: int
    command: str
    state: str
    parent: int
    group: int
    session: int
    terminal: int
    ticks: int  # of the CPU, in user and system mode
    start: int  # ticks after boot: with the pid it names one process for ever

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def parse_stat(text: str) -> Process:
    """A line of /proc/PID/stat; the command may hold blanks and parentheses."""
    before, text = text.split(" (", 1)
    command, after = text.rsplit(") ", 1)
    field = after.split()
    state, numbers = field[0], list(map(int, field[1:20]))
    parent, group, session, terminal = numbers[:4]
    return Process(
        int(before), command, state, parent, group, session, terminal, numbers[10] + numbers[11], numbers[18]
    )


def look(pid: int) -> Process | None:
    """The process, or None where there is none or only what its parent has not asked for yet."""
    try:
        found = parse_stat(read(f"/proc/{pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return found if found.alive else None


def same(pid: int, start: int) -> bool:
    """Whether the process that started then still lives."""
    found = look(pid)
    return found is not None and found.start == start


def everything() -> dict[int, Process]:
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def tree(root: int, processes: dict[int, Process] | None = None) -> list[Process]:
    """A process and all its descendants, parents first; none where it does not live."""
    known = everything() if processes is None else processes
    found = [known[root]] if root in known else []
    for process in found:  # grows while it is walked
        found.extend(child for child in known.values() if child.parent == process.pid)
    return found


def freeze(root: int) -> list[Process]:
    """Stop a process with all its descendants, and wait until all have.

    SsiError: one cannot be stopped; those that were are woken up again.
    """
    end, tries = time.monotonic() + STOP_TIMEOUT, 0
    while True:
        members = tree(root)
        running = [process for process in members if process.state != "T"]
        if members and not running:
            return members
        if not members or time.monotonic() > end:
            thaw(members)
            stuck = ", ".join(f"{process.pid} (state {process.state})" for process in running)
            raise SsiError(f"process {stuck} does not stop" if stuck else "No such process")
        send(running, signal.SIGSTOP)
        tries += 1
        if tries % 25 == 0:
            # A parent cannot stop while its child by vfork(2) has been stopped before it became a program: once more.
            thaw(members)
            time.sleep(0.1)
        time.sleep(0.02)


def disturbed(members: Collection[Process]) -> list[Process]:
    """Those of stopped processes that somebody has killed or woken up since, or that a signal waits for that asks them to end."""
    return [member for member in members if not _untouched(member)]


def _untouched(member: Process) -> bool:
    found = look(member.pid)
    if found is None or found.start != member.start or found.state != "T":
        return False
    try:
        status = read(f"/proc/{member.pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return False
    waiting = int(status.partition("\nShdPnd:")[2].split()[0], 16)
    return not any(waiting >> (number - 1) & 1 for number in ENDING)


def thaw(members: Collection[Process]) -> None:
    """Wake processes up, children first, so that none finds its children stopped."""
    send([*reversed(list(members))], signal.SIGCONT)


def kill(members: Collection[Process], number: int = signal.SIGKILL) -> None:
    send(members, number)


def send(members: Collection[Process], number: int) -> None:
    for process in members:
        if same(process.pid, process.start):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue
