"""kernel_config as a process: reports, refuses, and never touches anything."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_task
from conftest import Run, snapshot

STOCK = Path(__file__).parents[1] / "fixtures" / "kernel_config" / "config-6.1.0-56-amd64.gz"
NFS = {"options": ["NFS_FS"], "values": ["y", "m"], "why": "the root is mounted over NFS"}
IP_PNP = {"options": ["CONFIG_IP_PNP"], "values": ["y"], "why": "the kernel asks for its address itself"}


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_it_only_reads_and_says_the_same_twice(module: Run, tmp_path: Path, check: bool) -> None:
    path = tmp_path / "config"
    path.write_bytes(gzip.decompress(STOCK.read_bytes()))
    before = snapshot(tmp_path)
    first, second = (
        module("kernel_config", {"path": str(path), "rules": [NFS]}, check=check) for _run in range(2)
    )
    assert first == second
    assert snapshot(tmp_path) == before
    assert (first["changed"], first["ok"], first["unmet"], first["config_source"]) == (
        False,
        True,
        [],
        "text",
    )
    assert first["rules"][0]["found"] == {"CONFIG_NFS_FS": "m"}


def test_an_unmet_rule_fails_the_task_with_the_whole_report(module: Run) -> None:
    result = module("kernel_config", {"path": str(STOCK), "rules": [NFS, IP_PNP]})
    assert result["failed"] is True
    assert result["unmet"] == ["CONFIG_IP_PNP"]
    assert "CONFIG_IP_PNP is not-set; wanted y" in result["msg"]
    assert [rule["ok"] for rule in result["rules"]] == [True, False]


def test_or_only_reports(module: Run) -> None:
    result = module("kernel_config", {"path": str(STOCK), "rules": [NFS, IP_PNP], "strict": False})
    assert not result.get("failed")
    assert (result["changed"], result["ok"], result["unmet"]) == (False, False, ["CONFIG_IP_PNP"])


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"path": "/nowhere/config", "rules": [NFS]},
            "cannot read the kernel configuration /nowhere/config: No such file",
        ),
        ({"path": str(STOCK)}, "nothing to check"),
        ({"path": str(STOCK), "profiles": ["systemd"]}, "profiles were not resolved"),
        (
            {"path": str(STOCK), "rules": [{**NFS, "values": ["yes"]}]},
            "rule 1: yes in values is no kernel value; write y",
        ),
        (
            {"path": str(STOCK), "rules": [{"options": ["A"], "values": ["y"]}]},
            "missing required arguments: why found in rules",
        ),
        ({"path": "/dev/null", "rules": [NFS]}, "/dev/null is empty"),
    ],
)
def test_bad_input_gives_one_clear_error(module: Run, options: dict[str, Any], words: str) -> None:
    result = module("kernel_config", options)
    assert result["failed"] is True
    assert words in result["msg"]


def test_a_task_names_profiles_and_adds_its_own(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        "includes: [nfs_overlay]\nrules: [{options: NR_CPUS, values: '>=128', why: the largest node has 128 cores}]"
    )
    options = {"profiles": ["site"], "profile_paths": ["site.yml"], "rules": [IP_PNP], "strict": False}
    result = run_task("oneimage.cluster.kernel_config", {"path": str(STOCK), **options}, tmp_path)
    assert [(rule["profile"], rule["ok"]) for rule in result["rules"]] == [
        *[("nfs_overlay", True)] * 3,
        ("site", True),
        ("", False),
    ]
    assert (result["changed"], result["unmet"]) == (False, ["CONFIG_IP_PNP"])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"profiles": ["netboot"]}, "unknown kernel profile 'netboot'; known: "),
        ({"profiles": "systemd", "profile_paths": "nowhere"}, "nowhere does not exist"),
        (
            {"rules": [{"options": "A", "values": True, "why": "x"}]},
            "rules: rule 1: True in values is no kernel value",
        ),
    ],
)
def test_a_wrong_profile_fails_the_task(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    result = run_task("oneimage.cluster.kernel_config", {"path": str(STOCK), **options}, tmp_path)
    assert words in result["msg"]
