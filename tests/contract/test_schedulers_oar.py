# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nodes that a real OAR gives to a job, read by the inventory plugin in all the ways in which OAR says them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nodes_inventory import host_variable, hosts, listed, refusal
from scheduler_oar import KEEP_ENVIRONMENT, NODES, PACKAGES, Oar
from scheduler_sandbox import Unavailable, sandbox

pytestmark = [pytest.mark.root, pytest.mark.slow]

WALLTIME = 1800
RESOURCES = "{site='nancy'}/nodes=2+{site='rennes'}/nodes=1,walltime=0:30:0"
"""Two nodes of 4 cores on one site, one of 2 cores on another."""


@dataclass(frozen=True)
class Job:
    id: str
    slots: dict[str, int]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def oar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oar]:
    began = time.monotonic()
    try:
        with sandbox(PACKAGES, tmp_path_factory.mktemp("oar")) as made:
            server = Oar(made)
            server.start()
            print(f"OAR took {time.monotonic() - began:.1f} s to start")
            yield server
    except Unavailable as reason:
        pytest.skip(f"a real OAR cannot be run here: {reason}")


@pytest.fixture(scope="module")
def job(oar: Oar) -> Job:
    """A job that runs until the tests end."""
    number = oar.submit(RESOURCES, KEEP_ENVIRONMENT)
    oar.wait(number, "Running")
    names = oar.described(number)["assigned_network_address"]
    # the paths that OAR says are those of its frontend, where a user would run Ansible
    environment = {
        key: f"{oar.sandbox.root}{value}" if value.startswith("/var/") else value
        for key, value in oar.environment(number).items()
    }
    return Job(number, {name: NODES[name] for name in names}, environment)


def test_the_job_holds_what_was_asked_for(job: Job) -> None:
    assert sorted(job.slots.values()) == [2, 4, 4]


@pytest.mark.parametrize("source", [{"auto": True}, {"env": "OAR_NODE_FILE", "format": "oar"}])
def test_the_environment_of_a_job(job: Job, tmp_path: Path, source: dict[str, object]) -> None:
    found = listed(tmp_path, source, environment=job.environment)

    assert host_variable(found, "node_slots") == job.slots
    assert set(host_variable(found, "node_job").values()) == {job.id}
    assert hosts(found) == hosts(found, f"job_{job.id}") == sorted(job.slots)
    for group, part in (("site_nancy", "nancy"), ("site_rennes", "rennes"), ("cluster_paradent", "paradent")):
        assert hosts(found, group) == sorted(name for name in job.slots if part in name)


@pytest.mark.parametrize("variable", ["OAR_NODE_FILE", "OAR_RESOURCE_PROPERTIES_FILE"])
def test_a_file_is_recognised(job: Job, tmp_path: Path, variable: str) -> None:
    found = listed(tmp_path, {"file": job.environment[variable]})

    assert host_variable(found, "node_slots") == job.slots


@pytest.mark.parametrize("options", [("-J",), ("-J", "-f")])
def test_oarstat_knows_job_and_end(oar: Oar, job: Job, tmp_path: Path, options: tuple[str, ...]) -> None:
    found = listed(tmp_path, {"command": oar.sandbox.argv("oarstat", *options, "-j", job.id)})

    end = oar.described(job.id)["startTime"] + WALLTIME
    assert hosts(found) == hosts(found, f"job_{job.id}") == sorted(job.slots)
    assert host_variable(found, "node_expires") == dict.fromkeys(job.slots, end)


def test_oarstat_in_text(oar: Oar, job: Job, tmp_path: Path) -> None:
    found = listed(tmp_path, {"command": oar.sandbox.argv("oarstat", "-f", "-j", job.id)})

    assert hosts(found) == hosts(found, f"job_{job.id}") == sorted(job.slots)


def test_what_oarnodes_knows_joins_by_name(oar: Oar, job: Job, tmp_path: Path) -> None:
    (tmp_path / "oarnodes.json").write_text(oar.sandbox.run("oarnodes", "-J"))
    wanted = {
        "map": {"oar_state": "state", "oar_cluster": "cluster"},
        "name": "network_address",
        "records": "values(@)",
    }

    found = listed(
        tmp_path, {"auto": True}, environment=job.environment, facts=[{"file": "oarnodes.json", **wanted}]
    )

    assert host_variable(found, "oar_state") == dict.fromkeys(job.slots, "Alive")
    assert host_variable(found, "oar_cluster") == {name: name.partition("-")[0] for name in job.slots}
    assert hosts(found) == sorted(job.slots)


def test_the_ready_made_map_of_oarnodes(oar: Oar, job: Job, tmp_path: Path) -> None:
    (tmp_path / "oarnodes.json").write_text(oar.sandbox.run("oarnodes", "-J"))

    plain = listed(tmp_path, {"auto": True}, environment=job.environment)
    found = listed(
        tmp_path,
        {"auto": True},
        environment=job.environment,
        facts=[{"file": "oarnodes.json", "map": "oarnodes"}],
    )

    variables = found["_meta"]["hostvars"]
    assert all(variables[name].keys() > plain["_meta"]["hostvars"][name].keys() for name in job.slots)
    assert host_variable(found, "node_slots") == job.slots


def test_a_job_that_was_deleted_is_refused(oar: Oar, tmp_path: Path) -> None:
    number = oar.submit("nodes=1,walltime=0:30:0", KEEP_ENVIRONMENT)
    oar.wait(number, "Running")
    file = {"file": f"{oar.sandbox.root}{oar.environment(number)['OAR_NODEFILE']}"}
    command = {"command": oar.sandbox.argv("oarstat", "-J", "-j", number)}
    assert hosts(listed(tmp_path, file)) == hosts(listed(tmp_path, command))

    oar.sandbox.run("oardel", number)
    oar.wait(number, "Error")

    assert f"job {number} is over (state Error)" in refusal(tmp_path, command)
    assert "does not exist; is the reservation over?" in refusal(tmp_path, file)


def test_a_job_that_came_to_its_end_is_refused(oar: Oar, tmp_path: Path) -> None:
    number = oar.submit("nodes=1,walltime=0:30:0", "true")
    oar.wait(number, "Terminated")

    said = refusal(tmp_path, {"command": oar.sandbox.argv("oarstat", "-J", "-j", number)})

    assert f"job {number} is over (state Terminated)" in said


def test_a_job_that_waits_is_refused(oar: Oar, job: Job, tmp_path: Path) -> None:
    number = oar.submit(f"nodes={len(NODES)},walltime=0:30:0", "true")  # more than the other job leaves

    said = refusal(tmp_path, {"command": oar.sandbox.argv("oarstat", "-J", "-j", number)})
    oar.sandbox.run("oardel", number)

    assert f"job {number} has not started (state Waiting)" in said


def test_a_job_that_never_was_is_refused(oar: Oar, tmp_path: Path) -> None:
    said = refusal(tmp_path, {"command": oar.sandbox.argv("oarstat", "-J", "-j", "4242")})

    assert "is the reservation over?" in said
