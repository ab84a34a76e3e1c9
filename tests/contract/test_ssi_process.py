"""The module ssi_process on a session of Kerrighed's stand-ins, or on the real cluster that SSI_TEST_NODES names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_task
from conftest import Run, snapshot, start_module
from ssi_process_case import FIRST_PID, REAL, REAL_ONLY, RealSession, StandIn

Task = Callable[..., "dict[str, Any]"]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn | RealSession]:
    found = RealSession() if REAL else StandIn(tmp_path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    yield found
    found.close()


@pytest.fixture
def stand_in(session: StandIn | RealSession) -> StandIn:
    if not isinstance(session, StandIn):
        pytest.skip(REAL_ONLY)
    return session


@pytest.fixture
def task(module: Run, session: StandIn | RealSession) -> Task:
    """Run the module and hold it to the contract: check mode touches nothing and predicts what then happens."""

    def run(check: bool = False, **options: Any) -> dict[str, Any]:
        return module("ssi_process", {**session.options, **options}, check=check)

    def checked(**options: Any) -> dict[str, Any]:
        before = snapshot(session.state) if isinstance(session, StandIn) else {}
        predicted = run(check=True, **options)
        if isinstance(session, StandIn):
            assert snapshot(session.state) == before
        done = run(**options)
        assert predicted.get("changed") == done.get("changed"), (predicted, done)
        assert predicted.get("msg") == done.get("msg")
        if done.get("failed") and isinstance(session, StandIn):
            assert snapshot(session.state) == before, "a refusal changed something"
        return done

    return checked


CAN = {"capabilities": {"effective": {"CAN_MIGRATE": True, "CHECKPOINTABLE": True}}}


def test_capabilities_are_given_and_taken_once(session: StandIn | RealSession, task: Task) -> None:
    pid = session.start()
    task(pid=pid, **CAN)
    taken = task(pid=pid, capabilities={"effective": {"CAN_MIGRATE": False}})
    again = task(pid=pid, capabilities={"effective": {"CAN_MIGRATE": False}})
    assert (taken["changed"], again["changed"]) == (True, False)
    assert "CAN_MIGRATE" not in taken["capabilities"]["effective"] and taken["node_id"] == session.nodes[0]
    assert "CAN_MIGRATE" in taken["diff"]["before"]["capabilities"]["effective"]
    assert taken["diff"]["after"]["capabilities"] == again["capabilities"] == taken["capabilities"]


def test_four_sets_are_changed_by_one_command(stand_in: StandIn, task: Task) -> None:
    pid = stand_in.start()
    wanted = {
        "effective": {"DISTANT_FORK": False, "CAN_MIGRATE": True},
        "inheritable_effective": {"CHECKPOINTABLE": False, "USE_REMOTE_MEMORY": False},
        "inheritable_permitted": {"USE_REMOTE_MEMORY": False},
        "permitted": {"SEE_LOCAL_PROC_STAT": False},
    }
    refused = task(pid=pid, capabilities=wanted)
    assert "effective would have SEE_LOCAL_PROC_STAT, which permitted has not" in refused["msg"]
    for kind in ("effective", "inheritable_effective", "inheritable_permitted"):
        wanted[kind]["SEE_LOCAL_PROC_STAT"] = False
    done = task(pid=pid, capabilities=wanted)
    assert done["changed"] and not task(pid=pid, capabilities=wanted)["changed"]
    assert done["capabilities"] == {
        "permitted": [
            "CHANGE_KERRIGHED_CAP",
            "CAN_MIGRATE",
            "DISTANT_FORK",
            "CHECKPOINTABLE",
            "USE_REMOTE_MEMORY",
        ],
        "effective": ["CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "CHECKPOINTABLE", "USE_REMOTE_MEMORY"],
        "inheritable_permitted": ["CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "DISTANT_FORK", "CHECKPOINTABLE"],
        "inheritable_effective": ["CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "DISTANT_FORK"],
    }


def test_the_capability_to_change_capabilities_goes_without_a_question(stand_in: StandIn, task: Task) -> None:
    pid = stand_in.start()
    assert task(pid=pid, capabilities={"effective": {"CHANGE_KERRIGHED_CAP": False}})["changed"]
    refused = task(pid=pid, capabilities={"effective": {"CAN_MIGRATE": False}})
    assert "its capabilities stay as they are, since it lacks CHANGE_KERRIGHED_CAP itself" in refused["msg"]


@pytest.mark.parametrize(
    ("process", "capabilities", "said"),
    [
        ({}, {"effective": {"CAN_FLY": True}}, "capabilities.effective.CAN_FLY: unknown capability"),
        ({}, {"effective": {"DEBUGX": True}}, "capabilities.effective.DEBUGX: unknown capability"),
        ({}, {"effective": {"DEBUG": "+"}}, "must be true or false, not '+'"),
        ({}, {"permitted": {"DEBUG": True}}, "can only be lost, and DEBUG would be gained"),
        ({}, {"effective": {"DEBUG": True}}, "effective would have DEBUG, which permitted has not"),
        ({"used": ["CAN_MIGRATE"]}, {"effective": {"CAN_MIGRATE": False}}, "taken away is in use"),
    ],
)
def test_capabilities_that_cannot_be(
    module: Run, stand_in: StandIn, process: dict[str, Any], capabilities: dict[str, Any], said: str
) -> None:
    pid = stand_in.start(**process)
    before = stand_in.look(pid)
    refused = module("ssi_process", {**stand_in.options, "pid": pid, "capabilities": capabilities})
    assert refused["failed"] and said in refused["msg"] and "\n" not in refused["msg"]
    assert stand_in.look(pid) == before


def test_a_process_of_the_node_alone_gets_no_capabilities(stand_in: StandIn, task: Task) -> None:
    """Kerrighed's kernel crashes at its next fork."""
    stand_in.next = 1
    refused = task(pid=stand_in.start(), capabilities={"inheritable_effective": {"CHECKPOINTABLE": False}})
    assert "process 1 cannot be present: its number is none of the cluster" in refused["msg"]


