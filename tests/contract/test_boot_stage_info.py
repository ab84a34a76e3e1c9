"""boot_stage_info reads logs and asks for ssh; it writes nothing, so that check mode is the same."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from adhoc import run_task
from conftest import Run, snapshot

ADDRESS = "127.77.0.11"
NODES = [
    {"name": "node1", "mac": "52:54:00:77:00:01", "address": ADDRESS},
    {"name": "node2", "mac": "52:54:00:77:00:02", "address": "127.77.0.12"},
]
ACCESS = (
    '127.77.0.12 - - [21/Nov/2026:11:28:12 +0000] "GET /images/demo-0/vmlinuz HTTP/1.1" 200 9 "-" "iPXE"\n'
)
REPORT = "2026-11-21T11:28:20+00:00 52:54:00:77:00:02 initrd 127.77.0.12\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "access.log").write_text(ACCESS)
    (tmp_path / "oneimage-report.log").write_text(REPORT)
    return tmp_path


@contextlib.contextmanager
def greeting(address: str, mute: int = 0, busy: float = 0) -> Iterator[None]:
    """Stands in for the sshd of a node: says the first line of the protocol, which is all that is asked of it.

    To the first ``mute`` that ask it says nothing, and to all others after ``busy`` seconds.
    """
    asked = itertools.count(1)
    with socket.create_server((address, 22)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _peer = server.accept()
                except OSError:
                    return
                with connection:
                    if next(asked) > mute:
                        time.sleep(busy)
                        connection.sendall(b"SSH-2.0-stand-in\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def greeter() -> Iterator[None]:
    with greeting(ADDRESS):
        yield


@pytest.mark.root
def test_a_wait_ends_with_the_last_node_and_keeps_each_ones_own_time(tmp_path: Path, greeter: None) -> None:
    options = {"nodes": NODES, "logs": str(tmp_path), "since": time.time(), "wait": 60, "interval": 1}
    with greeting(NODES[1]["address"], mute=1):
        result = run_task("oneimage.cluster.boot_stage_info", options, tmp_path)
    assert result["waiting"] == []
    assert {name: boot["stage"] for name, boot in result["nodes"].items()} == {"node1": "ssh", "node2": "ssh"}
    assert result["nodes"]["node1"]["seconds"] < result["nodes"]["node2"]["seconds"]


@pytest.mark.root
def test_a_wait_gives_up_and_names_who_is_missing(tmp_path: Path, greeter: None) -> None:
    options = {"nodes": NODES, "logs": str(tmp_path), "since": time.time(), "wait": 2, "interval": 1}
    result = run_task("oneimage.cluster.boot_stage_info", options, tmp_path)
    assert result["waiting"] == ["node2"]
    assert result["nodes"]["node1"]["stage"] == "ssh"
    assert "no DHCP request" in result["nodes"]["node2"]["advice"]


@pytest.mark.root
@pytest.mark.parametrize("check", [False, True])
def test_each_node_is_at_its_stage(module: Run, logs: Path, greeter: None, check: bool) -> None:
    before = snapshot(logs)
    result = module("boot_stage_info", {"nodes": NODES, "logs": str(logs)}, check=check)
    assert result["changed"] is False
    assert result["nodes"]["node1"]["stage"] == "ssh"
    assert result["nodes"]["node1"]["evidence"] == "SSH-2.0-stand-in"
    assert result["nodes"]["node2"]["stage"] == "initrd"
    assert [step["stage"] for step in result["nodes"]["node2"]["timeline"]] == ["kernel", "initrd"]
    assert result["waiting"] == ["node2"]
    assert snapshot(logs) == before


@pytest.mark.root
def test_one_look_does_not_take_a_busy_node_for_one_that_is_off(module: Run, tmp_path: Path) -> None:
    with greeting(ADDRESS, busy=4):
        result = module("boot_stage_info", {"nodes": NODES, "logs": str(tmp_path)})
    assert result["waiting"] == ["node2"]


def test_without_logs_nothing_is_known(module: Run, tmp_path: Path) -> None:
    result = module("boot_stage_info", {"nodes": NODES[1:], "logs": str(tmp_path / "none")})
    assert result["nodes"]["node2"]["stage"] == ""
    assert result["waiting"] == ["node2"]


def test_a_node_without_an_address_is_refused(module: Run) -> None:
    result = module("boot_stage_info", {"nodes": [{"name": "node1"}]})
    assert result["failed"]
    assert "address" in result["msg"]
