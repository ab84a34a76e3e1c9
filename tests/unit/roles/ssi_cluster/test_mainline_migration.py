# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import a_node, ended, running
from ssi import images, location, membership, migration, process, remote
from ssi.errors import SsiError

HERE, OTHER, THIRD = a_node(1), a_node(2), a_node(3)
ENDED = {"pid": 1 << 22, "start": 1}  # no process ever has this number


@pytest.fixture
def session(shared: Path, beat: Callable[..., None]) -> Callable[..., membership.View]:
    """All three nodes are online; those that are named fell silent since."""

    def view(*lost: int) -> membership.View:
        for which in (HERE, OTHER, THIRD):
            beat(which)
        membership.add(membership.view(HERE), [1, 2, 3])
        for which in (OTHER, THIRD):
            if which.node_id in lost:
                beat(which, age=membership.LOST + 10)
        return membership.view(HERE)

    return view


def moving(source: int, target: int, **fields: Any) -> dict[str, Any]:
    ids = {"from": source, "from_boot_id": f"boot-{source}", "to": target, "to_boot_id": f"boot-{target}"}
    return {"event": "moving", **ids, "driver": ENDED, "dumped": True, **fields}


def on(number: int, **fields: Any) -> dict[str, Any]:
    return {"event": "on", "node": number, "boot_id": f"boot-{number}", "awake": True, **fields}


def images_of(pid: int) -> Path:
    folder = Path(migration.folder(pid))
    folder.mkdir(parents=True)
    (folder / "application.json").write_text(json.dumps({"capabilities": {}}), encoding="utf-8")
    return folder


def test_migrate_was_killed_and_the_process_goes_on_here(session: Callable[..., membership.View]) -> None:
    with running("sleep 300; true", 2) as members:
        pid = process.freeze(members[0].pid)[0].pid
        location.ledger(pid).append(moving(1, 2), 0)
        folder = images_of(pid)
        said = migration.recover(HERE, session(), pid)
        assert said == f"migrate was killed: process {pid} goes on here, on node 1"
        assert all(member.state != "T" for member in process.tree(pid))
        assert location.where(HERE, session(), pid) == 1
        assert not folder.exists()


