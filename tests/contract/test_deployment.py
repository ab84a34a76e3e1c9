"""The module deployment as a process of its own. Micro-steps are the test's programs: see deployment_hooks.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adhoc import ENVIRONMENT
from conftest import Run, snapshot, start_module
from deployment_hooks import Case, nodes, web_server

BLOCK = 'touch "$1/here-$2"; exec sleep 300\n'
"""A micro-step that goes on for longer than any test."""


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    (tmp_path / "boot").mkdir()
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with web_server(tmp_path / "boot") as url:
        yield Case(tmp_path, url)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _turn in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_check_first_and_second_run(module: Run, case: Case) -> None:
    before = snapshot(case.folder)
    predicted = module("deployment", case.options(id="d"), check=True)
    assert snapshot(case.folder) == before
    assert predicted["changed"] and predicted["nodes"]["n1"]["outcome"] is None
    first = module("deployment", case.options(id="d"))
    assert (first["changed"], first["ok"], first["ko"]) == (True, ["n1", "n2"], [])
    assert (
        predicted["diff"] == first["diff"]
        and "deb (anonymous), from SetDeploymentEnv" in first["diff"]["after"]
    )
    wanted = [micro for steps in predicted["steps"].values() for micro in steps[0]["micros"]]
    assert case.ran("n1") == case.ran("n2") == wanted
    assert [step["micro"] for step in first["nodes"]["n1"]["steps"]] == wanted
    # nothing that opens a door is left
    assert first["key"] is None and not list((case.folder / "boot" / "deployments").iterdir())
    written = snapshot(case.folder)
    second = module("deployment", case.options(id="d"))
    assert snapshot(case.folder).keys() == written.keys()
    assert (second["changed"], second["ok"]) == (False, ["n1", "n2"]) and case.ran("n1") == wanted


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nodes": []}, "nodes: there is none to deploy"),
        ({"id": "a/b"}, "id: 'a/b' is no name of a deployment"),
        (
            {"breakpoint": "BroadcastEnv:send_key"},
            "BroadcastEnv has no micro-step send_key in this deployment",
        ),
        ({"min_ok": "3"}, "min_ok: 3 nodes cannot be right, there are 2"),
        ({"hooks": {"during_reboot": ["true"]}}, "hooks: during_reboot is no name of a hook"),
        ({"layout": {"partitions": []}}, "a tar image needs a partition"),
        (
            {"layout": {"partitions": [{"role": "deploy", "size": 0, "filesystem": "ntfs"}]}},
            "the deployment environment makes no ntfs",
        ),
        ({"partition": "data"}, "no partition has the role data"),
        ({"environment": {}}, "environment: give the name of one in the registry, or a description"),
        (
            {"environment": {"name": "x", "registry": "/nowhere"}},
            "there is no environment 'x' that root can see",
        ),
        ({"broadcast": "udpcast"}, "broadcast: udpcast cannot be used"),
        ({"resume": True}, "resume: there is no deployment"),
        ({"deployments": "here"}, "deployments: here is no absolute path"),
    ],
)
def test_bad_input_is_one_error_and_touches_nothing(
    module: Run, case: Case, changes: dict[str, Any], error: str
) -> None:
    before = snapshot(case.folder)
    result = module("deployment", {**case.options(id="d"), **changes})
    assert result["failed"] and error in result["msg"] and "\n" not in result["msg"]
    assert snapshot(case.folder) == before and not case.ran()


def test_bad_environments_and_boot_trees(module: Run, case: Case) -> None:
    good = case.options()
    torn = {**case.description(), "oneimage": {"sha256": "0" * 64, "size": 99}}
    gone = case.description(image={"file": "/nowhere.tgz", "kind": "tar", "compression": "gzip"})
    archive = case.description(postinstalls=[{"archive": "server:///nowhere.tgz", "compression": "gzip"}])
    for changes, error in (
        ({"environment": {"description": torn}}, "has 15 bytes, and its environment says 99"),
        ({"environment": {"description": gone}}, "cannot read the image /nowhere.tgz"),
        ({"environment": {"description": archive}}, "there is no archive /nowhere.tgz that can be read"),
        ({"environment": {"description": {"name": "x"}}}, "os is mandatory"),
        ({"boot": {**good["boot"], "tree": "/nowhere"}}, "boot.tree: the folder /nowhere does not exist"),
        (
            {"boot": {**good["boot"], "kernel": "images/x"}, "hooks": {}},
            "the deployment environment is not there: images/x",
        ),
        ({"boot": {**good["boot"], "url": "http://127.0.0.1:9/"}}, "does not answer"),
        ({"boot": {**good["boot"], "url": f"{case.url}/images"}}, "answers 404"),
    ):
        result = module("deployment", {**good, **changes})
        assert result["failed"] and error in result["msg"], result
    assert not case.ran()


def test_per_node_truth_and_a_rerun_for_the_failed_only(module: Run, case: Case) -> None:
    faults = [case.fail("n2-create_partition_table", "disk is not there"), case.fail("n3-umount_deploy_part")]
    lists = {"ok_file": str(case.folder / "ok"), "ko_file": str(case.folder / "ko")}
    result = module("deployment", case.options(4, id="d", **lists))
    assert sorted(result["ok"] + result["ko"]) == ["n1", "n2", "n3", "n4"]
    assert result["ko"] == ["n2"]
    # the hard reboot was the fallback of the other one
    assert result["nodes"]["n3"]["implementation"] == "BootNewEnvHardReboot"
    one = result["nodes"]["n2"]
    assert (one["implementation"], one["micro"]) == ("SetDeploymentEnvUntrusted", "create_partition_table")
    assert "disk is not there" in one["message"]
    assert (
        "3 of 4 nodes are ok, 4 are wanted: n2: ko SetDeploymentEnvUntrusted/create_partition_table"
        in result["msg"]
    )
    assert (case.folder / "ok").read_text() == "n1\nn3\nn4\n" and (case.folder / "ko").read_text() == "n2\n"
    assert Path(result["key"]).stat().st_mode & 0o777 == 0o600
    for fault in faults:
        fault.unlink()
    done = len(case.ran("n1"))
    again = module("deployment", case.options(4, id="d", **lists))
    assert (again["changed"], again["ok"]) == (True, ["n1", "n2", "n3", "n4"])
    assert len(case.ran("n1")) == done and (case.folder / "ko").read_text() == ""


def test_a_node_that_failed_can_be_looked_at(module: Run, case: Case) -> None:
    console = case.folder / "console"
    console.write_text("of another boot\n")
    case.fault("n2-create_partition_table", f"echo panic >>{console}; exit 1\n")
    options = case.options(id="d", keys=["ssh-ed25519 AAAA mine"])
    options["nodes"][1]["console"] = str(console)
    result = module("deployment", options)
    assert result["ko"] == ["n2"] and result["nodes"]["n1"]["console"] is None
    one = result["nodes"]["n2"]
    assert one["evidence"][-1] == "console: panic"
    kept = Path(one["console"])
    assert set(kept.read_text().split()) == {"panic"} and kept.is_relative_to(case.deployments / "d")
    # it boots the deployment environment again, which fetches who may come in
    (served,) = (case.folder / "boot" / "deployments").iterdir()
    own = Path(result["key"]).with_suffix(".pub").read_text()
    assert (served / "authorized_keys").read_text() == f"{own}ssh-ed25519 AAAA mine\n"


@pytest.mark.parametrize(("wanted", "fails"), [("75%", True), ("2", False)])
def test_failed_only_when_fewer_than_wanted_are_ok(module: Run, case: Case, wanted: str, fails: bool) -> None:
    case.fail("n2-sync")
    result = module("deployment", case.options(3, min_ok=wanted))
    assert result.get("failed", False) == fails and result["ok"] == ["n1", "n3"]


@pytest.mark.parametrize(
    ("micro", "where"),
    [
        ("switch_pxe", "SetDeploymentEnv"),
        ("send_environment", "SetDeploymentEnv"),
        ("sync", "SetDeploymentEnv"),
        ("umount_deploy_part", "BootNewEnv"),
    ],
)
def test_killed_then_run_again(module: Run, case: Case, micro: str, where: str) -> None:
    fault = case.fault(f"n2-{micro}", BLOCK)
    process = start_module("deployment", case.options(2, id="d", wave=1))
    wait_for(case.folder / "here-n2", process)
    kill(process)
    done = len(case.ran("n1"))
    fault.unlink()
    looked = module("deployment_info", {"deployments": str(case.deployments), "deployment": "d"})
    assert not looked["journal"]["running"]
    assert looked["journal"]["nodes"]["n1"]["outcome"] == "ok"
    assert (looked["journal"]["nodes"]["n2"]["micro"], looked["journal"]["nodes"]["n2"]["outcome"]) == (
        micro,
        "",
    )
    before = len(case.ran("n2"))
    result = module("deployment", case.options(2, id="d", wave=1))
    assert result["ok"] == ["n1", "n2"] and f"n2: deb (anonymous), from {where}" in result["diff"]["after"]
    assert len(case.ran("n1")) == done
    # where the disk was complete, the node is only booted, by its power
    booted = ["switch_pxe", "reboot", "wait_reboot"]
    rest = case.ran("n2")[before:]
    assert rest == booted if where == "BootNewEnv" else rest == case.ran("n1")


def test_told_to_end_it_ends_and_goes_on_later(module: Run, case: Case) -> None:
    fault = case.fault("wait_reboot", BLOCK)
    process = start_module("deployment", case.options(2, id="d"))
    wait_for(case.folder / "here-n2", process)
    process.terminate()
    said = json.loads(process.communicate(timeout=60)[0])
    assert said["failed"] and "deployment d was told to end; run it again with this id" in said["msg"]
    os.killpg(process.pid, signal.SIGKILL)
    fault.unlink()
    assert module("deployment", case.options(2, id="d"))["ok"] == ["n1", "n2"]


def test_two_deployments_claim_one_node(module: Run, case: Case) -> None:
    fault = case.fault("n2-reboot", BLOCK)
    process = start_module("deployment", case.options(2, id="first"))
    wait_for(case.folder / "here-n2", process)
    fault.unlink()
    refused = module("deployment", case.options(3, id="second"))
    assert refused["failed"] and "n1 (in first), n2 (in first)" in refused["msg"]
    assert not (case.deployments / "second").exists() and not case.ran("n3")
    same = module("deployment", case.options(3, id="first"))
    assert same["failed"] and "deployment first is at work in another process" in same["msg"]
    # the MAC counts, whatever the node is called
    other = [{**nodes(2)[1], "name": "another"}]
    assert "another (in first)" in module("deployment", case.options(nodes=other))["msg"]
    rest = module("deployment", case.options(3, id="third", busy="discard", min_ok="1"))
    assert (rest["ok"], rest["discarded"]) == (["n3"], ["n1", "n2"])
    assert "is in deployment first" in rest["nodes"]["n1"]["message"]
    running = module("deployment_info", {"deployments": str(case.deployments)})["deployments"]
    assert {one["id"]: one["running"] for one in running} == {"first": True, "third": False}
    kill(process)
    assert module("deployment", case.options(3, id="fourth"))["ok"] == ["n1", "n2", "n3"]


def test_breakpoint_and_resume_for_chosen_nodes(module: Run, case: Case) -> None:
    stopped = module("deployment", case.options(2, id="d", breakpoint="BroadcastEnv:install_bootloader"))
    assert not stopped.get("failed") and (stopped["brk"], stopped["ok"]) == (["n1", "n2"], [])
    assert stopped["nodes"]["n1"]["micro"] == "install_bootloader" and Path(stopped["key"]).is_file()
    assert case.ran("n1")[-1] == "check_kernel_files"
    left = module("deployment", case.options(2, id="d"))
    assert (left["changed"], left["brk"]) == (False, ["n1", "n2"])
    done = case.ran("n1")
    chosen = module("deployment", {**case.options(2, id="d", resume=True), "nodes": nodes(1)})
    assert chosen["ok"] == ["n1"] and "from BroadcastEnv:install_bootloader" in chosen["diff"]["after"]
    assert case.ran("n1")[len(done) :] == [
        *(
            "install_bootloader",
            "sync",
            "switch_pxe",
            "umount_deploy_part",
            "reboot_from_deploy_env",
            "wait_reboot",
        )
    ]
    assert case.ran("n2") == done
    rest = module("deployment", case.options(2, id="d", resume=True))
    assert rest["ok"] == ["n1", "n2"] and rest["key"] is None


def test_a_rerun_of_something_else_is_refused(module: Run, case: Case) -> None:
    module("deployment", case.options(id="d"))
    other = case.options(id="d", environment={"description": case.description(name="other")})
    result = module("deployment", other)
    assert (
        result["failed"]
        and "deployment d was of another environment (environment deb, not other)" in result["msg"]
    )


def test_sixty_four_nodes_with_two_faults(module: Run, case: Case) -> None:
    case.fail("n7-send_environment", "curl: (56) reset by peer")
    case.fail("n40-reboot", "BMC says no")
    result = module("deployment", case.options(64, min_ok="62"))
    assert not result.get("failed") and result["ko"] == ["n7", "n40"] and len(result["ok"]) == 62
    assert (
        result["nodes"]["n7"]["micro"] == "send_environment" and result["nodes"]["n40"]["micro"] == "reboot"
    )


def test_a_registered_private_environment(module: Run, case: Case) -> None:
    registry = case.folder / "registry"
    description = case.description()
    del description["name"], description["version"], description["image"]
    module(
        "environment",
        {
            "registry": {"path": str(registry)},
            "name": "mine",
            "owner": "root",
            "image": str(case.image),
            "description": description,
            "check_image": False,
        },
    )
    link = case.folder / "seen"
    case.fault("n1-wait_reboot", f'ls -l "$1"/boot/deployments/*/image.tar.gz >"{link}"\n')
    options = case.options(1, environment={"registry": str(registry), "name": "mine@root:1"})
    result = module("deployment", options)
    assert result["environment"] == "mine@root:1" and result["ok"] == ["n1"]
    # its file in the registry is root's alone, the nodes' web server is not root
    assert link.read_text().startswith("-rw-r--r--")


def test_a_password_is_not_shown(module: Run, case: Case) -> None:
    power = {"driver": "redfish", "address": "bmc1", "user": "admin", "password": "swordfish"}
    case.fail("n1-reboot", "swordfish")
    result = module("deployment", {**case.options(1, id="d"), "nodes": [{**nodes(1)[0], "power": power}]})
    assert result["failed"] and "swordfish" not in json.dumps(result)


def test_history_of_deployments_that_ran_side_by_side(module: Run, case: Case) -> None:
    case.fail("n5-sync")
    machines = nodes(6)
    started = [
        start_module("deployment", {**case.options(id=f"d{n}"), "nodes": machines[2 * n : 2 * n + 2]})
        for n in range(3)
    ]
    for process in started:
        process.communicate(timeout=120)
    module("deployment", {**case.options(id="d3"), "nodes": machines[3:4]})
    where = {"deployments": str(case.deployments)}
    told = module("deployment_info", where)
    assert {one["id"] for one in told["deployments"]} == {"d0", "d1", "d2", "d3"}
    assert told["deployments"][0]["id"] == "d3" and told["deployments"][0]["environment"] == "deb"
    assert told["failures"]["n5"] == {"deployments": 1, "failed": 1, "rate": 1.0}
    assert told["failures"]["n4"] == {"deployments": 2, "failed": 0, "rate": 0.0}
    times = {(one["implementation"], one["micro"]): one for one in told["steps"]}
    # n5 had a second attempt
    assert times["BroadcastEnvHttp", "sync"]["ok"] == 6 and times["BroadcastEnvHttp", "sync"]["failed"] == 2
    assert len(module("deployment_info", {**where, "limit": 1})["deployments"]) == 1
    assert [one["id"] for one in module("deployment_info", {**where, "nodes": ["n4"]})["deployments"]] == [
        "d3",
        "d1",
    ]
    assert module("deployment_info", {**where, "until": "2001-01-01 10:00"})["deployments"] == []
    for changes, error in (
        ({"since": "yesterday"}, "since: 'yesterday' is neither a date"),
        ({"deployment": "none"}, "deployment: there is no none"),
        ({"limit": 0}, "limit: 0 is less than 1"),
    ):
        assert error in module("deployment_info", {**where, **changes})["msg"]


def test_no_history_yet(module: Run, tmp_path: Path) -> None:
    told = module("deployment_info", {"deployments": str(tmp_path / "none")})
    assert (told["deployments"], told["failures"], told["steps"]) == ([], {}, []) and not list(
        tmp_path.iterdir()
    )


def play(options: dict[str, Any], *flags: str) -> str:
    argv = [
        "-m",
        "ansible",
        "adhoc",
        "localhost",
        "-m",
        "oneimage.cluster.deployment",
        "-a",
        json.dumps(options),
    ]
    return subprocess.run(
        [sys.executable, *argv, *flags],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    ).stdout


def test_ansible_shows_how_far_the_nodes_are(case: Case) -> None:
    case.fail("n3-format_swap_part", "No such device")
    case.fault("n4-send_environment", "sleep 8\n")
    printed = play(case.options(4, id="d", progress=1, min_ok="3"))
    assert "deployment d, " in printed and '"changed": true' in printed
    assert "n3 ko SetDeploymentEnvUntrusted/format_swap_part: " in printed and "No such device" in printed
    rows = [" ".join(line.split()[1:]) for line in printed.splitlines()]
    assert "BroadcastEnvHttp send_environment 1 n4" in rows and "ok 3 n[1-2,4]" in rows
    again = play(case.options(4, id="d", progress=1, min_ok="3"), "--check")
    assert '"changed": true' in again and '"ok": [' in again
