# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Lists with a slot count beside each name: Grid Engine, MPI, LSF; and the columns of squeue."""

from __future__ import annotations

import re

from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Claim
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_lists import expanded
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import NodeText

COUNT = r"[0-9]{1,6}"
JOB = r"[0-9]{1,18}(?:_[0-9]{1,18})?"
NUMBERED = r"(?=[^\s]*[0-9.])(?!\d+(?:\s|$))[^\s:=,]+"
"""A word that may be a node's name where other words stand beside it: names of nodes have a digit or a dot, which
tells them from the words of an error message; a number alone is a count."""

SGE = re.compile(
    rf"(?P<name>\S+)\s+(?P<slots>{COUNT})\s+(?:[^\s@]+@\S+\s+\S+|\S+\s+(?:UNDEFINED|NONE|<NULL>))"
)
OPTION = r"\s+(?:slots|max[_-]slots|user(?:[_-]?name)?|binding|ifname)\s*=\s*\S+"
MACHINE = re.compile(
    rf"(?:[\w.-]+@)?(?P<name>[^\s:=@#,]+)(?::(?P<slots>{COUNT}))?(?P<options>(?:{OPTION})*+)(?:\s+#.*)?"
)
SLOTS = re.compile(rf"\sslots\s*=\s*({COUNT})(?!\S)")
SQUEUE = re.compile(rf"(?P<job>{JOB})(?:\s+(?:(?P<nodes>[^\s(]\S*)|\(.*\)))?")
NUMBERED_JOB = re.compile(rf"{JOB}\s+(?:{NUMBERED}|[A-Za-z][\w-]*\[)")
SQUEUE_HEADER = re.compile(r"JOBID\s+NODELIST(?:\(REASON\))?")
HOSTS = re.compile(rf"{NUMBERED}(?:\s+{NUMBERED})+")
HOSTS_AND_COUNTS = re.compile(rf"{NUMBERED}\s+{COUNT}(?:\s+{NUMBERED}\s+{COUNT})*")


def all_match(text: NodeText, pattern: re.Pattern[str]) -> bool:
    return bool(text.entries) and all(map(pattern.fullmatch, text.entries))


def add(nodes: dict[str, int], name: str, slots: int) -> None:
    nodes[name] = nodes.get(name, 0) + slots


def is_sge(text: NodeText) -> bool:
    return all_match(text, SGE)


def read_sge(text: NodeText) -> list[Claim]:
    """``host slots queue processors``; a host stands in as many lines as queues gave it slots."""
    nodes: dict[str, int] = {}
    for entry, times in text.entries.items():
        match = matched(text, SGE, entry, "host slots queue processors")
        add(nodes, match["name"], times * int(match["slots"]))
    return [Claim(nodes)]


def is_machinefile(text: NodeText) -> bool:
    return (":" in text.text or "=" in text.text) and all_match(text, MACHINE)


def read_machinefile(text: NodeText) -> list[Claim]:
    """``host slots=4 max_slots=8`` (Open MPI) and ``host:4`` (Hydra); without a count each mention is a slot."""
    nodes: dict[str, int] = {}
    for entry, times in text.entries.items():
        match = matched(text, MACHINE, entry, "host slots=N or host:N")
        slots = SLOTS.search(match["options"])
        if not slots and "slots" in match["options"]:
            raise text.fault(f"{quoted(entry)}: slots is no number of up to six digits", entry)
        add(nodes, match["name"], times * int(slots[1] if slots else match["slots"] or 1))
    return [Claim(nodes)]


def matched(text: NodeText, pattern: re.Pattern[str], entry: str, shape: str) -> re.Match[str]:
    match = pattern.fullmatch(entry)
    if not match:
        raise text.fault(f"{quoted(entry)} is not of the form {shape}", entry)
    return match


def is_lsf_hosts(text: NodeText) -> bool:
    return all_match(text, HOSTS)


def read_lsf_hosts(text: NodeText) -> list[Claim]:
    """Names in one line, each mention a slot."""
    nodes: dict[str, int] = {}
    for entry, times in text.entries.items():
        for name in entry.split():
            add(nodes, name, times)
    return [Claim(nodes)]


def is_lsf_mcpu(text: NodeText) -> bool:
    return all_match(text, HOSTS_AND_COUNTS)


def read_lsf_mcpu(text: NodeText) -> list[Claim]:
    """Names and counts in turn. ``h1 2 h2 1`` could be four hosts, two of them called by a number; it never is."""
    nodes: dict[str, int] = {}
    for entry, times in text.entries.items():
        words = entry.split()
        for name, slots in zip(words[::2], [*words[1::2], ""], strict=False):
            if not re.fullmatch(COUNT, slots):
                raise text.fault(f"host {quoted(name)} is followed by {quoted(slots)}, not by a count", entry)
            add(nodes, name, times * int(slots))
    return [Claim(nodes)]


def is_squeue(text: NodeText) -> bool:
    first = next(iter(text.entries), "")
    if SQUEUE_HEADER.fullmatch(first):
        return all(map(SQUEUE.fullmatch, list(text.entries)[1:]))
    return bool(NUMBERED_JOB.match(first)) and all_match(text, SQUEUE)


def read_squeue(text: NodeText) -> list[Claim]:
    """``JOBID NODELIST`` per job; one without nodes, or with a reason in parentheses (``%R``), does not run."""
    claims = []
    for entry in text.entries:
        if not SQUEUE_HEADER.fullmatch(entry):
            match = matched(text, SQUEUE, entry, "JOBID NODELIST")
            nodes = expanded(text, match["nodes"]) if match["nodes"] else ()
            fault = None if nodes else f"job {match['job']} has no nodes: it has not started, or is over"
            claims.append(Claim(dict.fromkeys(nodes, 1), job=match["job"], fault=fault))
    return claims
