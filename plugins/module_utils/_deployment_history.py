# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Every deployment that was, in an SQLite file: who failed how often, how long each step takes, what happened when."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import Progress, State
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

BUSY_SECONDS = 60
"""How long a writer waits for others."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS deployments (
    id TEXT PRIMARY KEY, begun REAL NOT NULL, ended REAL, user TEXT NOT NULL,
    environment TEXT NOT NULL, owner TEXT NOT NULL, version INTEGER, sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS nodes (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    node TEXT NOT NULL, outcome TEXT NOT NULL, macro TEXT NOT NULL, implementation TEXT NOT NULL, micro TEXT NOT NULL,
    seconds REAL NOT NULL, message TEXT NOT NULL, advice TEXT NOT NULL, PRIMARY KEY (deployment, node)
);
CREATE TABLE IF NOT EXISTS steps (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    node TEXT NOT NULL, number INTEGER NOT NULL, macro TEXT NOT NULL, implementation TEXT NOT NULL, micro TEXT NOT NULL,
    attempt INTEGER NOT NULL, outcome TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (deployment, node, number)
);
CREATE INDEX IF NOT EXISTS begun ON deployments (begun);
CREATE INDEX IF NOT EXISTS node ON nodes (node);
"""
UNFINISHED = "unfinished"
"""The outcome of a node whose engine was killed, or is at work still."""


@contextlib.contextmanager
def opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """The file's connection, in one transaction where it is written. Raises ClusterError naming the file."""
    if not write and not path.is_file():
        connection = sqlite3.connect(":memory:")
        connection.executescript(SCHEMA)
    else:
        connection = connect(path, write)
    connection.row_factory = sqlite3.Row
    try:
        with connection:
            yield connection
    except sqlite3.Error as error:
        raise ClusterError(f"history {path}: {error}") from error
    finally:
        connection.close()


def connect(path: Path, write: bool) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{path}?mode={'rwc' if write else 'ro'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level="IMMEDIATE",
        )
        if write:
            connection.execute("PRAGMA foreign_keys = ON")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
        return connection
    except sqlite3.Error as error:
        raise ClusterError(f"history {path}: {error}") from error


def record(path: Path, state: State) -> None:
    """Write what a deployment's journal says; what an earlier call wrote of it is replaced. Raises ClusterError."""
    order = state.order
    with opened(path, write=True) as connection:
        connection.execute("DELETE FROM deployments WHERE id = ?", (state.deployment,))
        connection.execute(
            "INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(state.deployment, state.begun, state.last if state.ended else None, order.get("user", "")),
                *(order.get("environment", ""), order.get("owner", "")),
                *(order.get("version"), order.get("sha256", "")),
            ),
        )
        for name, node in state.nodes.items():
            connection.execute(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (state.deployment, name, *node_row(node)),
            )
            connection.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(state.deployment, name, number, *step_row(step)) for number, step in enumerate(node.steps)],
            )


def node_row(node: Progress) -> Sequence[Any]:
    seconds = sum(step.get("seconds", 0.0) for step in node.steps)
    place = (node.macro, node.implementation, node.micro)
    return (node.outcome or UNFINISHED, *place, round(seconds, 3), node.message, node.advice)


def step_row(step: Mapping[str, Any]) -> Sequence[Any]:
    texts = [step.get(name, "") for name in ("macro", "implementation", "micro")]
    return (*texts, step.get("attempt", 1), step["outcome"], step.get("seconds", 0.0))


def ask(path: Path, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """``deployments``, ``failures`` by node and ``steps`` times, of what the conditions allow.

    ``deployment``, ``nodes`` (list), ``environment``, ``since`` and ``until`` (Unix seconds), ``limit``, the latest first.
    A file that is not there is an empty history. Raises ClusterError.
    """
    where, values = restriction(conditions)
    with opened(path, write=False) as connection:
        rows = connection.execute(
            "SELECT n.*, d.begun, d.ended, d.user, d.environment, d.owner, d.version FROM nodes n"
            f" JOIN deployments d ON d.id = n.deployment WHERE {where} ORDER BY d.begun DESC, n.rowid",
            values,
        ).fetchall()
        steps = connection.execute(
            "SELECT s.implementation, s.micro, s.outcome, s.seconds FROM steps s"
            " JOIN nodes n ON n.deployment = s.deployment AND n.node = s.node"
            f" JOIN deployments d ON d.id = s.deployment WHERE {where} ORDER BY d.begun, s.number",
            values,
        ).fetchall()
    return {
        "deployments": grouped(rows, conditions.get("limit")),
        "failures": failures(rows),
        "steps": step_times(steps),
    }


def restriction(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The condition of a query and its values."""
    parts: list[tuple[str, Any]] = [
        ("n.deployment = ?", conditions.get("deployment")),
        ("d.environment = ?", conditions.get("environment")),
        ("d.begun >= ?", conditions.get("since")),
        ("d.begun < ?", conditions.get("until")),
    ]
    used = [(text, value) for text, value in parts if value is not None]
    nodes = list(conditions.get("nodes") or ())
    texts = [text for text, value in used] + ([f"n.node IN ({', '.join('?' * len(nodes))})"] if nodes else [])
    return " AND ".join(texts) or "1", [value for text, value in used] + nodes


def grouped(rows: Iterable[sqlite3.Row], limit: int | None) -> list[dict[str, Any]]:
    """Deployments with their nodes, the latest first."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        facts = ("begun", "ended", "user", "environment", "owner", "version")
        one = found.setdefault(
            row["deployment"], {"id": row["deployment"], **{name: row[name] for name in facts}, "nodes": {}}
        )
        kept = ("outcome", "macro", "implementation", "micro", "seconds", "message", "advice")
        one["nodes"][row["node"]] = {name: row[name] for name in kept}
    return list(found.values())[:limit]


def failures(rows: Iterable[sqlite3.Row]) -> dict[str, dict[str, Any]]:
    """By node, how many of its deployments there were, how many failed, and the share: what ``kastat3 -b`` shows."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        if row["outcome"] in ("ok", "ko"):
            count = counts.setdefault(row["node"], [0, 0])
            count[0] += 1
            count[1] += row["outcome"] == "ko"
    return {
        node: {"deployments": total, "failed": failed, "rate": round(failed / total, 4)}
        for node, (total, failed) in sorted(counts.items())
    }


def step_times(rows: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
    """For each micro-step of each implementation, how often it ended well or not, and the seconds of those that did well."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["implementation"], row["micro"])
        one = found.setdefault(key, {"ok": 0, "failed": 0, "seconds": []})
        one[row["outcome"]] += 1
        if row["outcome"] == "ok":
            one["seconds"].append(row["seconds"])
    return [
        {
            "implementation": implementation,
            "micro": micro,
            "ok": one["ok"],
            "failed": one["failed"],
            **({} if not one["seconds"] else spread(one["seconds"])),
        }
        for (implementation, micro), one in found.items()
    ]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "least": min(seconds),
        "median": round(statistics.median(seconds), 3),
        "mean": round(statistics.fmean(seconds), 3),
        "most": max(seconds),
    }
