"""kernel_config against the checker that people use, and against a shell loop of grep, per configuration of 8,777 options.

Ours checks 100 files in one process, the others one file per process, as they are made: CPU seconds of all processes
that were started, the interpreter's start included, divided by the files.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = CHECKOUT / "tests/fixtures/kernel_config/config-6.1.0-56-amd64.gz"
FILES = 100
ANCHOR_FILES = 10
ROUNDS = 5
GREP_OPTIONS = 120
CHECKER_RULES = 300
"""At least as many as the checker has for one architecture."""
CHECKER = "kernel-hardening-checker"
GOAL = 10

OURS = """
import json, sys
from pathlib import Path
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import check, parse_rules, read_config
rules = parse_rules(json.loads(Path(sys.argv[1]).read_text()))
print(sum(len(check(read_config(Path(path)), rules).unmet) for path in sys.argv[2:]))
"""
GREP = 'file=$1; shift; for option; do grep -c "^CONFIG_$option=[ym]$" "$file" || :; done'


def cpu_seconds(*commands: Sequence[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=300, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, ours: Callable[[], float], anchor: Callable[[], float]) -> dict[str, Any]:
    """Both in each round, the order turned round every other time."""
    pairs = []
    for number in range(ROUNDS):
        first, second = (ours, anchor) if number % 2 else (anchor, ours)
        one, other = first(), second()
        pairs.append((one, other) if number % 2 else (other, one))
    ratio = statistics.median(anchored / own for own, anchored in pairs)
    own, anchored = (statistics.median(side) for side in zip(*pairs))
    return {
        "name": name,
        "ours": round(own * 1000, 2),
        "anchor": round(anchored * 1000, 2),
        "unit": "CPU ms per file",
        "ratio": round(ratio, 1),
        "goal": GOAL,
        "met": ratio >= GOAL,
    }


def write_rules(folder: Path, options: Sequence[str]) -> Path:
    path = folder / f"rules-{len(options)}.json"
    path.write_text(
        json.dumps([{"options": [name], "values": ["y", "m"], "why": "measured"} for name in options])
    )
    return path


def find_checker(folder: Path) -> list[str] | str:
    """The checker's command line for one configuration, or why there is none."""
    if shutil.which(CHECKER):
        return [CHECKER, "-c"]
    target = folder / "pypi"
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), CHECKER],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    program = target / "bin" / CHECKER
    if installed.returncode == 0 and program.is_file():
        return ["env", f"PYTHONPATH={target}", sys.executable, str(program), "-c"]
    return f"{CHECKER} is not on PATH and pip finds no such package"


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = gzip.decompress(CONFIG.read_bytes())
        options = [
            line[7:].partition("=")[0] for line in text.decode().splitlines() if line.startswith("CONFIG_")
        ]
        paths = [folder / f"config-{number}" for number in range(FILES)]
        for path in paths:
            path.write_bytes(text)

        def ours(rules: Path) -> float:
            return cpu_seconds([sys.executable, "-c", OURS, str(rules), *map(str, paths)]) / FILES

        def grep() -> float:
            commands = [
                ["sh", "-c", GREP, "sh", str(path), *spread(options, GREP_OPTIONS)]
                for path in paths[:ANCHOR_FILES]
            ]
            return cpu_seconds(*commands) / ANCHOR_FILES

        few, many = (write_rules(folder, spread(options, count)) for count in (GREP_OPTIONS, CHECKER_RULES))
        rows = [
            compare(f"kernel_config, {GREP_OPTIONS} options, against a loop of grep", lambda: ours(few), grep)
        ]
        title = f"kernel_config, {CHECKER_RULES} rules, against {CHECKER}"
        checker = find_checker(folder)
        if isinstance(checker, str):
            return [*rows, {"name": title, "skipped": checker}]
        commands = [[*checker, str(path)] for path in paths[:ANCHOR_FILES]]
        return [*rows, compare(title, lambda: ours(many), lambda: cpu_seconds(*commands) / ANCHOR_FILES)]


def spread(options: Sequence[str], count: int) -> list[str]:
    """``count`` options from all over the configuration."""
    return list(itertools.islice(options, 0, None, len(options) // count))[:count]


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
