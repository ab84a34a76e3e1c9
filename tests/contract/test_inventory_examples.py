"""Each example inventory of a scheduler, in an environment and with files as that scheduler makes them.

The programs of schedulers are stand-ins, which print what the real ones were recorded to print; real ones are asked in
test_schedulers_*.py.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inventory_run import inventory_of

EXAMPLES = Path(__file__).resolve().parents[2] / "inventories" / "schedulers"
FOREIGN = ("OAR_", "SLURM_", "PBS_", "PE_HOSTFILE", "LSB_", "FLUX_", "JOB_ID")
NOW = int(time.time())
WALLTIME = 86400
"""Seconds; longer than any run of the tests takes."""
OARSTAT = {
    "4242": {
        "Job_Id": 4242,
        "state": "Running",
        "types": ["deploy"],
        "assigned_network_address": ["griffon-1.nancy.example.org", "griffon-2.nancy.example.org"],
        "assigned_resources": [1, 2, 3, 4],
        "walltime": WALLTIME,
        "startTime": NOW,
        "owner": "alice",
        "name": None,
    }
}
"""As OAR 2.5.9 prints it, without the fields that are not read."""


@dataclass(frozen=True)
class Case:
    """``files`` (name -> content) lie in the home folder, ``environment`` may name them as {home}, ``programs`` (name ->
    the last words of their command line, and what they print then) are on PATH."""

    slots: dict[str, int]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    programs: dict[str, tuple[str, str]] = field(default_factory=dict)
    job: str | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)
    expires: int | None = None


def lines(*names: str) -> str:
    return "".join(f"{name}\n" for name in names)


A, B = "node-1.site1.grid5000.fr", "node-2.site1.grid5000.fr"
OAR = Case(
    {A: 4, B: 4},
    {"OAR_NODEFILE": "{home}/1", "OAR_NODE_FILE": "{home}/1", "OAR_JOB_ID": "1"},
    {"1": lines(A, A, A, A, B, B, B, B)},
    job="1",
    groups={"site_site1": [A, B]},
)
PARADENT = "paradent-7.rennes.example.org"
GRIFFONS = ["griffon-1.nancy.example.org", "griffon-2.nancy.example.org"]
CASES = {
    "auto": OAR,
    "oar": OAR,
    "oarstat": Case(
        dict.fromkeys(GRIFFONS, 1),
        programs={"ssh": ("frontend.nancy.example.org oarstat -J -j 4242", json.dumps(OARSTAT))},
        job="4242",
        groups={"site_nancy": GRIFFONS, "cluster_griffon": GRIFFONS},
        expires=NOW + WALLTIME,
    ),
    "oargrid": Case(
        {GRIFFONS[0]: 1, PARADENT: 1},
        programs={"oargridstat": ("-w -l 4242", f"{GRIFFONS[0]}\n\n{PARADENT}\n\n")},
        job="4242",
        groups={"site_nancy": GRIFFONS[:1], "site_rennes": [PARADENT], "cluster_paradent": [PARADENT]},
    ),
    "slurm": Case(
        {"node01": 72, "node02": 72, "gpu-1": 36},
        {
            "SLURM_JOB_NODELIST": "node[01-02],gpu-1",
            "SLURM_JOB_CPUS_PER_NODE": "72(x2),36",
            "SLURM_JOB_ID": "42",
            "SLURM_JOB_END_TIME": str(NOW + 86400),
        },
        job="42",
        groups={"cluster_gpu": ["gpu-1"]},
        expires=NOW + 86400,
    ),
    "squeue": Case(
        {"node01": 1, "node02": 1},
        programs={"squeue": ("--noheader --jobs 4242 --format %i %N", "4242 node[01-02]\n")},
        job="4242",
    ),
    "flux": Case(
        {"tioga1": 1, "tioga3": 1},
        {"FLUX_URI": "local:///run/flux/local"},
        programs={"flux": ("hostlist local", "tioga[1,3]\n")},
        groups={"cluster_tioga": ["tioga1", "tioga3"]},
    ),
    "pbs": Case(
        {"n1.example.org": 2, "n2.example.org": 1},
        {"PBS_NODEFILE": "{home}/aux/42.server", "PBS_JOBID": "42.server"},
        {"aux/42.server": lines("n1.example.org", "n1.example.org", "n2.example.org")},
        job="42.server",
        groups={"job_42_server": ["n1.example.org", "n2.example.org"]},
    ),
    "sge": Case(
        {"node01.example.org": 4, "node02.example.org": 2},
        {"PE_HOSTFILE": "{home}/pe_hostfile", "JOB_ID": "42"},
        {
            "pe_hostfile": "node01.example.org 4 all.q@node01.example.org UNDEFINED\n"
            "node02.example.org 2 all.q@node02.example.org UNDEFINED\n"
        },
        job="42",
    ),
    "lsf": Case(
        {"h1": 2, "h2": 1},
        {"LSB_DJOB_HOSTFILE": "{home}/hosts", "LSB_JOBID": "42", "LSB_MCPU_HOSTS": "h1 2 h2 1"},
        {"hosts": lines("h1", "h1", "h2")},
        job="42",
    ),
    "mpi": Case(
        {"n1": 4, "n2": 2},
        files={"machines": "# two machines\nn1 slots=4 max_slots=8\nn2 slots=2\n"},
    ),
    "kadeploy": Case(
        {"node-01.site1.example.org": 1, "node-02.site1.example.org": 1, "node-7.site1.example.org": 1},
        files={"nodes": "# good ones\nnode-[01-02].site1.example.org\n\nnode-7.site1.example.org\n"},
        groups={"site_site1": ["node-01.site1.example.org", "node-02.site1.example.org", "node-7.site1.example.org"]},
    ),
    "clustershell": Case(
        dict.fromkeys(
            [*(f"rack{r}n{n:02}" for r in (1, 2) for n in (1, 2, 3, 4) if (r, n) != (1, 2)), "gpu-1", "gpu-5", "gpu-9"],
            1,
        ),
        groups={"cluster_gpu": ["gpu-1", "gpu-5", "gpu-9"]},
    ),
}  # fmt: skip


def set_up(case: Case, home: Path) -> Mapping[str, str]:
    """The environment in which ``case`` runs; its files and stand-in programs are made."""
    for name, content in case.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    for name, (arguments, printed) in case.programs.items():
        program = home / "bin" / name
        program.parent.mkdir(exist_ok=True)
        check = f'case "$*" in *{shlex.quote(arguments)}) ;; *) echo "called with: $*" >&2; exit 2;; esac'
        program.write_text(f"#!/bin/sh\n{check}\ncat <<'END'\n{printed}\nEND\n")
        program.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        "HOME": str(home),
        "PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}",
        **{name: value.format(home=home) for name, value in case.environment.items()},
    }


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {f"{name}.nodes.yml" for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_an_example(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found: dict[str, Any] = inventory_of(EXAMPLES / f"{name}.nodes.yml", set_up(case, tmp_path))
    variables = found["_meta"]["hostvars"]
    assert found["nodes"]["hosts"] == found["reserved"]["hosts"] == list(case.slots)
    assert {node: of["node_slots"] for node, of in variables.items()} == case.slots
    assert {of.get("node_job") for of in variables.values()} == {case.job}
    assert {of.get("node_expires") for of in variables.values()} == {case.expires}
    for group, nodes in case.groups.items():
        assert found[group]["hosts"] == nodes
