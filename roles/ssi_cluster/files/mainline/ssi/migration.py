# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tree of processes goes to another node: stopped, written, made again there, stopped as well, and then one of the two is let
run.

Which one is decided by one record of the process's ledger, `on`, that only one node can append. Whoever is killed or lost in
between, the others read there what they have to do: wake their copy up, or end it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess

from ssi import applications, arrivals, images, location, node, open_files, pids, process, remote
from ssi.errors import SsiError
from ssi.ledger import Ledger, Record
from ssi.membership import View
from ssi.node import Node
from ssi.process import Process

RECEIVERS = f"{node.RUN}/receivers"
# Seconds for the other node to say that the process runs; its member wakes it up later, if need be.
WAKE_TIMEOUT = 60


def folder(pid: int) -> str:
    return f"{node.CHECKPOINTS}/.migrate-{pid}"


def check(here: Node, seen: View, pid: int, target: int, capability: str = "CAN_MIGRATE") -> list[Process]:
    """The processes that would move.

    SsiError: they may not, or cannot.
    """
    if target not in seen.online():
        raise SsiError(f"No such device or address: node {target} is not online in session {here.session}")
    seen.require_online(here.node_id)
    applications.check_folder(here)
    members = process.tree(pid)
    if not members:
        raise SsiError("No such process")
    applications.check_allowed(members, capability)
    opened = open_files.survey(members)
    open_files.check_no_terminal(opened, members)
    open_files.check_shared(opened)
    open_files.check_no_pipe_outside(opened, members)
    return members


def migrate(here: Node, seen: View, pid: int, target: int, capability: str = "CAN_MIGRATE") -> None:
    """Move a process of this node, with its descendants.

    SsiError: it could not be moved; the text says where it is.
    """
    check(here, seen, pid, target, capability)
    ledger = location.ledger(pid)
    number, last = ledger.last()
    record = {
        "event": "moving", "from": here.node_id, "from_boot_id": here.boot_id, "to": target,
        "to_boot_id": seen.states[target].boot_id, "driver": location.driver(), "dumped": False,
    }  # fmt: skip
    if last.get("event") in ("moving", "restarting") or not ledger.append(record, number):
        raise SsiError(
            f"Device or resource busy: process {pid} is being moved or restarted already (ssi-session status)"
        )
    try:
        members = _write(here, pid)
        record = {**record, "dumped": True}
        if not ledger.append(record, number + 1):
            raise SsiError("another node took this one for lost")
        _hand_over(seen, members, target, ledger, number + 2)
    except BaseException as error:
        if _returned(here, pid, ledger):
            if isinstance(error, (SsiError, OSError)):
                place = f"goes on here, on node {here.node_id}" if process.look(pid) else "has ended"
                raise SsiError(f"{error}; process {pid} {place}") from error
            raise
    finally:
        shutil.rmtree(folder(pid), ignore_errors=True)


def _write(here: Node, pid: int) -> list[Process]:
    """Stop the processes and write their images; they stay stopped."""
    members = process.freeze(pid)
    shutil.rmtree(folder(pid), ignore_errors=True)
    os.makedirs(folder(pid))
    application = applications.describe(here, members, open_files.sizes(open_files.survey(members)))
    with open(f"{folder(pid)}/application.json", "w", encoding="utf-8") as file:
        json.dump(application, file)
    images.dump(pid, folder(pid))
    return members


def _hand_over(seen: View, members: list[Process], target: int, ledger: Ledger, number: int) -> None:
    """Have the target make the processes, decide for it, end those here, and have it wake its own.

    SsiError: nothing was decided, or not for the target.
    """
    pid = members[0].pid
    receiver = remote.start(seen, target, ["receive", str(pid)])
    try:
        if _line(receiver, images.TIMEOUT) != "restored":
            _end(receiver)
            raise SsiError(f"node {target}: {_errors(receiver) or 'the connection broke'}")
        # The copy there knows nothing of what came since the images were written.
        disturbed = process.disturbed(members)
        if disturbed:
            names = ", ".join(f"{one.pid} ({one.command})" for one in disturbed)
            raise SsiError(f"{names} was ended, woken up or asked to end while it was on its way")
        record = {"event": "on", "node": target, "boot_id": seen.states[target].boot_id, "awake": False}
        if not ledger.append(record, number):
            raise SsiError("another node took this one for lost")
        process.kill(process.tree(pid))
        with contextlib.suppress(OSError):
            print("go", file=receiver.stdin, flush=True)
        _line(receiver, WAKE_TIMEOUT)
    finally:
        _end(receiver)


