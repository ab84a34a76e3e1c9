"""kernel.yml with nothing to change, against the compilation that it spares.

Ours are the CPU seconds of all processes of a run in which nothing changed, for the lab's own kernel, which has the whole
source tree of the distribution's. The anchor is a recorded build of a distribution's kernel, 13 CPU minutes: nobody would
wait for it here. The first run finds the lab's kernel in the cache, where `make kernel` put it, or compiles it.
Merging and checking a configuration is measured in bench_kernel_config.py.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = sorted(Path("/usr/src").glob("linux-source-*.tar.*"))
RECORDED_BUILD = 780.0
"""CPU seconds of Debian's 6.1 kernel, on two cores."""
GOAL = 100
ROUNDS = 3
NAME = "kernel.yml, unchanged, against a recorded build of 13 CPU minutes"


def play(folder: Path) -> tuple[float, str]:
    """CPU seconds of a run, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {
        "oneimage_storage": str(folder),
        "kernel_install_tools": False,
        "kernel_progress": 0,
        # the lab asks apt for the name, which is not the role's work
        "kernel_source": {"package": SOURCES[-1].name.partition(".tar")[0]},
    }
    argv = [sys.executable, "-m", "ansible", "playbook", "playbooks/kernel.yml", "-i", "inventories/lab"]
    done = subprocess.run(
        [*argv, "-e", json.dumps(variables)],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kernel.yml failed:\n{done.stdout[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run() -> list[dict[str, Any]]:
    if os.geteuid() != 0 or not SOURCES:
        return [{"name": NAME, "skipped": "needs root and the package linux-source"}]
    with tempfile.TemporaryDirectory() as name:
        play(Path(name))
        runs = [play(Path(name)) for _round in range(ROUNDS)]
    again, out = sorted(runs)[ROUNDS // 2]
    changed = sum(map(int, re.findall(r"changed=(\d+)", out)))
    tasks = len(re.findall(r"^TASK \[", out, re.MULTILINE))
    ratio = RECORDED_BUILD / again
    return [
        {
            "name": f"{NAME} ({tasks} tasks, changed={changed})",
            "ours": again,
            "anchor": RECORDED_BUILD,
            "unit": "CPU s",
            "ratio": ratio,
            "goal": GOAL,
            "met": changed == 0 and ratio >= GOAL,
        }
    ]


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
