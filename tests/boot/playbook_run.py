"""Run the collection's playbooks on the inventory that the tests ask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import CHECKOUT, INVENTORY

PROGRAM = Path(sys.executable).with_name("ansible-playbook")
SETTINGS = {
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_FORCE_COLOR": "false",
    "ANSIBLE_NOCOLOR": "true",
    "ANSIBLE_SHOW_CUSTOM_STATS": "true",
}
"""What the tests read of Ansible's output is JSON without colors: molecule asks for colors wherever TERM says xterm."""


def start(playbook: str, *words: str) -> subprocess.Popen[str]:
    """In a session of its own, so that all of it can be killed."""
    return subprocess.Popen(
        [str(PROGRAM), "-i", INVENTORY, f"playbooks/{playbook}", *words],
        cwd=CHECKOUT,
        env={**os.environ, **SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def play(playbook: str, *words: str) -> str:
    """What it printed; it must succeed."""
    process = start(playbook, *words)
    out, _nothing = process.communicate(timeout=1200)
    assert process.returncode == 0, out
    return out


def changes(out: str) -> dict[str, int]:
    """Changed tasks by host, from the recap."""
    return {
        host: int(count) for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", out, re.MULTILINE)
    }


def stats(out: str) -> dict[str, Any]:
    """What it handed on by set_stats."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(out.partition("\tRUN: ")[2])[0]
    return found