def _end(receiver: subprocess.Popen[str]) -> None:
    """The other node learns from the end of its input that it must look at the ledger."""
    with contextlib.suppress(OSError):
        if receiver.stdin:
            receiver.stdin.close()
    try:
        receiver.wait(timeout=15)
    except subprocess.TimeoutExpired:
        receiver.kill()
        receiver.wait()


def _errors(receiver: subprocess.Popen[str]) -> str:
    return receiver.stderr.read().strip() if receiver.stderr else ""


def _line(program: subprocess.Popen[str], seconds: float) -> str:
    """The next line that a program prints; empty where none comes in time or any more."""
    if program.stdout is None or not select.select([program.stdout], [], [], seconds)[0]:
        return ""
    return program.stdout.readline().strip()


def _returned(here: Node, pid: int, ledger: Ledger) -> bool:
    """Decide for this node and wake the processes up; false where it was decided for another: theirs run, ours end."""
    while True:
        number, record = ledger.last()
        if record.get("event") == "on" and record["node"] != here.node_id:
            process.kill(process.tree(pid))
            return False
        if ledger.append(
            {"event": "on", "node": here.node_id, "boot_id": here.boot_id, "awake": True}, number
        ):
            process.thaw(process.tree(pid))
            if pids.home(pid) == here.node_id:
                ledger.remove(number + 1)
            return True


def receive(here: Node, pid: int) -> int:
    """The target's half, which ssi-serve runs: it talks with `_hand_over` by standard input and output."""
    record = location.ledger(pid).last()[1]
    if record.get("event") != "moving" or (record["to"], record["to_boot_id"]) != (
        here.node_id,
        here.boot_id,
    ):
        raise SsiError(f"process {pid} is not on its way to this node")
    os.makedirs(RECEIVERS, exist_ok=True)
    # Kept here: the source tidies the images up once it has decided.
    received = {"driver": location.driver(), "application": applications.read_application(folder(pid))}
    with open(f"{RECEIVERS}/{pid}", "w", encoding="utf-8") as file:
        json.dump(received, file)
    images.restore(folder(pid), f"{node.RUN}/criu/{pid}.log")
    print("restored", flush=True)
    with contextlib.suppress(EOFError):
        input()
    if not finish(here, pid):
        return 1
    with contextlib.suppress(OSError):
        print("running", flush=True)
    return 0


