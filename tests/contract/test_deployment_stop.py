"""A deployment that is under way is ended by its id, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import snapshot

HOLD = """
import signal, sys, time
from pathlib import Path
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_folder import held
if sys.argv[3] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with held(Path(sys.argv[1]), sys.argv[2], []):
    print("held", flush=True)
    time.sleep(600)
"""
Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """hold(id) -> a process that works on that deployment."""
    processes = []

    def start(deployment: str, manner: str = "polite") -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, str(tmp_path), deployment, manner]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_it_ends_that_one_and_no_other(module: Any, hold: Hold, tmp_path: Path) -> None:
    mine, other = hold("job-1"), hold("job-2")
    result = module("deployment_stop", {"id": "job-1", "deployments": str(tmp_path)})
    assert (result["changed"], result["stopped"]) == (True, True)
    assert mine.wait(timeout=90) == -15
    assert other.poll() is None
    assert not module("deployment_stop", {"id": "job-1", "deployments": str(tmp_path)})["changed"]


def test_one_that_does_not_listen_is_killed(module: Any, hold: Hold, tmp_path: Path) -> None:
    mine = hold("job-1", "deaf")
    assert module("deployment_stop", {"id": "job-1", "deployments": str(tmp_path), "timeout": 1})["changed"]
    assert mine.wait(timeout=90) == -9


def test_a_check_foresees_it_and_ends_nothing(module: Any, hold: Hold, tmp_path: Path) -> None:
    mine, before = hold("job-1"), snapshot(tmp_path)
    assert module("deployment_stop", {"id": "job-1", "deployments": str(tmp_path)}, check=True)["changed"]
    assert mine.poll() is None
    assert snapshot(tmp_path) == before


def test_where_there_is_none_nothing_happens(module: Any, tmp_path: Path) -> None:
    assert not module("deployment_stop", {"id": "job-1", "deployments": str(tmp_path)})["changed"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_id_is_refused(module: Any, tmp_path: Path) -> None:
    result = module("deployment_stop", {"id": "../job", "deployments": str(tmp_path)})
    assert result["failed"]
    assert "no name of a deployment" in result["msg"]
