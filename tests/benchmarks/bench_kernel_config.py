"""kernel_config against the checker that people use, and against a shell loop of grep, per configuration of 8,777 options.

Ours checks 100 files in one process, the others one file per process, as they are made: CPU seconds of all processes
that were started, the interpreter's start included, divided by the files.

Making one, a full Debian configuration is merged with changes and checked: against the kernel's own merge_config.sh and
that loop of grep. Both use build folders in which the kernel's configuration programs are built already.
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
sys.path.insert(0, str(CHECKOUT / "tests/fixtures"))
import debian_source

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
MERGED_OPTIONS = 60
MERGE_ROUNDS = 2
"""merge_config.sh takes a minute."""
MERGE_GOAL = 1
MERGE = """
import json, sys
from pathlib import Path
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import parse_rules
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_merge import Request, merge, publish
tree, output, base, rules = map(Path, sys.argv[1:])
outcome = merge(Request(tree, output, str(base), parse_rules(json.loads(rules.read_text())), architecture="x86_64"))
publish(outcome)
sys.exit(len(outcome.report.verdicts) != len(json.loads(rules.read_text())))
"""
GREP = 'file=$1; shift; for option; do grep -c "^CONFIG_$option=[ym]$" "$file" || :; done'


def cpu_seconds(*commands: Sequence[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=600, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(
    name: str,
    ours: Callable[[], float],
    anchor: Callable[[], float],
    rounds: int = ROUNDS,
    goal: float = GOAL,
) -> dict[str, Any]:
    """Both in each round, the order turned round every other time."""
    pairs = []
    for number in range(rounds):
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
        "goal": goal,
        "met": ratio >= goal,
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


def compare_merging(folder: Path) -> list[dict[str, Any]]:
    title = f"kernel_config, {MERGED_OPTIONS} changes merged into Debian's configuration, against merge_config.sh and grep"
    again = "kernel_config, nothing to change, against merge_config.sh and grep"
    tree = debian_source.unpack()
    if isinstance(tree, str):
        return [{"name": name, "skipped": tree} for name in (title, again)]
    base = folder / "base"
    base.write_bytes(gzip.decompress(debian_source.stock_config(tree).read_bytes()))
    modules = [line[7:-2] for line in base.read_text().splitlines() if line.endswith("=m")]
    options = spread(modules, MERGED_OPTIONS)
    rules = folder / "merged.json"
    rules.write_text(json.dumps([{"options": [one], "values": ["y"], "why": "measured"} for one in options]))
    fragment = folder / "fragment"
    fragment.write_text("".join(f"CONFIG_{one}=y\n" for one in options))
    own, other = folder / "build-own", folder / "build-other"
    for output in (own, other):
        output.mkdir()
        cpu_seconds(["make", "-s", "-C", str(tree), f"O={output}", "ARCH=x86_64", "tinyconfig"])

    def ours() -> float:
        return cpu_seconds([sys.executable, "-c", MERGE, *map(str, (tree, own, base, rules))])

    def ours_from_nothing() -> float:
        for name in (".config", ".oneimage-config.json"):
            (own / name).unlink(missing_ok=True)
        return ours()

    def anchor() -> float:
        script = tree / "scripts/kconfig/merge_config.sh"
        merging = ["env", "-C", str(tree), f"TMPDIR={folder}", "ARCH=x86_64", "sh", str(script)]
        return cpu_seconds(
            [*merging, "-O", str(other), str(base), str(fragment)],
            ["sh", "-c", GREP, "sh", str(other / ".config"), *options],
        )

    rows = [compare(title, ours_from_nothing, anchor, MERGE_ROUNDS, MERGE_GOAL)]
    anchored = rows[0]["anchor"] / 1000
    rows.append(compare(again, ours, lambda: anchored, MERGE_ROUNDS, MERGE_GOAL))
    return rows


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
        rows += compare_merging(folder)
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
