# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The nodes of SSI clusters from one list: who belongs to which session, checked before anything is written of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import (
    SHOWN_PROBLEMS,
    parse_address,
    parse_network,
    parse_nodes,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import refuse

FIELDS = ("name", "mac", "address", "session", "node_id", "interface", "kernel")
NODES_MIN = 2
"""How many nodes form a session by themselves, unless it says otherwise: one is no cluster."""


@dataclass(frozen=True)
class Site:
    """What all nodes have in common; ``join`` is {session, range, limit}, empty where nobody joins by itself."""

    subnet: str | None
    server: str
    storage: str
    interface: str
    join: Mapping[str, Any]


def arrange(
    hosts: Sequence[Mapping[str, Any]],
    flavour: Mapping[str, Any],
    sessions: Sequence[Mapping[str, Any]],
    site: Site,
) -> dict[str, Any]:
    """Nodes, sessions, spares and parameters; raises one ClusterError that names everything that is wrong.

    ``hosts``: {name, mac, address, session, ssi_id, interface, kernel}; null session: a spare. ``sessions``:
    {id, nodes_min, policy}. The result is what the filter ``ssi_nodes`` documents, without the files.
    """
    network = parse_network(site.subnet, site.server or None)
    parse_nodes(hosts, network=network, required=("address",))
    problems: list[str] = []
    known = parse_sessions(sessions, flavour, problems)
    nodes = [as_node(host, flavour, known, site, problems) for host in hosts]
    for session in known.values():
        session["nodes"] = sorted(
            (node for node in nodes if node["session"] == session["id"] and node["node_id"] is not None),
            key=lambda node: node["node_id"],
        )
        problems += check_session(session, flavour, site)
    joined = check_join(known, flavour, site, problems)
    if problems:
        more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise ClusterError("; ".join(problems[:SHOWN_PROBLEMS]) + more)
    for node in nodes:
        own = known.get(node["session"])
        node["parameters"] = render(flavour["parameters"], site, node, own) if own else []
    return {
        "nodes": nodes,
        "sessions": list(known.values()),
        "spares": [node["name"] for node in nodes if node["session"] is None],
        **joined,
    }


def parse_sessions(
    sessions: Sequence[Mapping[str, Any]], flavour: Mapping[str, Any], problems: list[str]
) -> dict[int, dict[str, Any]]:
    lowest, highest = flavour["limits"]["session"]
    known: dict[int, dict[str, Any]] = {}
    for number, session in enumerate(sessions, 1):
        name = whole(session.get("id"))
        least = whole(session.get("nodes_min") or NODES_MIN)
        if name is None or not lowest <= name <= highest:
            why = flavour["cannot"].get("sessions")
            problems.append(
                f"session number {number}: id {session.get('id')!r} is none of {lowest} to {highest}, the sessions of "
                f"{flavour['name']}" + (f": {why}" if why else "")
            )
        elif name in known:
            problems.append(
                f"two sessions on one wire have the id {name}: their nodes would be taken for one cluster's"
            )
        elif least is None or not 1 <= least <= flavour["limits"]["nodes"][1]:
            problems.append(f"session {name}: nodes_min {session['nodes_min']!r} is no number of its nodes")
        else:
            known[name] = {"policy": None, **session, "id": name, "nodes_min": least}
    return known


def as_node(
    host: Mapping[str, Any],
    flavour: Mapping[str, Any],
    known: Mapping[int, Any],
    site: Site,
    problems: list[str],
) -> dict[str, Any]:
    node: dict[str, Any] = {
        **dict.fromkeys(FIELDS),
        **{field: host.get(field) for field in FIELDS if field != "node_id"},
    }
    node["interface"] = host.get("interface") or site.interface
    node["session"] = None
    if host.get("session") in (None, ""):
        return node
    session = whole(host["session"])
    if session not in known:
        declared = ", ".join(map(str, known)) or "none"
        problems.append(
            f"node {host['name']}: session {host['session']!r} is not declared; declared: {declared}"
        )
        return node
    own = host.get("ssi_id")
    given = own not in (None, "")
    node_id = whole(own) if given else last_byte(host["address"])
    lowest, highest = flavour["limits"]["node_id"]
    if node_id is None or not lowest <= node_id <= highest:
        origin = "" if given else f", the last byte of {host['address']},"
        problems.append(
            f"node {host['name']}: node id {own if given else node_id!r}{origin} is none of {lowest} to {highest}, those of "
            f"{flavour['name']}"
        )
        node_id = None
    return {**node, "session": session, "node_id": node_id}


