# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi_cluster and ssi_cluster_info: sessions form, grow, shrink and stop by the old flavours' commands, or say why not.

Against stand-ins; and against a real cluster where SSI_TEST_NODES names one: 11:root@10.77.0.11,12:root@10.77.0.12, node
ids and how ssh reaches them, with SSI_TEST_FLAVOUR (mainline unless set) and SSI_TEST_SESSION (1 unless set).
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_task
from conftest import Run, snapshot, start_module
from ssi_case import Cluster, flavour

KERRIGHED_3 = flavour("kerrighed_3_0")
KERRIGHED_2 = flavour("kerrighed_2_4")
OPENMOSIX = flavour("openmosix_2_4")
MAP = "1 10.0.0.1 1\n2 10.0.0.2 1\n3 10.0.0.3 1\n"


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Kerrighed 3.0 as it is after the boot of three nodes: the first is the cluster."""
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.write("nodes.json", {"1": "online", "2": "present", "3": "present", "4": "possible"})
    return cluster


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Kerrighed 2.4 before its start."""
    cluster = Cluster(tmp_path, monkeypatch, "2.4")
    cluster.write("nodes.json", {"1": "present", "2": "present", "3": "present", "4": "possible"})
    return cluster


@pytest.fixture
def mosix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """openMosix on three nodes that are not configured."""
    cluster = Cluster(tmp_path, monkeypatch)
    cluster.text("etc/openmosix.map", MAP)
    return cluster


def entries(*ids: int) -> list[list[str]]:
    """The way to each node of the stand-ins: a shell with the node's id, as ssh gives one."""
    return [["env", f"SSI_STAND_IN_NODE={node}", "sh", "-c"] for node in ids]


