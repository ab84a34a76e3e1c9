"""Ansible's programs with an inventory, as a user runs them from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


def ansible(
    program: str, *arguments: str | Path, environment: Mapping[str, str] | None = None, cwd: Path = CHECKOUT
) -> subprocess.CompletedProcess[str]:
    """Run the ``program`` that is installed beside this Python, in ``environment`` or this process's own."""
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **(os.environ if environment is None else environment),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
        },
    )


def inventory_of(file: Path, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What ``ansible-inventory --list`` prints of ``file``."""
    done = ansible("ansible-inventory", "-i", file, "--list", environment=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
