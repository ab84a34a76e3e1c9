"""The module node_power against a Redfish BMC (sushy-tools, over TLS) and against QEMU itself, both with real machines."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

if shutil.which("qemu-system-x86_64") is None:
    pytest.skip("qemu-system-x86_64 (package qemu-system-x86) is not installed", allow_module_level=True)
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Redfish:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bcrypt = pytest.importorskip("bcrypt")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "users").write_text(
            "admin:" + bcrypt.hashpw(b"hush-hush", bcrypt.gensalt(4)).decode() + "\n"
        )
        subject = ["-subj", "/CN=bmc", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                *subject,
            ]
            + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True,
            capture_output=True,
        )
        settings = {
            "SUSHY_EMULATOR_LISTEN_IP": "127.0.0.1",
            "SUSHY_EMULATOR_LISTEN_PORT": self.port,
            "SUSHY_EMULATOR_SSL_CERT": str(folder / "cert.pem"),
            "SUSHY_EMULATOR_SSL_KEY": str(folder / "key.pem"),
            "SUSHY_EMULATOR_AUTH_FILE": str(folder / "users"),
            "SUSHY_EMULATOR_STATE_DIR": str(folder),
        }
        (folder / "settings.py").write_text(
            "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        )
        program = [sys.executable, str(Path(__file__).with_name("redfish_bmc.py")), str(folder)]
        self.process = subprocess.Popen(program, **QUIET)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "the BMC does not start"
                time.sleep(0.2)

    def node(self, **fields: Any) -> dict[str, Any]:
        way = {
            "driver": "redfish",
            "address": "127.0.0.1",
            "port": self.port,
            "ca_path": str(self.folder / "cert.pem"),
        }
        return {"name": "n1", "user": "admin", "password": "hush-hush", **way, **fields}

    def machine(self) -> int | None:
        try:
            pid = int((self.folder / "qemu.pid").read_text())
            return pid if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"qemu") else None
        except (OSError, ValueError):
            return None

    def told(self) -> list[str]:
        told = self.folder / "told"
        return told.read_text().splitlines() if told.exists() else []

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=90)
        if pid := self.machine():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def redfish(tmp_path: Path) -> Iterator[Redfish]:
    bmc = Redfish(tmp_path)
    yield bmc
    bmc.end()


def test_redfish_on_again_cycle_off(module: Run, redfish: Redfish) -> None:
    node = redfish.node(firmware="uefi")
    predicted = module("node_power", {"nodes": [node], "state": "on"}, check=True)
    assert predicted["changed"] and redfish.machine() is None and redfish.told() == []
    first = module("node_power", {"nodes": [node], "state": "on", "boot_device": "pxe"})
    assert first["nodes"]["n1"] == {
        "before": "off",
        "after": "on",
        "changed": True,
        "level": "hard",
        "error": None,
    }
    assert redfish.told() == ["boot Pxe", "mode UEFI", "power On"]
    machine = redfish.machine()
    assert machine
    assert not module("node_power", {"nodes": [node], "state": "on"})["changed"]
    assert module("node_power", {"nodes": [node], "state": "cycle"})["changed"]
    assert redfish.machine() not in (None, machine)
    assert module("node_power", {"nodes": [node], "state": "reset"})["nodes"]["n1"]["after"] == "on"
    assert redfish.told()[-1] == "power ForceRestart"
    assert module("node_power", {"nodes": [node], "state": "off"})["changed"] and redfish.machine() is None


def test_a_machine_that_does_not_obey_is_switched_harder(module: Run, redfish: Redfish) -> None:
    module("node_power", {"nodes": [redfish.node()], "state": "on"})
    result = module("node_power", {"nodes": [redfish.node()], "state": "off", "level": "soft", "timeout": 2})
    assert result["nodes"]["n1"]["level"] == "hard" and result["nodes"]["n1"]["after"] == "off"
    assert redfish.told() == ["power On", "power GracefulShutdown", "power ForceOff"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "not-this-one"}, "n1: status: Redfish GET /redfish/v1/Systems: 401"),
        ({"ca_path": None}, "CERTIFICATE_VERIFY_FAILED"),
        ({"system": "no-such"}, "404"),
        ({"tls": False}, "n1: status: Redfish at http://127.0.0.1"),
    ],
)
def test_redfish_that_refuses(module: Run, redfish: Redfish, fields: dict[str, Any], said: str) -> None:
    result = module(
        "node_power", {"nodes": [redfish.node(**fields)], "state": "on", "retries": 0, "timeout": 5}
    )
    assert result["failed"] and said in result["msg"], result["msg"]
    assert "not-this-one" not in str(result) and redfish.told() == []


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A machine of QEMU that waits, so that it is off, and the command that starts another when it is gone."""
    path = tmp_path / "qmp"
    argv = [
        "qemu-system-x86_64",
        "-machine",
        "pc",
        "-accel",
        "tcg",
        "-m",
        "32",
        "-nodefaults",
        "-display",
        "none",
    ]
    argv += [
        "-S",
        "-no-shutdown",
        "-qmp",
        f"unix:{path},server=on,wait=off",
        "-pidfile",
        str(tmp_path / "pid"),
    ]
    machine = subprocess.Popen(argv, **QUIET)
    deadline = time.monotonic() + 60
    while not path.exists():
        assert machine.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    yield {"name": "v1", "driver": "qemu", "socket": str(path)}
    machine.kill()
    machine.wait()


def test_qemu(module: Run, virtual: dict[str, Any]) -> None:
    def states(state: str, **options: Any) -> tuple[Any, ...]:
        node = module("node_power", {"nodes": [virtual], "state": state, **options})["nodes"]["v1"]
        return node["before"], node["after"], node["changed"]

    assert states("status") == ("off", "off", False)
    assert states("on") == ("off", "on", True) and states("on") == ("on", "on", False)
    assert states("reset") == ("on", "on", True) and states("cycle") == ("on", "on", True)
    assert states("off", level="soft", timeout=2) == ("on", "off", True)
    assert states("status") == ("off", "off", False)


def test_a_qemu_process_that_is_gone(module: Run, tmp_path: Path) -> None:
    node = {"name": "v1", "driver": "qemu", "socket": str(tmp_path / "none")}
    assert module("node_power", {"nodes": [node], "state": "status"})["nodes"]["v1"]["before"] == "off"
    refused = module("node_power", {"nodes": [node], "state": "on", "retries": 0})
    assert refused["failed"] and "start it by commands.on" in refused["msg"]
    unable = module("node_power", {"nodes": [node], "state": "on", "boot_device": "pxe"})
    assert unable["failed"] and "commands has no boot_pxe" in unable["msg"]


def test_the_outlet_is_the_last_resort(module: Run, tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.write_text("off")
    write = ["/bin/sh", "-c", 'printf on > "$1"', "outlet", str(switch)]
    commands = {"status": ["cat", str(switch)], "on": ["true"], "off": ["true"], "very_hard": write}
    node = {"name": "v1", "driver": "command", "commands": commands}
    result = module("node_power", {"nodes": [node], "state": "on", "timeout": 1})
    assert result["nodes"]["v1"]["level"] == "very_hard" and switch.read_text() == "on"