def check_session(session: Mapping[str, Any], flavour: Mapping[str, Any], site: Site) -> Iterator[str]:
    """One sentence for everything that is wrong between the nodes of one session."""
    label, nodes, limits = f"session {session['id']}", session["nodes"], flavour["limits"]
    owners: dict[int, str] = {}
    for node in nodes:
        first = owners.setdefault(node["node_id"], node["name"])
        if first != node["name"]:
            yield f"nodes {first} and {node['name']} of {label} have the same node id {node['node_id']}"
    joining = site.join.get("session") == session["id"]
    lowest, highest = limits["nodes"]
    if len(nodes) > highest or (nodes and not joining and len(nodes) < lowest):
        yield f"{label} has {len(nodes)} node{'s' * (len(nodes) != 1)}; {flavour['name']} takes {lowest} to {highest}"
    if limits["one_subnet"]:
        yield from differing(
            nodes, lambda node: f"{subnet_of(node['address'])}.0/24", f"{label} lies in several subnets"
        )
    yield from differing(nodes, lambda node: node["kernel"], f"{label} has nodes of different kernels")


def differing(nodes: Sequence[Mapping[str, Any]], value: Any, problem: str) -> Iterator[str]:
    """``problem`` with each value and one node that has it, where there are several."""
    owners: dict[str, str] = {}
    for node in nodes:
        if value(node):
            owners.setdefault(str(value(node)), node["name"])
    if len(owners) > 1:
        yield f"{problem}: " + ", ".join(f"{found} ({name})" for found, name in owners.items())


def check_join(
    known: Mapping[int, Mapping[str, Any]], flavour: Mapping[str, Any], site: Site, problems: list[str]
) -> dict[str, Any]:
    """The parameters and the addresses of machines that nobody declared."""
    if not site.join:
        return {"join_parameters": [], "join_range": ""}
    session, limit = known.get(whole(site.join.get("session")) or -1), whole(site.join.get("limit"))
    if flavour["join_parameters"] is None:
        problems.append(str(refuse(flavour, "join", "join")))
    if session is None:
        problems.append(f"join: session {site.join.get('session')!r} is not declared")
    try:
        first, last = ends(site.join.get("range"))
    except ClusterError as error:
        problems.append(f"join: {error}")
        return {}
    if limit is None or limit < 1:
        problems.append(f"join: limit {site.join.get('limit')!r} is no number of machines from 1 on")
        return {}
    last = min(last, first + limit - 1)
    if session is not None:
        problems += check_range(session, flavour, first, last)
    if problems:
        return {}
    return {
        "join_parameters": render(flavour["join_parameters"], site, {}, session),
        "join_range": f"{first}-{last}",
    }


def check_range(
    session: Mapping[str, Any],
    flavour: Mapping[str, Any],
    first: ipaddress.IPv4Address,
    last: ipaddress.IPv4Address,
) -> Iterator[str]:
    limits = flavour["limits"]
    ids = range(last_byte(str(first)), last_byte(str(first)) + int(last) - int(first) + 1)
    for node in session["nodes"]:
        if limits["one_subnet"] and subnet_of(node["address"]) != subnet_of(str(first)):
            yield f"join: range {first}-{last} lies outside the /24 of node {node['name']}, {node['address']}"
            break
    if limits["one_subnet"] and subnet_of(str(first)) != subnet_of(str(last)):
        yield f"join: range {first}-{last} is no part of one /24, so that node ids would repeat"
    lowest, highest = limits["node_id"]
    if ids[0] < lowest or ids[-1] > highest:
        yield f"join: range {first}-{last} gives node ids {ids[0]} to {ids[-1]}; {flavour['name']} takes {lowest} to {highest}"
    for node in session["nodes"]:
        if node["node_id"] in ids:
            yield f"join: range {first}-{last} gives the node id {node['node_id']}, which is node {node['name']}'s"
    most = limits["nodes"][1]
    if len(session["nodes"]) + len(ids) > most:
        yield f"join: {len(ids)} machines and the session's {len(session['nodes'])} nodes are more than {most}"


def ends(declared: Any) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    parts = [ipaddress.IPv4Address(parse_address(part)) for part in str(declared or "").split("-")]
    if len(parts) != 2 or parts[0] > parts[1]:
        raise ClusterError(f'range "{declared}" is no range: write it as 10.77.0.100-10.77.0.199')
    return parts[0], parts[1]


def render(
    templates: Sequence[str], site: Site, node: Mapping[str, Any], session: Mapping[str, Any] | None
) -> list[str]:
    fields = {
        **node,
        "server": site.server,
        "storage": site.storage,
        "session": session and session["id"],
        "nodes_min": session and session["nodes_min"],
    }
    return [word.format_map(fields) for word in templates]


def whole(value: Any) -> int | None:
    """A whole number, also one in quotes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value).strip()
    return int(text) if text.isdigit() and text.isascii() else None


def last_byte(address: str) -> int:
    return int(address.rpartition(".")[2])


def subnet_of(address: str) -> str:
    return address.rpartition(".")[0]
