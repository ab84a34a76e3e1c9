# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The formats in which schedulers and people list nodes: one table, ``recognise`` and ``parse``.

FORMATS holds for each a sample, which is also what the documentation shows. Where they were seen:
OAR (oarstat, node file, properties, states): recorded from OAR 2.5.9; oargridstat: the field's deployment guides.
Slurm hostlists: ``scontrol show hostnames`` 22.05; ``squeue -o "%i %N"``: squeue(1). Flux: RFC 29 of Flux, flux-hostlist(1).
PBS: PBS_NODEFILE and ``qstat -f`` of OpenPBS, PBS Pro and Torque as sites print it. Grid Engine: sge_pe(5) 8.1.9, $pe_hostfile.
LSF: "Environment variables set for job execution" of the LSF 10.1 reference. Open MPI: read by mpirun 4.1.4
(``slots``, blanks round ``=``, ``user@``, comments at a line's end); Hydra: "Using the Hydra Process Manager".
Kadeploy: ``kadeploy3 -f`` of 3.3.11. ClusterShell: ``nodeset`` 1.9.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import HOST_NAME, check_name, quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils import _allocation_columns as columns
from ansible_collections.oneimage.cluster.plugins.plugin_utils import _allocation_lists as lists
from ansible_collections.oneimage.cluster.plugins.plugin_utils import _allocation_oar as oar
from ansible_collections.oneimage.cluster.plugins.plugin_utils import _allocation_pbs as pbs
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation, Claim
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import NodeText, read_text

AUTO = "auto"
EMPTY = "no node in it: is the reservation over?"
Recogniser = Callable[[NodeText], bool]
Parser = Callable[[NodeText], list[Claim]]


@dataclass(frozen=True)
class Format:
    """``recognise`` is strict: it is better to ask for the format than to take it for another.
    Without it the format cannot be told from the one called ``same_as``, and need not be.
    ``counts``: whether it says how many slots a node was given; else each node has one."""

    description: str
    sample: str
    parse: Parser
    recognise: Recogniser | None = None
    same_as: str | None = None
    counts: bool = True


FORMATS: dict[str, Format] = {
    "oarstat": Format(
        "OAR, oarstat -J -j JOB: with state and expiry, one slot per node",
        '{"42": {"state": "Running", "startTime": 1795250709, "walltime": 1800,'
        ' "assigned_network_address": ["node-1.site1.example.org", "node-2.site1.example.org"]}}\n',
        oar.read_oarstat,
        oar.is_oarstat,
        counts=False,
    ),
    "oarstat_text": Format(
        "OAR, oarstat -f -j JOB: with state, one slot per node",
        "Job_Id: 42\n    state = Running\n    assigned_hostnames = node-1.site1.example.org+node-2.site1.example.org\n",
        oar.read_oarstat_text,
        oar.is_oarstat_text,
        counts=False,
    ),
    "oar_properties": Format(
        "OAR, the file OAR_RESOURCE_PROPERTIES_FILE or oarstat -p: one resource (core) per line",
        " core = '1' , network_address = 'node-1.site1.example.org' , cluster = 'clsite1' \n"
        " network_address = 'node-1.site1.example.org' , cluster = 'clsite1' , core = '2' \n",
        oar.read_properties,
        oar.is_properties,
    ),
    "qstat": Format(
        "PBS, qstat -f JOB: with state",
        "Job Id: 42.server\n    job_state = R\n    exec_host = n1/0*4+n2/0*4\n"
        "    exec_vnode = (n1:ncpus=4)+(n2\n\t:ncpus=4)\n",
        pbs.read_qstat,
        pbs.is_qstat,
    ),
    "pbs_exec_vnode": Format(
        "OpenPBS, the attribute exec_vnode",
        "(n1:ncpus=4:mem=8gb)+(n2:ncpus=4:mem=8gb)\n",
        pbs.read_exec_vnode,
        pbs.is_exec_vnode,
    ),
    "pbs_exec_host": Format(
        "PBS, the attribute exec_host",
        "n1/0*4+n2/0*4\n",
        pbs.read_exec_host,
        pbs.is_exec_host,
    ),
    "sge": Format(
        "Grid Engine, the file PE_HOSTFILE: host, slots, queue, processors",
        "n1.example.org 4 all.q@n1.example.org UNDEFINED\nn2.example.org 2 all.q@n2.example.org UNDEFINED\n",
        columns.read_sge,
        columns.is_sge,
    ),
    "squeue": Format(
        'Slurm, squeue -o "%i %N": job and hostlist in two columns, one slot per node',
        "JOBID NODELIST\n42 node[01-03,07],gpu-[1-2]\n",
        columns.read_squeue,
        columns.is_squeue,
        counts=False,
    ),
    "lsf_mcpu": Format(
        "LSF, the variable LSB_MCPU_HOSTS: hosts and counts in turn",
        "h1 2 h2 1\n",
        columns.read_lsf_mcpu,
        columns.is_lsf_mcpu,
    ),
    "lsf_hosts": Format(
        "LSF, the variable LSB_HOSTS: a name per slot, in one line",
        "h1 h1 h2\n",
        columns.read_lsf_hosts,
        columns.is_lsf_hosts,
    ),
    "hosts": Format(
        "a name per line, a name per slot: plain lists and most schedulers' node files",
        "n1.example.org\nn1.example.org\nn2.example.org\n",
        lists.read_hosts,
        lists.are_hosts,
    ),
    "kadeploy": Format(
        "Kadeploy, kadeploy3 -f: comments, one bracket group per line, one slot per node",
        "# the good ones\nnode-[1-3].site1.example.org\nnode-7.site1.example.org\n",
        lists.read_kadeploy_list,
        lists.is_kadeploy_list,
        counts=False,
    ),
    "hostlist": Format(
        "Slurm, Flux, pdsh: hostlists, one slot per node unless the tasks per node are known",
        "node[01-03,07],gpu-[1-2],rack[1-2]n[01-02]\n",
        lists.read_hostlist,
        lists.is_hostlist,
        counts=False,
    ),
    "machinefile": Format(
        "MPI: host slots=N (Open MPI) or host:N (MPICH, Intel MPI)",
        "n1 slots=4 max_slots=8\nn2 slots=2\n",
        columns.read_machinefile,
        columns.is_machinefile,
    ),
    "nodeset": Format(
        "ClusterShell: nodesets with steps, several dimensions and operators, one slot per node",
        "node[1-9/2]!node3,rack[1-2]n[1-4]\n",
        lists.read_nodeset,
        lists.is_nodeset,
        counts=False,
    ),
}
"""In the order in which they are tried."""

SAME = (
    ("oar", "hosts", "OAR, the file OAR_NODEFILE: a name per core"),
    ("oargrid", "hosts", "OAR, oargridstat -w -l JOB: names with empty lines between the sites"),
    ("pbs", "hosts", "PBS, the file PBS_NODEFILE: a name per slot"),
    ("lsf_hostfile", "hosts", "LSF, the file LSB_DJOB_HOSTFILE: a name per slot"),
    ("slurm", "hostlist", "Slurm, the variable SLURM_JOB_NODELIST"),
    ("flux", "hostlist", "Flux, flux hostlist local"),
)
"""Name, the format that it cannot be told from, description."""

FORMATS |= {
    name: replace(FORMATS[same], description=description, recognise=None, same_as=same)
    for name, same, description in SAME
}


def recognise(text: str | bytes, source: str = "the text") -> str:
    """The name in FORMATS of the format of ``text``; raises ClusterError when it is none of them."""
    return recognised(listed(text, source))


def listed(text: str | bytes, source: str) -> NodeText:
    read = read_text(text, source)
    if not read.entries:
        raise read.fault(EMPTY)
    return read


def recognised(text: NodeText) -> str:
    for name, known in FORMATS.items():
        if known.recognise and known.recognise(text):
            return name
    check_names(text, text.entries, "; if this is no list of names, say which format it is")
    raise text.fault("no format of a list of nodes is known that looks like this; say which it is")


def parse(
    text: str | bytes,
    *,
    source: str,
    format: str = AUTO,  # noqa: A002  (the word of the inventory's option)
    job: str | None = None,
    tasks: str | None = None,
) -> list[Allocation]:
    """The allocations that ``text`` holds, one per job, each with at least one node.

    ``text``: at most 64 MiB and 1 MiB per line; bytes are UTF-8. ``source``: for messages.
    ``format``: ``auto`` or a name in FORMATS.
    ``job``: the job's id as the caller knows it: chosen from a text that names its jobs, else taken over.
    ``tasks``: slots in the order of a hostlist's nodes, spelled as in SLURM_TASKS_PER_NODE.
    Raises ClusterError ``SOURCE, line N: FAULT`` for what is no list of nodes in this format, for names that are
    no host names, for an empty list, for jobs that are over or have not started.
    """
    read = listed(text, source)
    if format != AUTO and format not in FORMATS:
        raise ClusterError(f"{source}: unknown format {quoted(format)}; known: auto, {', '.join(FORMATS)}")
    name = recognised(read) if format == AUTO else format
    claims = wanted(read, FORMATS[name].parse(read), job)
    if tasks:
        claims = [replace(claim, nodes=lists.with_tasks(read, claim.nodes, tasks)) for claim in claims]
    return [allocation(read, name, claim) for claim in claims]


def wanted(text: NodeText, claims: Sequence[Claim], job: str | None) -> list[Claim]:
    """``claims``, of which all are ``job``'s if they name no job, else the one that does; PBS ends its ids in
    ``.SERVER``, which people leave out."""
    if not claims:
        raise text.fault("no job in it")
    if job is None or not any(claim.job for claim in claims):
        return [replace(claim, job=claim.job or job) for claim in claims]
    chosen = [claim for claim in claims if claim.job and job in (claim.job, claim.job.partition(".")[0])]
    if not chosen:
        others = quoted(", ".join(str(claim.job) for claim in claims))
        raise text.fault(f"job {quoted(job)} is not in it, but {others}")
    return chosen


def allocation(text: NodeText, name: str, claim: Claim) -> Allocation:
    if claim.fault:
        raise text.fault(claim.fault)
    if not claim.nodes:
        raise text.fault(EMPTY if claim.job is None else f"job {claim.job}: {EMPTY}")
    check_names(text, claim.nodes)
    return Allocation(text.source, name, claim.nodes, claim.job, claim.expires, claim.state)


def check_names(text: NodeText, names: dict[str, int], remedy: str = "") -> None:
    """All at the speed of the pattern; the second pass only finds which one it was."""
    if all(map(HOST_NAME.fullmatch, names)):
        return
    for name in names:
        try:
            check_name(name)
        except ClusterError as error:
            raise text.fault(f"{error}{remedy}", name) from None
