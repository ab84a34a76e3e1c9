# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""krgadm: nodes and state of the session, with the words and the output of Kerrighed 3.0, and `cluster start` of 2.4."""

from __future__ import annotations

import getopt
import sys
import time
from typing import Callable

from ssi import membership, node, remote
from ssi.errors import SsiError, Usage
from ssi.membership import View

USAGE = """usage: krgadm nodes [status]
       krgadm nodes add {-a|--all | -c|--count N | -t|--total N | -n|--nodes LIST}
       krgadm nodes del {-a|--all | -c|--count N | -n|--nodes LIST}
       krgadm cluster [status]
       krgadm cluster {start [-n|--nodes LIST] [-a|--auto N] | wait_start | stop | poweroff | reboot}
LIST: 2,3,6-10"""

OPTIONS = {"--all": "-a", "--count": "-c", "--total": "-t", "--nodes": "-n", "--auto": "-a"}


def main(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except Usage:
        print(USAGE, file=sys.stderr)
    except SsiError as error:
        print(error, file=sys.stderr)
    return 1


def _run(arguments: list[str]) -> int:
    noun, verb = (arguments + ["", ""])[:2]
    actions: dict[tuple[str, str], Callable[[node.Node, list[str]], int]] = {
        ("nodes", "status"): _nodes_status, ("nodes", "add"): _nodes_add, ("nodes", "del"): _nodes_del,
        ("cluster", "status"): _cluster_status, ("cluster", "start"): _cluster_start, ("cluster", "wait_start"): _wait_start,
        ("cluster", "stop"): _cluster_stop, ("cluster", "poweroff"): _power, ("cluster", "reboot"): _power,
    }  # fmt: skip
    action = actions.get((noun, verb or "status"))
    if action is None:
        raise Usage(verb)
    try:
        here = node.member()
    except SsiError as error:
        raise SsiError(f"Kerrighed is not running: {error}") from error
    return action(here, [verb, *arguments[2:]])


def _nodes_status(here: node.Node, arguments: list[str]) -> int:
    seen = membership.view(here)
    for number in sorted({*seen.online(), *seen.present()}):
        print(f"{number}:{seen.state(number)}")
    return 0


def _cluster_status(here: node.Node, arguments: list[str]) -> int:
    count = len(membership.view(here).online())
    print(f"status: up on {count} nodes" if count else "status: down")
    return 0


def _choice(arguments: list[str], letters: str, words: list[str]) -> tuple[str, str]:
    """The one option of `nodes add` and `nodes del`."""
    try:
        found, rest = getopt.gnu_getopt(arguments[1:], letters, words)
    except getopt.GetoptError as error:
        raise Usage(str(error)) from error
    if len(found) > 1:
        raise SsiError("Only one of --all, --count, --total or --nodes option is\nsupported. Aborting.")
    if not found or rest:
        raise Usage("an option")
    name, value = found[0]
    return OPTIONS.get(name, name), value


def _nodes_add(here: node.Node, arguments: list[str]) -> int:
    option, value = _choice(arguments, "ac:t:n:", ["all", "count=", "total=", "nodes="])
    if option == "-a":
        seen = membership.view(here)
        wanted = seen.present()
    elif option == "-n":
        listed = membership.parse_list(value)
        seen = _wait_for(here, listed)
        wanted = [number for number in listed if number in seen.present()]
    else:
        seen, wanted = _wait_for_count(here, _count(value), total=option == "-t")
    if not wanted:
        raise SsiError("No present node to add.")
    print(f"Adding nodes [{','.join(map(str, wanted))}]... ", end="", flush=True)
    try:
        membership.add(seen, wanted)
    except SsiError as error:
        raise SsiError(f"fail: {error}") from error
    print("done")
    return 0


def _nodes_del(here: node.Node, arguments: list[str]) -> int:
    option, value = _choice(arguments, "ac:n:", ["all", "count=", "nodes="])
    seen = membership.view(here)
    removable = [number for number in [*seen.online(), *seen.lost()] if number != here.node_id]
    if option == "-a":
        wanted = removable
    elif option == "-c":
        wanted = removable[-_count(value) :]
        if len(wanted) < _count(value):
            raise SsiError("Not enough nodes to remove. Aborting.")
    else:
        wanted = membership.parse_list(value)
    if here.node_id in wanted:
        raise SsiError("Unable to suppress current node.")
    for number in wanted:
        if number not in removable:
            raise SsiError(f"Unable to suppress node {number} (must be 'online').")
    if not wanted:
        raise SsiError("No online node to remove.")
    print(f"Removing nodes [{','.join(map(str, wanted))}]... ", end="", flush=True)
    membership.remove(seen, wanted)
    print("done")
    return 0


def _count(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise Usage(value)
    return int(value)


def _wait_for(here: node.Node, listed: list[int]) -> View:
    """Wait for ever, as Kerrighed does: who must not wait that long ends the program."""
    print("Waiting for nodes to join... ", end="", flush=True)
    while True:
        seen = membership.view(here)
        missing = [number for number in listed if not seen.alive(number)]
        if not missing:
            print("done")
            return seen
        for number in missing:
            print(f"{number:4d}:0" + "\b" * 6, end="", flush=True)
        time.sleep(1)


def _wait_for_count(here: node.Node, count: int, total: bool) -> tuple[View, list[int]]:
    print(f"Waiting for {count} nodes to join... ", end="", flush=True)
    while True:
        seen = membership.view(here)
        there = len(seen.present()) + (len(seen.online()) if total else 0)
        print(f"{there:4d}/{count:<4d}" + "\b" * 9, end="", flush=True)
        if there >= count:
            print(" done")
            return seen, seen.present()[: max(0, count - (len(seen.online()) if total else 0))]
        time.sleep(1)


def _cluster_start(here: node.Node, arguments: list[str]) -> int:
    try:
        found, rest = getopt.gnu_getopt(arguments[1:], "n:a:", ["nodes=", "auto="])
    except getopt.GetoptError as error:
        raise Usage(str(error)) from error
    if rest or len(found) > 1:
        raise Usage("one option")
    option, value = (
        (OPTIONS.get(found[0][0], found[0][0]), found[0][1]) if found else ("-a", str(max(2, here.nodes_min)))
    )
    if membership.view(here).online():
        raise SsiError("Starting cluster... fail (Device or resource busy)")
    if option == "-n":
        wanted: list[int] = membership.parse_list(value)
        seen = _wait_for(here, wanted)
    else:
        seen, wanted = _wait_for_count(here, _count(value), total=True)
    print("Starting cluster... ", end="", flush=True)
    try:
        membership.add(seen, wanted)
    except SsiError as error:
        print(f"fail ({error})")
        return 1
    print("done")
    return 0


def _wait_start(here: node.Node, arguments: list[str]) -> int:
    print("Waiting for cluster to start... ", end="", flush=True)
    while not membership.view(here).online():
        time.sleep(1)
    print("done")
    return 0


def _cluster_stop(here: node.Node, arguments: list[str]) -> int:
    """Kerrighed ends by switching its machines off; here the nodes only stop being one session."""
    print("Stopping cluster... ", end="", flush=True)
    if not membership.view(here).online():
        print("fail (cluster not running)")
        return 1
    membership.stop()
    print("done")
    return 0


def _power(here: node.Node, arguments: list[str]) -> int:
    action = arguments[0]
    print(
        "Shutting down cluster... " if action == "poweroff" else "Rebooting cluster... ", end="", flush=True
    )
    seen = membership.view(here)
    if not seen.online():
        print("fail (cluster not running)")
        return 1
    failed: SsiError | None = None
    for number in [
        *(other for other in seen.online() if other != here.node_id),
        here.node_id,
    ]:  # this node last
        try:
            remote.ask(here, seen, number, [action])
        except SsiError as error:
            failed = error
    print(f"fail ({failed})" if failed else "done")
    return 1 if failed else 0
