"""A session with processes: stand-ins in a folder, or the real cluster that ``SSI_TEST_NODES`` names.

``SSI_TEST_NODES=1:root@10.77.0.11,2:root@10.77.0.12`` are members of one running session by node id and ssh destination,
``SSI_TEST_FLAVOUR`` is its flavour (``mainline``). The first is the entry node, on which the processes are started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]
STAND_INS = CHECKOUT / "tests/stand_ins"
sys.path.insert(0, str(STAND_INS))

import ssi_processes

FLAVOURS = CHECKOUT / "roles/ssi_cluster/vars/flavours"
REAL = os.environ.get("SSI_TEST_NODES", "")
REAL_ONLY = "a real cluster is named by SSI_TEST_NODES, in which this cannot be brought about"
PROGRAMS = ("krgcapset", "migrate", "checkpoint", "restart")
FIRST_PID = 6291475
"""A pid as the recorded cluster had them."""


def moved(value: Any, roots: Mapping[str, str]) -> Any:
    """A flavour with the folders that ``roots`` begins with elsewhere."""
    if isinstance(value, dict):
        return {key: moved(item, roots) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, roots) for item in value]
    for old, new in roots.items():
        if isinstance(value, str) and (value == old or value.startswith(old + "/")):
            return new + value[len(old) :]
    return value


def flavour(name: str, folder: Path, **cannot: str) -> dict[str, Any]:
    """The shipped flavour with /proc and /var/chkpt in ``folder``, whose file system is taken for shared."""
    read: dict[str, Any] = yaml.safe_load((FLAVOURS / f"{name}.yml").read_text())
    found: dict[str, Any] = moved(read, {"/proc": f"{folder}/proc", "/var/chkpt": f"{folder}/chkpt"})
    if found["process"]["checkpoint"]:
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True
        ).stdout.strip()
        found["process"]["checkpoint"]["shared"].append(kind)
    return {**found, "cannot": {**found["cannot"], **cannot}}


def programs(folder: Path, names: Mapping[str, str]) -> None:
    """Commands on PATH that are stand-ins: ``names`` says in which file of theirs each is, with its first words."""
    folder.mkdir()
    for name, words in names.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {STAND_INS}/{words} "$@"\n')
        script.chmod(0o755)


class StandIn:
    """Three nodes, the third one present but no member."""

    real = False
    nodes = ("1", "2")

    def __init__(self, folder: Path) -> None:
        self.state = folder / "session"
        self.state.mkdir()
        programs(folder / "bin", {name: f"ssi_processes.py {name}" for name in PROGRAMS})
        self.flavour = flavour("kerrighed_3_0", self.state)
        self.options: dict[str, Any] = {"flavour": self.flavour, "entry": []}
        self.environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "SSI_STAND_IN_STATE": str(self.state),
        }
        ssi_processes.STATE = self.state
        self.set_up({1: "online", 2: "online", 3: "present"})
        self.next = FIRST_PID

    def start(self, **fields: Any) -> int:
        """A new process on node 1, of an application of its own."""
        pid, self.next = self.next, self.next + 1
        ssi_processes.save(
            ssi_processes.Process(pid, **{"node": 1, "app": pid, "pgid": pid, "sid": pid, **fields})
        )
        return pid

    def set_up(self, nodes: dict[int, str]) -> None:
        ssi_processes.set_up(nodes)

    def end(self, pid: int) -> None:
        ssi_processes.end(self.process(pid))

    def change(self, pid: int, **fields: Any) -> None:
        ssi_processes.save(self.process(pid)._replace(**fields))

    def process(self, pid: int) -> ssi_processes.Process:
        found = ssi_processes.load(pid)
        assert found
        return found

    def look(self, pid: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "processes" / f"{pid}.json").read_text())
        return found

    def close(self) -> None:
        """The folder goes with the test."""


class RealSession:
    """The cluster that is named; its processes sleep, and are ended with the test."""

    real = True
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        members = dict(member.split(":", 1) for member in REAL.split(","))
        self.nodes = tuple(members)
        read = yaml.safe_load(
            (FLAVOURS / f"{os.environ.get('SSI_TEST_FLAVOUR', 'mainline')}.yml").read_text()
        )
        self.entry = [
            "ssh",
            "-p",
            str(read.get("entry_port", 22)),
            "-o",
            "BatchMode=yes",
            members[self.nodes[0]],
        ]
        self.flavour = read
        self.options: dict[str, Any] = {"flavour": read, "entry": self.entry}
        self.started: list[int] = []

    def run(self, command: str) -> str:
        return subprocess.run([*self.entry, command], capture_output=True, text=True, check=True).stdout

    def start(self) -> int:
        pid = int(self.run("setsid sh -c 'echo $$; exec sleep 3600 >/dev/null' </dev/null 2>/dev/null &"))
        self.started.append(pid)
        return pid

    def end(self, pid: int) -> None:
        self.run(f"kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done")

    def close(self) -> None:
        for pid in self.started:
            subprocess.run([*self.entry, f"kill -9 {pid}"], check=False, stderr=subprocess.DEVNULL)
