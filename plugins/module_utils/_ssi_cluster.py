# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A session of an SSI cluster: look at it, and bring it to the nodes that are wished for, by its flavour's commands."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import (
    CommandTimeout,
    Entry,
    EntryLost,
    Said,
    fill,
    line,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import refuse
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import number, parse_nodes, search

LOOK_TIMEOUT = 120
"""Seconds for a command that only tells something."""
PAUSE = 0.5
"""Seconds between two looks; krgadm itself looks once a second."""
PARALLEL = 16

Flavour = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """What the session says of itself; not ``running`` where the commands say that there is no SSI system here."""

    running: bool = True
    up: bool = False
    count: int = 0
    nodes: Mapping[int, str] = field(default_factory=dict)

    @property
    def members(self) -> set[int]:
        return {node for node, state in self.nodes.items() if state == "online"} if self.up else set()

    @property
    def there(self) -> set[int]:
        """Members, and nodes that are up and could be."""
        return {node for node, state in self.nodes.items() if state != "possible"}

    def lines(self) -> str:
        """For a diff."""
        status = f"status: {'up' if self.up else 'down'}\n"
        return status + "".join(f"{node}:{state}\n" for node, state in sorted(self.nodes.items()))


@dataclass(frozen=True)
class Wish:
    """``nodes``: who shall be a member, None for all that are up. ``timeout`` in seconds, for everything together."""

    state: str
    session: int
    nodes: tuple[int, ...] | None = None
    exact: bool = True
    timeout: float = 120


@dataclass(frozen=True)
class Outcome:
    before: View
    after: View
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    waited: float = 0

    @property
    def changed(self) -> bool:
        return bool(self.added or self.removed or self.before.up != self.after.up)


def settle(flavour: Flavour, entries: Sequence[Entry], wish: Wish, check: bool = False) -> Outcome:
    """Bring the session to what is wished; with ``check`` only say what would happen.

    ``entries`` lead to a node of the session, or to each of its nodes where the flavour's commands work on one node only.
    Raises ClusterError for a wish that is wrong or impossible before anything is done, and for one that did not come
    true within its timeout.
    """
    check_wish(flavour, wish)
    work = Work(flavour, entries, wish, time.monotonic())
    return work.stop(check) if wish.state == "stopped" else work.form(check)


def check_wish(flavour: Flavour, wish: Wish) -> None:
    """Raises ClusterError for numbers that the flavour does not have."""
    limits = flavour["limits"]
    within(wish.session, limits["session"], "session", flavour)
    nodes = wish.nodes
    if nodes is None:
        return
    for node in nodes:
        within(node, limits["node_id"], "nodes: node id", flavour)
    twice = sorted({node for node in nodes if nodes.count(node) > 1})
    if twice:
        raise ClusterError(f"nodes: {fold(twice)} is there twice; each node id belongs to one node")
    lowest, highest = limits["nodes"]
    within(len(nodes), (lowest if wish.exact else 0, highest), "nodes: the number of nodes,", flavour)


def within(value: int, limits: Sequence[int], what: str, flavour: Flavour) -> None:
    lowest, highest = limits
    if not lowest <= value <= highest:
        raise ClusterError(
            f"{what} {value} lies outside {lowest} to {highest}, the limits of {flavour['name']}"
        )


def look(flavour: Flavour, entry: Entry) -> View:
    """Ask the entry node; raises ClusterError where an answer is none that the flavour knows."""
    commands = flavour["commands"]
    rule = commands["nodes"]
    said = entry.run(rule["argv"], timeout=LOOK_TIMEOUT)
    if search(commands["not_running"], said.text):
        return View(running=False)
    if search(rule["none"], said.text):
        return View()
    if said.code:
        raise ClusterError(told(rule["argv"], said))
    try:
        nodes = parse_nodes(said.out, rule)
    except ClusterError as error:
        raise ClusterError(f"{shlex.join(rule['argv'])}: {error}") from error
    if rule["ask"]:
        nodes = ask(rule["ask"], entry, nodes)
    online = sum(state == "online" for state in nodes.values())
    status = commands["status"]
    if status is None:
        return View(up=online > 0, count=online, nodes=nodes)
    said = entry.run(status["argv"], timeout=LOOK_TIMEOUT)
    if search(commands["not_running"], said.text):
        return View(running=False)
    up = search(status["up"], said.text)
    if up is None and not search(status["down"], said.text):
        what = "the session is in error" if search(status["error"], said.text) else "this is no known status"
        raise ClusterError(f"{what}: {told(status['argv'], said)}")
    return View(up=up is not None, count=int(up.groupdict().get("count") or online) if up else 0, nodes=nodes)


def ask(rule: Mapping[str, Any], entry: Entry, nodes: Iterable[int]) -> dict[int, str]:
    """Whether each node is online, from a command that tells it of one."""

    def state(node: int) -> tuple[int, str]:
        said = entry.run(fill(rule["argv"], node_id=node), timeout=LOOK_TIMEOUT)
        return node, "online" if search(rule["online"], said.text) else "possible"

    with ThreadPoolExecutor(PARALLEL) as pool:
        return dict(pool.map(state, nodes))


