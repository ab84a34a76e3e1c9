# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a process of the session is. At home, in whose range its pid lies, unless its ledger says otherwise.

Records of the ledger, which is also the journal of a migration: `event` is `moving` (from, to, images, driver), `on` (node),
`restarting` (node, images, driver).
"""

from __future__ import annotations

import os
from collections.abc import Collection

from ssi import node, pids, process, remote
from ssi.errors import SsiError
from ssi.ledger import Ledger, Record
from ssi.membership import View
from ssi.node import Node

FOLDER = f"{node.SHARED}/processes"


def ledger(pid: int) -> Ledger:
    return Ledger(f"{FOLDER}/{pid}")


def ledgers() -> dict[int, Ledger]:
    """Of all processes that ever moved or restarted and may still live."""
    try:
        return {int(name): ledger(int(name)) for name in os.listdir(FOLDER) if name.isdigit()}
    except FileNotFoundError:
        return {}


def expected(pid: int, record: Record) -> tuple[int, str | None]:
    """Number and boot id (None: whichever) of the node where a process must be, if it lives."""
    if record.get("event") in ("on", "restarting"):
        return record["node"], record["boot_id"]
    if record.get("event") == "moving":
        return record["from"], record["from_boot_id"]
    return pids.home(pid), None


def living(here: Node, seen: View, wanted: Collection[int]) -> dict[int, int]:
    """Node number by pid, of those processes that live anywhere in the session."""
    asked: dict[int, list[int]] = {}
    for pid in wanted:
        number, boot_id = expected(pid, ledger(pid).last()[1])
        up_since = (
            here.boot_id
            if number == here.node_id
            else seen.states[number].boot_id
            if seen.alive(number)
            else ""
        )
        if up_since and boot_id in (None, up_since):
            asked.setdefault(number, []).append(pid)
    found = {pid: here.node_id for pid in asked.pop(here.node_id, []) if process.look(pid)}
    for number, candidates in asked.items():
        for word in remote.ask(here, seen, number, ["alive", *map(str, candidates)]).split():
            found[int(word)] = number
    return found


def where(here: Node, seen: View, pid: int) -> int | None:
    """Number of the node where the process lives; None where there is no such process in the session."""
    return living(here, seen, [pid]).get(pid)


def require(here: Node, seen: View, pid: int) -> int:
    """SsiError: there is no such process."""
    number = where(here, seen, pid)
    if number is None:
        home = pids.home(pid)
        if home == 0 or home not in seen.states:
            raise SsiError(
                f"No such process: pid {pid} is in the range of no node of this session; "
                "processes that started before their node joined stay outside"
            )
        raise SsiError(f"No such process: {pid} runs on no node of this session")
    return number


def elsewhere(here: Node) -> set[int]:
    """Pids of this node's range whose processes are on other nodes, or may come back: they must not be given again."""
    return {pid for pid in ledgers() if pids.home(pid) == here.node_id}


def driver() -> dict[str, int]:
    """Names the process that carries a migration or a restart out, so that others see whether it still does."""
    me = process.look(os.getpid())
    return {"pid": os.getpid(), "start": me.start if me else 0}


def driven(record: Record) -> bool:
    """Whether that process, of this node, still lives."""
    return process.same(record["driver"]["pid"], record["driver"]["start"])
