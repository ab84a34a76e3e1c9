# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nodes that a real Slurm gives to a job, read by the inventory plugin in all the ways in which Slurm says them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nodes_inventory import host_variable, hosts, listed, refusal
from scheduler_sandbox import Unavailable, sandbox
from scheduler_slurm import KEEP_ENVIRONMENT, NODES, PACKAGES, Slurm

pytestmark = [pytest.mark.root, pytest.mark.slow]

NODELIST = "gpu-2,node[01-03]"
SLOTS = {"gpu-2": 2, "node01": 4, "node02": 4, "node03": 4}
ASKED = (f"--nodelist={NODELIST}", f"--nodes={len(SLOTS)}", f"--ntasks={sum(SLOTS.values())}", "--time=30")


@dataclass(frozen=True)
class Job:
    id: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    began = time.monotonic()
    try:
        with sandbox(PACKAGES, tmp_path_factory.mktemp("slurm")) as made:
            controller = Slurm(made)
            controller.start()
            print(f"Slurm took {time.monotonic() - began:.1f} s to start")
            yield controller
    except Unavailable as reason:
        pytest.skip(f"a real Slurm cannot be run here: {reason}")


@pytest.fixture(scope="module")
def job(slurm: Slurm) -> Job:
    """A job that runs until the tests end."""
    number = slurm.submit(KEEP_ENVIRONMENT, *ASKED)
    slurm.wait(number, "RUNNING")
    return Job(number, slurm.environment(number))


@pytest.mark.parametrize("source", [{"auto": True}, {"env": "SLURM_JOB_NODELIST"}])
def test_the_environment_of_a_job(job: Job, tmp_path: Path, source: dict[str, object]) -> None:
    found = listed(tmp_path, source, environment=job.environment)

    assert host_variable(found, "node_slots") == SLOTS
    assert set(host_variable(found, "node_job").values()) == {job.id}
    assert hosts(found) == hosts(found, f"job_{job.id}") == sorted(SLOTS)
    assert hosts(found, "cluster_gpu") == ["gpu-2"]


def test_the_environment_that_salloc_gives(slurm: Slurm, tmp_path: Path) -> None:
    """Where Ansible runs on the frontend, within ``salloc``."""
    asked = ("--nodelist=gpu-1,node07", "--ntasks=6", "--time=30")
    said = slurm.sandbox.run_as("alice", "salloc", *asked, "env")
    environment = dict(line.split("=", 1) for line in said.splitlines() if line.startswith("SLURM_"))

    found = listed(tmp_path, {"auto": True}, environment=environment)

    assert host_variable(found, "node_slots") == {"gpu-1": 2, "node07": 4}


@pytest.mark.parametrize(
    "options", [("-o", "%i %N"), ("--noheader", "-o", "%i %N"), ("--noheader", "-o", "%N")]
)
def test_squeue(slurm: Slurm, job: Job, tmp_path: Path, options: tuple[str, ...]) -> None:
    command = slurm.sandbox.argv("squeue", "--jobs", job.id, *options)

    found = listed(tmp_path, {"command": command, "job": job.id})

    assert hosts(found) == hosts(found, f"job_{job.id}") == sorted(SLOTS)


def test_every_node_that_sinfo_knows(slurm: Slurm, tmp_path: Path) -> None:
    command = slurm.sandbox.argv("sinfo", "--noheader", "--format", "%N")

    assert hosts(listed(tmp_path, {"command": command})) == sorted(NODES)


def test_a_job_that_was_cancelled_is_refused(slurm: Slurm, tmp_path: Path) -> None:
    number = slurm.submit(KEEP_ENVIRONMENT, "--nodelist=gpu-1", "--time=30")
    slurm.wait(number, "RUNNING")
    command = {"command": slurm.sandbox.argv("squeue", "--noheader", "--jobs", number, "-o", "%i %N")}
    assert hosts(listed(tmp_path, command)) == ["gpu-1"]

    slurm.sandbox.run("scancel", number)
    slurm.wait(number, "CANCELLED")

    assert "is the reservation over?" in refusal(tmp_path, command)


def test_a_job_that_never_was_is_refused_with_the_words_of_slurm(slurm: Slurm, tmp_path: Path) -> None:
    command = slurm.sandbox.argv("squeue", "--noheader", "--jobs", "4242", "-o", "%i %N")

    assert "Invalid job id" in refusal(tmp_path, {"command": command})
