"""Machines as one: sessions form, processes move and come back, nodes join and die.

The playbook booted three nodes of one root: two are session 1, the third is a spare. The tests go through their life in
order, on the same boots: a counter migrates; it is checkpointed twice, killed, and restarted elsewhere from the first version;
the spare joins session 1, new processes are spread, and the balancer moves work to it; a node loses its power, and its
process goes on elsewhere; the third node makes session 2 together with a machine that nobody declared; both sessions stay
apart.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ssi_lab as lab
from conftest import CHECKOUT, declared, host_of
from playbook_run import changes, play, stats
from testinfra.host import Host

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(host.get("node_session") for host in declared()),
        reason="no node of this inventory is of a session",
    ),
]
COUNT = "/home/count"
BOOT_PATIENCE = 400
"""Seconds in which an emulated node comes up on a busy machine."""


@pytest.fixture(scope="module")
def ids() -> dict[str, int]:
    """The number of each node."""
    return {
        host["inventory_hostname"]: int(host["node_address"].rpartition(".")[2])
        for host in declared()
        if "nodes" in host["group_names"]
    }


@pytest.fixture(scope="module")
def counter(nodes: dict[str, Host]) -> int:
    """The pid of a process on node1 that counts into an open file of the shared folder."""
    return lab.start(nodes["node1"], "count.py", lab.COUNTER, COUNT)


@pytest.fixture(scope="module")
def stranger() -> Iterator[Path]:
    """The console of a machine that nobody declared; it boots while the tests look at others."""
    with lab.stranger() as console:
        yield console


@pytest.fixture(scope="module")
def newcomer(stranger: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """That machine, as soon as it can be asked."""
    known = next(host for host in declared() if host["inventory_hostname"] == "node3")
    address = known["oneimage_server"].rpartition(".")[0] + ".100"
    found = {**known, "inventory_hostname": "stranger", "ansible_host": address}
    host = host_of(found, tmp_path_factory.mktemp("ssh"))
    lab.until(lambda: host.run("true").rc == 0, BOOT_PATIENCE, f"it answers; see {stranger}")
    return host


def test_a_second_run_changes_nothing_and_prints_the_table(ids: dict[str, int]) -> None:
    out = play("ssi.yml")
    assert not any(changes(out).values()), out
    rows = {row["node"]: row for row in stats(out)["ssi_cluster_nodes"]}
    assert {name: (row["session"], row["id"], row["state"]) for name, row in rows.items()} == {
        "node1": (1, ids["node1"], "online"),
        "node2": (1, ids["node2"], "online"),
        "node3": (None, None, "spare"),
    }
    assert all(rows[name]["cpus"] and rows[name]["memory"] for name in ("node1", "node2"))
    assert "session  node" in out and "spare" in out


def test_two_nodes_are_one_session_and_the_spare_is_of_none(
    nodes: dict[str, Host], ids: dict[str, int]
) -> None:
    for name in ("node1", "node2"):
        assert lab.members(nodes[name]) == {ids["node1"]: "online", ids["node2"]: "online"}
        assert lab.ask(nodes[name], "krgadm", "cluster", "status").strip() == "status: up on 2 nodes"
    assert nodes["node3"].run("krgadm nodes").rc != 0
    assert nodes["node3"].run("findmnt /var/lib/ssi").stdout == ""


def test_a_process_migrates_with_its_pid_and_its_open_file(
    nodes: dict[str, Host], ids: dict[str, int], counter: int
) -> None:
    lab.until(lambda: nodes["node1"].run(f"test -s {COUNT}").rc == 0, 60, "it counts")
    lab.goes_on(nodes["node1"], COUNT)
    assert lab.where(nodes["node2"], counter) == ids["node1"]
    assert lab.ask(nodes["node1"], "migrate", str(counter), str(ids["node2"])) == ""
    assert lab.where(nodes["node1"], counter) == ids["node2"]
    assert nodes["node1"].run(f"test -e /proc/{counter}").rc != 0
    assert (
        nodes["node2"].check_output(f"tr '\\0' ' ' </proc/{counter}/cmdline").split()[1] == "/home/count.py"
    )
    assert COUNT in nodes["node2"].check_output(f"readlink /proc/{counter}/fd/*").split()
    lab.goes_on(nodes["node2"], COUNT)
    (whole,) = lab.counted(nodes["node2"], COUNT)
    assert whole.start == 1


def test_what_cannot_move_says_why(nodes: dict[str, Host], ids: dict[str, int], counter: int) -> None:
    """A capability that is not there, a node that is none, and a process that lacks the capability."""
    node = nodes["node2"]
    unknown = node.run(f"krgcapset -k {counter} -e +CAN_FLY")
    assert "Unrecognized capability: CAN_FLY" in unknown.stdout + unknown.stderr
    assert node.run(f"migrate {counter} 99").rc == 1
    node.run_expect([0], f"krgcapset -k {counter} -e -CAN_MIGRATE")
    refused = node.run(f"migrate {counter} {ids['node1']}")
    assert refused.rc == 1 and refused.stderr.startswith("migrate: ") and "CAN_MIGRATE" in refused.stderr
    node.run_expect([0], f"krgcapset -k {counter} -e +CAN_MIGRATE")
    assert lab.where(node, counter) == ids["node2"]


def test_two_checkpoints_and_the_first_restarts_elsewhere(
    nodes: dict[str, Host], ids: dict[str, int], counter: int
) -> None:
    before, after = nodes["node2"], nodes["node1"]
    (at_first,) = lab.counted(before, COUNT)
    first = lab.ask(before, "checkpoint", "-d", "the first", str(counter))
    assert f"Identifier: {counter}\nVersion: 1\nDescription: the first\n" in first
    (then,) = lab.counted(before, COUNT)
    lab.goes_on(before, COUNT)
    assert "Version: 2\n" in lab.ask(before, "checkpoint", str(counter))
    lab.goes_on(before, COUNT)
    busy = after.run(f"restart {counter} 1")
    assert busy.rc == 1 and "already running" in busy.stdout + busy.stderr
    before.run_expect([0], f"kill -9 {counter}")
    lab.until(lambda: lab.where(after, counter) is None, 60, "it is gone")
    options = {"flavour": "mainline", "state": "restarted", "identifier": counter, "version": 1}
    assert lab.task("node1", "ssi_process", **options)["changed"]
    assert lab.where(before, counter) == ids["node1"]
    lab.goes_on(after, COUNT)
    lost, again = lab.counted(after, COUNT)
    assert lost.start == 1 and lost.stop > then.stop
    assert at_first.stop <= again.start <= then.stop, "it goes on from the first checkpoint"
    assert not lab.task("node1", "ssi_process", **options)["changed"]


def test_the_spare_joins_the_session(nodes: dict[str, Host], ids: dict[str, int]) -> None:
    lab.ask(nodes["node3"], "ssi-session", "join", "1")
    grown = lab.task("node1", "ssi_cluster", flavour="mainline", session=1, nodes=[ids["node3"]], exact=False)
    assert grown["changed"] and grown["added"] == [ids["node3"]]
    assert lab.members(nodes["node2"]) == dict.fromkeys(sorted(ids.values()), "online")


def test_round_robin_gives_each_new_process_to_the_next_node(
    nodes: dict[str, Host], ids: dict[str, int], boot_server: Host
) -> None:
    lab.task("node1", "ssi_scheduler", flavour="mainline", preset="round_robin", exact=True)
    started = [
        lab.start(nodes["node1"], "sleep.py", lab.SLEEPER, capabilities="DISTANT_FORK")
        for _number in range(2)
    ]
    try:
        lab.until(
            lambda: [lab.recorded(boot_server, 1, pid) for pid in started] == [ids["node2"], ids["node3"]],
            240,
            "one is on node2, and the other one on node3",
        )
        assert [lab.where(nodes["node1"], pid) for pid in started] == [ids["node2"], ids["node3"]]
    finally:
        lab.task("node1", "ssi_scheduler", flavour="mainline", tree={}, exact=True)
        lab.end(nodes.values(), started)


def test_the_balancer_moves_work_to_the_node_that_is_idle(
    nodes: dict[str, Host], ids: dict[str, int], boot_server: Host
) -> None:
    """Policy mosix: a node above the threshold of one and a half processes gives one away, to the one with the least load."""
    lab.task("node1", "ssi_scheduler", flavour="mainline", preset="mosix", exact=True)
    busy = lab.start(nodes["node2"], "spin.py", lab.SPINNER, capabilities="CHECKPOINTABLE")
    spinners = [
        lab.start(nodes["node1"], "spin.py", lab.SPINNER, capabilities="CAN_MIGRATE") for _number in range(2)
    ]
    try:
        lab.until(
            lambda: (
                sorted(lab.recorded(boot_server, 1, pid) or 0 for pid in spinners)
                == [ids["node1"], ids["node3"]]
            ),
            600,
            "one of two spinning processes moves to node3",
        )
        assert lab.where(nodes["node1"], busy) == ids["node2"], "it may not migrate"
    finally:
        # what follows says itself where its processes go
        lab.task("node1", "ssi_scheduler", flavour="mainline", tree={}, exact=True)
        lab.end(nodes.values(), [busy, *spinners])


def test_a_node_without_power_costs_its_own_processes_alone(
    nodes: dict[str, Host], ids: dict[str, int], counter: int, stranger: Path
) -> None:
    """The counter dies with node2, and goes on on node3 by one task; node1 does not notice."""
    lab.ask(nodes["node1"], "migrate", str(counter), str(ids["node2"]))
    said = lab.ask(nodes["node2"], "checkpoint", str(counter))
    version = int(said.partition("Version: ")[2].split()[0])
    host = next(host for host in declared() if host["inventory_hostname"] == "node2")
    lab.power_off(host)
    lab.until(lambda: lab.members(nodes["node1"]).get(ids["node2"]) != "online", 240, "node2 is missed")
    assert lab.members(nodes["node1"])[ids["node1"]] == "online"
    lab.task(
        "node3", "ssi_process", flavour="mainline", state="restarted", identifier=counter, version=version
    )
    assert lab.where(nodes["node1"], counter) == ids["node3"]
    lab.goes_on(nodes["node3"], COUNT)
    lab.ask(nodes["node3"], "migrate", str(counter), str(ids["node1"]))


def test_a_machine_that_nobody_declared_joins(
    nodes: dict[str, Host], ids: dict[str, int], newcomer: Host
) -> None:
    """Session 2 has no node yet: node3 leaves session 1 for it, and it forms as soon as the machine is there."""
    lab.ask(nodes["node3"], "ssi-session", "leave")
    lab.ask(nodes["node3"], "ssi-session", "join", "2")
    assert newcomer.check_output("hostname") == "node-10-77-0-100"
    assert {"session_id=2", "autonodeid=1"} <= set(newcomer.file("/proc/cmdline").content_string.split())
    lab.until(lambda: 100 in lab.members(nodes["node3"]), 120, "it is there")
    formed = lab.task("node3", "ssi_cluster", flavour="mainline", session=2, nodes=[ids["node3"], 100])
    assert {node["node_id"] for node in formed["nodes"] if node["state"] == "online"} == {ids["node3"], 100}


def test_it_is_recorded_and_the_inventory_lists_it(newcomer: Host, tmp_path: Path) -> None:
    server = next(host for host in declared() if "boot_server" in host["group_names"])
    options = shlex.split(server["ansible_ssh_common_args"])
    reach = ["ssh", "-i", server["ansible_ssh_private_key_file"], *options, f"root@{server['ansible_host']}"]
    leases = {"command": [*reach, "cat", "/var/lib/misc/dnsmasq.leases"], "range": "10.77.0.100-10.77.0.109"}
    file = tmp_path / "joined.nodes.yml"
    file.write_text(json.dumps({"plugin": "oneimage.cluster.nodes", "leases": [leases]}))
    program = Path(sys.executable).with_name("ansible-inventory")
    listed = subprocess.run([program, "-i", file, "--list"], cwd=CHECKOUT, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(listed.stdout)
    assert found["joined"]["hosts"] == ["node-10-77-0-100"]
    assert found["_meta"]["hostvars"]["node-10-77-0-100"]["node_mac"] == lab.STRANGER


def test_two_sessions_on_one_wire_stay_apart(
    nodes: dict[str, Host], ids: dict[str, int], counter: int, newcomer: Host
) -> None:
    assert ids["node3"] not in {
        number for number, state in lab.members(nodes["node1"]).items() if state == "online"
    }
    assert set(lab.members(newcomer)) == {ids["node3"], 100}
    assert lab.where(nodes["node1"], counter) == ids["node1"]
    assert lab.where(newcomer, counter) is None
    assert newcomer.run(f"test -e {COUNT}").rc != 0
    assert newcomer.run(f"migrate {counter} {ids['node3']}").rc == 1
    assert newcomer.run(f"restart {counter} 1").rc == 1
    lab.goes_on(nodes["node1"], COUNT)
