"""Nodesets against the programs that made them: ClusterShell's nodeset and Slurm's scontrol, which asks no daemon here."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from adhoc import run_task

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand, fold, in_order

ROUNDS = 40
NO_DIMENSIONS = ("n%s", "gpu-%s", "A_%s", "login", "x86-%s", "n")
"""Patterns whose folds Slurm and ClusterShell write alike."""
DIMENSIONS = (
    *NO_DIMENSIONS,
    "r%sn%s",
    "r%s-c%s-n%s",
    "r%sn%s.s%s.org",
    "n-%s.site.g5k.org",
    "%sx",
    "10.0.%s.%s",
)
ITEM = re.compile(r"(?:[^],[]|\[[^]]*\])+")
"""One part of a folded text. Slurm reads it where nothing stands behind the last bracket."""
REFUSED_BY_BOTH = ("n[3-1]", "n[]", "n[a-b]", "n[1-2/0]", "n[1,]", "n[[1-2]]")


def program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed, see requirements-debian-test.txt")


def nodeset(*arguments: str, names: Sequence[str] = ()) -> str:
    command = [program("nodeset"), *arguments]
    done = subprocess.run(
        command,
        input="".join(f"{name}\n" for name in names),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def slurm_configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slurm") / "slurm.conf"
    path.write_text(
        "ClusterName=none\nSlurmctldHost=localhost\nNodeName=localhost\nPartitionName=none Nodes=localhost\n"
    )
    return path


def scontrol(configuration: Path, *arguments: str) -> str:
    command = [program("scontrol"), "show", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SLURM_CONF": str(configuration)},
    )
    assert done.returncode == 0 and "nvalid" not in done.stderr, f"{command}: {done.stderr}"
    return done.stdout.strip()


def some_names(chance: random.Random, patterns: Sequence[str], padding: Sequence[int]) -> list[str]:
    chosen = chance.sample(patterns, 3)
    pool = [chance.randrange(chance.choice((4, 30, 99))) for _number in range(8)]
    numbers = [str(number).zfill(chance.choice(padding)) for number in pool]
    return [
        pattern % tuple(chance.choices(numbers, k=pattern.count("%s")))
        for pattern in chance.choices(chosen, k=chance.randrange(1, 60))
    ]


def some_brackets(chance: random.Random, steps: bool) -> str:
    parts = []
    for _part in range(chance.randrange(1, 4)):
        low = chance.randrange(15)
        high = low + chance.randrange(6)
        width = chance.choice((0, 0, len(str(high)), 3))
        part = str(low).zfill(width)
        if chance.random() < 0.7:
            part += "-" + str(high).zfill(width)
            if steps and chance.random() < 0.3:
                part += f"/{chance.randrange(1, 4)}"
        parts.append(part)
    return f"[{','.join(parts)}]"


def some_nodeset(chance: random.Random, patterns: Sequence[str], operators: str, steps: bool) -> str:
    text = ""
    for _item in range(chance.randrange(1, 6)):
        pattern = chance.choice(patterns)
        holes = [some_brackets(chance, steps) for _hole in range(pattern.count("%s"))]
        text += (chance.choice(operators) if text else "") + pattern % tuple(holes)
    return text


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_folds_as_clustershell_does(seed: int) -> None:
    names = some_names(random.Random(seed), DIMENSIONS, (0, 0, 2, 3))
    assert fold(names) == nodeset("--fold", names=names)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_folds_as_slurm_and_clustershell_do(seed: int, slurm_configuration: Path) -> None:
    names = sorted(set(some_names(random.Random(seed), NO_DIMENSIONS, (0, 0, 2))))
    assert fold(names) == nodeset("--fold", names=names)
    assert fold(names) == scontrol(slurm_configuration, "hostlistsorted", ",".join(names))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_both_read_what_is_folded(seed: int, slurm_configuration: Path) -> None:
    names = some_names(random.Random(seed), DIMENSIONS, (0, 0, 2, 3))
    assert in_order(nodeset("--expand", fold(names)).split()) == in_order(names)
    readable = [item for item in ITEM.findall(fold(names)) if "[" not in item or item.endswith("]")]
    printed = scontrol(slurm_configuration, "hostnames", ",".join(readable or ["n"])).split()
    assert in_order(printed) == in_order(expand(",".join(readable or ["n"])))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_expands_as_clustershell_does(seed: int) -> None:
    text = some_nodeset(random.Random(seed), DIMENSIONS, ",,!&^", steps=True)
    names = expand(text)
    assert sorted(names) == sorted(nodeset("--expand", text).split())
    assert fold(names) == nodeset("--fold", text)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_expands_as_slurm_does_in_its_order(seed: int, slurm_configuration: Path) -> None:
    text = some_nodeset(random.Random(seed), ("n%s", "r%sn%s", "a-%sb%s", "login"), ",", steps=False)
    printed = scontrol(slurm_configuration, "hostnames", text).split()
    assert expand(text) == list(dict.fromkeys(printed))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_expands_three_brackets_to_the_same_names_as_slurm(seed: int, slurm_configuration: Path) -> None:
    """Slurm 22.05 varies the last bracket fastest, then the first; ours goes from the last to the first."""
    text = some_nodeset(random.Random(seed), ("n%s", "r%sc%sn%s", "login"), ",", steps=False)
    assert in_order(expand(text)) == in_order(scontrol(slurm_configuration, "hostnames", text).split())


@pytest.mark.parametrize("text", ["n[01-120]", "n[001-3]", "n[08-101]", "n[1-2][3-4]", "n[099-1001]"])
def test_what_slurm_alone_reads(text: str, slurm_configuration: Path) -> None:
    assert expand(text) == scontrol(slurm_configuration, "hostnames", text).split()


@pytest.mark.parametrize("text", ["n[1, 3]", "n[ 1 - 3 ]", "n[1-3].org", "n[1-2]05", "n[01-10/3]x"])
def test_what_clustershell_alone_reads(text: str) -> None:
    assert expand(text) == nodeset("--expand", text).split()


@pytest.mark.parametrize("text", REFUSED_BY_BOTH)
def test_what_both_refuse(text: str, slurm_configuration: Path) -> None:
    with pytest.raises(ClusterError):
        expand(text)
    with pytest.raises(AssertionError, match="error"):
        nodeset("--expand", text)
    with pytest.raises(AssertionError, match="nvalid"):
        scontrol(slurm_configuration, "hostnames", text)


def test_filters_in_a_template(tmp_path: Path) -> None:
    text = "{{ 'n[08-11],gpu-1!n09' | oneimage.cluster.nodeset_expand | oneimage.cluster.nodeset_fold }}"
    assert run_task("ansible.builtin.debug", {"msg": text}, tmp_path)["msg"] == "gpu-1,n[08,10-11]"


def test_filters_refuse_in_a_template(tmp_path: Path) -> None:
    text = "{{ 'n[1-99999999999]' | oneimage.cluster.nodeset_expand }}"
    failed = run_task("ansible.builtin.debug", {"msg": text}, tmp_path)
    assert '"n[1-99999999999]" makes 99999999999 nodes or more, 2000000 at most are read' in failed["msg"]