def told(argv: Sequence[str], said: Said) -> str:
    ending = f"ended with {said.code} and " if said.code else ""
    return f"{shlex.join(argv)} {ending}said: {line(said.text)}"


@dataclass(frozen=True)
class Work:
    """One call: where its session is, what is wished, and since when (of the monotonic clock)."""

    flavour: Flavour
    entries: Sequence[Entry]
    wish: Wish
    started: float

    @property
    def waited(self) -> float:
        return round(time.monotonic() - self.started, 1)

    @property
    def left(self) -> float:
        return self.wish.timeout - (time.monotonic() - self.started)

    @property
    def label(self) -> str:
        return f"session {self.wish.session}"

    def look(self) -> View:
        return look(self.flavour, self.entries[0])

    def form(self, check: bool) -> Outcome:
        before = self.reach(check)
        added, removed = self.difference(before)
        self.refuse_impossible(before, added, removed)
        if before.up and not added and not removed:
            return Outcome(before, before)
        if check:
            changed = {**dict.fromkeys(added, "online"), **dict.fromkeys(removed, "present")}
            nodes = {**before.nodes, **changed}
            online = sum(state == "online" for state in nodes.values())
            return Outcome(before, View(True, True, online, nodes), added, removed)
        view = self.wait_for_nodes(before)
        added, removed = self.difference(view)
        self.refuse_impossible(view, added, removed)
        if added or not view.up:
            self.carry_out("grow" if view.up else "form", added)
        if removed:
            self.carry_out("shrink", removed)
        after = self.wait_for(
            lambda view: self.settled(view, added, removed),
            lambda view: (
                f"nodes {fold(set(added) - view.members | set(removed) & view.members)} did not follow"
            ),
        )
        return Outcome(before, after, added, removed, self.waited)

    def stop(self, check: bool) -> Outcome:
        action = self.flavour["commands"]["stop"]
        try:
            self.check_session()
            before = self.look()
        except EntryLost as error:
            if error.gone and action and action["powers_off"]:
                return Outcome(View(), View())
            raise
        if not before.up:
            return Outcome(before, before)
        if action is None:
            raise refuse(self.flavour, "stop", f"{self.label}: stop")
        after = View(nodes={} if action["powers_off"] else dict.fromkeys(before.nodes, "present"))
        removed = tuple(sorted(before.members))
        if not check:
            try:
                self.carry_out("stop", removed)
            except EntryLost:
                # the answer went down with the node that should have given it
                if not action["powers_off"]:
                    raise
            if not action["powers_off"]:
                after = self.wait_for(lambda view: not view.up, lambda view: "it is still up")
        return Outcome(before, after, (), removed, self.waited)

    def reach(self, check: bool) -> View:
        """The first look; a node that boots may let nobody in for a while."""
        while True:
            try:
                self.check_session()
                return self.look()
            except EntryLost as error:
                if check or not error.may_come or self.left <= 0:
                    raise
            time.sleep(PAUSE)

    def check_session(self) -> None:
        """Raises ClusterError where the entry node is one of another session."""
        rule = self.flavour["commands"]["session"]
        if rule is None:
            return
        found = search(rule["number"], self.entries[0].run(rule["argv"], timeout=LOOK_TIMEOUT).text)
        if found and int(found["session"]) != self.wish.session:
            raise ClusterError(f"{self.label}: the entry node belongs to session {found['session']}")

    def difference(self, view: View) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Who has to come, who has to go."""
        if self.wish.nodes is None:
            return tuple(sorted(view.there - view.members)), ()
        wanted = set(self.wish.nodes)
        extra = view.members - wanted if self.wish.exact else set()
        return tuple(sorted(wanted - view.members)), tuple(sorted(extra))

    def refuse_impossible(self, view: View, added: Sequence[int], removed: Sequence[int]) -> None:
        commands = self.flavour["commands"]
        name = "grow" if view.up else "form"
        if (added or not view.up) and commands[name] is None:
            raise refuse(self.flavour, name, f"{self.label}: {name} by nodes {fold(added)}")
        if removed and commands["shrink"] is None:
            raise refuse(self.flavour, "shrink", f"{self.label}: shrink by nodes {fold(removed)}")

    def settled(self, view: View, added: Iterable[int], removed: Iterable[int]) -> bool:
        lowest = self.flavour["limits"]["nodes"][0] if self.wish.nodes is None else 0
        changed = set(added) <= view.members and not set(removed) & view.members
        return view.up and changed and len(view.members) >= lowest

    def wait_for_nodes(self, view: View) -> View:
        """Until all that shall come are up: krgadm itself would wait for them for ever."""
        if "present" not in self.flavour["commands"]["nodes"]["states"].values():
            return view

        def ready(view: View) -> bool:
            if self.wish.nodes is None:
                return view.up or len(view.there) >= self.flavour["limits"]["nodes"][0]
            return set(self.wish.nodes) <= view.there

        def missing(view: View) -> str:
            if not view.running:
                return f"{self.flavour['name']} does not run on the entry node"
            absent = set(self.wish.nodes or ()) - view.there
            who = f"nodes {fold(absent)} are not up" if absent else f"only {len(view.there)} nodes are up"
            return f"{who}; did they boot with session {self.wish.session}?"

        return self.wait_for(ready, missing)

    def wait_for(self, ready: Callable[[View], bool], missing: Callable[[View], str]) -> View:
        """Look until ``ready``; raises ClusterError with what is ``missing`` when the time is over."""
        while True:
            view = self.look()
            if ready(view):
                return view
            if self.left <= 0:
                raise ClusterError(f"{self.label}: after {self.wish.timeout:g} s {missing(view)}")
            time.sleep(min(PAUSE, max(self.left, 0.01)))

    def carry_out(self, name: str, nodes: Sequence[int]) -> None:
        """One of the flavour's actions, on every node where it asks for that."""
        commands = self.flavour["commands"]
        action = commands[name]
        everybody = self.wish.nodes is None and action["all"]
        entries = self.entries if commands["on_every_node"] else self.entries[:1]

        def work(entry: Entry) -> None:
            for argv in action["all"] if everybody else action["argv"]:
                command = fill(argv, nodes=fold(nodes), session=self.wish.session)
                self.judge(name, action, command, entry)

        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(work, entries))

    def judge(self, name: str, action: Mapping[str, Any], command: Sequence[str], entry: Entry) -> None:
        try:
            said = entry.run(command, timeout=max(self.left, 1))
        except CommandTimeout as error:
            raise ClusterError(f"{self.label}: {name}: {error}; {self.who()}") from error
        failed = search(action["failed"], said.text)
        if failed:
            reason = failed.groupdict().get("reason") or failed.group()
            raise ClusterError(f"{self.label}: {name}: {shlex.join(command)}: {reason.strip()}")
        if said.code or (action["done"] and not search(action["done"], said.text)):
            raise ClusterError(f"{self.label}: {name}: {told(command, said)}")

    def who(self) -> str:
        try:
            view = self.look()
        except ClusterError as error:
            return str(error)
        return "members are now " + (fold(view.members) or "none")


