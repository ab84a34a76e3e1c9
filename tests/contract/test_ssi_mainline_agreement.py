"""What the modules take mainline's programs to print and read is what those programs print and read."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Run

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "roles/ssi_cluster/files/mainline"))

from ssi import applications, balance, capabilities

from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_capabilities as shown
from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_checkpoint as checkpoints

FLAVOUR: dict[str, Any] = yaml.safe_load(
    (CHECKOUT / "roles/ssi_cluster/vars/flavours/mainline.yml").read_text()
)
RULES = FLAVOUR["process"]["capabilities"]


def test_the_nodes_get_all_programs() -> None:
    folder = CHECKOUT / "roles/ssi_cluster/files"
    kept = {path.relative_to(folder) for path in (folder / "mainline").rglob("*") if path.is_file()}
    sources = {Path(file["src"]) for file in FLAVOUR["files"] if "src" in file}
    assert sources == {path for path in kept if path.suffix != ".pyc"}


def test_the_names_of_capabilities_and_which_are_not_supported() -> None:
    assert RULES["names"] == list(capabilities.NAMES)
    assert RULES["unsupported"] == capabilities.UNSUPPORTED
    assert RULES["set"]["flags"] == {name: option for option, name in capabilities.FIELD.items()}


@pytest.mark.parametrize(
    "sets",
    [
        capabilities.FIRST,
        capabilities.Sets(0, 0, 0, 0),
        capabilities.Sets(0o7777, 0o7777, 0o22, 0o2),
    ],
)
def test_sets_that_krgcapset_shows(sets: capabilities.Sets) -> None:
    found = shown.parse_shown(capabilities.show(sets) + "\n", RULES["show"]["sets"], RULES["names"])
    assert found == {
        kind: frozenset(capabilities.names(getattr(sets, kind))) for kind in capabilities.Sets._fields
    }


def test_descriptions_of_checkpoints() -> None:
    version = applications.Version(16500, 2, "before it", 1795255086)
    rules = FLAVOUR["process"]["checkpoint"]
    read = checkpoints.parse_description(rules, version.text(str(version.date)))
    assert read == checkpoints.Checkpoint(16500, 2, "before it", 1795255086)
    printed = checkpoints.parse_description(rules, version.text(time.ctime(version.date)) + "\n")
    assert printed == checkpoints.Checkpoint(16500, 2, "before it", None)


def test_schedulers_that_the_balancer_reads(module: Run, tmp_path: Path) -> None:
    flavour = {**FLAVOUR, "scheduler": {**FLAVOUR["scheduler"], "filesystem": None}}
    options = {"flavour": flavour, "root": str(tmp_path / "krg_scheduler"), "preset": "legacy", "exact": True}
    assert module("ssi_scheduler", options)["changed"] and not module("ssi_scheduler", options)["changed"]
    assert balance.schedulers(options["root"]) == [
        balance.Scheduler("mosix_load_balancer", handle_all=True),
        balance.Scheduler("round_robin_balancer", handle_all=True),
    ]
    interval = "schedulers/mosix/mosix_load_balancer/local_load/freq_limit_filter/min_interval"
    mine = {**options, "preset": "mosix", "tree": {"values": {interval: "5000000000"}}}
    assert module("ssi_scheduler", mine)["changed"] and not module("ssi_scheduler", mine)["changed"]
    assert balance.schedulers(options["root"]) == [
        balance.Scheduler("mosix_load_balancer", min_interval=5.0, handle_all=True)
    ]


def test_a_root_that_is_not_on_the_sessions_folder(module: Run, tmp_path: Path) -> None:
    refused = module("ssi_scheduler", {"flavour": FLAVOUR, "root": str(tmp_path), "preset": "mosix"})
    assert "instead of 6969 (stat -f -c %t): mount the right one" in refused["msg"]
