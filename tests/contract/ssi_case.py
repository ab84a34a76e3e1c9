# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clusters of the stand-ins in tests/stand_ins/ssi_*.py: their programs on PATH, their state in a folder."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.plugin_utils._flavours import resolve

STAND_INS = Path(__file__).parents[1] / "stand_ins"
PROGRAMS = {
    "krgadm": "ssi_krgadm.py",
    "setpe": "ssi_openmosix.py",
    "omdiscd": "ssi_openmosix.py",
    "showmap": "ssi_openmosix.py",
    "mosctl": "ssi_openmosix.py",
    "cat": "ssi_files.py",
    "stat": "ssi_files.py",
}
HEALTHY = {"/": "6969", "/var/chkpt": "directory", "/config": "62656570", "/proc/hpc": "directory"}


class Cluster:
    """``folder`` is the stand-ins' state; ``bin`` is on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, generation: str = "3.0") -> None:
        self.folder = folder / "state"
        self.folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, source in PROGRAMS.items():
            self.install(name, STAND_INS / source)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("SSI_STAND_IN_STATE", str(self.folder))
        monkeypatch.setenv("SSI_STAND_IN_GENERATION", generation)
        monkeypatch.setenv("SSI_STAND_IN_NODE", "1")
        self.write("stat.json", HEALTHY)
        self.text("proc/cmdline", "root=/dev/nfs session_id=1 node_id=1 nb_nodes_min=2\n")
        # a shell that came by ssh to the container: all its ids are the cluster's, (node << 22) | (1 << 21) | n
        self.text("proc/self/stat", "6291480 (cat) R 6291461 6291480 6291461 0 -1 0 0\n")

    def install(self, name: str, source: Path) -> None:
        program = self.bin / name
        program.write_text(
            f'#!/bin/sh\nexec env SSI_STAND_IN_PROGRAM={name} {sys.executable} -S {shlex.quote(str(source))} "$@"\n'
        )
        program.chmod(0o755)

    def write(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content))

    def text(self, name: str, content: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content)

    @property
    def nodes(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "nodes.json").read_text())
        return found

    @property
    def actions(self) -> list[str]:
        """What was run besides looking."""
        log = self.folder / "calls.log"
        looks = ("krgadm nodes", "krgadm nodes status", "krgadm cluster status")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line not in looks and "setpe -r" not in line and "isup" not in line]


def flavour(name: str) -> dict[str, Any]:
    """As the action gives it to the module."""
    return resolve(name, Path.cwd())