def finish(here: Node, pid: int) -> bool:
    """What has been decided for the copy on this node is done to it. Whether it runs."""
    ledger = location.ledger(pid)
    number, record = ledger.last()
    if record.get("event") == "moving":
        return False  # the source decides, or the member where that is lost
    if record.get("event") == "on" and (record["node"], record["boot_id"]) == (here.node_id, here.boot_id):
        arrivals.note(pid)
        applications.settle(pid, _application(pid))
        ledger.append({**record, "awake": True}, number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{RECEIVERS}/{pid}")
        return True
    process.kill(process.tree(pid))
    return False


def _application(pid: int) -> Record:
    try:
        found: Record = json.loads(node.read(f"{RECEIVERS}/{pid}"))["application"]
    except FileNotFoundError:  # a restart that was broken off at its very end
        return {"capabilities": {}}
    return found


def unfinished() -> dict[int, Record]:
    """Migrations and restarts whose end is not decided, by pid."""
    records = {pid: ledger.last()[1] for pid, ledger in location.ledgers().items()}
    return {pid: record for pid, record in records.items() if record.get("event") in ("moving", "restarting")}


def recover(here: Node, seen: View, pid: int) -> str | None:
    """Bring to an end what a node or a program that died left of this process; what was done, or None.

    Every node's member calls it again and again for every ledger.
    """
    ledger = location.ledger(pid)
    number, record = ledger.last()
    event = record.get("event")
    if event == "moving":
        return _recover_move(here, seen, pid, ledger, number, record)
    if event == "on":
        return _recover_place(here, seen, pid, ledger, number, record)
    if event == "restarting":
        return _recover_restart(here, seen, pid, ledger, number, record)
    return None


def _recover_restart(
    here: Node, seen: View, pid: int, ledger: Ledger, number: int, record: Record
) -> str | None:
    if _is(here, record["node"], record["boot_id"]):
        if location.driven(record):
            return None
        process.kill(process.tree(pid))
    elif _up(seen, record["node"], record["boot_id"]) or not _first(here, seen):
        return None
    # A record, not the end of the ledger: a node that only was silent for long must not find its claim as it was.
    if not ledger.append({"event": "ended"}, number):
        return None
    return f"the restart of {pid} on node {record['node']} was broken off; restart it again"


def _recover_move(
    here: Node, seen: View, pid: int, ledger: Ledger, number: int, record: Record
) -> str | None:
    source_is_up = _up(seen, record["from"], record["from_boot_id"])
    if _is(here, record["from"], record["from_boot_id"]):
        if location.driven(record):
            return None
        shutil.rmtree(folder(pid), ignore_errors=True)
        return (
            f"migrate was killed: process {pid} goes on here, on node {here.node_id}"
            if _returned(here, pid, ledger)
            else None
        )
    if source_is_up:
        return None
    if _is(here, record["to"], record["to_boot_id"]):
        if _received(pid):
            return None
        if process.look(pid):
            if not ledger.append(
                {"event": "on", "node": here.node_id, "boot_id": here.boot_id, "awake": False}, number
            ):
                return None
            finish(here, pid)
            lost = f"node {record['from']} was lost in the middle of a migration"
            return f"{lost}: process {pid} goes on here, on node {here.node_id}"
    elif _up(seen, record["to"], record["to_boot_id"]) or not _first(here, seen):
        return None
    return _make_restartable(pid, ledger, number, record)


def _make_restartable(pid: int, ledger: Ledger, number: int, record: Record) -> str:
    lost = f"node {record['from']} was lost while it moved process {pid} to node {record['to']}"
    try:
        if not record["dumped"]:
            raise SsiError("its images are not complete")
        description = f"migration from node {record['from']} to node {record['to']}, broken off"
        version = applications.publish(
            folder(pid), pid, description, applications.read_application(folder(pid))
        )
    except (SsiError, OSError) as error:
        shutil.rmtree(folder(pid), ignore_errors=True)
        ledger.remove(number)
        return f"{lost}: the process ended with it ({error})"
    ledger.remove(number)
    return f"{lost}: it can be restarted: restart {pid} {version.version}"


def _recover_place(
    here: Node, seen: View, pid: int, ledger: Ledger, number: int, record: Record
) -> str | None:
    if _is(here, record["node"], record["boot_id"]):
        if process.look(pid) is None:
            ledger.remove(number)
        elif not record["awake"] and not _received(pid):
            finish(here, pid)
            return f"process {pid} came to this node, and was woken up late"
        return None
    if _up(seen, record["node"], record["boot_id"]):
        left = process.tree(pid)
        if left and not _received(pid):
            process.kill(left)
            return f"process {pid} runs on node {record['node']}: its stopped copy here was ended"
    elif _first(here, seen) and seen.alive(record["node"]):
        # That node booted again. One that is silent may come back, with the process.
        ledger.remove(number)
        return f"process {pid} ended with node {record['node']}"
    return None


def discard(here: Node) -> None:
    """End copies that came to this node after it was decided for another one, and nobody was left to be told."""
    with contextlib.suppress(FileNotFoundError):
        for pid in map(int, os.listdir(RECEIVERS)):
            record = location.ledger(pid).last()[1]
            if _received(pid) or here.node_id in (record.get("node"), record.get("to")):
                continue
            if pids.home(pid) != here.node_id:
                process.kill(process.tree(pid))
            os.unlink(f"{RECEIVERS}/{pid}")


def _received(pid: int) -> bool:
    """Whether ssi-serve is at work on this process at this moment."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return location.driven(json.loads(node.read(f"{RECEIVERS}/{pid}")))
    return False


def _is(here: Node, number: int, boot_id: str) -> bool:
    return (number, boot_id) == (here.node_id, here.boot_id)


def _up(seen: View, number: int, boot_id: str) -> bool:
    return seen.alive(number) and seen.states[number].boot_id == boot_id


def _first(here: Node, seen: View) -> bool:
    """Whether this node does what one node must do for all."""
    return seen.online()[:1] == [here.node_id]
