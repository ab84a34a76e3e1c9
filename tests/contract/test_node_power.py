"""The module node_power against real BMCs: OpenIPMI's ipmi_sim on loopback, whose chassis is a harmless process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module

CHASSIS = """\
#!/bin/sh
# Called by ipmi_sim as: CONTROLLER get|set NAME [VALUE]... ; the machine is a sleep in a process group of its own.
cd "$(dirname "$0")" || exit 1
echo "$@" >> calls
alive() { [ -f pid ] && kill -0 "$(cat pid)" 2>/dev/null; }
operation=$2; shift 2
while [ $# -gt 0 ]; do
  case $operation-$1 in
    get-power) if alive; then echo power:1; else echo power:0; fi; shift;;
    get-*) echo "$1:none"; shift;;
    set-power)
      if [ "$2" = 0 ]; then alive && kill "$(cat pid)"; rm -f pid
      elif ! alive && [ ! -f broken ]; then setsid sleep 120 </dev/null >/dev/null 2>&1 & echo $! > pid
      fi; shift 2;;
    set-*) shift 2;;
  esac
done
"""
SIMULATOR = """\
name "{name}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{folder}/chassis 0x20"
  user 2 true "admin" "hush-hush" admin 10 none md2 md5 straight
"""
CONTROLLER = (
    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"
)


class Bmc:
    """One running simulator and what it was told."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "chassis").write_text(CHASSIS)
        (self.folder / "chassis").chmod(0o755)
        (self.folder / "lan.conf").write_text(SIMULATOR.format(name=name, port=self.port, folder=self.folder))
        (self.folder / "commands").write_text(CONTROLLER)
        argv = ["ipmi_sim", "-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(argv, cwd=self.folder, stdin=quiet, stdout=quiet, stderr=quiet)

    def node(self, **fields: Any) -> dict[str, Any]:
        secret = {"user": "admin", "password": "hush-hush", "cipher_suite": 3}
        return {"name": self.name, "address": "127.0.0.1", "port": self.port, **secret, **fields}

    def running(self) -> bool:
        try:
            os.kill(int((self.folder / "pid").read_text()), 0)
        except (OSError, ValueError):
            return False
        return True

    def told(self) -> list[str]:
        calls = (self.folder / "calls").read_text().splitlines()
        return [call.split(" ", 2)[2] for call in calls if " set " in call]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=90)
        if self.running():
            os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)


@pytest.fixture
def bmcs(tmp_path: Path) -> Iterator[list[Bmc]]:
    if shutil.which("ipmi_sim") is None or shutil.which("ipmitool") is None:
        pytest.skip("ipmi_sim (package openipmi) and ipmitool are not both installed")
    started = [Bmc(tmp_path, name) for name in ("n1", "n2")]
    yield started
    for bmc in started:
        bmc.end()


def powers(result: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (node["before"], node["after"], node["changed"]) for name, node in result["nodes"].items()}


def test_on_again_off_again(module: Run, bmcs: list[Bmc]) -> None:
    nodes = [bmc.node() for bmc in bmcs]
    predicted = module("node_power", {"nodes": nodes, "state": "on"}, check=True)
    assert powers(predicted) == {"n1": ("off", "on", True), "n2": ("off", "on", True)}
    assert not any(bmc.running() or bmc.told() for bmc in bmcs)
    first = module("node_power", {"nodes": nodes, "state": "on"})
    assert powers(first) == powers(predicted) and first["changed"]
    assert first["diff"] == {"before": "n1: off\nn2: off\n", "after": "n1: on\nn2: on\n"}
    assert all(bmc.running() for bmc in bmcs)
    second = module("node_power", {"nodes": nodes, "state": "on"})
    assert powers(second) == {"n1": ("on", "on", False), "n2": ("on", "on", False)} and not second["changed"]
    assert module("node_power", {"nodes": nodes, "state": "off"})["changed"]
    assert not any(bmc.running() for bmc in bmcs)
    assert not module("node_power", {"nodes": nodes, "state": "off"})["changed"]


