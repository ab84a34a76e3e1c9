# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What Kadeploy tells about its nodes, about what was done to them, and about how it is configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_sites import assign, open_sites
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow import Site
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand

FIELDS = (
    *("wid", "user", "hostname", "step1", "step2", "step3"),
    *("timeout_step1", "timeout_step2", "timeout_step3", "retry_step1", "retry_step2", "retry_step3"),
    *("start", "step1_duration", "step2_duration", "step3_duration", "env", "md5", "success", "error"),
)
"""The columns of kastat3; the last one is free text with commas and line breaks, in no quotes."""
NUMBERS = tuple(name for name in FIELDS if name.startswith(("timeout", "retry", "start")) or "_dur" in name)

RECORD = re.compile(r"[DRP]-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12},")
"""How a record begins, and nothing in the text of an error."""


def read_statistics(text: str) -> list[dict[str, Any]]:
    """The records of kastat3's CSV, by FIELDS; numbers are whole, ``start`` is Unix time, ``success`` true or false.

    Raises ClusterError for a record without all columns.
    """
    records: list[list[str]] = []
    for line in text.splitlines():
        if RECORD.match(line):
            records.append([line])
        elif records:
            records[-1].append(line)
    return [record_of("\n".join(lines)) for lines in records]


def record_of(text: str) -> dict[str, Any]:
    values = text.split(",", len(FIELDS) - 1)
    if len(values) < len(FIELDS):
        raise ClusterError(f"statistics: {text[:80]!r} has not the columns of Kadeploy 3.3")
    record: dict[str, Any] = dict(zip(FIELDS, values))
    for name in NUMBERS:
        record[name] = int(record[name] or 0)
    record["success"] = record["success"] == "true"
    record["error"] = record["error"].strip()
    return record


def failure_rates(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By node how many deployments it had, how many of them failed, and that share from 0 to 1, as ``kastat3 -b`` has it.

    Deployments that stopped at a breakpoint count as successful: Kadeploy notes them so.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["wid"].startswith("D-"):
            node = found.setdefault(record["hostname"], {"deployments": 0, "failures": 0})
            node["deployments"] += 1
            node["failures"] += not record["success"]
    for node in found.values():
        node["rate"] = node["failures"] / node["deployments"]
    return dict(sorted(found.items()))


def filters_of(options: Mapping[str, Any]) -> dict[str, str]:
    names = ("operation", "wid", "date_min", "date_max")
    return {name: options[name] for name in names if options[name] is not None}


def look(options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the module ``kadeploy_info``; raises ClusterError."""
    sites = open_sites(options["servers"])
    nodes = [name for text in options["nodes"] for name in expand(text)]
    homes = assign(nodes, sites) if nodes else {}
    if "power" in options["gather"] and not nodes:
        raise ClusterError("gather power needs nodes")
    asked = [site for site in sites if site.name in homes or not nodes]
    result: dict[str, Any] = {}
    for topic, gather in TOPICS.items():
        if topic in options["gather"]:
            result[topic] = gather(asked, set(nodes), {**options, "homes": homes})
    return result


def node_states(sites: list[Site], nodes: set[str], _options: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for site in sites:
        for node, state in site.states().items():
            if not nodes or node in nodes:
                known = state or {}
                found[node] = {
                    "site": site.name,
                    **{name: known.get(name) for name in ("state", "user", "environment")},
                }
    return found


def statistics(sites: list[Site], nodes: set[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"site": site.name, **record}
        for site in sites
        for record in read_statistics(site.statistics(filters_of(options)))
        if not nodes or record["hostname"] in nodes
    ]


def rates(sites: list[Site], nodes: set[str], options: Mapping[str, Any]) -> dict[str, Any]:
    return failure_rates(statistics(sites, nodes, {**options, "operation": "deploy"}))


def power(sites: list[Site], _nodes: set[str], options: Mapping[str, Any]) -> dict[str, str]:
    return {
        node: status for site in sites for node, status in site.power(options["homes"][site.name]).items()
    }


def configuration(sites: list[Site], _nodes: set[str], _options: Mapping[str, Any]) -> dict[str, Any]:
    return {site.name: site.automata() for site in sites}


TOPICS: Mapping[str, Callable[[list[Site], set[str], Mapping[str, Any]], Any]] = {
    "nodes": node_states,
    "statistics": statistics,
    "failure_rates": rates,
    "power": power,
    "configuration": configuration,
}
