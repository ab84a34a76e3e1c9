"""A console is kept from the deployment's beginning on, over power-ons that begin another log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_console as consoles
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_console import (
    Console,
    kept_consoles,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Target


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "console.log"
    path.write_text("before\n")
    return path


def target(log: Path | None, name: str = "n1") -> Target:
    return Target(name, "52:54:00:00:00:01", "10.0.0.1", console=str(log or ""))


def test_only_what_is_added_is_kept(log: Path, tmp_path: Path) -> None:
    nodes = [target(log), target(None, "n2"), target(tmp_path / "absent", "n3")]
    with kept_consoles(tmp_path, nodes), log.open("a") as stream:
        stream.write("boots\n")
    assert (tmp_path / "console-n1.log").read_text() == "boots\n"
    assert sorted(path.name for path in tmp_path.glob("console-*")) == ["console-n1.log"]


def test_a_second_run_of_a_deployment_adds_to_it(log: Path, tmp_path: Path) -> None:
    for text in ("one\n", "two\n"):
        with kept_consoles(tmp_path, [target(log)]), log.open("a") as stream:
            stream.write(text)
    assert (tmp_path / "console-n1.log").read_text() == "one\ntwo\n"


def test_another_log_takes_its_place(log: Path, tmp_path: Path) -> None:
    console = Console(log, tmp_path / "kept")
    with log.open("a") as stream:
        stream.write("the end\n")
    log.rename(tmp_path / "console.previous.log")
    console.copy()
    log.write_text("power-on\n")
    console.copy()
    console.close()
    assert (tmp_path / "kept").read_text() == "the end\npower-on\n"


def test_a_log_that_appears_later_or_is_truncated(tmp_path: Path) -> None:
    log, kept = tmp_path / "later.log", tmp_path / "kept"
    console = Console(log, kept)
    console.copy()
    log.write_text("a long first line\n")
    console.copy()
    log.write_text("short\n")
    console.copy()
    console.close()
    assert kept.read_text() == "a long first line\nshort\n"


def test_a_node_that_starts_over_and_over_fills_no_disk(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "LARGEST", 10)
    with kept_consoles(tmp_path, [target(log)]), log.open("a") as stream:
        stream.write("0123456789 and more\n")
    assert (tmp_path / "console-n1.log").read_text() == "0123456789"


def test_what_cannot_be_kept_stops_nothing(log: Path, tmp_path: Path) -> None:
    with kept_consoles(tmp_path / "absent", [target(log)]), log.open("a") as stream:
        stream.write("boots\n")
    assert not (tmp_path / "absent").exists()
