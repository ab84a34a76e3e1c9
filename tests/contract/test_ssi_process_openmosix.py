"""The module ssi_process with openMosix: no capabilities, no checkpoints, a lock instead, words instead of nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot
from ssi_process_case import flavour, programs

PID = 812


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    programs(tmp_path / "bin", {"migrate": "ssi_openmosix_migrate.py"})
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SSI_STAND_IN_STATE", str(tmp_path))
    process = tmp_path / "proc" / str(PID)
    process.mkdir(parents=True)
    for name, text in {"where": "0\n", "lock": "0\n", "cantmove": ""}.items():
        (process / name).write_text(text)
    return {"flavour": flavour("openmosix_2_4", tmp_path), "pid": PID}


def test_out_and_home(module: Run, options: dict[str, Any]) -> None:
    away = {**options, "state": "migrated", "node_id": 2}
    assert module("ssi_process", away, check=True)["node_id"] == "2"
    assert (module("ssi_process", away)["changed"], module("ssi_process", away)["changed"]) == (True, False)
    home = {**options, "state": "migrated", "node_id": "home"}
    assert module("ssi_process", home, check=True)["changed"]
    done = module("ssi_process", home)
    assert done["changed"] and done["node_id"] == "0" and not module("ssi_process", home)["changed"]


def test_the_kernel_chooses(module: Run, options: dict[str, Any]) -> None:
    balance = {**options, "state": "migrated", "node_id": "balance"}
    assert module("ssi_process", balance, check=True)["changed"]
    done = module("ssi_process", balance)
    assert done["changed"] and done["node_id"] == "3"
    stays = module("ssi_process", balance)
    assert not stays["changed"] and stays["node_id"] == "3"


def test_a_lock_keeps_a_process_until_it_is_opened(
    module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    lock = {**options, "locked": True}
    before = snapshot(tmp_path / "proc")
    assert module("ssi_process", lock, check=True)["changed"] and snapshot(tmp_path / "proc") == before
    assert module("ssi_process", lock)["changed"] and not module("ssi_process", lock)["changed"]
    away = {**options, "state": "migrated", "node_id": "2"}
    assert f"process {PID} is locked to its home node" in module("ssi_process", away)["msg"]
    done = module("ssi_process", {**away, "locked": False})
    assert (done["locked"], done["node_id"], done["diff"]["before"]["locked"]) == (False, "2", True)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("monkey\n", "the kernel keeps it where it is: monkey"),
        ("0\n", None),
        ("clone_vm mlock\n", "clone_vm mlock"),
    ],
)
def test_what_cannot_move_says_why(
    module: Run, options: dict[str, Any], tmp_path: Path, reason: str, said: str | None
) -> None:
    (tmp_path / "proc" / str(PID) / "cantmove").write_text(reason)
    result = module("ssi_process", {**options, "state": "migrated", "node_id": "2"}, check=True)
    assert said in result["msg"] if said else result["changed"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"capabilities": {"effective": {"CAN_MIGRATE": True}}},
            "capabilities: openMosix has no capabilities",
        ),
        ({"state": "checkpointed", "description": "x"}, "state checkpointed: openMosix moves processes"),
        ({"state": "restarted"}, "state restarted: the flavour openmosix_2_4 has no command for it"),
        ({"pid": 4, "locked": True}, "no node of the session has a process 4"),
    ],
)
def test_what_openmosix_cannot(module: Run, options: dict[str, Any], more: dict[str, Any], said: str) -> None:
    refused = module("ssi_process", {**options, **more})
    assert refused["failed"] and said in refused["msg"]
