"""The server half of diskless.yml: a run that changes nothing, against the first run on a fresh lab of its own.

Ours is the second run, the anchor the first one with its caches warm; both in CPU seconds of this machine, children
included (not those of the boot server's container). The goal is that nothing changes; the tasks are counted in the name.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("ansible-playbook")


def play(playbook: str, *words: str) -> tuple[float, str]:
    """CPU seconds of a run, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [PROGRAM, "-i", CHECKOUT / "inventories" / "lab", CHECKOUT / "playbooks" / playbook, *words]
    environment = {**os.environ, "ONEIMAGE_LAB": "bench"}
    done = subprocess.run(argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{playbook} failed:\n{done.stdout[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run() -> list[dict[str, Any]]:
    if os.geteuid() != 0:
        return [{"name": "diskless.yml, unchanged", "skipped": "needs root"}]
    try:
        play("lab.yml")
        first, _out = play("diskless.yml", "--tags", "server")
        again, out = play("diskless.yml", "--tags", "server")
    finally:
        play("lab_down.yml")
    changed = sum(map(int, re.findall(r"changed=(\d+)", out)))
    tasks = len(re.findall(r"^TASK \[", out, re.MULTILINE))
    return [
        {
            "name": f"diskless.yml server half, unchanged ({tasks} tasks, changed={changed})",
            "ours": again,
            "anchor": first,
            "unit": "CPU s",
            "ratio": first / again,
            "goal": "changed=0",
            "met": changed == 0,
        }
    ]
