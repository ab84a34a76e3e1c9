# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Consoles kept from programs on terminals: real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _kadeploy_console as console
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def wait_for(path: Path, text: str) -> None:
    end = time.monotonic() + 30
    while text not in path.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert text in path.read_text()


def test_a_console_that_ends_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PAUSE", 0.1)
    argv = ["sh", "-c", f"test -t 0 && echo x >>{tmp_path}/starts; wc -l <{tmp_path}/starts"]
    with console.kept_consoles(str(tmp_path), {"n1": argv, "n2": ["/nowhere/kaconsole3"]}):
        wait_for(console.kept_at(str(tmp_path), "n1"), "3")
    assert console.kept_at(str(tmp_path), "n2").read_text() == ""


def test_it_is_left_by_keys_or_else_by_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "GRACE", 0.2)
    polite = f"stty raw; echo up; head -c 4 | od -An -tx1 >{tmp_path}/typed"
    stubborn = f"trap '' TERM; echo up; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"
    programs = {name: ["sh", "-c", text] for name, text in (("n1", polite), ("n2", stubborn))}
    with console.kept_consoles(str(tmp_path), programs):
        for name in programs:
            wait_for(console.kept_at(str(tmp_path), name), "up")
    assert (tmp_path / "typed").read_text().split() == ["1b"] * 4
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_console_that_never_stops_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LARGEST", 1000)
    kept = console.kept_at(str(tmp_path), "n1")
    with console.kept_consoles(str(tmp_path), {"n1": ["yes"]}):
        end = time.monotonic() + 30
        while kept.stat().st_size < 1000 and time.monotonic() < end:
            time.sleep(0.05)
    assert kept.stat().st_size == 1000 and kept.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ClusterError, match="consoles: .* is no folder that can be written into; make it first"
    ):
        console.check_consoles(str(tmp_path / "none"), ["sh"])
    with pytest.raises(ClusterError, match="consoles: kaconsole3 is not on this host"):
        console.check_consoles(str(tmp_path), ["kaconsole3", "--machine", "n1"])
    console.kept_at(str(tmp_path), "n1").mkdir()
    with (
        pytest.raises(ClusterError, match="consoles: cannot write .*console-n1.log: Is a directory"),
        console.kept_consoles(str(tmp_path), {"n1": ["sh"]}),
    ):
        pass
