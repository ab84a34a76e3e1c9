"""Run one task, or a playbook, through Ansible itself: action plugins and roles work on the controller first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_NOCOLOR": "true",
    "ANSIBLE_FORCE_COLOR": "false",
}
"""Whatever the configuration says, the result is printed as plain JSON."""


def run_task(module: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result of the task; ``folder`` is where its playbook would lie."""
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", module, "-a", json.dumps(options)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    _messages, arrow, text = done.stdout.partition(" => ")
    assert arrow, done.stdout + done.stderr
    result: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return result


def run_playbook(
    playbook: str, inventory: str, variables: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run ``playbook`` (relative to the checkout) to its end, with what it prints on standard output alone."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "playbook", playbook),
            *("-i", inventory, "-e", json.dumps(variables), *arguments),
        ],
        cwd=CHECKOUT,
        env={**os.environ, **ENVIRONMENT, "ANSIBLE_SHOW_CUSTOM_STATS": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
