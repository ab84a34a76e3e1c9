# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import running
from ssi import applications, capabilities, images, open_files, process, remote
from ssi.capabilities import BIT, FIRST, Sets
from ssi.errors import SsiError


def test_a_command_may_hold_blanks_and_parentheses() -> None:
    found = process.parse_stat("7 (a) (b c) S 1 2 3 34816 7 0 0 0 0 0 11 22 0 0 20 0 1 0 4711 0 0\n")
    assert (found.pid, found.command, found.state, found.parent, found.terminal, found.ticks, found.start) == (
        7, "a) (b c", "S", 1, 34816, 33, 4711,
    )  # fmt: skip


def test_a_tree_is_stopped_and_woken_up_as_one() -> None:
    with running("sleep 300; true", 2) as family:
        members = process.freeze(family[0].pid)
        assert [member.pid for member in members] == [member.pid for member in family]
        assert {member.state for member in members} == {"T"}
        process.thaw(members)
        assert all(member.state != "T" for member in process.tree(family[0].pid))


def test_what_has_ended_is_none() -> None:
    with subprocess.Popen(["true"]) as ended:
        while process.look(ended.pid):  # a zombie until it is waited for
            time.sleep(0.01)
        assert process.tree(ended.pid) == []
    with pytest.raises(SsiError, match="No such process"):
        process.freeze(ended.pid)


def test_a_number_that_was_given_again_is_not_the_same_process() -> None:
    me = process.look(os.getpid())
    assert me and process.same(me.pid, me.start) and not process.same(me.pid, me.start - 1)


class TestOpenFiles:
    def test_a_pipe_to_a_process_that_stays_is_refused(self) -> None:
        with (
            running("exec sleep 300", 1, stdin=subprocess.PIPE) as members,
            pytest.raises(SsiError, match=f"process {members[0].pid} has a pipe to process {os.getpid()}"),
        ):
            open_files.check_no_pipe_outside(open_files.survey(members), members)

    def test_a_pipe_within_the_tree_goes_along(self) -> None:
        with running("sleep 300 | sleep 300; true", 3) as members:
            open_files.check_no_pipe_outside(open_files.survey(members), members)

    def test_a_terminal_is_refused(self) -> None:
        master, slave = os.openpty()
        with (
            running("exec sleep 300", 1, stdin=slave) as members,
            pytest.raises(SsiError, match="uses a terminal, which stays behind"),
        ):
            open_files.check_no_terminal(open_files.survey(members), members)
        os.close(master)
        os.close(slave)

    @pytest.mark.parametrize(
        ("now", "size"), [(b"12345678", 3), (b"12", 5), (b"123", 3), (b"", 4), (b"1234", 0)]
    )
    def test_files_have_their_old_size_for_a_moment(self, tmp_path: Path, now: bytes, size: int) -> None:
        file, kept = tmp_path / "out", str(tmp_path / "kept")
        file.write_bytes(now)
        open_files.cut({str(file): size, str(tmp_path / "gone"): 7}, kept)
        assert file.stat().st_size == size
        open_files.paste(kept)
        assert file.read_bytes() == now
        assert not Path(kept).exists()

    def test_what_a_killed_restart_cut_is_given_back_by_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second, kept = tmp_path / "a", tmp_path / "b", str(tmp_path / "kept")
        first.write_bytes(b"aaaa")
        second.write_bytes(b"bbbb")
        real = os.truncate

        def killed(path: str, size: int) -> None:
            real(path, size)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "truncate", killed)
        with pytest.raises(KeyboardInterrupt):
            open_files.cut({str(first): 1, str(second): 1}, kept)
        monkeypatch.setattr(os, "truncate", real)
        open_files.paste(kept)
        assert (first.read_bytes(), second.read_bytes()) == (b"aaaa", b"bbbb")

    def test_nothing_to_paste_is_nothing(self, tmp_path: Path) -> None:
        open_files.paste(str(tmp_path / "none"))
        assert not list(tmp_path.iterdir())