@pytest.fixture
def willing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CRIU and the other node do their part, without doing anything."""

    def receiver(*_asked: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        script = "echo restored; read word; echo running"
        return subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    monkeypatch.setattr(remote, "start", receiver)
    monkeypatch.setattr(migration, "check", lambda *_asked: [])


@pytest.mark.parametrize(
    ("number", "stays"),
    [
        (None, False),
        (signal.SIGUSR1, False),  # its copy does not get it, as little as one of a timer
        (signal.SIGKILL, True),
        (signal.SIGTERM, True),
        (signal.SIGCONT, True),
    ],
)
def test_what_ends_a_process_on_its_way_is_not_lost(
    session: Callable[..., membership.View],
    willing: None,
    monkeypatch: pytest.MonkeyPatch,
    number: int | None,
    stays: bool,
) -> None:
    """A signal that comes after the images were written, from somebody who wants the process to end."""
    seen = session()
    with running("exec sleep 300", 1) as members:
        pid = members[0].pid
        monkeypatch.setattr(
            images, "dump", lambda root, _folder: None if number is None else os.kill(root, number)
        )
        if stays:
            with pytest.raises(SsiError, match=rf"{pid} \(sleep\) was ended, woken up or asked to end"):
                migration.migrate(HERE, seen, pid, 2)
            assert location.ledger(pid).last()[1] in (on(1), {}), (
                "no record says the same where it is at home"
            )
        else:
            migration.migrate(HERE, seen, pid, 2)
            assert location.ledger(pid).last()[1] == on(2, awake=False)
        assert process.look(pid) if number == signal.SIGCONT else ended(pid)


def test_a_migration_that_goes_on_is_left_alone(session: Callable[..., membership.View]) -> None:
    with running("exec sleep 300", 1) as members:
        pid = process.freeze(members[0].pid)[0].pid
        location.ledger(pid).append(moving(1, 2, driver=location.driver()), 0)
        assert migration.recover(HERE, session(), pid) is None
        assert process.tree(pid)[0].state == "T"


def test_a_copy_that_lost_is_ended(session: Callable[..., membership.View]) -> None:
    with running("sleep 300; true", 2) as members:
        pid = process.freeze(members[0].pid)[0].pid
        location.ledger(pid).append(on(2), 0)
        assert (
            migration.recover(HERE, session(), pid)
            == f"process {pid} runs on node 2: its stopped copy here was ended"
        )
        assert ended(pid)
        assert location.ledger(pid).last()[1] == on(2)


def test_the_target_takes_over_where_the_source_is_lost(session: Callable[..., membership.View]) -> None:
    with running("exec sleep 300", 1) as members:
        pid = process.freeze(members[0].pid)[0].pid
        location.ledger(pid).append(moving(2, 1), 0)
        assert migration.recover(HERE, session(), pid) is None, "the source is up, and decides"
        said = migration.recover(HERE, session(2), pid)
        assert said == f"node 2 was lost in the middle of a migration: process {pid} goes on here, on node 1"
        assert process.tree(pid)[0].state != "T"
        assert location.ledger(pid).last()[1] == on(1)


@pytest.mark.parametrize("target", [1, 3])
def test_both_are_lost_and_the_images_become_a_checkpoint(
    session: Callable[..., membership.View], shared: Path, target: int
) -> None:
    pid = 1 << 22  # runs nowhere
    location.ledger(pid).append(moving(2, target), 0)
    images_of(pid)
    said = migration.recover(HERE, session(2, 3), pid)
    assert (
        said
        == f"node 2 was lost while it moved process {pid} to node {target}: it can be restarted: restart {pid} 1"
    )
    text = (shared / f"chkpt/{pid}/v1/description.txt").read_text(encoding="utf-8")
    assert f"Description: migration from node 2 to node {target}, broken off" in text
    assert location.ledger(pid).last() == (0, {})


def test_without_complete_images_the_process_ended_with_its_node(
    session: Callable[..., membership.View], shared: Path
) -> None:
    pid = 1 << 22
    location.ledger(pid).append(moving(2, 3, dumped=False), 0)
    folder = images_of(pid)
    assert "the process ended with it" in str(migration.recover(HERE, session(2, 3), pid))
    assert not folder.exists() and not (shared / f"chkpt/{pid}").exists()


def test_one_node_does_what_one_must_do_for_all(session: Callable[..., membership.View]) -> None:
    location.ledger(1 << 22).append(moving(2, 3, dumped=False), 0)
    seen = session(2, 3)
    assert migration.recover(THIRD._replace(node_id=4, boot_id="boot-4"), seen, 1 << 22) is None
    assert migration.recover(HERE, seen, 1 << 22) is not None


def test_a_silent_node_keeps_its_processes_and_one_that_booted_again_has_none(
    session: Callable[..., membership.View], beat: Callable[..., None]
) -> None:
    location.ledger(1 << 22).append(on(2), 0)
    assert migration.recover(HERE, session(2), 1 << 22) is None
    assert location.ledger(1 << 22).last()[1] == on(2)
    session()
    beat(OTHER._replace(boot_id="again"))
    assert migration.recover(HERE, membership.view(HERE), 1 << 22) == f"process {1 << 22} ended with node 2"
    assert location.ledger(1 << 22).last() == (0, {})


def test_a_restart_that_was_killed_leaves_nothing_and_its_claim_is_void(
    session: Callable[..., membership.View],
) -> None:
    with running("exec sleep 300", 1) as members:
        pid = process.freeze(members[0].pid)[0].pid
        ledger = location.ledger(pid)
        ledger.append(
            {"event": "restarting", "node": 1, "boot_id": "boot-1", "driver": ENDED, "images": "x"}, 0
        )
        assert "restart it again" in str(migration.recover(HERE, session(), pid))
        assert ended(pid)
        assert not ledger.append(on(1), 1)


def test_a_copy_that_came_when_nobody_waited_is_ended(session: Callable[..., membership.View]) -> None:
    with running("exec sleep 300", 1) as members:
        pid = process.freeze(members[0].pid)[0].pid  # of the range of no node of this session
        received = Path(migration.RECEIVERS) / str(pid)
        received.write_text(json.dumps({"driver": ENDED, "application": {}}), encoding="utf-8")
        migration.discard(a_node(250))
        assert ended(pid)
        assert not received.exists()


def test_where_a_process_lives(session: Callable[..., membership.View]) -> None:
    here = a_node(os.getpid() // 16384, boot_id="x")
    assert location.where(here, session(), os.getpid()) == here.node_id
    location.ledger(os.getpid()).append(on(2), 0)
    assert location.where(here, session(2), os.getpid()) is None, "its node is silent"


def test_what_is_not_ended_is_told(session: Callable[..., membership.View]) -> None:
    location.ledger(7).append(moving(1, 2), 0)
    location.ledger(8).append(on(2), 0)
    assert migration.unfinished() == {7: moving(1, 2)}
