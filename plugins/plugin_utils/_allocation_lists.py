# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Lists of nodes by themselves: one name per line, hostlists, nodesets and Kadeploy's lists."""

from __future__ import annotations

import re

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand, quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Claim
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import NodeText

NO_HOST = re.compile(r"[^A-Za-z0-9_.\n-]")
NO_HOSTLIST = re.compile(r"[^A-Za-z0-9_.,\[\]\n-]")
NODESET = re.compile(r"[\[!&^]")
NO_NODESET = re.compile(r"[^A-Za-z0-9_.,\[\]/!&^@*: \t\n-]")
GROUP = re.compile(r"\[[^][]*\]")
RANGE = re.compile(r"\b([0-9]{1,18})-([0-9]{1,18})\b")
TASKS = re.compile(r"([0-9]{1,6})(?:\(x([0-9]{1,9})\))?")


def are_hosts(text: NodeText) -> bool:
    return not NO_HOST.search("\n".join(text.entries))


def read_hosts(text: NodeText) -> list[Claim]:
    """One name per line, repeated for every slot."""
    return [Claim(text.entries)]


def is_hostlist(text: NodeText) -> bool:
    lists = "\n".join(text.entries)
    return ("[" in lists or "," in lists) and not NO_HOSTLIST.search(lists)


def read_hostlist(text: NodeText) -> list[Claim]:
    """Hostlists, one per line, joined."""
    try:
        return [Claim(dict.fromkeys(expand(",".join(text.entries)), 1))]
    except ClusterError as error:
        read_nodeset(text)
        raise text.fault(error) from error


def is_nodeset(text: NodeText) -> bool:
    sets = "\n".join(text.entries)
    return bool(NODESET.search(sets)) and not NO_NODESET.search(sets)


def read_nodeset(text: NodeText) -> list[Claim]:
    """Nodesets, one per line; as with ``nodeset -f``, what a line takes away is taken from that line alone."""
    nodes: dict[str, int] = {}
    for entry in text.entries:
        nodes |= dict.fromkeys(expanded(text, entry), 1)
    return [Claim(nodes)]


def expanded(text: NodeText, entry: str) -> list[str]:
    """The nodes of ``entry``, a part of ``text``; raises ClusterError with its line."""
    try:
        return expand(entry)
    except ClusterError as error:
        raise text.fault(error, entry) from error


def is_kadeploy_list(text: NodeText) -> bool:
    return text.commented and "," not in GROUP.sub("", "\n".join(text.entries)) and is_hostlist(text)


def read_kadeploy_list(text: NodeText) -> list[Claim]:
    """What ``kadeploy3 -f`` reads: a name or names with one bracket group per line; a name counts once."""
    for entry in text.entries:
        if entry.count("[") > 1:
            raise text.fault(f"{quoted(entry)}: Kadeploy knows one bracket group per line", entry)
        if "," in GROUP.sub("", entry):
            raise text.fault(f"{quoted(entry)}: Kadeploy knows one name or bracket group per line", entry)
        for first, last in RANGE.findall("".join(GROUP.findall(entry))):
            if int(first) > int(last):
                fault = f"the range {first}-{last} is reversed, which Kadeploy takes as no node: write {last}-{first}"
                raise text.fault(f"{quoted(entry)}: {fault}", entry)
    return read_nodeset(text)


def with_tasks(text: NodeText, nodes: dict[str, int], tasks: str) -> dict[str, int]:
    """``nodes`` with the slots that ``tasks`` counts in their order, spelled as in SLURM_TASKS_PER_NODE:
    ``2(x3),1`` is three nodes with 2 and one with 1 (sbatch(1), output environment variables)."""
    slots: list[int] = []
    for part in tasks.split(","):
        match = TASKS.fullmatch(part)
        if not match:
            raise text.fault(f"tasks per node {quoted(tasks)} are not spelled like 2(x3),1")
        slots += [int(match[1])] * min(int(match[2] or 1), len(nodes) + 1)
    if len(slots) != len(nodes):
        raise text.fault(
            f"tasks per node {quoted(tasks)} do not count as many nodes as the list, {len(nodes)}"
        )
    return dict(zip(nodes, slots, strict=True))
