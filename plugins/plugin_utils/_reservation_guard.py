# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The guard: which nodes may be touched, by what the inventory says is reserved."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand, fold

RESERVED = "reserved"
"""The group that the inventory plugin oneimage.cluster.nodes puts every reserved node into."""
SHOWN = 300
"""Characters of a folded list in a message."""
ALLOW = (
    "reserve them, leave them out, or allow them: allow_outside of the module, or the variable of the role or playbook "
    "that ends with allow_outside_reservation"
)


@dataclass(frozen=True)
class Holding:
    """For which job a node is reserved, and until when in Unix seconds, as far as that is known."""

    job: str
    expires: int | None


def named(value: Any, option: str, known: Iterable[str] = ()) -> list[str]:
    """The nodes of an option, a nodeset or a list of names and nodesets; names of the inventory are taken as they are."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ClusterError(f"{option} is neither a nodeset nor a list of names")
    hosts = set(known)
    found: dict[str, None] = {}
    for item in filter(None, items):
        try:
            found.update(dict.fromkeys([item] if item in hosts else expand(item)))
        except ClusterError as error:
            raise ClusterError(f"{option}: {error}") from error
    return list(found)


def allowed(value: Any, nodes: Sequence[str]) -> set[str]:
    """Which of ``nodes`` may be touched though they are not reserved; a survey's answer spells booleans as words."""
    if value is None:
        return set()
    try:
        return set(nodes) if boolean(value) else set()
    except TypeError:
        return set(named(value, "allow_outside", nodes)) & set(nodes)


def examine(
    options: Mapping[str, Any], groups: Mapping[str, Sequence[str]], variables: Any
) -> dict[str, Any]:
    """The module's result; raises ClusterError for options that are none.

    ``groups`` are the inventory's, ``variables`` its hostvars, of which node_job and node_expires (Unix seconds) are read.
    """
    nodes = named(options["nodes"], "nodes", groups.get("all", ()))
    result: dict[str, Any] = {
        "checked": nodes, "guarded": RESERVED in groups, "outside": [], "ending": [], "jobs": [], "expires": None
    }  # fmt: skip
    if not result["guarded"]:
        missing = f"the inventory has no group {RESERVED}, so it is not known which nodes are reserved"
        if options["require"] == "always":
            return {
                **result,
                "failed": True,
                "msg": f"{missing}; add a source of plugin oneimage.cluster.nodes",
            }
        return {**result, "msg": f"nothing was checked: {missing}"}
    reserved = set(groups[RESERVED])
    exempt = allowed(options["allow_outside"], nodes)
    result["outside"] = [node for node in nodes if node not in reserved]
    refused = [node for node in result["outside"] if node not in exempt]
    if refused:
        holds = f"reserved: {folded(groups[RESERVED])}" if reserved else "nothing is reserved"
        return {
            **result,
            "failed": True,
            "msg": f"outside the reservation: {folded(refused)} ({holds}); {ALLOW}",
        }
    held = {node: holding(node, variables) for node in nodes if node in reserved}
    result |= summary(held, options["minimum_left"])
    refused = [node for node in result["ending"] if node not in exempt]
    if refused:
        return {**result, "failed": True, "msg": ending_message(refused, held, options["minimum_left"])}
    exception = f"; allowed outside it: {folded(result['outside'])}" if result["outside"] else ""
    return {**result, "msg": f"{len(nodes) - len(result['outside'])} nodes are reserved{exception}"}


def holding(node: str, variables: Any) -> Holding:
    host = variables[node]
    job, end = host.get("node_job"), host.get("node_expires")
    try:
        return Holding("" if job is None else str(job), None if end in (None, "") else int(end))
    except (TypeError, ValueError) as error:
        raise ClusterError(f"node_expires of {node} is {end!r}, which are no Unix seconds") from error


def summary(held: Mapping[str, Holding], minimum_left: int) -> dict[str, Any]:
    limit = time.time() + minimum_left
    ends = {node: one.expires for node, one in held.items() if one.expires is not None}
    return {
        "jobs": sorted({one.job for one in held.values() if one.job}),
        "expires": min(ends.values(), default=None),
        "ending": [node for node, end in ends.items() if end <= limit],
    }


def ending_message(nodes: Sequence[str], held: Mapping[str, Holding], minimum_left: int) -> str:
    first = min((held[node] for node in nodes), key=lambda one: one.expires or 0)
    end = first.expires or 0
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(end))
    left = end - int(time.time())
    if left <= 0:
        state = f"the reservation is over since {moment}"
    else:
        state = f"the reservation ends at {moment}, in {left} s, which is less than minimum_left ({minimum_left} s)"
    return f"{folded(nodes)}: {state}{f' (job {first.job})' if first.job else ''}; {ALLOW}"


def folded(nodes: Sequence[str]) -> str:
    try:
        text = fold(nodes)
    except ClusterError:  # an inventory may hold names that no host can have
        text = ", ".join(nodes)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
