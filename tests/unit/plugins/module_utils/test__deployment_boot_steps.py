# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The power switch is a real program; the node is a stand-in that answers as the script of each test says."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_arrival as arrival
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_boot_steps as steps
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Deadline,
    DeploymentBoot,
    Layout,
    Order,
    StepFailed,
    Target,
    Work,
)

SWITCH = """#!/bin/sh
# keeps the power in a file, and notes what it was told
echo "$1" >>{folder}/told
case $1 in
    status) cat {folder}/power ;;
    reset) {reset} ;;
    *) {other} && echo "$1" >{folder}/power ;;
esac
"""
ACTIONS = ("status", "on", "off", "reset")
URL = "http://10.77.0.1/deployments/x"


class Node:
    """A Channel of a node that is in one system after another; each is (greeting, host key, boot id, command line)."""

    def __init__(self, *systems: tuple[str, str, str, str]) -> None:
        self.systems = list(systems)
        self.scripts: list[str] = []
        self.looks = 0

    @property
    def now(self) -> tuple[str, str, str, str]:
        return self.systems[min(self.looks, len(self.systems) - 1)]

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        self.scripts.append(script)
        if "reboot -f" in script or "kexec -e" in script:
            self.looks += 1
        return "\n".join(self.now[2:]) + "\n"

    def answers(self, timeout: float) -> bool:
        return bool(self.now[2])

    def greeting(self, address: str) -> str:
        return self.now[0]

    def host_keys(self, address: str) -> list[str]:
        return [self.now[1]] if self.now[1] else []

    def move_on(self, _seconds: float) -> None:
        self.looks += 1


OFF = ("", "", "", "")
ENVIRONMENT = ("SSH-2.0-dropbear", "SHA256:e", "boot-1", f"ip=dhcp oneimage.deploy={URL}")
AGAIN = ("SSH-2.0-dropbear", "SHA256:f", "boot-2", f"ip=dhcp oneimage.deploy={URL}")
OTHER = ("SSH-2.0-dropbear", "SHA256:g", "boot-3", "ip=dhcp oneimage.deploy=http://10.77.0.1/deployments/y")
SYSTEM = ("SSH-2.0-OpenSSH_9.2p1", "SHA256:s", "", "")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """make(*systems, macro=, seconds=, ...) -> Work; what it says is in ``work.notes["said"]``."""
    for folder in ("boot", "logs"):
        (tmp_path / folder).mkdir()

    def work(*systems: tuple[str, str, str, str], macro: str = "SetDeploymentEnv", **more: Any) -> Work:
        node = Node(*systems)
        for module in (arrival, steps):
            monkeypatch.setattr(module, "greeting", node.greeting)
            monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(arrival, "host_keys", node.host_keys)
        monkeypatch.setattr(arrival.time, "sleep", node.move_on)
        boot = DeploymentBoot(
            str(tmp_path / "boot"),
            "http://10.77.0.1/",
            "d/vmlinuz",
            ("d/initrd",),
            (),
            str(tmp_path / "logs"),
        )
        order = Order("d1", more.get("description", {}), None, Layout(()), "", URL, "10.77.0.1", boot=boot)  # type: ignore[arg-type]
        target = Target("n1", "52:54:00:00:00:01", "10.77.0.11", power=more.get("power", {}))
        notes: dict[str, Any] = {"said": []}
        return Work(
            replace(order, hooks=more.get("hooks", {})),
            target,
            node,
            Deadline.after(more.get("seconds", 60)),
            notes,
            notes["said"].append,
            macro=macro,
            implementation=more.get("implementation", ""),
        )

    return work


@pytest.fixture
def switch(tmp_path: Path) -> Any:
    """switch(power, reset=, other=) -> the node's power definition; ``told`` holds its orders."""

    def power(state: str, reset: str = "true", other: str = "true") -> dict[str, Any]:
        (tmp_path / "power").write_text(f"{state}\n")
        program = tmp_path / "switch"
        program.write_text(SWITCH.format(folder=tmp_path, reset=reset, other=other))
        return {
            "driver": "command",
            "commands": {action: ["sh", str(program), action] for action in ACTIONS},
        }

    return power


def told(tmp_path: Path) -> list[str]:
    return [word for word in (tmp_path / "told").read_text().split() if word != "status"]


