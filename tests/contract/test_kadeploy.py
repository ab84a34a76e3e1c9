"""Deployments by Kadeploy: the traps of its clients, over REST and over the commands, and on a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module
from kadeploy_case import REAL
from kadeploy_sites_case import REAL_ENVIRONMENT, REAL_NODES, Site, real_server, site

POINT = "BroadcastEnv:manage_user_post_install"
REAL_MISSING = "KADEPLOY_TEST_SERVER, KADEPLOY_TEST_NODES and KADEPLOY_TEST_ENVIRONMENT name no real Kadeploy"


@pytest.fixture(params=["commands", "rest"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def one(kind: str, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield stack.enter_context(site(kind, tmp_path / "site1", "site1"))


@pytest.fixture
def two(kind: str, tmp_path: Path) -> Iterator[list[Site]]:
    with ExitStack() as stack:
        yield [stack.enter_context(site(kind, tmp_path / name, name)) for name in ("site1", "site2")]


def ask(sites: Site | list[Site], *nodes: str, **more: Any) -> dict[str, Any]:
    servers = [one.server for one in (sites if isinstance(sites, list) else [sites])]
    return {"servers": servers, "nodes": list(nodes), "poll": 0.1, **more}


def record(module: Run, where: Site, **more: Any) -> None:
    description = where.describe()
    options = {"registry": where.registry(), "description": description, "check_image": False, **more}
    result = module("environment", options)
    assert not result.get("failed"), result


def test_ok_nodes_with_their_workflow(module: Run, one: Site) -> None:
    options = ask(one, f"node-[1-2].{one.domain}", description=one.describe())
    before = snapshot(one.state)
    predicted = module("kadeploy", options, check=True)
    assert predicted["changed"] and not predicted.get("failed"), predicted
    assert predicted["diff"]["before"] == f"{one.node(1)}: never used\n{one.node(2)}: never used\n"
    assert snapshot(one.state) == before
    result = module("kadeploy", options)
    assert result["changed"] and result["ok"] == [one.node(1), one.node(2)], result
    assert not any(result[name] for name in ("ko", "brk", "discarded", "missing"))
    (started,) = one.requests()
    assert result["wids"] == [started["wid"]] and result["nodes"][one.node(1)]["wid"] == started["wid"]
    assert result["nodes"][one.node(1)] == {
        **{"site": "site1", "outcome": "ok", "macro": None, "micro": None, "message": "", "attempts": 1},
        **{"wid": started["wid"], "console": None, "evidence": []},
    }


def test_ko_although_the_exit_code_is_0(module: Run, one: Site) -> None:
    one.faulty(ko={one.node(1): ["format_deploy_part", "mkfs: mock failure", 9]})
    result = module("kadeploy", ask(one, one.node(1), one.node(2), description=one.describe()))
    assert result["failed"] and result["ok"] == [one.node(2)] and result["ko"] == [one.node(1)], result
    found = result["nodes"][one.node(1)]
    assert (found["macro"], found["micro"]) == ("SetDeploymentEnvUntrusted", "format_deploy_part")
    assert found["message"] == "mkfs: mock failure" and "mkfs: mock failure" in result["msg"]
    enough = module("kadeploy", ask(one, one.node(1), one.node(2), description=one.describe(), min_ok="50%"))
    assert not enough.get("failed") and enough["ko"] == [one.node(1)]


def test_only_failed_nodes_are_tried_again(module: Run, one: Site) -> None:
    one.faulty(ko={one.node(1): ["send_environment", "lost", 1]}, busy=[one.node(3)])
    nodes = [one.node(number) for number in (1, 2, 3)]
    options = ask(one, *nodes, description=one.describe(), retries=2, min_ok="2")
    result = module("kadeploy", options)
    assert result["ok"] == nodes[:2] and result["discarded"] == [nodes[2]], result
    assert [one["nodes"] for one in one.requests()] == [nodes, [nodes[0]]]
    assert [result["nodes"][node]["attempts"] for node in nodes] == [2, 1, 1]


def test_breakpointed_nodes_are_not_ok_and_go_on_from_there(module: Run, one: Site) -> None:
    options = ask(one, one.node(1), one.node(2), description=one.describe())
    stopped = module("kadeploy", {**options, "breakpoint": POINT})
    assert stopped["brk"] == [one.node(1), one.node(2)] and stopped["ok"] == [], stopped
    assert not stopped.get("failed")
    found = stopped["nodes"][one.node(1)]
    assert (found["outcome"], found["macro"], found["micro"]) == (
        *("brk", "BroadcastEnvChain"),
        "manage_user_post_install",
    )
    done = one.lines("cmd.log")
    assert f"mkfs -t ext4 {one.node(1)}" in done and f"reboot -f {one.node(1)}" not in done
    result = module("kadeploy", {**options, "resume": POINT})
    assert result["ok"] == [one.node(1), one.node(2)], result
    after = one.lines("cmd.log")[len(done) :]
    assert after == [f"reboot -f {one.node(1)}", f"reboot -f {one.node(2)}"]


def test_a_breakpoint_at_a_macro_step(module: Run, one: Site) -> None:
    options = ask(one, one.node(1), description=one.describe(), breakpoint="BootNewEnvClassical")
    result = module("kadeploy", options)
    assert result["brk"] == [one.node(1)] and result["nodes"][one.node(1)]["macro"] == "BootNewEnvClassical"


def test_discarded_and_missing_nodes_are_named(module: Run, one: Site) -> None:
    one.faulty(busy=[one.node(1)], lost=[one.node(2)])
    nodes = [one.node(number) for number in (1, 2, 3)]
    result = module("kadeploy", ask(one, *nodes, description=one.describe(), min_ok="1"))
    assert not result.get("failed") and result["ok"] == [nodes[2]], result
    assert (result["discarded"], result["missing"]) == ([nodes[0]], [nodes[1]])


def test_all_discarded_is_no_change(module: Run, one: Site) -> None:
    one.faulty(busy=[one.node(1), one.node(2)])
    options = ask(one, one.node(1), one.node(2), description=one.describe(), min_ok="0")
    result = module("kadeploy", options)
    assert not result["changed"] and result["discarded"] == [one.node(1), one.node(2)], result
    forced = module("kadeploy", {**options, "force": True})
    assert forced["ok"] == [one.node(1), one.node(2)]


def test_a_workflow_that_ends_with_an_error(module: Run, one: Site) -> None:
    one.faulty(error=[5, "Unable to grab the file /k"])
    result = module("kadeploy", ask(one, one.node(1), description=one.describe()))
    assert result["failed"] and result["ko"] == [one.node(1)], result
    assert "Unable to grab the file /k" in result["nodes"][one.node(1)]["message"]


def test_two_sites_in_one_call(module: Run, two: list[Site]) -> None:
    first, second = two
    for where in two:
        record(module, where)
    second.faulty(ko={second.node(1): ["wait_reboot", "not reachable", 9]})
    nodes = [first.node(1), second.node(1), second.node(2)]
    options = ask(two, *nodes, environment={"name": "squeeze-mine"}, min_ok="2")
    result = module("kadeploy", options)
    assert result["ok"] == [nodes[0], nodes[2]] and result["ko"] == [nodes[1]], result
    assert [result["nodes"][node]["site"] for node in nodes] == ["site1", "site2", "site2"]
    assert len(result["wids"]) == 2
    assert second.requests()[0]["environment"]["version"] == 1


def test_missing_on_one_site_nothing_is_started_anywhere(module: Run, two: list[Site]) -> None:
    first, second = two
    record(module, first)
    options = ask(two, first.node(1), second.node(1), environment={"name": "squeeze-mine"})
    result = module("kadeploy", options)
    assert result["failed"] and "site site2" in result["msg"] and "nothing was started" in result["msg"]
    assert not first.requests() and not second.requests()


def test_an_image_gone_on_one_site_nothing_is_started_anywhere(module: Run, two: list[Site]) -> None:
    first, second = two
    for where in two:
        record(module, where)
    second.image.unlink()
    options = ask(two, first.node(1), second.node(1), environment={"name": "squeeze-mine"})
    result = module("kadeploy", options)
    assert result["failed"] and "site site2" in result["msg"] and str(second.image) in result["msg"], result
    assert not first.requests() and not second.requests()


def test_a_stale_checksum_is_refreshed_or_refused_before_the_start(module: Run, one: Site) -> None:
    notes = one.state.parent / "notes"
    record(module, one, registry={**one.registry(), "notes": str(notes)})
    one.image.write_bytes(b"other")
    one.server["notes"] = str(notes)
    options = ask(one, one.node(1), environment={"name": "squeeze-mine"})
    refused = module("kadeploy", {**options, "refresh_checksums": False})
    assert refused["failed"] and "image of squeeze-mine" in refused["msg"] and not one.requests(), refused
    predicted = module("kadeploy", options, check=True)
    assert predicted["refreshed"] and not one.requests(), predicted
    result = module("kadeploy", options)
    assert result["ok"] == [one.node(1)] and len(result["refreshed"]) == 1, result


def test_an_unreachable_site_is_named_and_nothing_started(module: Run, two: list[Site], kind: str) -> None:
    first, second = two
    if kind == "rest":
        second.server["url"] = "http://127.0.0.1:9"
    else:
        (second.state.parent / "down").touch()
    result = module("kadeploy", ask(two, first.node(1), second.node(1), description=first.describe()))
    assert result["failed"] and "site site2" in result["msg"], result
    assert "no answer" in result["msg"] or "unreachable" in result["msg"]
    assert not first.requests()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"nodes": ["nope.site1.grid5000.fr"]}, "node nope.site1.grid5000.fr is unknown to site1"),
    ({"description": None}, "either environment or description"),
    ({"breakpoint": "BroadcastEnv:nope"}, "'nope' is no micro-step"),
    ({"resume": "BroadcastEnvKastafior:send_key"}, "no step of this deployment"),
    ({"steps": {"BootNewEnv": [{"implementation": "Hop"}]}}, "'Hop' is no implementation"),
    ({"state": "on"}, "for operation power only"),
    ({"operation": "reboot", "description": None, "kind": "recorded_env"}, "needs environment, partition"),
    ({"key": "/home/alice/key.pub"}, "give server:///PATH"),
]


@pytest.mark.parametrize(("more", "fault"), BAD, ids=[fault for _more, fault in BAD])
def test_bad_input_is_refused_before_anything_starts(
    module: Run, tmp_path: Path, more: dict[str, Any], fault: str
) -> None:
    with site("rest", tmp_path / "site1", "site1") as one:
        result = module("kadeploy", {**ask(one, one.node(1), description=one.describe()), **more})
        assert result["failed"] and fault in result["msg"], result
        assert not one.lines("requests.jsonl")


def test_a_node_of_two_sites_is_refused(module: Run, one: Site) -> None:
    options = ask(one, one.node(1), description=one.describe())
    again = {**one.server, "name": "again"}
    result = module("kadeploy", {**options, "servers": [one.server, again]})
    assert result["failed"] and "known to site1 and again" in result["msg"] and not one.requests()


def test_steps_of_ones_own(module: Run, one: Site) -> None:
    steps = {
        "BootNewEnv": [
            {"implementation": "Kexec", "retries": 1, "timeout": 250},
            {"implementation": "BootNewEnvHardReboot", "timeout": 250},
        ]
    }
    custom = {
        "BroadcastEnv": {"send_key": {"post-ops": [{"name": "x", "action": "exec", "command": "true"}]}}
    }
    one.faulty(ko={one.node(1): ["kexec", "no kexec here", 2]})
    options = ask(one, one.node(1), description=one.describe(), steps=steps, custom_steps=custom)
    result = module("kadeploy", options)
    assert result["ok"] == [one.node(1)], result
    (started,) = one.requests()
    assert started["automata"]["BootNewEnv"] == [
        {"name": "BootNewEnvKexec", "retries": 1, "timeout": 250},
        {"name": "BootNewEnvHardReboot", "retries": 0, "timeout": 250},
    ]
    assert started["automata"]["BroadcastEnv"] == [{"name": "BroadcastEnvChain", "retries": 0, "timeout": 60}]
    assert started["custom_operations"] == custom


def test_power_is_switched_once(module: Run, one: Site) -> None:
    options = ask(one, one.node(1), one.node(2), operation="power", state="off")
    assert module("kadeploy", options, check=True)["changed"] and not one.requests("power")
    first = module("kadeploy", options)
    assert first["changed"] and first["ok"] == [one.node(1), one.node(2)], first
    second = module("kadeploy", options)
    assert not second["changed"] and second["ok"] == [one.node(1), one.node(2)], second
    assert len(one.requests("power")) == 1
    options = {"servers": [one.server], "nodes": [one.node(1)], "gather": ["power"]}
    assert module("kadeploy_info", options)["power"] == {one.node(1): "off"}


def test_reboots(module: Run, one: Site) -> None:
    result = module("kadeploy", ask(one, one.node(3), operation="reboot", level="hard"))
    assert result["changed"] and result["ok"] == [one.node(3)], result
    (started,) = one.requests("reboot")
    assert (started["kind"], started["level"]) == ("simple", "hard")
    record(module, one)
    more = {"kind": "recorded_env", "environment": {"name": "squeeze-mine"}, "partition": "3"}
    again = module("kadeploy", ask(one, one.node(3), operation="reboot", **more))
    assert again["ok"] == [one.node(3)], again


def test_what_takes_too_long_is_ended(module: Run, one: Site, kind: str) -> None:
    one.faulty(hang=True)
    result = module("kadeploy", ask(one, one.node(1), description=one.describe(), timeout=8))
    assert result["failed"] and result["ko"] == [one.node(1)], result
    assert "timeout was over" in result["nodes"][one.node(1)]["message"]
    assert kind == "rest" or one.lines("ended.log") == result["wids"]


def test_interrupted_it_names_the_workflow_that_goes_on(one: Site) -> None:
    one.faulty(hang=True)
    process = start_module("kadeploy", ask(one, one.node(1), description=one.describe()))
    deadline = time.monotonic() + 60
    while not one.requests() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    (started,) = one.requests()
    message = json.loads(out)["msg"]
    assert started["wid"] in message and one.node(1) in message and "SIGTERM" in message, (message, err)
    assert not one.lines("ended.log")
    end_stand_in_client(started)


def end_stand_in_client(started: dict[str, Any]) -> None:
    """End the client that the module left to its work on purpose."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        folder = next((Path(w.decode()).parent for w in words if b"oneimage-kadeploy-" in w), None)
        if folder and b"kadeploy_programs.py" in b" ".join(words):
            wid = folder / "wid"
            if wid.exists() and wid.read_text() == started["wid"]:
                os.kill(int(process.name), signal.SIGKILL)
                shutil.rmtree(folder)


