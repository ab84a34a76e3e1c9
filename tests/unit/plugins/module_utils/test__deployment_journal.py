from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_history as history
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_evidence import advise, console_end
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_info import parse_moment
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import (
    Journal,
    read_records,
    read_state,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

AT = {"node": "n1", "macro": "SetDeploymentEnv", "implementation": "SetDeploymentEnvUntrusted", "attempt": 1}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl", "D1")


def test_a_record_is_a_line_with_time_and_deployment(journal: Journal) -> None:
    journal.write("said", node="n1", message="two\nlines", seconds=0.0, advice="", evidence=())
    (record,) = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert record.pop("time") > 1e9
    assert record == {
        "deployment": "D1",
        "event": "said",
        "node": "n1",
        "message": "two\nlines",
        "seconds": 0.0,
    }


@pytest.mark.parametrize("torn", [b'{"time": 1, "event": "sa', b"\xff\xfe", b'{"time": 1}'])
def test_a_torn_last_line(journal: Journal, torn: bytes) -> None:
    journal.write("start", **AT, micro="reboot")
    journal.close()
    with journal.path.open("ab") as stream:
        stream.write(torn)
    assert read_state(journal.path).nodes["n1"].micro == "reboot"
    again = Journal(journal.path, "D1")
    again.write("ok", **AT, micro="reboot", seconds=1.5)
    assert [record["event"] for record in read_records(journal.path)[0]] == ["start", "ok"]
    assert read_state(journal.path).nodes["n1"].state == "ok"


def test_live_reading_leaves_a_line_that_is_not_whole(journal: Journal) -> None:
    journal.write("said", node="n1", message="one")
    records, offset = read_records(journal.path)
    assert len(records) == 1
    with journal.path.open("ab") as stream:
        stream.write(b'{"event": "said", "node": "n1", ')
    assert read_records(journal.path, offset) == ([], offset)
    with journal.path.open("ab") as stream:
        stream.write(b'"message": "two"}\n')
    records, offset = read_records(journal.path, offset)
    assert records[0]["message"] == "two" and offset == journal.path.stat().st_size


def test_many_threads(journal: Journal) -> None:
    def write(number: int) -> None:
        for turn in range(50):
            journal.write("said", node=f"n{number}", message="x" * 5000 + str(turn))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_records(journal.path)[0]) == 400


def write_run(journal: Journal, outcome: str = "ko") -> None:
    journal.write("begin", order={"environment": "deb", "version": 3, "user": "alice"}, nodes=["n1", "n2"])
    journal.write("enter", **AT, fresh=True)
    journal.write("start", **AT, micro="reboot")
    journal.write("said", **AT, micro="reboot", message="a line")
    journal.write("ok", **AT, micro="reboot", seconds=2.0, notes={"boot_id": "x"})
    journal.write("start", **AT, micro="wait_reboot")
    journal.write("failed", **AT, micro="wait_reboot", seconds=60.5, message="it did not come")
    journal.write("failed", **AT, seconds=62.5, message="wait_reboot: it did not come")
    journal.write(
        "outcome", node="n1", outcome=outcome, message="it did not come", evidence=["l"], advice="look"
    )


def test_the_state_of_a_run_that_goes_on_in_another(journal: Journal) -> None:
    write_run(journal)
    state = read_state(journal.path)
    assert (state.deployment, state.order["environment"], state.ended) == ("D1", "deb", False)
    one = state.nodes["n1"]
    assert (one.outcome, one.micro, one.message, one.evidence, one.advice) == (
        *("ko", "wait_reboot", "it did not come", ["l"], "look"),
    )
    assert one.notes == {"boot_id": "x"} and [step["outcome"] for step in one.steps] == ["ok", "failed"]
    assert one.attempts[0]["seconds"] == 62.5 and state.nodes["n2"].outcome == ""
    journal.write("end")
    assert read_state(journal.path).ended
    journal.write("begin", order={"environment": "deb"}, nodes=["n1"])
    journal.write("enter", **AT, fresh=True)
    one = read_state(journal.path).nodes["n1"]
    assert (one.outcome, one.message, one.notes, read_state(journal.path).ended) == ("", "", {}, False)


def test_a_journal_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot write the journal"):
        Journal(tmp_path / "none" / "x", "D1")
    with pytest.raises(ClusterError, match="cannot read the journal"):
        read_state(tmp_path / "none")


def test_history_keeps_the_last_word_of_a_deployment(journal: Journal, tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    write_run(journal)
    for _turn in range(2):
        history.record(file, read_state(journal.path))
    told = history.ask(file, {})
    (one,) = told["deployments"]
    assert (one["id"], one["environment"], one["version"], one["user"], one["ended"]) == (
        "D1",
        "deb",
        3,
        "alice",
        None,
    )
    assert one["nodes"]["n1"]["seconds"] == 62.5 and one["nodes"]["n2"]["outcome"] == history.UNFINISHED
    assert told["failures"] == {"n1": {"deployments": 1, "failed": 1, "rate": 1.0}}
    assert told["steps"][0] == {
        **{"implementation": "SetDeploymentEnvUntrusted", "micro": "reboot", "ok": 1, "failed": 0},
        **dict.fromkeys(("least", "median", "mean", "most"), 2.0),
    }
    assert "median" not in told["steps"][1]
    assert history.ask(file, {"environment": "other"})["deployments"] == []
    assert history.ask(file, {"since": 9e9})["deployments"] == []


def test_history_with_many_writers(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"

    def write(number: int) -> None:
        journal = Journal(tmp_path / f"{number}.jsonl", f"D{number}")
        write_run(journal)
        for _turn in range(5):
            history.record(file, read_state(journal.path))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.ask(file, {})["failures"]["n1"]["deployments"] == 6


def test_a_history_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    assert history.ask(file, {})["deployments"] == [] and not file.exists()
    file.write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(ClusterError, match=f"history {file}: file is not a database"):
        history.ask(file, {})


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("tar: ./usr/lib/x: Cannot write: No space left on device", "enlarge"),
        ("sha256 is ab, promised is cd", "other bytes"),
        ("blk_update_request: I/O error, dev vda", "replace it"),
        ("root@10.0.0.1: Permission denied (publickey).", "something else"),
        ("Kernel panic - not syncing: VFS: Unable to mount root fs", "netboot_check"),
        ("PXE-E51: No DHCP or proxyDHCP offers were received", "boot_server_check"),
        ("error: no such device: 0f3a", "firmware"),
        ("ipmitool: Unable to establish IPMI v2 / RMCP+ session", "node_power"),
        ("ssh: connect to host n1 port 22: No route to host", "does not answer"),
        ("all is well", ""),
    ],
)
def test_advice(line: str, word: str) -> None:
    found = advise(["something", line])
    assert (word in found) if word else not found


def test_the_end_of_a_console_log(tmp_path: Path) -> None:
    log = tmp_path / "console"
    log.write_bytes(
        b"x" * 20000
        + b"\r\n\x1b[1;31mred\x1b[0m\r\n\r\n"
        + b"".join(b"line %d\r\n" % n for n in range(5))
        + b"\xff"
    )
    shown = console_end(str(log))
    assert shown[1] == "console: red" and shown[-2] == "console: line 4"
    assert console_end("") == console_end(str(tmp_path / "none")) == []


def test_moments() -> None:
    assert parse_moment("since", None) is None and parse_moment("since", "12.5") == 12.5
    day = parse_moment("since", "2026-11-21")
    assert day is not None and parse_moment("since", "2026-11-21 01:00") == day + 3600
