# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is in the session, as its shared folder says: nodes/ID/state.json is a node's heartbeat, members/ who is online.

A heartbeat's age is the difference of two times that the NFS server set, so that no node's clock matters.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from ssi import node as this
from ssi.errors import SsiError
from ssi.ledger import Ledger, Record
from ssi.node import Node

HEARTBEAT = 2.0  # seconds between two heartbeats
LOST = 60.0  # seconds without one after which a node is taken for dead


class State(NamedTuple):
    """A node's heartbeat."""

    node_id: int
    name: str
    address: str
    boot_id: str
    kernel: str
    image_id: str
    cpus: int
    load: float  # of /proc/loadavg, one minute
    running: float  # processes that want a CPU, for each CPU; a mean over seconds
    memory_total: int  # bytes
    memory_free: int  # bytes, without what can be dropped
    arrived: int  # processes that came lately and are not in `running` yet
    note: str  # why it is not online, where it ought to be
    age: float = 0.0  # seconds


class View(NamedTuple):
    """All nodes at one moment."""

    states: dict[int, State]
    members: Record

    def alive(self, node_id: int) -> bool:
        return node_id in self.states and self.states[node_id].age <= LOST

    def online(self) -> list[int]:
        """Members that are up, and have been since they became members."""
        kept = self.members.get("members", {})
        return [
            number
            for number in sorted(self.states)
            if self.alive(number) and kept.get(str(number)) == self.states[number].boot_id
        ]

    def present(self) -> list[int]:
        """Nodes that are up and no members."""
        online = self.online()
        return [number for number in sorted(self.states) if self.alive(number) and number not in online]

    def lost(self) -> list[int]:
        """Members that do not answer any more."""
        return [
            number for number in sorted(map(int, self.members.get("members", {}))) if not self.alive(number)
        ]

    def state(self, node_id: int) -> str:
        return "online" if node_id in self.online() else "present" if self.alive(node_id) else "lost"

    def require_online(self, node_id: int) -> None:
        """SsiError: the node, on which a process is to start or from which one is to go, is no member."""
        if node_id not in self.online():
            raise SsiError(
                f"Operation not permitted: node {node_id} is not online; krgadm nodes add -n {node_id}"
            )


def beat(node: Node, **measured: Any) -> None:
    """Write this node's heartbeat. `measured`: the fields of State that change."""
    folder = node_folder(node.node_id)
    os.makedirs(folder, exist_ok=True)
    fields = {
        name: getattr(node, name)
        for name in ("node_id", "name", "address", "boot_id", "kernel", "image_id", "cpus")
    }
    replace(f"{folder}/state.json", json.dumps({**fields, **measured}))


def view(node: Node) -> View:
    """The session as it is now, seen from this node."""
    shared = this.SHARED
    clock = f"{shared}/nodes/{node.node_id}/clock"
    os.makedirs(os.path.dirname(clock), exist_ok=True)
    with open(clock, "w", encoding="ascii") as file:
        file.write("0")
    now = os.stat(clock).st_mtime
    states = {}
    for name in os.listdir(f"{shared}/nodes"):
        state = read_state(f"{shared}/nodes/{name}/state.json", now)
        if state is not None and name == str(state.node_id):
            states[state.node_id] = state
    return View(states, members().last()[1])


def read_state(path: str, now: float) -> State | None:
    """A heartbeat, or None where there is none that can be read. `now`: the server's time."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
            age = now - os.fstat(file.fileno()).st_mtime
        return State(**{name: found[name] for name in State._fields if name != "age"}, age=max(0.0, age))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def members() -> Ledger:
    return Ledger(f"{this.SHARED}/members")


def node_folder(node_id: int) -> str:
    return f"{this.SHARED}/nodes/{node_id}"


def check_alike(states: Iterable[State]) -> None:
    """SsiError: two of these nodes run different kernels or images, between which no process could move."""
    known = sorted(states)
    for what, field in (("kernel", "kernel"), ("image", "image_id")):
        for other in known[1:]:
            first = known[0]
            if getattr(first, field) != getattr(other, field):
                raise SsiError(
                    f"nodes of one session must run one {what}: "
                    f"node {first.node_id} ({first.name}) runs {getattr(first, field)}, "
                    f"node {other.node_id} ({other.name}) runs {getattr(other, field)}"
                )


def check_number(node: Node, seen: View) -> None:
    """SsiError: another node that is up has this node's number."""
    holder = seen.states.get(node.node_id)
    if (
        holder
        and seen.alive(node.node_id)
        and holder.boot_id != node.boot_id
        and holder.address != node.address
    ):
        raise SsiError(
            f"node id {node.node_id} is held by {holder.name} ({holder.address}) in session {node.session}; "
            f"give {node.name} another one"
        )


def add(seen: View, added: Iterable[int]) -> None:
    """Make present nodes members, and the session one that is up.

    SsiError: they are not all of one kernel and image, among themselves and with those that are online.
    """
    new = sorted(added)
    check_alike(seen.states[number] for number in {*new, *seen.online()})

    def change(record: Record) -> Record:
        kept = {**record.get("members", {}), **{str(number): seen.states[number].boot_id for number in new}}
        dismissed = {
            number: boot for number, boot in record.get("dismissed", {}).items() if int(number) not in new
        }
        return {"formed": True, "stopped": False, "members": kept, "dismissed": dismissed}

    members().change(change)


def remove(seen: View, removed: Iterable[int]) -> None:
    """Make members none; those that are up stay so until they boot again or are added."""
    gone = {str(number) for number in removed}

    def change(record: Record) -> Record:
        kept = record.get("members", {})
        dismissed = {
            **record.get("dismissed", {}),
            **{number: kept[number] for number in gone if number in kept},
        }
        return {
            **record,
            "members": {number: boot for number, boot in kept.items() if number not in gone},
            "dismissed": dismissed,
        }

    members().change(change)


def stop() -> None:
    """End the session: no node is a member, and none becomes one by itself."""
    members().change(lambda record: {"formed": False, "stopped": True, "members": {}, "dismissed": {}})


def automatic(node: Node, seen: View) -> list[int]:
    """Which nodes become members now without being told: all that are up once they are enough, later each that comes."""
    record = seen.members
    if not node.nodes_min or record.get("stopped") or node.node_id in seen.online():
        return []
    if record.get("formed") and (seen.online() or record.get("members")):
        return [] if record.get("dismissed", {}).get(str(node.node_id)) == node.boot_id else [node.node_id]
    return seen.present() if len(seen.present()) >= node.nodes_min else []


def replace(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file that others see whole or not at all."""
    written = f"{path}.{os.getpid()}.new"
    with open(written, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    try:
        os.replace(written, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written)
        raise


def parse_list(text: str) -> list[int]:
    """Node ids of Kerrighed's grammar: item(,item)*, item = id | id-id."""
    numbers: set[int] = set()
    for item in text.split(","):
        first, dash, last = item.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise SsiError(f"'{text}' is no list of node ids; write for example 2,3,6-10")
        numbers.update(range(int(first), int(last or first) + 1))
    return sorted(numbers)
