# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-session: bring this node into a session, or out of it, at run time, and say how it stands."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

from ssi import command_ssi_member, errors, location, membership, migration, node, pids, process, remote
from ssi.errors import SsiError
from ssi.node import Node

USAGE = """usage: ssi-session join SESSION [NODE_ID]    the node is present then; krgadm nodes add makes it a member
       ssi-session leave
       ssi-session [status]"""


def main(arguments: list[str]) -> int:
    verb, numbers = (arguments or ["status"])[0], arguments[1:]
    counts = {"join": (1, 2), "leave": (0,), "status": (0,)}
    if len(numbers) not in counts.get(verb, ()) or not all(word.isdigit() for word in numbers):
        print(USAGE, file=sys.stderr)
        return 1
    actions = {"join": lambda: _join(*map(int, numbers)), "leave": _leave, "status": _status}
    return errors.run(actions[verb], "ssi-session")


def _join(session: int, node_id: int = 0) -> int:
    wished = {"session_id": session, "nb_nodes_min": 0}
    given = node.parameters(node.read("/proc/cmdline"))
    if node_id:
        wished.update(node_id=node_id, autonodeid=0)
    elif "node_id" not in given:
        wished.update(autonodeid=1)
    node.identity(
        {**given, **{name: str(value) for name, value in wished.items()}}, "0.0.0.1"
    )  # refuses numbers out of range
    held = node.load()
    if held and node.mounted(node.SHARED) == held.source:
        if held.session == session and node_id in (0, held.node_id):
            print(f"node {held.node_id} is in session {session} already")
            return 0
        _leave()
    os.makedirs(node.RUN, exist_ok=True)
    membership.replace(f"{node.RUN}/joined", json.dumps(wished))
    _member("start")
    here = node.member()
    print(f"node {here.node_id} is present in session {session}")
    return 0


def _member(action: str) -> None:
    said = subprocess.run(
        ["systemctl", action, "ssi-member.service"], capture_output=True, text=True, check=False
    )
    if said.returncode:
        why = said.stderr.strip()
        with contextlib.suppress(FileNotFoundError):
            why = node.read(command_ssi_member.REFUSED).strip()
        raise SsiError(f"ssi-member.service does not {action}: {why}")


def _leave() -> int:
    here = node.load()
    if here is None or node.mounted(node.SHARED) is None:
        print("this node is in no session")
        return 0
    held = sorted(
        pid
        for pid, ledger in location.ledgers().items()
        if pids.home(pid) != here.node_id and _here(here, pid, ledger.last()[1])
    )
    if held:
        raise SsiError(
            f"processes of other nodes run here: {', '.join(map(str, held))}; migrate them away first"
        )
    membership.remove(membership.view(here), [here.node_id])
    _member("stop")
    folder = membership.node_folder(here.node_id)
    for name in ("key.pub", "host.pub", "state.json", "clock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")
    try:
        node.unmount()
    except SsiError:
        node.mount(here)
        _member("start")
        raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(remote.AUTHORIZED)
    membership.replace(f"{node.RUN}/joined", json.dumps({"session_id": ""}))
    print(f"node {here.node_id} left session {here.session}")
    return 0


def _here(here: Node, pid: int, record: dict[str, object]) -> bool:
    return location.expected(pid, record) == (here.node_id, here.boot_id) and process.look(pid) is not None


def _status() -> int:
    try:
        here = node.member()
    except SsiError:
        with contextlib.suppress(FileNotFoundError):
            raise SsiError(f"in no session: {node.read(command_ssi_member.REFUSED).strip()}") from None
        print("spare: in no session")
        return 1
    seen = membership.view(here)
    print(f"session: {here.session} node_id: {here.node_id} state: {seen.state(here.node_id)}")
    for title, numbers in (("online", seen.online()), ("present", seen.present()), ("lost", seen.lost())):
        print(f"{title}: {','.join(map(str, numbers)) or 'none'}")
    for number, state in sorted(seen.states.items()):
        if state.note and seen.alive(number):
            print(f"node {number} stays out: {state.note}")
    open_ends = migration.unfinished()
    print("unfinished migrations:" + ("" if open_ends else " none"))
    for pid, record in sorted(open_ends.items()):
        if record["event"] == "moving":
            how = "its images are complete" if record["dumped"] else "its images are not complete"
            print(
                f"  process {pid}: from node {record['from']} to node {record['to']}, stopped on node {record['from']}, {how}"
            )
        else:
            print(f"  process {pid}: being restarted on node {record['node']} from {record['images']}")
    return 0