class TestCapabilities:
    def test_are_shown_as_kerrighed_shows_them(self) -> None:
        lines = capabilities.show(Sets(0o27, 0o1, 0o27, 0)).splitlines()
        assert lines[0] == "Permitted Capabilities: 027"
        assert lines[1] == "\tCHANGE_KERRIGHED_CAP, CAN_MIGRATE, DISTANT_FORK, CHECKPOINTABLE"
        assert lines[2:4] == ["Effective Capabilities: 01", "\tCHANGE_KERRIGHED_CAP"]
        assert lines[-2:] == ["Inheritable Effective Capabilities: 00", "\t"]

    @pytest.mark.parametrize(
        ("changes", "effective"),
        [
            ([("-e", "+CAN_MIGRATE")], 0o3),
            ([("-e", "+CAN_MIGRATE,CHECKPOINTABLE"), ("-e", "-CHANGE_KERRIGHED_CAP")], 0o22),
            ([("-e", "CAN_MIGRATE")], 0o2),
            ([("-e", "022")], 0o22),
            ([("-e", "0")], 0),
            ([("-e", "-USE_REMOTE_MEMORY")], 0o1),
        ],
    )
    def test_change(self, changes: list[tuple[str, str]], effective: int) -> None:
        assert capabilities.change(FIRST, changes).effective == effective

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ([("-e", "+NO_SUCH")], "^Unrecognized capability: NO_SUCH$"),
            ([("-e", "+")], "^Unrecognized capability: $"),
            ([("-e", "10000")], "^Unrecognized capability: 010000$"),
            (
                [("-e", "+USE_REMOTE_MEMORY")],
                "USE_REMOTE_MEMORY is not supported: mainline Linux has no memory of other nodes",
            ),
            ([("-e", "040")], "USE_REMOTE_MEMORY is not supported"),
            (
                [("-p", "-CHANGE_KERRIGHED_CAP")],
                "effective has CHANGE_KERRIGHED_CAP, which permitted has not",
            ),
            (
                [("-i", "0")],
                "inheritable effective has CHANGE_KERRIGHED_CAP, which inheritable permitted has not",
            ),
        ],
    )
    def test_refused(self, changes: list[tuple[str, str]], said: str) -> None:
        with pytest.raises(SsiError, match=said):
            capabilities.change(FIRST, changes)

    def test_a_child_has_what_was_inheritable(self) -> None:
        sets = capabilities.change(FIRST, [("-d", "+CHECKPOINTABLE"), ("-e", "+CAN_MIGRATE")])
        assert capabilities.names(sets.child().effective) == ["CHANGE_KERRIGHED_CAP", "CHECKPOINTABLE"]
        assert capabilities.born("1:name=ssi:/27-21\n0::/system.slice\n") == sets.child()

    @pytest.mark.parametrize("groups", ["0::/init.scope\n", "1:name=ssi:/\n0::/\n", ""])
    def test_of_a_process_that_nobody_changed(self, groups: str) -> None:
        assert capabilities.born(groups) == FIRST

    def test_every_capability_is_supported_or_has_a_reason(self) -> None:
        assert sum(BIT.values()) == 0o7777
        assert capabilities.names(capabilities.SUPPORTED) == [
            "CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "DISTANT_FORK", "CHECKPOINTABLE",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("log", "means"),
    [
        (
            "Error (criu/cr-restore.c:1480): Can't fork for 20001: File exists\n",
            "one PID .* is already in use",
        ),
        (
            "Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.\n",
            "open TCP connection",
        ),
        ("(00.01) Error (criu/files-reg.c:2008): File home/out has bad size 44 (expect 12)\n", "has changed"),
        (
            "(00.01)   7: Error (criu/files-reg.c:2143): Can't open file tmp/x on restore: No such file\n",
            "not on this node",
        ),
        ("(00.02) Error (criu/x.c:1): What nobody foresaw\n", "^criu: What nobody foresaw$"),
        ("", "without a word"),
    ],
)
def test_the_reason_why_criu_failed(log: str, means: str) -> None:
    with pytest.raises(SsiError, match=means):
        raise SsiError(images.reason(log))


def test_versions_appear_whole_and_count_on(shared: Path) -> None:
    for number in (1, 2):
        written = shared / "chkpt/7" / f".new-{number}"
        written.mkdir(parents=True)
        made = applications.publish(str(written), 7, "before the night", {"kernel": "6.1"})
        assert made.version == number
    (shared / "chkpt/7/.oneimage-restarted").write_text("1", encoding="utf-8")
    assert applications.versions(7) == [1, 2]
    text = (shared / "chkpt/7/v2/description.txt").read_text(encoding="utf-8")
    assert text == f"Identifier: 7\nVersion: 2\nDescription: before the night\nDate: {made.date}\n"
    assert applications.versions(8) == []


@pytest.mark.parametrize(
    "key",
    ["ssh-rsa AAAA", 'ssh-ed25519 AAAA" command="sh', "", "ssh-ed25519 " + "A" * 60 + "\nssh-ed25519 B"],
)
def test_a_key_that_is_none_is_left_out(tmp_path: Path, key: str) -> None:
    (tmp_path / "key.pub").write_text(key, encoding="utf-8")
    assert remote._read_key(str(tmp_path / "key.pub")) == ""
