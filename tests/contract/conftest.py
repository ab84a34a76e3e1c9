"""Run modules as Ansible runs them: a process of its own that gets its options on standard input as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from module_server import ModuleServer

Run = Callable[..., "dict[str, Any]"]
MODULE = "ansible_collections.oneimage.cluster.plugins.modules."


def arguments(options: dict[str, Any], check: bool, diff: bool) -> str:
    """What Ansible writes to a module's standard input."""
    return json.dumps(
        {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": diff}}
    )


def start_module(
    name: str, options: dict[str, Any], check: bool = False, diff: bool = True
) -> subprocess.Popen[str]:
    """Start module ``name``; its JSON result comes on standard output. For the tests that kill it on the way."""
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE + name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(arguments(options, check, diff))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.fixture(scope="session")
def module_server() -> Iterator[ModuleServer]:
    server = ModuleServer()
    yield server
    server.close()


@pytest.fixture
def module(module_server: ModuleServer) -> Run:
    """``module("boot_entry", {...}, check=False) -> result``; a failed module has ``failed: True`` and ``msg``."""

    def run(name: str, options: dict[str, Any], check: bool = False, diff: bool = True) -> dict[str, Any]:
        text = arguments(options, check, diff)
        out, err = module_server.run(MODULE + name, text, timeout=1800)
        assert out.strip(), f"{name} printed no result: {err}"
        result = json.loads(out)
        assert "Traceback" not in err + str(result.get("msg", "")), err
        return result

    return run


def snapshot(tree: Path) -> dict[str, str]:
    """Every path below ``tree`` with its kind, mode, owner and content: equal snapshots mean nothing was touched."""
    found = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = ""
        found[str(path.relative_to(tree))] = (
            f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {status.st_mtime_ns} {content}"
        )
    return found
