# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-member: keeps this node in its session. Mounts the shared folder, shows its keys and its heartbeat, keeps the pids in their
range, and ends what others left of processes that were on their way."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import threading
import time

from ssi import arrivals, balance, capabilities, location, membership, migration, node, pids, remote
from ssi.errors import SsiError
from ssi.node import Node

TICK = 0.5  # seconds between two looks at the last pid and at who wants a CPU
MEAN = 5.0  # seconds over which `running` is a mean
REFUSED = f"{node.RUN}/refused"  # why the node is in no session


def main(arguments: list[str]) -> int:
    os.makedirs(node.RUN, mode=0o755, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(REFUSED)
    try:
        here = node.load()
        if here is None:
            print("no session: this node is a spare")
            _ready()
            return 0
        _enter(here)
    except (SsiError, OSError) as error:
        membership.replace(REFUSED, f"{error}\n")
        print(f"ssi-member: {error}", file=sys.stderr)
        return 1
    member = Member(here)
    threading.Thread(target=member.keep_pids, daemon=True).start()
    member.beat()
    remote.authorize(here)
    _ready()
    member.run()
    return 0


def _enter(here: Node) -> None:
    node.mount(here)
    membership.check_number(here, membership.view(here))
    os.makedirs(location.FOLDER, exist_ok=True)
    capabilities.prepare()
    remote.publish(here)


def _ready() -> None:
    """Tell systemd, see sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + path[1:] if path.startswith("@") else path)


class Member:
    """What is known from one heartbeat to the next."""

    def __init__(self, here: Node) -> None:
        self.here = here
        self.running = 0.0  # processes, of the whole node
        self.note = ""
        self.elsewhere: set[int] = set()

    def keep_pids(self) -> None:
        """In a thread of its own: it must go on while an answer of the server is waited for."""
        while True:
            pids.keep(self.here.node_id, self.elsewhere)
            self.running = mean(self.running, wanting(node.read("/proc/loadavg")), TICK)
            time.sleep(TICK)

    def run(self) -> None:
        beats = 0
        while True:
            started = time.monotonic()
            try:
                self.beat()
                self.look_around()
                if beats % 30 == 0:
                    capabilities.forget_the_dead()
            except (SsiError, OSError) as error:
                print(f"ssi-member: {error}", file=sys.stderr, flush=True)
            beats += 1
            time.sleep(max(0.2, membership.HEARTBEAT - (time.monotonic() - started)))

    def beat(self) -> None:
        memory = memory_of(node.read("/proc/meminfo"))
        membership.beat(
            self.here, load=os.getloadavg()[0], running=round(self.running / self.here.cpus, 3), memory_total=memory["MemTotal"],
            memory_free=memory["MemAvailable"], arrived=arrivals.count(balance.SETTLED), note=self.note,
        )  # fmt: skip

    def look_around(self) -> None:
        seen = membership.view(self.here)
        new = membership.automatic(self.here, seen)
        try:
            self.note = ""
            if new:
                membership.add(seen, new)
                print(f"nodes {new} are online", flush=True)
        except SsiError as error:
            self.note = str(error)
        self.elsewhere = location.elsewhere(self.here)
        remote.authorize(self.here)
        migration.discard(self.here)
        for pid in location.ledgers():
            done = migration.recover(self.here, seen, pid)
            if done:
                print(done, flush=True)


def wanting(loadavg: str) -> int:
    """How many processes want a CPU, without the one that looks. `loadavg`: text of /proc/loadavg."""
    return max(0, int(loadavg.split()[3].partition("/")[0]) - 1)


def mean(old: float, value: float, passed: float) -> float:
    """Exponential mean over MEAN seconds."""
    return old + (value - old) * (1 - math.exp(-passed / MEAN))


def memory_of(meminfo: str) -> dict[str, int]:
    """Bytes by name, of the text of /proc/meminfo."""
    fields = (line.partition(":")[::2] for line in meminfo.splitlines())
    return {name: int(text.split()[0]) * 1024 for name, text in fields}
