# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The nodes that are held: several allocations as one, refused where they contradict each other or are over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import fold
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_formats import FORMATS

GENERIC = r"(?:node|compute|host|cn|n)-?\d[^.]*"
"""A first label that says which node it is, and nothing of its cluster."""
OF_CLUSTER = rf"(?!{GENERIC}(?:\.|$))(?P<cluster>[A-Za-z][^.]*?)(?:-\d+(?:-[^.]*)?|(?<!\d)\d+)"
"""A first label that names the cluster: ``griffon-3``, ``griffon3``, ``abacus22-1``, ``griffon-3-kavlan-1``."""
SITE = r"(?P<site>[^.]+)"
DOMAIN = r"(?!(?:[a-z]{2}|com|edu|gov|net|org)$).+"
"""Not a top level alone: the site of ``node-1.site1.example.org`` is not ``example``."""
LOCATION = (
    rf"{GENERIC}\.(?P<cluster>[^.]+)\.{SITE}\.{DOMAIN}",
    rf"{GENERIC}\.{SITE}\.{DOMAIN}",
    rf"{OF_CLUSTER}\.{SITE}\.{DOMAIN}",
    rf"{OF_CLUSTER}(?:\..*)?",
)
"""``node-3.cluster.site.domain``, ``node-3.site.domain``, ``cluster-3.site.domain``, ``cluster-3``; the first that fits."""
PARTS = ("site", "cluster")
SHOWN = 3
"""How many contradictions an error shows."""
SHOWN_NODES = 300
"""Characters of a folded list of nodes in a message."""


@dataclass(frozen=True)
class Reservation:
    """``slots``: node -> slots, in the order of the sources. ``jobs``: job -> its nodes; nodes of unknown jobs are in none.
    ``expires``: node -> when it is lost, in Unix seconds, where that is known; the earliest if sources differ."""

    slots: dict[str, int]
    jobs: dict[str, list[str]]
    expires: dict[str, int]


def merge(allocations: Sequence[Allocation], now: float) -> Reservation:
    """All ``allocations`` as one; a node that is in several has the sum of their slots.

    A source whose format does not count slots, such as ``oarstat``, adds none to what another says of the same job.

    Raises ClusterError if there is no node, if one of the jobs is over at ``now`` (Unix seconds), or if two jobs claim
    the same nodes.
    """
    if not allocations:
        raise ClusterError("no source gives a node; is this inside a job?")
    slots: dict[str, int] = {}
    claims: dict[str, int] = {}
    expires: dict[str, int] = {}
    for number, allocation in enumerate(allocations):
        check_time(allocation, now)
        nodes = allocation.nodes
        same: set[str] = set()
        if allocation.job is not None:
            shared = [node for node in nodes if node in claims] if claims else []
            check_claims(allocations, number, shared, claims)
            same = {node for node in shared if not (counts(allocation) and counts(allocations[claims[node]]))}
            claims |= dict.fromkeys(nodes, number)
        summed = {
            node: max(slots[node], nodes[node]) if node in same else slots[node] + nodes[node]
            for node in slots.keys() & nodes.keys()
        }
        slots |= nodes
        slots |= summed
        if allocation.expires is not None:
            end = allocation.expires
            earlier = {node: expires[node] for node in expires.keys() & nodes.keys() if expires[node] < end}
            expires |= dict.fromkeys(nodes, end)
            expires |= earlier
    jobs: dict[str, list[str]] = {}
    for node, number in claims.items():
        jobs.setdefault(str(allocations[number].job), []).append(node)
    return Reservation(slots, jobs, expires)


def counts(allocation: Allocation) -> bool:
    """Whether its slots are a count, not one for each node for want of one."""
    return FORMATS[allocation.format].counts


def check_time(allocation: Allocation, now: float) -> None:
    if allocation.expires is not None and allocation.expires <= now:
        over = datetime.fromtimestamp(allocation.expires, timezone.utc)
        what = f"job {allocation.job}" if allocation.job else "the reservation"
        raise ClusterError(f"{allocation.source}: {what} is over since {over:%Y-%m-%d %H:%M:%S} UTC")


def check_claims(
    allocations: Sequence[Allocation], number: int, shared: Iterable[str], claims: dict[str, int]
) -> None:
    """Raise ClusterError if the ``shared`` nodes of allocation ``number`` are claimed by an earlier one's other job."""
    mine = allocations[number]
    contradictions: dict[int, list[str]] = {}
    for node in shared:
        if allocations[claims[node]].job != mine.job:
            contradictions.setdefault(claims[node], []).append(node)
    if contradictions:
        said = [
            f"{folded(nodes)} by job {allocations[other].job} ({allocations[other].source})"
            f" and job {mine.job} ({mine.source})"
            for other, nodes in list(contradictions.items())[:SHOWN]
        ]
        raise ClusterError(f"nodes are claimed by two jobs: {'; '.join(said)}; leave one of the sources out")


def folded(nodes: Iterable[str]) -> str:
    """``nodes`` as a message can hold them."""
    text = fold(nodes)
    return text if len(text) <= SHOWN_NODES else f"{text[:SHOWN_NODES]}…"


def location_patterns(expressions: Sequence[str]) -> list[re.Pattern[str]]:
    """``expressions`` compiled; raises ClusterError for one that is none or has neither group ``site`` nor ``cluster``."""
    patterns = []
    for number, expression in enumerate(expressions, 1):
        try:
            patterns.append(re.compile(expression))
        except (re.error, TypeError) as error:
            raise ClusterError(
                f"location {number}: {expression!r} is no regular expression: {error}"
            ) from error
        if not set(PARTS) & set(patterns[-1].groupindex):
            raise ClusterError(
                f"location {number}: {expression!r} has neither a group (?P<site>...) nor (?P<cluster>...)"
            )
    return patterns


def locate(names: Iterable[str], patterns: Sequence[re.Pattern[str]]) -> dict[str, dict[str, list[str]]]:
    """``site`` and ``cluster`` -> name of a site or cluster -> its nodes, by the first pattern that a whole name matches."""
    found: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for name in names:
        for pattern in patterns:
            match = pattern.fullmatch(name)
            if match is not None:
                for part, place in match.groupdict().items():
                    if place and part in found:
                        found[part].setdefault(place, []).append(name)
                break
    return found
