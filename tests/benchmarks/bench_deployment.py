"""What a deployment costs on the boot server apart from what the nodes do: seconds for each node, and how they grow.

Nodes are stand-ins, an sshd each: a login and a script on every one of them is real, all that would write a disk is ``true``.
The anchor is the same module for one node, which pays for the start alone.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deployment_nodes import SSHD, Nodes, running_nodes  # noqa: E402

COUNTS = (4, 64)
RUNS = 3
GOAL = 1.0
"""Of what one node costs: no node may cost more for being one of many."""


def seconds(nodes: Nodes, count: int) -> float:
    begun = time.monotonic()
    result = nodes.deploy(count)
    if len(result.get("ok", [])) != count:
        raise RuntimeError(result.get("msg"))
    return time.monotonic() - begun


def run() -> list[dict[str, Any]]:
    if os.geteuid() != 0 or not Path(SSHD).exists():
        return [{"name": "deployment", "skipped": "needs root, for network namespaces, and sshd"}]
    rows = []
    with running_nodes(max(COUNTS)) as nodes:
        for count in COUNTS:
            pairs = [(seconds(nodes, count) / count, seconds(nodes, 1)) for _run in range(RUNS)]
            ours, anchor = (statistics.median(column) for column in zip(*pairs))
            ratio = statistics.median(one / other for one, other in pairs)
            rows.append(
                {
                    **{
                        "name": f"deployment of {count} nodes, each",
                        "ours": ours,
                        "anchor": anchor,
                        "unit": "s",
                    },
                    **{"ratio": ratio, "goal": f"<= {GOAL:g}", "met": ratio <= GOAL},
                }
            )
    return rows