def test_what_the_consoles_showed_is_kept(module: Run, one: Site, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "consoles"
    options = ask(one, one.node(1), one.node(2), description=one.describe(), consoles=str(folder))
    refused = module("kadeploy", options)
    folder.mkdir()
    if kind == "rest":
        assert "consoles: its REST API shows none; give the server without url" in refused["msg"]
        return
    assert f"site site1: consoles: {folder} is no folder" in refused["msg"] and not one.requests()
    assert not module("kadeploy", options, check=True).get("failed") and not list(folder.iterdir())
    (one.state / f"console-{one.node(1)}").write_bytes(b"\x1b[0mKernel panic\r\n")
    one.faulty(hang=True)
    result = module("kadeploy", {**options, "timeout": 4})
    found = result["nodes"][one.node(1)]
    assert found["console"] == str(folder / f"console-{one.node(1)}.log")
    assert Path(found["console"]).read_bytes() == b"\x1b[0mKernel panic\r\n"
    assert found["evidence"] == ["console: Kernel panic"] and result["nodes"][one.node(2)]["evidence"] == []
    assert (one.state / f"console-{one.node(1)}.left").exists()


def test_info_of_nodes_statistics_and_rates(module: Run, one: Site) -> None:
    record(module, one)
    options = ask(one, one.node(1), one.node(2), environment={"name": "squeeze-mine"}, min_ok="0")
    one.faulty(ko={one.node(1): ["check_kernel_files", "not there, it seems", 1]})
    module("kadeploy", options)
    module("kadeploy", options)
    gather = ["nodes", "statistics", "failure_rates", "configuration"]
    found = module("kadeploy_info", {"servers": [one.server], "gather": gather})
    assert not found.get("failed"), found
    assert found["nodes"][one.node(1)] == {
        "site": "site1",
        "state": "deployed",
        "user": one.user,
        "environment": {"name": "squeeze-mine", "version": 1, "user": one.user},
    }
    assert found["nodes"][one.node(9)]["state"] is None and len(found["nodes"]) == 9
    assert found["failure_rates"] == {
        one.node(1): {"deployments": 2, "failures": 1, "rate": 0.5},
        one.node(2): {"deployments": 2, "failures": 0, "rate": 0.0},
    }
    assert [record["success"] for record in found["statistics"]] == [False, True, True, True]
    assert found["statistics"][0]["error"] == "BroadcastEnvChain-check_kernel_files: not there, it seems"
    assert list(found["configuration"]["site1"]["clsite1"]) == [
        "SetDeploymentEnv",
        "BroadcastEnv",
        "BootNewEnv",
    ]


@pytest.mark.skipif(not (REAL and REAL_NODES[1:] and REAL_ENVIRONMENT), reason=REAL_MISSING)
def test_a_real_server(module: Run) -> None:
    """Deploy, stop at a breakpoint, go on, reboot, read back; the same claims as above."""
    common = {"servers": [real_server()], "nodes": REAL_NODES[:2]}
    environment = {"environment": {"name": REAL_ENVIRONMENT}}
    unknown = module("kadeploy", {**common, **environment, "nodes": ["nope.example.org"]})
    assert unknown["failed"] and "nope.example.org is unknown" in unknown["msg"]
    stopped = module("kadeploy", {**common, **environment, "breakpoint": POINT})
    assert stopped["brk"] == REAL_NODES[:2] and not stopped["ok"], stopped
    assert stopped["nodes"][REAL_NODES[0]]["micro"] == "manage_user_post_install"
    result = module("kadeploy", {**common, **environment, "resume": POINT})
    assert result["ok"] == REAL_NODES[:2], result
    rebooted = module("kadeploy", {**common, "operation": "reboot"})
    assert rebooted["ok"] == REAL_NODES[:2], rebooted
    gather = ["nodes", "statistics", "failure_rates", "configuration"]
    found = module("kadeploy_info", {**common, "gather": gather})
    assert set(found["nodes"]) == set(REAL_NODES[:2]) and found["configuration"]["real"]
    assert {record["wid"] for record in found["statistics"]} >= {*stopped["wids"], *result["wids"]}


RECORDED = """\
Performing a Deploy[BroadcastEnvChain] step
  send_environment
*** Breakpoint on manage_user_post_install reached for {node}
Step Deploy[BroadcastEnvChain] breakpointed
Breakpoint reached for {node}
End of deployment on cluster clsite2 after 30s
"""


def test_the_stand_ins_answer_as_recorded(tmp_path: Path) -> None:
    with site("commands", tmp_path / "site2", "site2") as one:
        described = tmp_path / "e.yml"
        described.write_text(json.dumps(one.describe()))
        programs = one.server["programs"]
        point = "BroadcastEnvChain:manage_user_post_install"
        argv = [f"{programs}/kadeploy3", "-a", str(described), "-m", one.node(1), "--breakpoint", point]
        stopped = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert RECORDED.format(node=one.node(1)) in stopped.stdout
        assert f"The deployment is successful on nodes\n{one.node(1)}\n" in stopped.stdout
        argv = [f"{programs}/kareboot3", "-m", "nope.site1.grid5000.fr"]
        unknown = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert unknown.returncode == 1
        assert unknown.stderr == "The nodes nope.site1.grid5000.fr does not belongs to any server\n"
        states = subprocess.run(
            [f"{programs}/kanodes3", "-s"], capture_output=True, text=True, check=True
        ).stdout
        assert states.startswith(f"---\n{one.node(1)}:\n  state: deployed\n  user: ")
        assert (
            f"  environment:\n    name:\n    version:\n    user:\n{one.node(2)}:\n{one.node(3)}:\n" in states
        )
