"""Expanding and folding nodesets against ClusterShell's nodeset, and how their time grows with the number of names.

Against nodeset: a process each, CPU seconds with the start of both interpreters and with reading and printing; both must
print the same. The growth: CPU time within one process per name, against the same for a thousand names.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = 100_000
GRID = 3_000
"""Names that vary in two numbers: ClusterShell compares their blocks pair by pair, more would take it minutes."""
PAIRS = 3
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
GOAL = 1
GOAL_GROWTH = 3
"""What a name may cost at any count, in costs at the smallest: it may outgrow the caches, but not grow with the count."""

IMPORT = "import sys; from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand, fold; "
EXPAND = IMPORT + "print('\\n'.join(expand(sys.argv[1])))"
FOLD = IMPORT + "print(fold(sys.stdin.read().split()))"


def cpu_seconds(command: Sequence[str], text: str) -> tuple[float, str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=600, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def compare(name: str, ours: Sequence[str], anchor: Sequence[str], text: str = "") -> dict[str, Any]:
    pairs = []
    for _pair in range(PAIRS):
        one, printed = cpu_seconds(ours, text)
        other, printed_by_anchor = cpu_seconds(anchor, text)
        if printed.split() != printed_by_anchor.split():
            raise RuntimeError(f"{name}: ClusterShell prints something else")
        pairs.append((one, other))
    ratio = statistics.median(other / one for one, other in pairs)
    medians = [statistics.median(column) for column in zip(*pairs)]
    return {
        **{"name": name, "ours": medians[0], "anchor": medians[1], "unit": "CPU s"},
        **{"ratio": ratio, "goal": f"> {GOAL}", "met": ratio > GOAL},
    }


def per_name(work: Callable[[Any], Any], argument: Any, count: int) -> float:
    """CPU microseconds; the best of several, since the smallest counts end within a clock's tick of other work."""
    spent = []
    for _round in range(max(3, 10_000 // count)):
        before = time.process_time()
        work(argument)
        spent.append(time.process_time() - before)
    return min(spent) / count * 1e6


def growth() -> list[dict[str, Any]]:
    from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand, fold

    rows = []
    for title, pattern, folds in (
        ("nodeset_fold", "node-{0}.site.org", True),
        ("nodeset_fold, two numbers", "rack{1}n{2}", True),
        ("nodeset_expand", "node-{0}.site.org", False),
    ):
        first = 0.0
        for count in COUNTS:
            names = [pattern.format(number, number // 100, number % 100) for number in range(count)]
            spent = per_name(fold, names, count) if folds else per_name(expand, fold(names), count)
            first = first or spent
            rows.append(
                {
                    **{
                        "name": f"{title}, {count} names",
                        "ours": spent,
                        "anchor": first,
                        "unit": "CPU us a name",
                    },
                    **{
                        "ratio": spent / first,
                        "goal": f"<= {GOAL_GROWTH}",
                        "met": spent <= GOAL_GROWTH * first,
                    },
                }
            )
    return rows


def run() -> list[dict[str, Any]]:
    nodeset = shutil.which("nodeset")
    if nodeset is None:
        return [{"name": "nodeset, against ClusterShell", "skipped": "nodeset is not installed"}, *growth()]
    ours = [sys.executable, "-c"]
    folded = f"node[000001-{NAMES:06d}]"
    line = "".join(f"node{number:06d}\n" for number in range(1, NAMES + 1))
    grid = "".join(f"rack{number % 50}n{number // 50}.site.org\n" for number in range(GRID))
    return [
        compare(
            f"nodeset_expand, {NAMES} names, against nodeset --expand",
            [*ours, EXPAND, folded],
            [nodeset, "--separator=\\n", "--expand", folded],
        ),
        compare(
            f"nodeset_fold, {NAMES} names, against nodeset --fold", [*ours, FOLD], [nodeset, "--fold"], line
        ),
        compare(
            f"nodeset_fold, {GRID} names in two numbers, against nodeset --fold",
            [*ours, FOLD],
            [nodeset, "--fold"],
            grid,
        ),
        *growth(),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT / ".collections"))
    print(json.dumps(run(), indent=2))
