"""Run every benchmark, or those named behind the target, print one table, write one JSON list.

Each ``bench_*.py`` beside this file says what is compared with what, and has ``run() -> list[dict]`` of rows
``{name, ours, anchor, unit, ratio, goal, met}``, measured side by side in this run; ``{name, skipped}`` says why not.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLUMNS = ("name", "ours", "anchor", "unit", "ratio", "goal", "met")


def show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    sys.path[:0] = [str(HERE), str(HERE.parents[1] / ".collections")]
    rows: list[dict[str, Any]] = []
    wanted = sys.argv[2:]
    for script in sorted(HERE.glob("bench_*.py")):
        if wanted and script.stem.removeprefix("bench_") not in wanted:
            continue
        print(f"{script.stem} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(script.stem).run()
    lines = [
        COLUMNS,
        *(tuple(show(row.get(column, "")) for column in COLUMNS) for row in rows if "skipped" not in row),
    ]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for row in rows:
        if "skipped" in row:
            print(f"{row['name']}: skipped, {row['skipped']}")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
