"""An image of 60 MiB to eight nodes behind links of 200 Mbit/s each way, against HTTP from one server.

The nodes are network namespaces on one bridge, shaped by tbf; the time is from the first receive script's start to the last
one's end, apart from checksums, which are looked at afterwards. ``one node`` is HTTP to one node, which nothing can beat.
Times are the best of the rounds: what else the machine does only adds to them.
In the round with a dead receiver one in the middle loses its power when it has a third.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import broadcast_case
from broadcast_case import Net, described

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast import choose_method

NODES = 8
SIZE = 60 << 20
RATE = "200mbit"
ROUNDS = 3
OTHERS = ("bittorrent", "udpcast")
VICTIM = 4
LONGEST = 120
BEFORE_OTHERS = -15
"""Nine machines' work on one: what else runs here must not make it slower than their links."""
GOALS = {"one node": 1.5, "http": 5.0, "dead receiver": 1.2}

Times = dict[str, list[float]]


def run() -> list[dict[str, Any]]:
    lacking = broadcast_case.missing()
    if lacking or os.geteuid() != 0:
        reason = f"not found: {', '.join(lacking)}" if lacking else "needs root for network namespaces"
        return [{"name": "broadcast", "skipped": reason}]
    chosen = choose_method(NODES)
    taken: Times = {}
    prefer(BEFORE_OTHERS)
    try:
        measure(chosen, taken)
    finally:
        prefer(0)
    return rows(chosen, {name: min(times) for name, times in taken.items()})


def prefer(nice: int) -> None:
    """Among all processes, and among sessions, between which kernels with autogroups share the processors out first."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def measure(chosen: str, taken: Times) -> None:
    for number in range(ROUNDS):
        work = [
            ("one node", "http", 1, 0),
            ("chosen", chosen, NODES, 0),
            ("dead receiver", chosen, NODES, VICTIM),
        ]
        if number == 0:  # they are told, not judged; and HTTP takes long enough to be sure of
            work += [("http", "http", NODES, 0), *((name, name, NODES, 0) for name in OTHERS)]
        for name, method, nodes, victim in work if number % 2 == 0 else reversed(work):
            taken.setdefault(name, []).append(timed(method, nodes, victim))


def timed(method: str, count: int, victim: int) -> float:
    """Seconds until every node that lives has every byte; raises RuntimeError when one has not."""
    with broadcast_case.net(NODES, RATE) as net:
        image = net.served / "image.tar.zst"
        image.write_bytes(os.urandom(SIZE))
        side = net.broadcast(method, image, count)
        if side.error:
            raise RuntimeError(side.error)
        start = time.monotonic()
        running = {
            number: net.nodes[number].start(
                f"({side.scripts[number]}\n) >/run/received", stderr=subprocess.DEVNULL
            )
            for number in range(1, count + 1)
        }
        if victim:
            wait_for_a_third(net, victim)
            net.nodes[victim].pull_the_plug()
            del running[victim]
        for process in running.values():
            process.wait(LONGEST)
        took = time.monotonic() - start
        side.stop()
        digest = described(image, net.url)["sha256"]
        for number in running:
            if digest not in net.nodes[number].output("sha256sum /run/received"):
                raise RuntimeError(f"{method}: node {number} of {count} has another image")
    return took


def wait_for_a_third(net: Net, number: int) -> None:
    first = broadcast_case.child_of(net.nodes[number].holder.pid)
    received = Path(f"/proc/{first}/root/run/received")
    while not received.exists() or received.stat().st_size < SIZE / 3:
        time.sleep(0.02)


def rows(chosen: str, taken: dict[str, float]) -> list[dict[str, Any]]:
    ours = taken["chosen"]
    result = [
        row(
            f"{chosen} to 8 nodes against one node",
            ours,
            taken["one node"],
            ours / taken["one node"],
            "one node",
        ),
        row(f"{chosen} to 8 nodes against http to 8", ours, taken["http"], taken["http"] / ours, "http"),
        row(
            f"{chosen} to 8 nodes, one dies, against none",
            taken["dead receiver"],
            ours,
            taken["dead receiver"] / ours,
            "dead receiver",
        ),
    ]
    return [
        *result,
        *(
            row(
                f"{name} to 8 nodes against one node",
                taken[name],
                taken["one node"],
                taken[name] / taken["one node"],
            )
            for name in OTHERS
        ),
    ]


def row(name: str, ours: float, anchor: float, ratio: float, goal: str = "") -> dict[str, Any]:
    found = {
        "name": name,
        "ours": ours,
        "anchor": anchor,
        "unit": "s",
        "ratio": ratio,
        "goal": "none",
        "met": True,
    }
    if goal:
        at_least = goal == "http"
        found["goal"] = f"at {'least' if at_least else 'most'} {GOALS[goal]:g}x"
        found["met"] = ratio >= GOALS[goal] if at_least else ratio <= GOALS[goal]
    return found
