# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What happened to each node and when: one record for boots and for deployments, made of their logs alone.

A record is ``{timeline: 1, title, started, ended, nodes}``; times are Unix seconds. A node is ``{name, outcome, message,
spans}``; a span is ``{name, group, start, end, outcome, evidence, advice}``. Outcomes of a node are those of a deployment
(``ok``, ``ko``, ``brk``, ``discarded``) or ``open`` while it is under way; those of a span ``ok``, ``ko``, ``brk``, ``open``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

FORMAT = 1
OUTCOMES = ("ko", "brk", "discarded", "open", "ok")
"""In the order in which a person wants to see them."""
NAMED = 4
"""How many nodes the title of a boot names."""
Record = dict[str, Any]


def of_boot(nodes: Mapping[str, Mapping[str, Any]], started: float, now: float) -> Record:
    """A boot, from what boot_stage_info found: a span per stage, from the stage before it to the moment it was reached."""
    title = f"boot of {', '.join(nodes)}" if len(nodes) <= NAMED else f"boot of {len(nodes)} nodes"
    return record(title, started, [booted(name, boot, started, now) for name, boot in nodes.items()])


def booted(name: str, boot: Mapping[str, Any], started: float, now: float) -> dict[str, Any]:
    spans, before = [], started
    for stage in boot["timeline"]:
        reached = started + stage["seconds"]
        spans.append(span(stage["stage"], "boot", before, reached, "ok", [stage["evidence"]]))
        before = reached
    outcome = "ok" if boot["stage"] == "ssh" else "ko"
    if outcome == "ko":
        last = f"after {boot['stage']}" if boot["stage"] else "no sign of life"
        spans.append(span(last, "boot", before, max(before, now), "ko", [], boot["advice"]))
    return {"name": name, "outcome": outcome, "message": boot["advice"], "spans": spans}


def of_journal(records: Iterable[Mapping[str, Any]]) -> Record:
    """A deployment, from its journal (see ``_deployment_journal``). What a kill left open ends with the journal."""
    title, started, last = "", 0.0, 0.0
    nodes: dict[str, dict[str, Any]] = {}
    for entry in records:
        started, last = started or entry["time"], max(last, entry["time"])
        title = title or f"deployment {entry['deployment']}"
        if entry["event"] == "begin":
            for name in entry.get("nodes", []):
                nodes.setdefault(name, {"name": name, "outcome": "open", "message": "", "spans": []})
        elif entry.get("node") in nodes:
            follow(nodes[entry["node"]], entry)
    for node in nodes.values():
        for one in node["spans"]:
            one["end"] = last if one["end"] is None else one["end"]
    return record(title, started, list(nodes.values()))


def follow(node: dict[str, Any], entry: Mapping[str, Any]) -> None:
    """What one record of the journal adds to its node."""
    event, at, micro = entry["event"], entry["time"], entry.get("micro")
    opened = next((one for one in reversed(node["spans"]) if one["end"] is None), None)
    if event in ("start", "brk", "enter") and opened:  # a process that was killed closed nothing
        opened["end"], opened["outcome"] = at, "ko"
        opened["evidence"].append("it did not end: another run took the node up again")
        opened = None
    if event == "enter":
        node["outcome"], node["message"] = "open", ""
    elif event == "start":
        node["spans"].append(span(micro, group(entry), at, None, "open"))
    elif event == "brk":
        node["spans"].append(span(f"before {micro}", group(entry), at, at, "brk"))
    elif event == "said" and opened:
        opened["evidence"].append(entry["message"])
    elif event in ("ok", "failed") and micro and opened:
        opened["end"], opened["outcome"] = at, "ok" if event == "ok" else "ko"
        opened["evidence"] += [line for line in (entry.get("message"), *entry.get("evidence", [])) if line]
        opened["advice"] = entry.get("advice", "")
        node["message"] = entry.get("message", "")
    elif event == "outcome":
        node["outcome"], node["message"] = entry["outcome"], entry.get("message") or node["message"]
        if node["spans"] and entry["outcome"] != "ok":
            told = node["spans"][-1]
            told["evidence"] += [line for line in entry.get("evidence", []) if line not in told["evidence"]]
            told["advice"] = entry.get("advice") or told["advice"]


def group(entry: Mapping[str, Any]) -> str:
    """The macro-step of an entry, by its implementation, and the attempt if it is not the first."""
    name = f"{entry.get('macro', '')} {entry.get('implementation', '')}".strip()
    attempt = entry.get("attempt") or 1
    return f"{name}, attempt {attempt}" if attempt > 1 else name


def span(
    name: Any,
    of: str,
    start: float,
    end: float | None,
    outcome: str,
    evidence: Iterable[str] = (),
    advice: str = "",
) -> dict[str, Any]:
    return {
        "name": str(name),
        "group": of,
        "start": start,
        "end": end,
        "outcome": outcome,
        "evidence": [line for line in evidence if line],
        "advice": advice,
    }


def record(title: str, started: float, nodes: list[dict[str, Any]]) -> Record:
    """``nodes`` in one record, those that need a look first."""
    ended = max([started, *(one["end"] for node in nodes for one in node["spans"])])
    ordered = sorted(nodes, key=lambda node: (OUTCOMES.index(node["outcome"]), counted(node["name"])))
    return {"timeline": FORMAT, "title": title, "started": started, "ended": ended, "nodes": ordered}


def counted(name: str) -> list[tuple[int, str]]:
    """A key that puts node2 before node10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def check(value: Any) -> Record:
    """``value`` if it is a record. Raises ClusterError naming the field that is not as it should be."""
    if not isinstance(value, dict) or value.get("timeline") != FORMAT:
        raise ClusterError(f"a timeline must be a mapping with timeline: {FORMAT}, as the modules return it")
    for node in _list(value, "nodes", "timeline"):
        for one in _list(node, "spans", f"timeline of {node.get('name')}"):
            times = one.get("start"), one.get("end")
            if not all(isinstance(at, (int, float)) for at in times) or one.get("outcome") not in OUTCOMES:
                raise ClusterError(
                    f"timeline of {node.get('name')}: span {one.get('name')}: start, end or outcome is wrong"
                )
        if node.get("outcome") not in OUTCOMES:
            raise ClusterError(
                f"timeline of {node.get('name')}: outcome must be one of {', '.join(OUTCOMES)}"
            )
    return value


def _list(owner: Mapping[str, Any], field: str, what: str) -> list[dict[str, Any]]:
    found = owner.get(field)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ClusterError(f"{what}: {field} must be a list of mappings")
    return found
