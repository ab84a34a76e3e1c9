# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of mainline's nodes are a package of their own; here a node's folders are temporary ones."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles/ssi_cluster/files/mainline"))

from ssi import arrivals, capabilities, location, migration, node, process  # noqa: E402
from ssi.node import Node  # noqa: E402


def a_node(node_id: int = 1, **fields: object) -> Node:
    known = {
        "session": 1, "node_id": node_id, "nodes_min": 0, "storage": "10.0.0.1:/srv/ssi", "name": f"n{node_id}",
        "address": f"10.0.0.{node_id}", "boot_id": f"boot-{node_id}", "kernel": "6.1.0-1", "image_id": "demo-1", "cpus": 1,
    }  # fmt: skip
    return Node(**{**known, **fields})  # type: ignore[arg-type]


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's folder, and this node's own, without anything mounted."""
    for module, name, value in (
        (node, "SHARED", "shared"),
        (node, "RUN", "run"),
        (node, "CHECKPOINTS", "shared/chkpt"),
        (location, "FOLDER", "shared/processes"),
        (arrivals, "FOLDER", "run/arrived"),
        (migration, "RECEIVERS", "run/receivers"),
        (capabilities, "RECORDS", "run/capabilities"),
    ):
        os.makedirs(tmp_path / value, exist_ok=True)
        monkeypatch.setattr(module, name, str(tmp_path / value))
    return tmp_path / "shared"


@pytest.fixture
def beat(shared: Path) -> Callable[..., None]:
    """Write a node's heartbeat, so many seconds ago."""

    def write(which: Node, age: float = 0, **fields: object) -> None:
        folder = shared / "nodes" / str(which.node_id)
        folder.mkdir(parents=True, exist_ok=True)
        known = {
            name: getattr(which, name)
            for name in ("node_id", "name", "address", "boot_id", "kernel", "image_id", "cpus")
        }
        measured = {
            "load": 0.0,
            "running": 0.0,
            "memory_total": 1 << 30,
            "memory_free": 1 << 29,
            "arrived": 0,
            "note": "",
        }
        path = folder / "state.json"
        path.write_text(json.dumps({**known, **measured, **fields}), encoding="utf-8")
        if age:
            written = path.stat().st_mtime - age
            os.utime(path, (written, written))

    return write


@contextlib.contextmanager
def running(command: str, count: int, **options: Any) -> Iterator[list[process.Process]]:
    """A shell command of so many processes, that has no file of the tests' own open."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["sh", "-c", command], start_new_session=True, **{**quiet, **options}) as shell:
        try:
            while len(process.tree(shell.pid)) < count:
                time.sleep(0.01)
            yield process.tree(shell.pid)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def ended(pid: int) -> bool:
    """Whether nothing is left of a process that was killed; the kernel needs a moment for that."""
    end = time.monotonic() + 30
    while process.tree(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return process.tree(pid) == []
