"""The nodes of a reservation against Ansible's own ini inventory of the same hosts, both by ``ansible-inventory --graph``.

Ours reads a node file with four lines per node (one per core), counts them, finds sites and clusters, and fills five
groups; the ini file has one line per host and one group. The figure is the CPU time of the whole program.
The table shows that the time grows no faster than the number of nodes.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
ROUNDS = 4
NODES = 100_000
CORES = 4
GOAL = 0.6
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE_ROUNDS = 2
GROWTH = 13
"""How many times the seconds of ten times fewer nodes are still linear: a million hosts are in no cache of the processor."""
JUDGED = 0.5
"""Seconds below which a figure is the noise of Ansible's start, so that no growth is computed from it."""


def inventories(work: Path, count: int) -> tuple[Path, Path]:
    """An inventory of ours and one of Ansible's, of the same ``count`` hosts."""
    # Short, because a million names four times must stay below the limit of a node file.
    names = [f"c-{number}.s.d" for number in range(1, count + 1)]
    (work / f"{count}.oar").write_text("".join(f"{name}\n" * CORES for name in names))
    ours, ini = work / f"{count}.nodes.yml", work / f"{count}.ini"
    ours.write_text(
        f"plugin: oneimage.cluster.nodes\nsources:\n  - {{file: {count}.oar, format: oar, job: 42}}\n"
    )
    ini.write_text("[nodes]\n" + "".join(f"{name}\n" for name in names))
    return ours, ini


def graph(program: str, inventory: Path, count: int) -> float:
    """CPU seconds of ``ansible-inventory --graph``; raises if it does not show all hosts."""
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [program, "-i", str(inventory), "--graph"],
        env={**os.environ, **settings},
        check=True,
        capture_output=True,
        timeout=900,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.count(b"--c-") in (count, 5 * count), done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def against_ini(program: str, work: Path) -> dict[str, Any]:
    ours, ini = inventories(work, NODES)
    pairs = [(graph(program, ours, NODES), graph(program, ini, NODES)) for _round in range(ROUNDS)]
    ratio = statistics.median(one / anchor for one, anchor in pairs)
    return {
        "name": f"inventory of {NODES} reserved nodes, against ini",
        "ours": statistics.median(one for one, _anchor in pairs),
        "anchor": statistics.median(anchor for _one, anchor in pairs),
        "unit": "CPU s",
        **{"ratio": ratio, "goal": f"<= {GOAL}", "met": ratio <= GOAL},
    }


def growth(program: str, work: Path) -> list[dict[str, Any]]:
    """One row per size: the seconds beyond Ansible's start, and how many times those of the size before."""
    files = {size: inventories(work, size)[0] for size in SIZES}
    start_file = inventories(work, 1)[0]
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    starts = []
    for _round in range(SIZE_ROUNDS):
        starts.append(graph(program, start_file, 1))
        for size in SIZES:
            seconds[size].append(graph(program, files[size], size))
    start, rows, smaller = min(starts), [], 0.0
    for size in SIZES:
        own = max(min(seconds[size]) - start, 0.001)
        grown = own / smaller if smaller > JUDGED else ""
        rows.append(
            {
                "name": f"inventory of {size} reserved nodes, beyond Ansible's start",
                **{"ours": own, "anchor": smaller or "", "unit": "CPU s", "ratio": grown},
                **{"goal": f"<= {GROWTH}", "met": grown == "" or grown <= GROWTH},
            }
        )
        smaller = own
    return rows


def run() -> list[dict[str, Any]]:
    program = shutil.which(
        "ansible-inventory", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if program is None:
        return [{"name": "inventory", "skipped": "ansible-inventory is not installed"}]
    with tempfile.TemporaryDirectory() as folder:
        return [against_ini(program, Path(folder)), *growth(program, Path(folder))]