def options(
    nodes: list[int] | None = None, kind: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    given = {"flavour": kind or KERRIGHED_3, "session": 1, "timeout": 20, **more}
    return given if nodes is None else {**given, "nodes": nodes}


def no_session(kind: dict[str, Any]) -> dict[str, Any]:
    return {**kind, "commands": {**kind["commands"], "session": None}}


def online(result: dict[str, Any]) -> list[int]:
    return [node["node_id"] for node in result["nodes"] if node["state"] == "online"]


def assert_life_cycle(module: Run, given: dict[str, Any], nodes: list[int]) -> None:
    """Formed, and formed again: what every flavour does."""
    wish = {**given, "nodes": nodes}
    foreseen = module("ssi_cluster", wish, check=True)
    result = module("ssi_cluster", wish)
    assert (result.get("msg"), result["status"], online(result)) == (None, "up", nodes)
    for check in (True, False):
        again = module("ssi_cluster", wish, check=check)
        assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    assert (foreseen["changed"], foreseen["added"]) == (result["changed"], result["added"])
    told = module(
        "ssi_cluster_info", {"flavour": given["flavour"], "entry": (given.get("entries") or [[]])[0]}
    )
    assert (told["status"], told["count"], online(told), told["health"]) == ("up", len(nodes), nodes, [])


@pytest.mark.parametrize("kind", ["kerrighed_3_0", "kerrighed_2_4", "openmosix_2_4"])
def test_a_session_forms_once(
    module: Run, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path, monkeypatch, "2.4" if kind == "kerrighed_2_4" else "3.0")
    first = "present" if kind == "kerrighed_2_4" else "online"
    cluster.write("nodes.json", {"1": first, "2": "present", "3": "present"})
    cluster.text("etc/openmosix.map", MAP)
    ways = {"entries": entries(1, 2, 3)} if kind == "openmosix_2_4" else {}
    assert_life_cycle(module, {**options(kind=flavour(kind)), **ways}, [1, 2, 3])


@pytest.mark.skipif("SSI_TEST_NODES" not in os.environ, reason="SSI_TEST_NODES names no real cluster")
def test_a_real_session_forms_once(module: Run) -> None:
    real = dict(item.split(":", 1) for item in os.environ["SSI_TEST_NODES"].split(","))
    given = options(
        kind=flavour(os.environ.get("SSI_TEST_FLAVOUR", "mainline")),
        session=int(os.environ.get("SSI_TEST_SESSION", "1")),
        entries=[["ssh", "-o", "BatchMode=yes", destination] for destination in real.values()],
    )
    assert_life_cycle(module, {**given, "timeout": 120}, sorted(map(int, real)))


def test_who_comes_and_who_goes_follows_from_the_difference(module: Run, three: Cluster) -> None:
    grown = module("ssi_cluster", options([1, 2]))
    assert (grown["changed"], grown["added"], grown["removed"]) == (True, [2], [])
    assert grown["diff"] == {
        "before": "status: up\n1:online\n2:present\n3:present\n",
        "after": "status: up\n1:online\n2:online\n3:present\n",
    }
    moved = module("ssi_cluster", options([1, 3]))
    assert (moved["added"], moved["removed"]) == ([3], [2])
    assert three.actions == [
        f"krgadm nodes {what}" for what in ("add --nodes 2", "add --nodes 3", "del --nodes 2")
    ]
    kept = module("ssi_cluster", options([2], exact=False))
    assert (kept["added"], kept["removed"], online(kept)) == ([2], [], [1, 2, 3])


def test_without_nodes_all_that_are_up_become_members(module: Run, three: Cluster) -> None:
    result = module("ssi_cluster", options())
    assert (result["added"], online(result)) == ([2, 3], [1, 2, 3])
    assert module("ssi_cluster", options())["changed"] is False
    assert three.actions == ["krgadm nodes add --nodes 2-3"]


def test_check_mode_predicts_and_only_looks(module: Run, three: Cluster) -> None:
    before = {path: text for path, text in snapshot(three.folder).items() if path != "calls.log"}
    foreseen = module("ssi_cluster", options([1, 3]), check=True)
    stopped = module("ssi_cluster", options(state="stopped"), check=True)
    after = {path: text for path, text in snapshot(three.folder).items() if path != "calls.log"}
    assert (before, three.actions) == (after, [])
    assert (stopped["changed"], stopped["removed"]) == (True, [1])
    done = module("ssi_cluster", options([1, 3]))
    assert {name: foreseen[name] for name in ("changed", "added", "removed", "nodes", "diff")} == {
        name: done[name] for name in ("changed", "added", "removed", "nodes", "diff")
    }


def test_nodes_that_boot_are_waited_for(module: Run, three: Cluster) -> None:
    three.write("arrivals.json", {"5": 2})
    result = module("ssi_cluster", options([1, 5]))
    assert (result["added"], online(result), result["waited"] > 0) == ([5], [1, 5], True)


def test_a_node_that_never_comes_is_named_and_nothing_was_done(module: Run, three: Cluster) -> None:
    result = module("ssi_cluster", options([1, 2, 7, 8], timeout=1))
    assert result["msg"] == "session 1: after 1 s nodes 7-8 are not up; did they boot with session 1?"
    assert three.actions == []


def test_a_command_that_blocks_for_ever_is_ended(module: Run, three: Cluster) -> None:
    three.write("faults.json", {"hang": True})
    result = module("ssi_cluster", options([1, 2], timeout=6))
    assert "krgadm nodes add --nodes 2 gave no answer within" in result["msg"]
    assert result["msg"].endswith("and was ended; members are now 1")


def test_a_promise_that_is_not_kept_is_told(module: Run, three: Cluster) -> None:
    three.write("faults.json", {"stuck": True})
    result = module("ssi_cluster", options([1, 2], timeout=6))
    assert result["msg"] == "session 1: after 6 s nodes 2 did not follow"


@pytest.mark.parametrize(
    "nodes, fault, words",
    [
        (
            [1, 2],
            {"add": "Connection timed out"},
            "grow: krgadm nodes add --nodes 2: fail: Connection timed out",
        ),
        ([2, 3], {}, "shrink: krgadm nodes del --nodes 1: Unable to suppress current node."),
        ([1, 2], {"error": True}, "krgadm cluster status ended with 1 and said: status: error"),
        ([1, 2], {"outside": True}, "after 1 s kerrighed_3_0 does not run on the entry node"),
    ],
)
def test_what_krgadm_refuses_is_told_in_its_words(
    module: Run, three: Cluster, nodes: list[int], fault: dict[str, Any], words: str
) -> None:
    three.write("faults.json", fault)
    assert words in module("ssi_cluster", options(nodes, timeout=1 if fault.get("outside") else 20))["msg"]


def test_kerrighed_24_starts_once_and_stays_as_it_is(module: Run, old: Cluster) -> None:
    started = module("ssi_cluster", options([1, 2], KERRIGHED_2))
    assert (started["added"], online(started)) == ([1, 2], [1, 2])
    assert old.actions == ["krgadm cluster start --nodes 1-2"]
    before = snapshot(old.folder)
    grown = module("ssi_cluster", options([1, 2, 3], KERRIGHED_2))
    assert grown["msg"].startswith(
        "session 1: grow by nodes 3: Kerrighed 2.4 adds no node to a session that runs"
    )
    shrunk = module("ssi_cluster", options([1, 3], KERRIGHED_2, timeout=2), check=True)
    assert "Kerrighed 2.4 adds no node" in shrunk["msg"]
    assert {path for path, text in snapshot(old.folder).items() if before[path] != text} == {"calls.log"}
    old.write("nodes.json", dict.fromkeys("123", "online"))
    assert (
        "shrink by nodes 3: Kerrighed 2.4 takes no node out"
        in module("ssi_cluster", options([1, 2], KERRIGHED_2))["msg"]
    )


def test_kerrighed_24_says_why_it_did_not_start(module: Run, old: Cluster) -> None:
    old.write("faults.json", {"start": "Device or resource busy"})
    result = module("ssi_cluster", options([1, 2], KERRIGHED_2))
    assert result["msg"].endswith("form: krgadm cluster start --nodes 1-2: Device or resource busy")


@pytest.mark.parametrize("kind", [KERRIGHED_3, KERRIGHED_2], ids=["3.0", "2.4"])
def test_a_session_stops_once(
    module: Run, kind: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path, monkeypatch, "2.4" if kind is KERRIGHED_2 else "3.0")
    cluster.write("nodes.json", {"1": "online", "2": "online"})
    stopped = module("ssi_cluster", options(kind=kind, state="stopped"))
    assert (stopped["changed"], stopped["status"], stopped["removed"]) == (True, "down", [1, 2])
    assert module("ssi_cluster", options(kind=kind, state="stopped"))["changed"] is False
    cluster.write("faults.json", {"outside": True})
    assert module("ssi_cluster", options(kind=kind, state="stopped"))["changed"] is False
    assert cluster.actions == ["krgadm cluster poweroff"]


def test_a_session_whose_node_is_off_is_stopped(module: Run, three: Cluster) -> None:
    """The words are those of ssh; stopping had switched the nodes off."""
    off = ["sh", "-c", "echo 'ssh: connect to host n1 port 2222: No route to host' >&2; exit 255"]
    assert module("ssi_cluster", options(state="stopped", entry=off))["changed"] is False
    denied = ["sh", "-c", "echo 'root@n1: Permission denied (publickey).' >&2; exit 255"]
    result = module("ssi_cluster", options(state="stopped", entry=denied))
    assert "cannot reach the entry node by sh -c" in result["msg"]
    assert result["msg"].endswith("Permission denied (publickey).")
    assert "No route to host" in module("ssi_cluster", options([1, 2], entry=off, timeout=1))["msg"]
    assert (
        "cannot run krgadm: not found on the entry node"
        in module(
            "ssi_cluster",
            options([1, 2], entry=["env", "PATH=/nowhere", "/bin/sh", "-c"], kind=no_session(KERRIGHED_3)),
        )["msg"]
    )


def test_a_node_that_boots_lets_nobody_in_at_first(module: Run, three: Cluster) -> None:
    refuse = "echo 'ssh: connect to host n1 port 2222: Connection refused' >&2; exit 255"
    entry = ["sh", "-c", f'if rmdir {three.folder}/boots 2>/dev/null; then {refuse}; fi; eval "$0"']
    (three.folder / "boots").mkdir()
    assert "Connection refused" in module("ssi_cluster", options([1, 2], entry=entry), check=True)["msg"]
    (three.folder / "boots").mkdir()
    assert module("ssi_cluster", options([1, 2], entry=entry))["added"] == [2]


def test_openmosix_is_configured_on_every_node(module: Run, mosix: Cluster) -> None:
    given = options([1, 2], OPENMOSIX, entries=entries(1, 2))
    formed = module("ssi_cluster", given)
    assert (formed["added"], online(formed)) == ([1, 2], [1, 2])
    assert sorted(mosix.actions) == [f"{node} setpe -w -f /etc/openmosix.map" for node in (1, 2)]
    assert module("ssi_cluster", given)["changed"] is False
    mosix.text("dead/2", "")
    lost = module("ssi_cluster", {**given, "timeout": 1})
    assert lost["msg"] == "session 1: after 1 s nodes 2 did not follow"
    (mosix.folder / "dead/2").unlink()
    stop = options(kind=OPENMOSIX, entries=entries(1, 2), state="stopped")
    assert module("ssi_cluster", stop)["removed"] == [1, 2]
    assert not list((mosix.folder / "kernel").iterdir())
    assert module("ssi_cluster", stop)["changed"] is False


def test_openmosix_finds_its_nodes_by_itself(module: Run, mosix: Cluster) -> None:
    mosix.text("wire", "1 10.0.0.1 2\n")
    given = options(kind=OPENMOSIX, entries=entries(1, 2))
    formed = module("ssi_cluster", given)
    assert (formed["changed"], online(formed)) == (True, [1, 2])
    assert sorted(mosix.actions) == ["1 omdiscd", "2 omdiscd"]
    assert module("ssi_cluster", given)["changed"] is False


@pytest.mark.parametrize(
    "given, words",
    [
        ({"nodes": [1, 255]}, "nodes: node id 255 lies outside 0 to 254, the limits of kerrighed_3_0"),
        ({"nodes": [1, 2, 2]}, "nodes: 2 is there twice"),
        ({"nodes": [1]}, "nodes: the number of nodes, 1 lies outside 2 to 256"),
        ({"session": 0}, "session 0 lies outside 1 to 254"),
        ({"session": 2}, "session 2: the entry node belongs to session 1"),
        ({"flavour": {"name": "mine"}}, "flavour mine: summary is missing"),
        ({"flavour": "kerrighed_3_0"}, "flavour 'kerrighed_3_0' is no mapping"),
    ],
)
def test_bad_input_gives_one_error_before_anything_is_done(
    module: Run, three: Cluster, given: dict[str, Any], words: str
) -> None:
    assert words in module("ssi_cluster", {**options([1, 2]), **given})["msg"]
    assert three.actions == []


def test_killed_on_the_way_the_next_run_ends_it(module: Run, three: Cluster) -> None:
    three.write("faults.json", {"hang": True})
    process = start_module("ssi_cluster", options([1, 2]))
    while not three.actions:
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert three.nodes["2"] == "present"
    three.write("faults.json", {})  # which also lets the krgadm go on that was left behind
    result = module("ssi_cluster", options([1, 2]))
    assert (result.get("msg"), online(result)) == (None, [1, 2])


def test_health_names_what_is_wrong(module: Run, three: Cluster) -> None:
    told = module("ssi_cluster_info", {"flavour": KERRIGHED_3})
    assert (told["changed"], told["status"], told["count"], told["health"]) == (False, "up", 1, [])
    assert told["nodes"] == [
        {"node_id": 1, "state": "online"},
        {"node_id": 2, "state": "present"},
        {"node_id": 3, "state": "present"},
    ]
    three.text("proc/self/stat", "6291480 (cat) R 5 6291480 1 0 -1 0 0\n")
    three.write("stat.json", {"/": "ef53", "/var/chkpt": "directory", "/config": "62656570"})
    found = module("ssi_cluster_info", {"flavour": KERRIGHED_3})["health"]
    assert [finding["said"] for finding in found] == ["ef53", "6291480 (cat) R 5 6291480 1 0 -1 0 0"]
    assert "the root is not on NFS" in found[0]["means"]
    three.write("faults.json", {"outside": True})
    assert module("ssi_cluster_info", {"flavour": KERRIGHED_3})["status"] == "not_running"


def test_what_each_node_carries_comes_with_it(module: Run, three: Cluster) -> None:
    loads = [{"node_id": 2, "name": "n2", "state": "?", "load": 0.5, "cpus": 2, "memory": 504}]
    three.text("loads", json.dumps(loads))
    argv = ["cat", str(three.folder / "loads")]
    kind = {**KERRIGHED_3, "health": [], "commands": {**KERRIGHED_3["commands"], "load": {"argv": argv}}}
    told = module("ssi_cluster_info", {"flavour": kind})
    assert told["nodes"][1] == {
        "node_id": 2,
        "state": "present",
        "name": "n2",
        "load": 0.5,
        "cpus": 2,
        "memory": 504,
    }
    three.text("loads", "2 0.25 2\n")
    kind["commands"]["load"]["line"] = r"^(?P<node_id>\d+) (?P<load>\S+) (?P<cpus>\d+)$"
    told = module("ssi_cluster_info", {"flavour": kind})
    assert told["nodes"][1] == {"node_id": 2, "state": "present", "load": 0.25, "cpus": 2}


def test_the_controller_resolves_the_flavour(three: Cluster, tmp_path: Path) -> None:
    named = run_task(
        "oneimage.cluster.ssi_cluster", {**options([1, 2]), "flavour": "kerrighed_3_0"}, tmp_path
    )
    assert (named.get("msg"), named["added"]) == (None, [2])
    (tmp_path / "mine.yml").write_text(json.dumps({**KERRIGHED_3, "name": "mine", "comands": {}}))
    wrong = run_task("oneimage.cluster.ssi_cluster_info", {"flavour": "mine.yml"}, tmp_path)
    assert wrong["msg"].endswith("mine.yml: unknown field 'comands'; did you mean commands?")
    unknown = run_task("oneimage.cluster.ssi_cluster_info", {"flavour": "kerrighed"}, tmp_path)
    assert "unknown flavour 'kerrighed'; there are kerrighed_2_4, kerrighed_3_0" in unknown["msg"]
