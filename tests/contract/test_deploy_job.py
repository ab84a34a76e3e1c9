"""The example of a batch job gives its nodes back however it ends. ansible-playbook is a stand-in that notes its words."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "deploy_job.sh"
STAND_IN = """#!/bin/sh
echo "$*" >>{folder}/played
case "$*" in *cluster.deploy\\ *) {deploying} ;; esac
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """start(*words, deploying=, **settings) -> the job; ``deploying`` is what the stand-in does as a deployment."""

    def run(*words: str, deploying: str = "true", **settings: str) -> subprocess.Popen[str]:
        program = tmp_path / "ansible-playbook"
        program.write_text(STAND_IN.format(folder=tmp_path, deploying=deploying))
        program.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "TMPDIR": str(tmp_path),
            "OAR_JOB_ID": "7",
            **settings,
        }
        return subprocess.Popen(
            # what was started aside ignores SIGINT, and no shell can undo that
            ["env", "--default-signal=INT", "sh", str(SCRIPT), *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def played(tmp_path: Path) -> list[str]:
    """The playbooks in their order."""
    path = tmp_path / "played"
    lines = path.read_text().splitlines() if path.exists() else []
    return [next(word for word in line.split() if word.startswith("oneimage")) for line in lines]


ALL = ["oneimage.cluster.deploy", "oneimage.cluster.deploy_stop", "oneimage.cluster.diskless"]


def test_it_deploys_runs_the_command_and_gives_the_nodes_back(start: Start, tmp_path: Path) -> None:
    job = start("mine", "sh", "-c", 'cat "$OK_NODES"; exit 5', deploying='echo n1 >"$OK_NODES"')
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out) == (5, "n1\n"), err
    assert played(tmp_path) == ALL
    first = (tmp_path / "played").read_text().splitlines()[0]
    assert "-e deploy_hosts=reserved -e deployment_environment=mine -e deployment_id=job-7" in first
    assert f"-e deployment_ok_file={tmp_path}/tmp." in first
    assert not list(tmp_path.glob("tmp.*"))


def test_too_few_nodes_end_the_job_without_the_command(start: Start, tmp_path: Path) -> None:
    job = start("mine", "touch", str(tmp_path / "ran"), deploying="exit 2")
    job.communicate(timeout=60)
    assert job.returncode == 2
    assert not (tmp_path / "ran").exists()
    assert played(tmp_path) == ALL


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_job_that_is_cancelled_while_it_deploys_gives_the_nodes_back(
    start: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    job = start("mine", deploying="exec sleep 300")
    wait_until(lambda: played(tmp_path) == ALL[:1])
    job.send_signal(number)
    job.communicate(timeout=60)
    assert job.returncode == code
    assert played(tmp_path) == ALL


def test_a_job_that_is_cancelled_as_its_deployment_starts(start: Start, tmp_path: Path) -> None:
    """The deployment's first deed is to have the job cancelled, which may not yet know whom it started."""
    job = start("mine", deploying="kill -TERM $PPID; exec sleep 300")
    job.communicate(timeout=60)  # what still ran would hold its output open
    assert job.returncode == 143
    assert played(tmp_path) == ALL


def test_a_job_that_is_cancelled_while_its_command_runs_ends_the_command(
    start: Start, tmp_path: Path
) -> None:
    job = start("mine", "sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 300")
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 143
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert played(tmp_path) == ALL


def test_a_scheduler_that_takes_the_nodes_back_itself_is_let(start: Start, tmp_path: Path) -> None:
    start("mine", RETURN="").communicate(timeout=60)
    assert played(tmp_path) == ALL[:2]


def wait_until(true: Callable[[], bool]) -> None:
    over = time.monotonic() + 60
    while not true():
        assert time.monotonic() < over
        time.sleep(0.05)
