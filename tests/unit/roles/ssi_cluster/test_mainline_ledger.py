# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
from pathlib import Path

from ssi.ledger import KEPT, Ledger


def test_an_empty_ledger_has_no_last_record(tmp_path: Path) -> None:
    assert Ledger(str(tmp_path / "none")).last() == (0, {})


def test_only_one_of_two_appends_after_the_same_record_succeeds(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"))
    assert ledger.append({"by": 1}, 0)
    assert not ledger.append({"by": 2}, 0)
    assert ledger.last() == (1, {"by": 1})


def test_nothing_is_left_of_an_append_that_failed(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"))
    ledger.append({}, 0)
    ledger.append({}, 0)
    assert [path.name for path in (tmp_path / "l").iterdir()] == ["00000001"]


def test_a_listing_that_is_old_does_not_hide_newer_records(tmp_path: Path, monkeypatch) -> None:
    ledger = Ledger(str(tmp_path / "l"))
    for number in range(3):
        ledger.append({"number": number}, number)
    monkeypatch.setattr("os.listdir", lambda folder: ["00000001"])
    assert ledger.last() == (3, {"number": 2})


def test_old_records_are_dropped(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"))
    for number in range(KEPT + 5):
        ledger.append({"number": number}, number)
    assert len(list((tmp_path / "l").iterdir())) == KEPT
    assert ledger.last()[1] == {"number": KEPT + 4}


def test_what_was_appended_meanwhile_is_not_removed(tmp_path: Path) -> None:
    """A node ends the ledger of a process that it found dead while another one claims its restart."""
    ledger = Ledger(str(tmp_path / "l"))
    ledger.append({"event": "on"}, 0)
    found = ledger.last()[0]
    assert ledger.append({"event": "restarting"}, found)
    ledger.remove(found)
    assert ledger.last() == (2, {"event": "restarting"})
    ledger.remove(2)
    assert not (tmp_path / "l").exists()
    ledger.remove(2)


def test_a_change_that_changes_nothing_appends_nothing(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "l"))
    ledger.append({"a": 1}, 0)
    assert ledger.change(lambda record: record) == {"a": 1}
    assert ledger.last()[0] == 1


def _count_up(folder: str) -> None:
    for _number in range(20):
        Ledger(folder).change(lambda record: {"count": record.get("count", 0) + 1})


def test_no_change_of_several_writers_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_count_up, args=(str(tmp_path / "l"),)) for _number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert Ledger(str(tmp_path / "l")).last()[1] == {"count": 80}