def test_migrate_there_and_back(session: StandIn | RealSession, task: Task) -> None:
    pid = session.start()
    here, there = session.nodes[:2]
    task(pid=pid, state="migrated", node_id=here, **CAN)
    done = task(pid=pid, state="migrated", node_id=there)
    assert done["changed"] and done["node_id"] == there and done["pid"] == pid
    assert (done["diff"]["before"]["node_id"], done["diff"]["after"]["node_id"]) == (here, there)
    again = task(pid=pid, state="migrated", node_id=f"0{there}")
    assert not again["changed"] and again["node_id"] == there
    assert task(pid=pid, state="migrated", node_id=here)["node_id"] == here


def test_a_migration_is_waited_for(stand_in: StandIn, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real migrate returns as soon as the kernel has taken the order."""
    monkeypatch.setenv("SSI_STAND_IN_FAULT", "lazy")
    monkeypatch.setenv("SSI_STAND_IN_DELAY", "0.4")
    pid = stand_in.start()
    assert task(pid=pid, state="migrated", node_id="2")["node_id"] == "2"
    assert stand_in.look(pid)["node"] == 2


def test_a_node_lost_in_the_middle_of_a_migration(
    module: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = stand_in.start()
    options = {**stand_in.options, "pid": pid}
    module("ssi_process", {**options, "state": "checkpointed", "description": "before"})
    monkeypatch.setenv("SSI_STAND_IN_FAULT", "lost")
    lost = module("ssi_process", {**options, "state": "migrated", "node_id": "2", "timeout": 0.5})
    assert lost["failed"] and f"process {pid} did not reach 2" in lost["msg"]
    assert "it was on node 1, and no node of the session has it now: restart it" in lost["msg"]
    gone = module("ssi_process", {**options, "state": "migrated", "node_id": "2"})
    assert f"no node of the session has a process {pid}" in gone["msg"]
    back = module("ssi_process", {**stand_in.options, "state": "restarted", "pid": pid})
    assert back["changed"] and back["node_id"] == "1" and stand_in.look(pid)["node"] == 1


def test_a_killed_migration_leaves_the_process_on_one_node(
    module: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSI_STAND_IN_DELAY", "0.3")
    options = {**stand_in.options, "state": "migrated", "node_id": "2"}
    for delay in (0.15, 0.3, 0.45):
        pid = stand_in.start()
        process = start_module("ssi_process", {**options, "pid": pid})
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        where = module("ssi_process", {**stand_in.options, "pid": pid})
        assert not where["changed"] and where["node_id"] in ("1", "2")
        after = module("ssi_process", {**options, "pid": pid})
        assert after["node_id"] == "2" and stand_in.look(pid)["node"] == 2


@pytest.mark.parametrize(
    ("process", "node_id", "said"),
    [
        (
            {"effective": 0o1065},
            "2",
            "it lacks the effective capability CAN_MIGRATE; set it with capabilities",
        ),
        ({"threads": 4}, "2", "it has 4 threads, and Kerrighed moves processes of one thread only"),
        ({"sid": 1}, "2", "or session 1 is none of the cluster; start it from a login"),
        ({"pgid": 812}, "2", "its process group 812"),
        ({}, "3", "node 3 is not online in this cluster (migrate: Machine is not on the network)"),
        ({}, "300", "300 is no number of a node (migrate: Invalid argument); it is still on node 1"),
        ({}, "home", 'node_id "home": no process can be migrated there; take a node\'s number'),
        ({}, "-1", 'node_id "-1": no process'),
    ],
)
def test_what_cannot_migrate_says_why(
    module: Run, stand_in: StandIn, process: dict[str, Any], node_id: str, said: str
) -> None:
    pid = stand_in.start(**process)
    before = snapshot(stand_in.state)
    refused = module("ssi_process", {**stand_in.options, "pid": pid, "state": "migrated", "node_id": node_id})
    assert refused["failed"] and said in refused["msg"] and "\n" not in refused["msg"]
    assert snapshot(stand_in.state) == before


def test_outside_of_the_cluster(module: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = stand_in.start()
    monkeypatch.setenv("SSI_STAND_IN_NODE", "3")
    refused = module("ssi_process", {**stand_in.options, "pid": pid, **CAN})
    assert "Kerrighed does not run here; log in to its container (ssh to port 2222)" in refused["msg"]


def test_checkpoints_and_their_versions(session: StandIn | RealSession, task: Task) -> None:
    pid = session.start()
    first = task(pid=pid, state="checkpointed", description="before {it}", **CAN)
    assert first["changed"] and first["checkpoint"]["description"] == "before {it}"
    assert first["checkpoint"]["date"] > 1_000_000_000, "the file has seconds, standard output has not"
    again = task(pid=pid, state="checkpointed", description="before {it}")
    assert not again["changed"] and again["checkpoint"] == first["checkpoint"]
    second = task(pid=pid, state="checkpointed", description="after it")
    assert second["checkpoint"]["version"] == first["checkpoint"]["version"] + 1
    assert second["diff"]["before"]["checkpoint"] is None
    refused = task(state="restarted", identifier=pid)
    assert f"application {pid} already runs on node {session.nodes[0]}: end it before" in refused["msg"]
    session.end(pid)
    back = task(state="restarted", identifier=pid, version=first["checkpoint"]["version"])
    assert back["changed"] and back["node_id"] == session.nodes[0]
    assert back["checkpoint"] == first["checkpoint"]
    assert not task(state="restarted", identifier=pid, version=first["checkpoint"]["version"])["changed"]
    refused = task(state="restarted", identifier=pid)
    assert f"restarted from version {first['checkpoint']['version']}: end it before" in refused["msg"]
    session.end(pid)
    assert task(state="restarted", pid=pid)["checkpoint"] == second["checkpoint"], "the newest by default"


def test_an_application_of_two_processes(stand_in: StandIn, task: Task) -> None:
    parent = stand_in.start()
    child = stand_in.start(app=parent, pgid=parent, sid=parent)
    kept = task(pid=child, state="checkpointed", description="both")["checkpoint"]
    assert kept["identifier"] == parent != child
    assert not task(pid=child, state="checkpointed", description="both")["changed"]
    assert not task(pid=parent, state="checkpointed", description="both")["changed"]
    stand_in.end(parent)
    refused = task(pid=child, state="restarted")
    assert (
        f"application {parent} has its process {child}, or another of this number, on node 1"
        in refused["msg"]
    )
    stand_in.end(child)
    assert task(pid=child, state="restarted")["checkpoint"] == kept
    assert stand_in.look(child)["app"] == parent


def test_a_signal_ends_what_was_kept(stand_in: StandIn, task: Task) -> None:
    pid = stand_in.start()
    done = task(
        pid=pid, state="checkpointed", description="the last", signal=9, ignore_unsupported_files=True
    )
    assert done["changed"] and not (stand_in.state / "processes" / f"{pid}.json").exists()
    assert not task(pid=pid, state="checkpointed", description="the last", signal=9)["changed"]


def test_a_folder_that_is_not_shared(module: Run, stand_in: StandIn) -> None:
    stand_in.flavour["process"]["checkpoint"]["shared"] = ["nfs"]
    options = {**stand_in.options, "pid": stand_in.start(), "state": "checkpointed", "description": "x"}
    refused = module("ssi_process", options)
    assert "which the nodes do not share" in refused["msg"] and "mount one of nfs there" in refused["msg"]
    assert not list((stand_in.state / "chkpt").iterdir())
    assert module("ssi_process", {**options, "require_shared": False})["changed"]
    (stand_in.state / "chkpt").rename(stand_in.state / "gone")
    assert "No such file or directory" in module("ssi_process", options)["msg"]


@pytest.mark.parametrize(
    ("process", "description", "said"),
    [
        ({"effective": 0o1047}, "x", "it lacks the effective capability CHECKPOINTABLE"),
        ({"pgid": 1}, "x", "its process group 1"),
        ({}, "two\nlines", "description: must be one line of text"),
        ({}, " ", "description: must be one line of text"),
    ],
)
def test_what_cannot_be_checkpointed_says_why(
    stand_in: StandIn, task: Task, process: dict[str, Any], description: str, said: str
) -> None:
    refused = task(pid=stand_in.start(**process), state="checkpointed", description=description)
    assert said in refused["msg"]


def test_a_process_of_the_application_that_cannot_be_checkpointed(module: Run, stand_in: StandIn) -> None:
    pid = stand_in.start()
    stand_in.start(app=pid, effective=0o1047)
    refused = module(
        "ssi_process", {**stand_in.options, "pid": pid, "state": "checkpointed", "description": "x"}
    )
    assert "a process of it lacks CHECKPOINTABLE" in refused["msg"]
    assert "checkpoint: Operation not permitted" in refused["msg"]


def test_damaged_checkpoints(module: Run, stand_in: StandIn, task: Task) -> None:
    pid = stand_in.start()
    for text in ("one", "two"):
        task(pid=pid, state="checkpointed", description=text)
    stand_in.end(pid)
    folder = stand_in.state / "chkpt" / str(pid)
    (folder / "v1" / f"task_{pid}.bin").write_text("{")
    refused = module(
        "ssi_process", {**stand_in.options, "state": "restarted", "identifier": pid, "version": 1}
    )
    assert "corrupted or were written by another kernel; take another version" in refused["msg"]
    assert not (folder / ".oneimage-restarted").is_symlink(), "nothing was restarted"
    (folder / "v2" / "description.txt").write_text(f"Identifier: {pid}\nVersi")
    torn = task(state="restarted", identifier=pid, version=2)
    assert f"application {pid} has no whole checkpoint of version 2, only 1" in torn["msg"]
    (folder / "v1" / "description.txt").unlink()
    assert f"has no whole checkpoint of application {pid}" in task(state="restarted", identifier=pid)["msg"]


def test_a_node_that_died_costs_nothing_that_was_kept(
    stand_in: StandIn, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = stand_in.start()
    task(pid=pid, state="checkpointed", description="x")
    stand_in.end(pid)
    stand_in.set_up({2: "online", 3: "present"})
    monkeypatch.setenv("SSI_STAND_IN_NODE", "2")
    back = task(state="restarted", identifier=pid)
    assert (back["changed"], back["node_id"]) == (True, "2")
    assert not task(state="restarted", identifier=pid)["changed"]


def test_another_process_has_the_number(stand_in: StandIn, task: Task) -> None:
    parent = stand_in.start()
    child = stand_in.start(app=parent)
    task(pid=parent, state="checkpointed", description="x")
    stand_in.end(parent)
    stand_in.change(child, app=child)
    refused = task(state="restarted", identifier=parent)
    assert f"has its process {child}, or another of this number, on node 1: end it" in refused["msg"]


def test_a_killed_checkpoint_is_no_checkpoint(
    module: Run, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = stand_in.start()
    kept = {**stand_in.options, "pid": pid, "state": "checkpointed", "description": "x"}
    with monkeypatch.context() as slow:
        slow.setenv("SSI_STAND_IN_DELAY", "60")
        timed = module("ssi_process", {**kept, "timeout": 0.7})
    assert "gave no answer within" in timed["msg"]
    folder = stand_in.state / "chkpt" / str(pid)
    assert not stand_in.look(pid)["frozen"], "it does not stay frozen"
    assert (folder / "v1").is_dir() and not (folder / "v1" / "description.txt").exists()
    again = module("ssi_process", kept)
    assert again["changed"] and again["checkpoint"]["version"] == 2


def test_a_killed_restart_is_known_by_the_next_run(
    module: Run, stand_in: StandIn, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = stand_in.start()
    task(pid=pid, state="checkpointed", description="x")
    stand_in.end(pid)
    options = {**stand_in.options, "state": "restarted", "identifier": pid}
    monkeypatch.setenv("SSI_STAND_IN_DELAY", "0.5")
    process = start_module("ssi_process", options)
    until = time.monotonic() + 90
    while not (stand_in.state / "chkpt" / str(pid) / ".oneimage-restarted").is_symlink():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(2)  # the program, where it was started by then, goes on without the module
    running = (stand_in.state / "processes" / f"{pid}.json").exists()
    assert module("ssi_process", options)["changed"] is not running
    assert not module("ssi_process", options)["changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"state": "migrated", "pid": 1}, "node_id"),
        ({"state": "restarted"}, "pid, identifier"),
        (
            {"pid": FIRST_PID, "state": "migrated", "node_id": "2", "version": 1},
            "version has no effect with state migrated",
        ),
        (
            {"identifier": 1, "state": "restarted", "capabilities": {"effective": {"DEBUG": True}}},
            "capabilities has no effect with state restarted",
        ),
        (
            {"pid": FIRST_PID, "state": "checkpointed", "description": "x", "signal": 65},
            "signal: 65 is no number of a signal",
        ),
        ({"pid": FIRST_PID, "locked": True}, "locked: the flavour kerrighed_3_0 has no locks on processes"),
        ({"pid": FIRST_PID, "flavour": {"name": "f", "process": None}}, "flavour f: it has no processes"),
        ({"pid": FIRST_PID, "flavour": {"name": "f", "process": {"wher": 1}}}, "did you mean where?"),
        ({"pid": 1234567890}, "no node of the session has a process 1234567890"),
    ],
)
def test_bad_input(stand_in: StandIn, task: Task, options: dict[str, Any], said: str) -> None:
    stand_in.start()
    refused = task(**options)
    assert refused["failed"] and said in refused["msg"]


def test_behind_a_command_as_ssh_is_one(stand_in: StandIn, task: Task) -> None:
    stand_in.options["entry"] = ["sh", "-c"]
    checkpoints = stand_in.state / "chkpt"
    checkpoints.rename(stand_in.state / "shared")
    checkpoints.symlink_to("shared")
    pid = stand_in.start()
    assert task(pid=pid, state="migrated", node_id="2", **CAN)["node_id"] == "2"
    kept = task(pid=pid, state="checkpointed", description="it's $HOME; one")
    assert kept["checkpoint"]["description"] == "it's $HOME; one"
    assert not task(pid=pid, state="checkpointed", description="it's $HOME; one")["changed"]


def test_a_flavour_by_its_name(stand_in: StandIn, tmp_path: Path) -> None:
    options = {"flavour": "kerrighed_2_4", "pid": 1, "capabilities": {"effective": {"CAN_FLY": True}}}
    refused = run_task("oneimage.cluster.ssi_process", options, tmp_path)
    assert "CAN_FLY: unknown capability; flavour kerrighed_2_4 has CHANGE_KERRIGHED_CAP" in refused["msg"]
