# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The journal of a deployment: one JSON record a line for every transition, appended as it happens, never rewritten.

Every record has ``time`` (Unix seconds), ``deployment``, ``event``, and where they are known ``node``, ``macro``,
``implementation``, ``micro``, ``attempt``, ``seconds``, ``message``, ``evidence`` (list of lines), ``advice``.

| event | of |
|---|---|
| ``begin`` | the deployment, by one process; ``order`` says what is deployed, ``nodes`` where to; a rerun begins again |
| ``enter`` | a node enters one attempt at an implementation of a macro-step; ``fresh`` where nothing of before holds |
| ``wait`` | a node waits for others before ``micro``; the time is not counted |
| ``start``, ``ok``, ``failed`` | a micro-step; without ``micro``, ``ok`` and ``failed`` close what ``enter`` opened |
| ``said`` | a line of evidence while a micro-step runs |
| ``brk`` | a node stopped before ``micro`` |
| ``outcome`` | the end of a node: ``outcome`` is ok, ko, brk or discarded |
| ``end`` | the deployment is over |

``ok`` of a micro-step has ``notes``: what it left for later micro-steps.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

Record = dict[str, Any]


class Journal:
    """Appends records; any number of threads. Each record is one ``write``, so that a kill tears at most the last line."""

    def __init__(self, path: Path, deployment: str) -> None:
        """Raises ClusterError where ``path`` cannot be written."""
        self.path = path
        self.deployment = deployment
        self._lock = threading.Lock()
        try:
            self._stream = path.open("ab", buffering=0)
            if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                # the torn line of a killed run stays a line of its own
                self._stream.write(b"\n")
        except OSError as error:
            raise ClusterError(f"cannot write the journal {path}: {error.strerror}") from error

    def write(self, event: str, **fields: Any) -> None:
        """``fields`` that are None, false or empty are left out."""
        kept = {name: value for name, value in fields.items() if value or isinstance(value, float)}
        record = {"time": round(time.time(), 3), "deployment": self.deployment, "event": event, **kept}
        line = json.dumps(record, default=str).encode() + b"\n"
        with self._lock:
            # threads of nodes may outlive an engine that was told to end
            if not self._stream.closed:
                self._stream.write(line)

    def close(self) -> None:
        """Also for those who read it after a power cut."""
        with self._lock:
            os.fsync(self._stream.fileno())
            self._stream.close()


def read_records(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records from byte ``offset`` on and the offset to go on from: a line that is not whole yet is left for later.

    A line that was torn by a kill and closed by a rerun is skipped. Raises ClusterError where ``path`` cannot be read.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except OSError as error:
        raise ClusterError(f"cannot read the journal {path}: {error.strerror}") from error
    whole = data[: data.rfind(b"\n") + 1]
    return list(parse(whole)), offset + len(whole)


def parse(data: bytes) -> Iterator[Record]:
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "event" in record:
            yield record


@dataclass
class Progress:
    """How far one node is. ``outcome`` is empty while it is under way; ``steps`` are its micro-steps that ended."""

    macro: str = ""
    implementation: str = ""
    micro: str = ""
    attempt: int = 0
    state: str = ""
    """``wait``, ``start``, ``ok`` or ``failed``, of ``micro``."""
    since: float = 0
    outcome: str = ""
    message: str = ""
    evidence: list[str] = field(default_factory=list)
    advice: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class State:
    """What a journal says. ``order`` and ``nodes`` are those of its first ``begin``."""

    deployment: str = ""
    order: dict[str, Any] = field(default_factory=dict)
    begun: float = 0
    last: float = 0
    ended: bool = False
    nodes: dict[str, Progress] = field(default_factory=dict)

    def add(self, records: list[Record]) -> State:
        for record in records:
            self.last = record.get("time", self.last)
            if record["event"] == "begin":
                self._begin(record)
            elif record["event"] == "end":
                self.ended = True
            elif record.get("node"):
                follow(self.nodes.setdefault(record["node"], Progress()), record)
        return self

    def _begin(self, record: Record) -> None:
        self.ended = False
        self.deployment = self.deployment or record["deployment"]
        self.begun = self.begun or record["time"]
        self.order = self.order or record.get("order", {})
        for name in record.get("nodes", []):
            self.nodes.setdefault(name, Progress())


def follow(progress: Progress, record: Mapping[str, Any]) -> None:
    """What one record about a node changes."""
    event = record["event"]
    if event == "enter":
        # a rerun takes a node up again after its outcome
        progress.outcome = progress.message = progress.advice = ""
        progress.evidence = []
        if record.get("fresh"):
            progress.notes = {}
    if event in ("enter", "wait", "start", "brk"):
        progress.macro, progress.implementation = record["macro"], record["implementation"]
        progress.attempt = record.get("attempt", 0)
        progress.micro = record.get("micro", "")
    if event in ("wait", "start", "ok", "failed") and record.get("micro"):
        progress.state, progress.since = event, record["time"]
    if event in ("ok", "failed"):
        kept = ("macro", "implementation", "micro", "attempt", "seconds", "message")
        done = {"outcome": event, **{name: record[name] for name in kept if name in record}}
        (progress.steps if record.get("micro") else progress.attempts).append(done)
    if event == "ok":
        progress.notes.update(record.get("notes", {}))
    if event == "said":
        progress.evidence.append(record["message"])
    if event == "outcome":
        progress.outcome = record["outcome"]
        if record.get("micro"):
            # a node that failed may have gone through the step that leads it back since then
            progress.macro, progress.micro = record["macro"], record["micro"]
            progress.implementation = record["implementation"]
        progress.message = record.get("message", "")
        progress.evidence = list(record.get("evidence", []))
        progress.advice = record.get("advice", "")


def read_state(path: Path) -> State:
    """The state that all records of ``path`` make; raises ClusterError."""
    return State().add(read_records(path)[0])