def inspect(flavour: Flavour, entry: Entry) -> dict[str, Any]:
    """What the session says of itself: status, count, nodes (with what they carry), findings of its health."""
    view = look(flavour, entry)
    carried = loads(flavour["commands"]["load"], entry) if view.running else {}
    return {
        "status": "not_running" if not view.running else "up" if view.up else "down",
        "count": view.count,
        "nodes": [{**node, **carried.get(node["node_id"], {})} for node in as_list(view)],
        "health": [finding for rule in flavour["health"] for finding in examine(rule, entry)],
    }


def loads(rule: Mapping[str, Any] | None, entry: Entry) -> dict[int, dict[str, Any]]:
    """By node id, what the flavour's command tells: the groups of its lines, numbers as numbers, or JSON."""
    if rule is None:
        return {}
    said = entry.run(rule["argv"], timeout=LOOK_TIMEOUT)
    if said.code:
        raise ClusterError(told(rule["argv"], said))
    if rule["line"] is None:
        return as_json(rule["argv"], said.out)
    found = {}
    for text in said.out.splitlines():
        match = search(rule["line"], text)
        if match:
            values = match.groupdict()
            node = int(values.pop("node_id"), 0)
            found[node] = {name: number(value) for name, value in values.items() if value is not None}
    return found


def as_json(argv: Sequence[str], text: str) -> dict[int, dict[str, Any]]:
    """A list of mappings with a ``node_id``; what the session says of a node's state stands elsewhere."""
    try:
        return {
            int(row["node_id"]): {
                name: value for name, value in row.items() if name not in ("node_id", "state")
            }
            for row in json.loads(text)
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"{shlex.join(argv)} printed no list of nodes as JSON: {line(text)[:200]}"
        ) from error


def examine(rule: Mapping[str, Any], entry: Entry) -> list[dict[str, str]]:
    """A finding where the command's answer is not the healthy one; also where there is no such command."""
    try:
        text = entry.run(rule["argv"], timeout=LOOK_TIMEOUT).text
    except EntryLost:
        raise
    except ClusterError as error:
        text = str(error)
    if search(rule["match"], text):
        return []
    return [{"means": rule["means"], "command": shlex.join(rule["argv"]), "said": line(text)}]


def as_list(view: View) -> list[dict[str, Any]]:
    return [{"node_id": node, "state": state} for node, state in sorted(view.nodes.items())]


def fold(nodes: Iterable[int]) -> str:
    """``2,3,6-10``, as krgadm takes them: item(,item)*, an item is an id or id-id."""
    runs: list[list[int]] = []
    for node in sorted(nodes):
        if runs and node == runs[-1][-1] + 1:
            runs[-1][1:] = [node]
        else:
            runs.append([node])
    return ",".join("-".join(map(str, run)) for run in runs)