def test_cycle_reset_and_boot_device(module: Run, bmcs: list[Bmc]) -> None:
    bmc = bmcs[0]
    cycled = module("node_power", {"nodes": [bmc.node()], "state": "cycle", "boot_device": "pxe"})
    assert powers(cycled) == {"n1": ("off", "on", True)}
    assert bmc.told() == ["boot pxe", "power 1"]
    old = (bmc.folder / "pid").read_text()
    assert powers(module("node_power", {"nodes": [bmc.node()], "state": "cycle"})) == {
        "n1": ("on", "on", True)
    }
    assert (bmc.folder / "pid").read_text() != old
    assert module("node_power", {"nodes": [bmc.node()], "state": "reset"})["changed"]
    assert bmc.told()[-1] == "reset 1"
    module("node_power", {"nodes": [bmc.node()], "state": "off"})
    refused = module("node_power", {"nodes": [bmc.node()], "state": "reset"})
    assert refused["failed"] and "n1: it is off, so that there is nothing to reset" in refused["msg"]


def test_status_changes_nothing(module: Run, bmcs: list[Bmc]) -> None:
    result = module("node_power", {"nodes": [bmcs[0].node()], "state": "status"})
    assert powers(result) == {"n1": ("off", "off", False)} and bmcs[0].told() == []


def test_one_dead_bmc_does_not_stop_the_others(module: Run, bmcs: list[Bmc]) -> None:
    dead = bmcs[1].node()
    bmcs[1].end()
    result = module(
        "node_power", {"nodes": [dead, bmcs[0].node()], "state": "on", "retries": 0, "timeout": 5}
    )
    assert result["failed"] and result["msg"].startswith("1 of 2 nodes failed: n2: status: ipmitool")
    assert powers(result) == {"n2": (None, None, False), "n1": ("off", "on", True)}
    assert bmcs[0].running()


def test_a_machine_that_stays_off_is_named(module: Run, bmcs: list[Bmc]) -> None:
    (bmcs[0].folder / "broken").touch()
    result = module("node_power", {"nodes": [bmcs[0].node()], "state": "on", "timeout": 3})
    assert result["failed"] and "n1: it was told to go on, and was not on within 3 s" in result["msg"]
    assert powers(result) == {"n1": ("off", "off", True)}


def test_a_wrong_password_is_an_error_and_no_password_is_shown(module: Run, bmcs: list[Bmc]) -> None:
    options = {"nodes": [bmcs[0].node(password="not-this-one")], "state": "on", "retries": 0}
    result = module("node_power", options)
    assert result["failed"] and "n1: status: ipmitool failed" in result["msg"]
    assert "not-this-one" not in str(result) and not bmcs[0].running()


def test_a_kill_leaves_nothing_half_done(module: Run, bmcs: list[Bmc]) -> None:
    process = start_module("node_power", {"nodes": [bmcs[0].node()], "state": "cycle"})
    time.sleep(0.4)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert powers(module("node_power", {"nodes": [bmcs[0].node()], "state": "on"}))["n1"][1] == "on"


def own(tmp_path: Path, name: str = "v1") -> dict[str, Any]:
    """A machine whose switch is a file."""
    switch = tmp_path / name
    if not switch.exists():
        switch.write_text("off")
    script = 'if [ $# = 2 ]; then printf "%s" "$2" > "$1"; else echo "power: $(cat "$1")"; fi'
    argv = ["/bin/sh", "-c", script, "power", str(switch)]
    return {
        "name": name,
        "driver": "command",
        "commands": {"status": argv, "on": [*argv, "on"], "off": [*argv, "off"]},
    }


def test_commands_of_the_users_own(module: Run, tmp_path: Path) -> None:
    nodes = [own(tmp_path, f"v{number}") for number in range(20)]
    before = snapshot(tmp_path)
    assert module("node_power", {"nodes": nodes, "state": "on"}, check=True)["changed"]
    assert snapshot(tmp_path) == before
    assert module("node_power", {"nodes": nodes, "state": "on", "parallel": 4})["changed"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"on"}
    assert not module("node_power", {"nodes": nodes, "state": "on"})["changed"]
    assert powers(module("node_power", {"nodes": nodes[:1], "state": "cycle"})) == {"v0": ("on", "on", True)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"state": "reset"}, "node v1: commands has no reset, which this needs"),
        ({"nodes": [{"name": "n1"}]}, 'node n1: address "" is no name or address of a BMC'),
        (
            {"nodes": [{"name": "n1", "driver": "smoke"}]},
            "value of driver must be one of: ipmi, redfish, qemu",
        ),
    ],
)
def test_bad_input_switches_nothing(module: Run, tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    result = module("node_power", {"nodes": [own(tmp_path)], "state": "on", **wrong})
    assert result["failed"] and said in result["msg"]
    assert (tmp_path / "v1").read_text() == "off"