def test_a_node_that_listens_is_rebooted_softly(make: Any, switch: Any) -> None:
    work = make(ENVIRONMENT, OFF, power=switch("on"))
    steps.MICRO_STEPS["reboot"](work)
    assert work.notes["said"] == ["soft reboot"]
    assert work.notes["boot_id"] == "boot-1"
    assert any("sync; reboot -f" in script for script in work.channel.scripts)


def test_a_node_that_does_not_listen_is_reset(make: Any, switch: Any, tmp_path: Path) -> None:
    work = make(SYSTEM, power=switch("on"))
    before = time.time()
    steps.MICRO_STEPS["reboot"](work)
    assert told(tmp_path) == ["reset"]
    assert work.notes["said"] == ["soft: it takes no login of this deployment; hard reboot"]
    assert work.notes["rebooted_at"] >= before


def test_a_node_that_is_off_is_switched_on(make: Any, switch: Any, tmp_path: Path) -> None:
    steps.MICRO_STEPS["reboot"](make(OFF, power=switch("off")))
    assert told(tmp_path) == ["on"]


def test_a_reset_that_is_refused_becomes_a_power_cycle(
    make: Any, switch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make(OFF, power=switch("on", reset="exit 3"))
    steps.MICRO_STEPS["reboot"](work)
    assert told(tmp_path)[-2:] == ["off", "on"]
    assert "very_hard reboot" in work.notes["said"][0]
    assert "exit code 3" in work.notes["said"][0]


def test_every_refusal_is_named_when_none_works(make: Any, switch: Any) -> None:
    work = make(OFF, power=switch("on", reset="exit 3", other="exit 4"))
    with pytest.raises(
        StepFailed, match="no way to reboot it: soft: .*hard: .*exit code 3.*very_hard: .*exit code 4"
    ):
        steps.MICRO_STEPS["reboot"](work)


def test_a_node_without_a_switch_is_named(make: Any) -> None:
    with pytest.raises(StepFailed, match="it has no power switch"):
        steps.MICRO_STEPS["reboot"](make(OFF))


def test_a_hard_reboot_is_hard(make: Any, switch: Any, tmp_path: Path) -> None:
    work = make(ENVIRONMENT, power=switch("on"), macro="BootNewEnv", implementation="BootNewEnvHardReboot")
    steps.MICRO_STEPS["reboot"](work)
    assert told(tmp_path) == ["reset"]
    assert "sync" in work.channel.scripts
    assert not any("reboot" in script for script in work.channel.scripts)


def test_the_environment_is_this_deployments_and_this_boots(make: Any) -> None:
    work = make(ENVIRONMENT, OFF, OTHER, AGAIN)
    work.notes["boot_id"] = "boot-1"
    steps.MICRO_STEPS["wait_reboot"](work)
    assert work.notes["boot_id"] == "boot-2"
    assert work.notes["environment_host_keys"] == ["SHA256:f"]


def test_the_deployed_system_is_another_ssh_server(make: Any) -> None:
    work = make(ENVIRONMENT, OFF, SYSTEM, macro="BootNewEnv")
    work.notes.update(boot_id="boot-1", environment_host_keys=["SHA256:e"])
    steps.MICRO_STEPS["wait_reboot"](work)
    assert "SSH-2.0-OpenSSH_9.2p1, host key SHA256:s" in work.notes["said"][-1]


def test_a_node_that_comes_back_fails_at_once_and_boots_the_environment(make: Any, tmp_path: Path) -> None:
    work = make(ENVIRONMENT, OFF, AGAIN, macro="BootNewEnv")
    work.notes.update(boot_id="boot-1", environment_host_keys=["SHA256:e"])
    steps.MICRO_STEPS["switch_pxe"](work)
    entry = tmp_path / "boot/ipxe/mac-52-54-00-00-00-01.ipxe"
    assert "# entry disk" in entry.read_text()
    with pytest.raises(StepFailed, match="came back into the deployment environment") as caught:
        steps.MICRO_STEPS["wait_reboot"](work)
    assert f"oneimage.deploy={URL}" in " ".join(caught.value.evidence)
    assert "# entry deployment" in entry.read_text()


def test_the_stage_where_a_boot_ended_is_named_with_its_log_line(make: Any, tmp_path: Path) -> None:
    work = make(OFF, seconds=0.5)
    work.notes["rebooted_at"] = time.time() - 20
    stamp = datetime.now(timezone.utc).strftime("%d/%b/%Y:%H:%M:%S %z")
    line = f'10.77.0.11 - - [{stamp}] "GET /images/d/vmlinuz HTTP/1.1" 200 5 "-" "iPXE"'
    other = line.replace("10.77.0.11", "10.77.0.12").replace("vmlinuz", "initrd")
    (tmp_path / "logs/access.log").write_text(f"{line}\n{other}\n")
    with pytest.raises(StepFailed, match="its boot ended at the stage 'kernel'") as caught:
        steps.MICRO_STEPS["wait_reboot"](work)
    assert line in caught.value.evidence[0]
    assert "driver" in caught.value.advice
    assert work.notes["said"][0].startswith("stage kernel after")


def test_a_boot_that_left_no_trace_says_so(make: Any) -> None:
    with pytest.raises(StepFailed, match="nothing was seen of its boot") as caught:
        steps.MICRO_STEPS["wait_reboot"](make(OFF, seconds=0.2))
    assert "network first" in caught.value.advice


def test_kexec_into_the_deployed_system_takes_kernel_and_parameters_of_the_description(make: Any) -> None:
    boot = {"kernel": "/vmlinuz", "initrd": "/initrd.img", "kernel_params": "quiet console=ttyS0"}
    work = make(ENVIRONMENT, OFF, macro="BootNewEnv", description={"boot": boot})
    steps.MICRO_STEPS["kexec"](work)
    script = work.channel.scripts[-1]
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert '"$(inside /vmlinuz)"' in script
    assert "'quiet console=ttyS0'" in script
    assert work.notes["boot_id"] == "boot-1"


def test_kexec_needs_a_kernel(make: Any) -> None:
    with pytest.raises(StepFailed, match="names no kernel"):
        steps.MICRO_STEPS["kexec"](make(ENVIRONMENT, macro="BootNewEnv"))


def test_kexec_into_the_environment_fetches_what_the_loader_would(make: Any) -> None:
    work = make(ENVIRONMENT, OFF)
    steps.MICRO_STEPS["send_deployment_kernel"](work)
    steps.MICRO_STEPS["kexec"](work)
    sent, started = work.channel.scripts[0], work.channel.scripts[-1]
    for script in (sent, started):
        subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert "http://10.77.0.1/d/vmlinuz kernel" in sent
    assert "http://10.77.0.1/d/initrd part" in sent
    assert f"oneimage.deploy={URL} BOOTIF=01-52-54-00-00-00-01" in started


def test_nodes_that_are_said_to_be_there_are_asked(make: Any) -> None:
    steps.MICRO_STEPS["check_nodes"](make(ENVIRONMENT))
    with pytest.raises(StepFailed, match="takes no login"):
        steps.MICRO_STEPS["check_nodes"](make(SYSTEM))


def test_a_hook_is_an_argv_list_with_the_nodes_own_words(make: Any, tmp_path: Path) -> None:
    program = ["sh", "-c", 'printf "%s\\n" "$@" >"$0"', str(tmp_path / "words")]
    work = make(OFF, hooks={"set_vlan": [*program, "{node}", "mac={mac}", "$(reboot)", "{deployment}"]})
    steps.MICRO_STEPS["set_vlan"](work)
    assert (tmp_path / "words").read_text().splitlines() == [
        "n1",
        "mac=52:54:00:00:00:01",
        "$(reboot)",
        "d1",
    ]


def test_a_hook_that_fails_fails_the_node(make: Any) -> None:
    with pytest.raises(StepFailed, match="hook set_vlan: .*exit code 9: no such port") as caught:
        steps.MICRO_STEPS["set_vlan"](
            make(OFF, hooks={"set_vlan": ["sh", "-c", "echo no such port; exit 9"]})
        )
    assert "it ran sh -c" in caught.value.advice


def test_a_failed_node_comes_back_into_the_environment(make: Any, switch: Any, tmp_path: Path) -> None:
    steps.MICRO_STEPS["return_to_deploy_env"](make(SYSTEM, power=switch("on"), macro="BootNewEnv"))
    assert told(tmp_path) == ["reset"]
    assert "# entry deployment" in (tmp_path / "boot/ipxe/mac-52-54-00-00-00-01.ipxe").read_text()
