# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""PBS and OpenPBS: ``exec_host`` and ``exec_vnode``, alone or in the output of ``qstat -f``."""

from __future__ import annotations

import re

from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Claim
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import NodeText

INDEX = r"[0-9]{1,6}(?:-[0-9]{1,6})?"
HOST = re.compile(rf"(?P<name>[^/+\s]+)/(?P<indices>{INDEX}(?:,{INDEX})*)(?:\*(?P<cpus>[0-9]{{1,6}}))?")
VNODE = re.compile(r"(?P<name>[^:+()\[\]\s]+)(?:\[\d+\])?(?P<resources>(?::[\w.]+=[^:+()\s]*)*)")
NCPUS = re.compile(r":ncpus=([0-9]{1,6})(?=:|$)")
JOB = re.compile(r"Job Id: (?P<job>[0-9]{1,18}(?:\[[0-9]*\])?(?:\.[A-Za-z0-9_.-]+)?)")
ATTRIBUTE = re.compile(r"\s+(?P<key>[\w.]+) = (?P<value>.*)")
STATES = {
    "R": None,
    "B": None,
    "Q": "has not started",
    "H": "has not started",
    "W": "has not started",
    "T": "has not started",
    "S": "is suspended",
    "U": "is suspended",
    "E": "is over",
    "C": "is over",
    "F": "is over",
    "X": "is over",
    "M": "was moved to another server",
}
"""The letters of ``job_state`` (qstat(1B) of Torque and OpenPBS) and why such a job's nodes cannot be used."""


def attribute(text: NodeText, name: str) -> str:
    """The value of a text that is ``NAME = VALUE`` or VALUE alone; qstat wraps it anywhere, even within names."""
    return re.sub(r"\s+", "", text.text).removeprefix(f"{name}=")


def is_exec_host(text: NodeText) -> bool:
    return "/" in text.text and all(map(HOST.fullmatch, attribute(text, "exec_host").split("+")))


def read_exec_host(text: NodeText) -> list[Claim]:
    return [Claim(hosts(text, attribute(text, "exec_host")))]


def hosts(text: NodeText, value: str) -> dict[str, int]:
    """``n1/0*4+n2/0*4`` (OpenPBS: index of the job on the host, CPUs), ``n1/0+n1/1`` and ``n1/0-3,5`` (Torque:
    indices of the cores)."""
    nodes: dict[str, int] = {}
    for part in value.split("+"):
        match = HOST.fullmatch(part)
        if not match:
            raise text.fault(
                f"{quoted(part)} in exec_host is not of the form host/INDEX or host/INDEX*CPUS", part
            )
        bounds = [index.partition("-") for index in match["indices"].split(",")]
        cores = sum(max(int(last or first) - int(first) + 1, 0) for first, dash, last in bounds)
        nodes[match["name"]] = nodes.get(match["name"], 0) + cores * int(match["cpus"] or 1)
    return nodes


def is_exec_vnode(text: NodeText) -> bool:
    if "(" not in text.text:
        return False
    value = attribute(text, "exec_vnode")
    return value.startswith("(") and all(map(VNODE.fullmatch, chunks(value)))


def read_exec_vnode(text: NodeText) -> list[Claim]:
    return [Claim(vnodes(text, attribute(text, "exec_vnode")))]


def chunks(value: str) -> list[str]:
    return value.replace("(", "").replace(")", "").split("+")


def vnodes(text: NodeText, value: str) -> dict[str, int]:
    """``(n1:ncpus=4:mem=1gb)+(n2:ncpus=2+n3:ncpus=2)``; ``n1[0]`` is a virtual node (a socket) of n1."""
    nodes: dict[str, int] = {}
    for part in chunks(value):
        match = VNODE.fullmatch(part)
        if not match:
            raise text.fault(f"{quoted(part)} in exec_vnode is not of the form vnode:ncpus=N", part)
        ncpus = NCPUS.search(match["resources"])
        nodes[match["name"]] = nodes.get(match["name"], 0) + (int(ncpus[1]) if ncpus else 1)
    return nodes


def is_qstat(text: NodeText) -> bool:
    return text.text.startswith("Job Id: ")


def read_qstat(text: NodeText) -> list[Claim]:
    """``qstat -f [JOB]``: exec_vnode, which names the nodes themselves even where exec_host is a front node (Cray),
    or exec_host (Torque). Times carry no zone there, so no expiry is read."""
    jobs: list[dict[str, str]] = []
    for line in re.sub(r"\n(?:\t| {8})[ \t]*", "", text.text).split("\n"):
        if line.startswith("Job Id:"):
            job = JOB.fullmatch(line.strip())
            if not job:
                raise text.fault(f"{quoted(line)} names no job", line)
            jobs.append({"Job Id": job["job"]})
        elif jobs and (match := ATTRIBUTE.fullmatch(line)):
            jobs[-1].setdefault(match["key"], match["value"].strip())
    return [job_claim(text, job) for job in jobs]


def job_claim(text: NodeText, job: dict[str, str]) -> Claim:
    state = job.get("job_state", "")
    if state not in STATES:
        raise text.fault(f"job {job['Job Id']} is in a state that PBS does not know: {quoted(state)}")
    word = STATES[state]
    if word:
        return Claim({}, job["Job Id"], state=state, fault=f"job {job['Job Id']} {word} (state {state})")
    if "exec_vnode" in job:
        nodes = vnodes(text, job["exec_vnode"])
    elif "exec_host" in job:
        nodes = hosts(text, job["exec_host"])
    else:
        nodes = {}
    return Claim(nodes, job["Job Id"], state=state)
