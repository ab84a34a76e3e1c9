# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Nodes that begin a step together: who is on the way is waited for, who failed comes again with those who failed as often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Broadcast
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MakeBroadcast = Callable[[str, Sequence[str]], Broadcast]
"""From an implementation's name and the nodes' names, in the order of a chain."""


class Gone(Exception):
    """The node was given up while it waited."""


class Round:
    """Nodes that are in the step at the same time, and their broadcast, which starts with the first and stops with the last."""

    def __init__(self, implementation: str, members: Sequence[str], make: MakeBroadcast) -> None:
        self.members = tuple(members)
        self.inside = set(members)
        self._implementation = implementation
        self._make = make
        self._starting = threading.Lock()
        self._stopped = False
        self._broadcast: Broadcast | None = None
        self._fault: ClusterError | None = None

    def broadcast(self) -> Broadcast:
        """The started server side; raises the ClusterError of a start that failed, to each member."""
        with self._starting:
            if self._fault is None and self._broadcast is None:
                try:
                    self._broadcast = self._make(self._implementation, self.members)
                    self._broadcast.start()
                except ClusterError as error:
                    self._fault = error
            if self._fault or not self._broadcast:
                raise ClusterError(f"the broadcast did not start: {self._fault}")
            return self._broadcast

    def stop(self) -> None:
        with self._starting:
            if self._broadcast and not self._stopped:
                self._stopped = True
                self._broadcast.stop()


class Gathering:
    """The nodes of one wave on their way to one step, by how often each has failed before."""

    def __init__(self, names: Sequence[str], coming: Iterable[str], make: MakeBroadcast) -> None:
        """``names`` are all nodes of the wave in the order of a chain, ``coming`` those who will arrive if all goes well."""
        self._names = names
        self._make = make
        self._changed = threading.Condition()
        self._failures = dict.fromkeys(names, 0)
        self._coming = set(coming)
        self._given_up: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._rounds: dict[str, Round] = {}
        self._all: list[Round] = []

    def arrive(self, name: str, implementation: str) -> Round:
        """Wait until all that may still come are here; raises Gone for a node that was given up meanwhile."""
        with self._changed:
            self._rounds.pop(name, None)
            self._coming.add(name)
            self._waiting[name] = implementation
            self._open()
            while name not in self._rounds:
                if name in self._given_up:
                    raise Gone
                self._changed.wait()
            return self._rounds[name]

    def depart(self, name: str, *, again: bool) -> None:
        """The node's step has ended; the broadcast stops with the last.

        A node that comes ``again`` after a failure waits for that: whom one broken chain failed come again together.
        """
        with self._changed:
            current = self._rounds[name]
            again = again and name not in self._given_up
            if again:
                self._coming.add(name)
                self._failures[name] += 1
            current.inside.discard(name)
            over = not current.inside
            self._changed.notify_all()
        if over:
            current.stop()
        with self._changed:
            while again and current.inside:
                self._changed.wait()

    def again(self, name: str) -> None:
        """The node failed elsewhere and comes once more, with others that failed as often."""
        with self._changed:
            self._coming.add(name)
            self._failures[name] += 1
            self._open()

    def leave(self, name: str, *, given_up: bool = False) -> None:
        """The node does not come (any more): it passed, stopped, failed for good or was given up."""
        with self._changed:
            if given_up:
                self._given_up.add(name)
            self._coming.discard(name)
            self._waiting.pop(name, None)
            current = self._rounds.get(name)
            over = bool(current and current.inside == {name})
            if current:
                current.inside.discard(name)
            self._open()
            self._changed.notify_all()
        if current and over:
            current.stop()

    def close(self) -> None:
        """Stop whatever still runs."""
        for one in self._all:
            one.stop()

    def _open(self) -> None:
        """Start a round for those whom nobody is on the way to join. The caller holds the lock."""
        for failures in set(self._failures[name] for name in self._waiting):
            group = [
                name for name in self._names if name in self._coming and self._failures[name] == failures
            ]
            if not all(name in self._waiting for name in group):
                continue
            chosen = {name: self._waiting.pop(name) for name in group}
            self._coming.difference_update(group)
            for implementation in dict.fromkeys(chosen.values()):
                members = [name for name in group if chosen[name] == implementation]
                one = Round(implementation, members, self._make)
                self._all.append(one)
                self._rounds.update(dict.fromkeys(members, one))
        self._changed.notify_all()
