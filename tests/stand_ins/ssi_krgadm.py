# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for krgadm of Kerrighed 2.4 and 3.0. It is not Kerrighed: it prints what krgadm.c prints, and has no nodes.

Outputs as in tools/krgadm.c ([source]) and as a cluster of two nodes was seen to print them ([recorded]). In the environment:
SSI_STAND_IN_STATE (folder), SSI_STAND_IN_GENERATION (2.4, 3.0), SSI_STAND_IN_NODE (id of the node it runs on). The folder:

- ``nodes.json``: {"1": "online", "2": "present"}, states as krgadm names them;
- ``arrivals.json``: {"3": 2}, nodes that are present from the third look on;
- ``faults.json``: {"outside": true} (no cluster here), {"error": true} (status), {"start"|"add"|"del"|"poweroff": TEXT}
  (that command fails with TEXT), {"hang": true} (add and start never end), {"stuck": true} (add says done, nothing happens);
- ``calls.log``: every command, a line each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

STATE = Path(os.environ["SSI_STAND_IN_STATE"])
GENERATION = os.environ.get("SSI_STAND_IN_GENERATION", "3.0")
OWN = int(os.environ.get("SSI_STAND_IN_NODE", "1"))
NOT_RUNNING = "Kerrighed is not running: Resource temporarily unavailable"
EXCLUSIVE = "Only one of --all, --count, --total or --nodes option is\nsupported. Aborting."


def load(name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((STATE / name).read_text())
    except FileNotFoundError:
        return {}
    return found


def store(name: str, content: dict[str, Any]) -> None:
    partial = STATE / f".{name}.{os.getpid()}"
    partial.write_text(json.dumps(content))
    partial.replace(STATE / name)


def leave(code: int, error: str = "") -> NoReturn:
    if error:
        print(error, file=sys.stderr)
    sys.stdout.flush()
    sys.exit(code)


def say(text: str) -> None:
    print(text, end="", flush=True)


def nodes() -> dict[int, str]:
    return {int(node): state for node, state in load("nodes.json").items()}


def arrive() -> None:
    """A look passes: nodes that boot come nearer."""
    known, coming = load("nodes.json"), load("arrivals.json")
    for node, looks in list(coming.items()):
        if looks:
            coming[node] = looks - 1
        else:
            known[node] = "present"
            del coming[node]
    if load("arrivals.json") != coming:
        store("nodes.json", known)
        store("arrivals.json", coming)


def change(ids: list[int], state: str) -> None:
    if not load("faults.json").get("stuck"):
        store("nodes.json", {**load("nodes.json"), **{str(node): state for node in ids}})


def parse_list(text: str) -> list[int]:
    """item(,item)*, item is an id or id-id [source]."""
    found: list[int] = []
    for item in text.split(","):
        first, dash, last = item.partition("-")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def wait_for(ids: list[int]) -> None:
    """One digit for each node, taken back by six backspaces; it looks once a second, for ever [source]."""
    say("Waiting for nodes to join... ")
    for node in ids:
        say(f"{node:4d}:0")
        while load("faults.json").get("hang") or nodes().get(node) not in ("present", "online"):
            time.sleep(1)
        say("\b" * 6 + f"{node:4d}:1" + "\b" * 6)
    say(" done\n")


def wait_for_count(count: int) -> None:
    """``%4d/%-4d`` and nine backspaces [source]."""
    say(f"Waiting for {count} nodes to join... {0:4d}/{count:<4d}")
    while load("faults.json").get("hang") or list(nodes().values()).count("present") < count:
        time.sleep(1)
    say("\b" * 9 + f"{count:4d}/{count:<4d} done\n")


def select(words: list[str], candidates: list[int]) -> list[int]:
    """The nodes that -n, -a, -c or -t name."""
    options = [word for word in words if word.startswith("-")]
    if len(options) != 1:
        leave(1, EXCLUSIVE)
    if options[0] in ("-a", "--all"):
        return candidates
    if options[0] in ("-n", "--nodes"):
        ids = parse_list(words[words.index(options[0]) + 1])
        wait_for(ids)
        return ids
    count = int(words[words.index(options[0]) + 1])
    if options[0] in ("-t", "--total"):
        count -= sum(state == "online" for state in nodes().values())
    wait_for_count(count)
    return [node for node, state in sorted(nodes().items()) if state == "present"][:count]


def add(words: list[str], faults: dict[str, Any]) -> None:
    present = [node for node, state in sorted(nodes().items()) if state == "present"]
    ids = select(words, present)
    if not ids:
        leave(1, "No present node to add.")
    say(f"Adding nodes [{','.join(map(str, ids))}]... ")
    if "add" in faults:
        leave(1, f"fail: {faults['add']}")
    change(ids, "online")
    say("done\n")


def delete(words: list[str], faults: dict[str, Any]) -> None:
    ids = parse_list(words[words.index("--nodes" if "--nodes" in words else "-n") + 1])
    for node in ids:
        if nodes().get(node) != "online":
            leave(1, f"Unable to suppress node {node} (must be 'online').")
        if node == OWN:
            leave(1, "Unable to suppress current node.")
    say(f"Removing nodes [{','.join(map(str, ids))}]... ")
    if "del" in faults:
        leave(1, f"fail: {faults['del']}")
    change(ids, "present")
    say("done\n")


def start(words: list[str], faults: dict[str, Any]) -> None:
    """Of 2.4."""
    ids = select(words, [node for node, state in nodes().items() if state == "present"])
    say("Starting cluster... ")
    if "start" in faults:
        say(f"fail ({faults['start']})\n")
        leave(1)
    change(ids, "online")
    say("done\n")


def poweroff(faults: dict[str, Any]) -> None:
    say("Shutting down cluster... ")
    online = [node for node, state in nodes().items() if state == "online"]
    if not online or "poweroff" in faults:
        say(f"fail ({faults.get('poweroff', 'cluster not running')})\n")
        leave(1)
    change(online, "possible")
    say("done\n")


def status(faults: dict[str, Any]) -> None:
    online = sum(state == "online" for state in nodes().values())
    if faults.get("error"):
        say("status: error\n")
        leave(1)
    say(f"status: up on {online} nodes\n" if online else "status: down\n")


def show() -> None:
    arrive()
    shown = ("possible", "present", "online") if GENERATION == "2.4" else ("present", "online")
    for node, state in sorted(nodes().items()):
        if state in shown:
            say(f"{node}:{state}\n")


def main(words: list[str]) -> None:
    with (STATE / "calls.log").open("a") as log:
        log.write(" ".join(["krgadm", *words]) + "\n")
    faults = load("faults.json")
    if faults.get("outside"):
        if GENERATION == "3.0":
            leave(1, NOT_RUNNING)
        say("Are you sure to run Kerrighed ?\n")
        leave(1)
    command = tuple(words[:2])
    old = GENERATION == "2.4"
    if command in (("nodes",), ("nodes", "status")):
        show()
    elif command in (("cluster",), ("cluster", "status")):
        status(faults)
    elif command == ("cluster", "poweroff"):
        poweroff(faults)
    elif old and command == ("cluster", "start"):
        start(words[2:], faults)
    elif not old and command == ("nodes", "add"):
        add(words[2:], faults)
    elif not old and command == ("nodes", "del"):
        delete(words[2:], faults)
    else:
        leave(99, f"stand-in: not recorded of Kerrighed {GENERATION}: krgadm {' '.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
