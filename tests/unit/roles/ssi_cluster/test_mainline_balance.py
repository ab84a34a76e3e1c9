# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import a_node
from ssi import arrivals, balance, command_ssi_member, migration, process
from ssi.balance import Candidate, Scheduler
from ssi.command_ssi_balance import Balancer
from ssi.errors import SsiError
from ssi.membership import State, View
from ssi.process import Process

MOSIX = Scheduler("mosix_load_balancer")


def state(number: int, running: float, cpus: int = 1, arrived: int = 0) -> State:
    return State(number, f"n{number}", "10.0.0.1", "b", "k", "i", cpus, 0.0, running, 0, 0, arrived, "")


def spinning(pid: int, ticks: int = 0, start: int = 5) -> Process:
    return Process(pid, "spin", "R", 1, pid, pid, 0, ticks, start)


@pytest.mark.parametrize(
    ("local", "others", "target"),
    [
        (state(1, 2.0), [state(2, 0.0)], 2),
        (state(1, 1.0), [state(2, 0.0)], None),  # one process alone is no reason
        (state(1, 1.49), [state(2, 0.0)], None),  # below the threshold
        (state(1, 1.6), [state(2, 0.0)], 2),
        (state(1, 2.0), [state(2, 1.0)], None),  # the other would be worse off
        (state(1, 3.0), [state(2, 1.0), state(3, 0.5)], 3),
        (state(1, 2.0), [], None),
        (state(1, 2.0), [state(2, 0.0, arrived=1)], None),  # one is on its way there already
        (state(1, 2.0), [state(2, 0.8, cpus=4)], 2),
        (state(1, 0.5, cpus=4), [state(2, 0.0, cpus=4)], 2),  # two processes on four processors
        (state(1, 0.3, cpus=4), [state(2, 0.0, cpus=4)], None),
    ],
)
def test_where_the_load_is_less(local: State, others: list[State], target: int | None) -> None:
    assert balance.least_loaded(MOSIX, local, others) == target


def test_the_threshold_is_that_of_the_tree() -> None:
    assert balance.least_loaded(MOSIX._replace(threshold=3.0), state(1, 2.5), [state(2, 0.0)]) is None


def test_nothing_moves_to_and_fro() -> None:
    for load in (1.5, 1.6, 2.0, 2.4):
        left, right = state(1, load), state(2, 0.0)
        assert balance.least_loaded(MOSIX, left, [right]) == 2
        assert balance.least_loaded(MOSIX, state(2, 1.0), [state(1, load - 1)]) is None


Moves = Callable[[Scheduler, dict[int, float], list[Process]], list[tuple[int, int]]]


@pytest.fixture
def moves(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Moves:
    """Give node 1 a scheduler, all nodes their loads, and node 1 processes that spin; the list of moves to come: (pid, node)."""

    def prepare(
        scheduler: Scheduler, loads: dict[int, float], processes: list[Process]
    ) -> list[tuple[int, int]]:
        moved: list[tuple[int, int]] = []
        looks = iter(range(0, 10**6, 1000))  # ticks that they took by each look
        seen = View(
            {number: state(number, load) for number, load in loads.items()},
            {"members": {str(number): "b" for number in loads}},
        )
        monkeypatch.setattr(
            process, "everything", lambda: {one.pid: one._replace(ticks=next(looks)) for one in processes}
        )
        monkeypatch.setattr(balance, "_has", lambda _pid, _capability: True)
        monkeypatch.setattr("ssi.command_ssi_balance.SAMPLE", 0.01)
        monkeypatch.setattr(migration, "migrate", lambda *asked: moved.append(asked[2:4]))
        monkeypatch.setattr(balance, "schedulers", lambda: [scheduler._replace(handle_all=True)])
        monkeypatch.setattr("ssi.membership.view", lambda _here: seen)
        return moved

    return prepare


def test_a_process_that_has_just_gone_is_no_load_any_more(
    moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes one goes: the mean holds it still, and a third node is idle."""
    moved = moves(
        MOSIX._replace(min_interval=0), {1: 2.0, 2: 0.0, 3: 0.0}, [spinning(20000), spinning(20001)]
    )
    balancer = Balancer(a_node())
    balancer.step()
    balancer.step()
    assert [target for _pid, target in moved] == [2]
    monkeypatch.setattr(balance, "SETTLED", 0.0)
    balancer.step()
    assert [target for _pid, target in moved] == [2, 2], "it is more than one process after all"


def came(pid: int, seconds: float) -> None:
    """The process has come to this node so long ago."""
    file = Path(arrivals.FOLDER) / str(pid)
    file.touch()
    os.utime(file, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("policy", balance.POLICIES)
@pytest.mark.parametrize(
    ("seconds", "leaves"), [(0, False), (arrivals.REST - 5, False), (arrivals.REST + 5, True)]
)
def test_what_has_just_come_stays(moves: Moves, policy: str, seconds: float, leaves: bool) -> None:
    """A process that was moved looks as if it had just begun, and the node that restored it has a load of that."""
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    moved = moves(Scheduler(policy), {1: 3.0, 2: 0.0}, [spinning(20000, start=now)])
    came(20000, seconds)
    Balancer(a_node()).step()
    assert moved == ([(20000, 2)] if leaves else [])


def test_a_process_that_came_is_counted_until_the_mean_holds_it(shared: Path) -> None:
    for pid, seconds in ((1, 0.0), (2, balance.SETTLED + 1), (3, arrivals.REST + 1)):
        came(pid, seconds)
    assert arrivals.count(balance.SETTLED) == 1
    assert sorted(path.name for path in Path(arrivals.FOLDER).iterdir()) == ["1", "2"]
    assert [arrivals.rests(pid) for pid in (1, 2, 3, 4)] == [True, True, False, False]


def test_the_busiest_moves_and_an_idle_one_does_not() -> None:
    before = {(7, 5): 100, (8, 5): 100, (9, 4): 0}
    found = balance.usage(
        before, [spinning(7, 150), spinning(8, 190), spinning(9, 900)], seconds=1.0, ticks=100
    )
    assert [(candidate.process.pid, candidate.usage) for candidate in found] == [(7, 0.5), (8, 0.9)], (
        "9 is another process now"
    )
    chosen = balance.busiest(found)
    assert chosen and chosen.pid == 8
    assert balance.busiest([Candidate(spinning(7), 0.1)]) is None
    assert balance.busiest([]) is None


def test_round_robin_takes_the_nodes_in_turn() -> None:
    turn, taken = 2, []
    for _number in range(4):
        turn = balance.next_in_turn([1, 2, 5], turn)
        taken.append(turn)
    assert taken == [5, 1, 2, 5]


@pytest.mark.parametrize(("began", "placed"), [(95, False), (105, True), (128, True)])
def test_round_robin_places_what_began_since_it_looked_last(
    moves: Moves, monkeypatch: pytest.MonkeyPatch, began: int, placed: bool
) -> None:
    """A move can take longer than a process counts as new."""
    clock = iter([100.0, 130.0])
    monkeypatch.setattr("ssi.command_ssi_balance._now", lambda: next(clock))
    ticks = os.sysconf("SC_CLK_TCK")
    moved = moves(Scheduler("round_robin_balancer"), {1: 0.0, 2: 0.0}, [spinning(20000, start=began * ticks)])
    Balancer(a_node()).step()
    assert moved == ([(20000, 2)] if placed else [])


def test_the_tree_as_the_preset_makes_it(tmp_path: Path) -> None:
    mosix = tmp_path / "schedulers/mosix"
    for path, text in (
        ("mosix_load_balancer/local_load/freq_limit_filter/min_interval", "2000000000\n"),
        ("mosix_load_balancer/local_load/freq_limit_filter/threshold_filter/threshold", "1.5"),
        ("mosix_load_balancer/remote_load/remote_cache_filter/polling_period", "1000"),
        ("process_set/handle_all", "1"),
    ):
        (mosix / path).parent.mkdir(parents=True, exist_ok=True)
        (mosix / path).write_text(text, encoding="utf-8")
    (tmp_path / "schedulers/rr/round_robin_balancer").mkdir(parents=True)
    (tmp_path / "schedulers/rr/process_set/4711").mkdir(parents=True)
    first, second = balance.schedulers(str(tmp_path))
    assert first == Scheduler("mosix_load_balancer", 1.5, 2.0, 1.0, True)
    assert (second.policy, second.handles(4711), second.handles(4712)) == (
        "round_robin_balancer",
        True,
        False,
    )


def test_without_a_tree_nothing_is_balanced(tmp_path: Path) -> None:
    assert balance.schedulers(str(tmp_path / "none")) == []


def test_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    file = tmp_path / "schedulers/mosix/mosix_load_balancer/threshold"
    file.parent.mkdir(parents=True)
    file.write_text("much", encoding="utf-8")
    with pytest.raises(SsiError, match="threshold holds 'much', not a number"):
        balance.schedulers(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "count"), [("0.50 0.40 0.30 3/71 4711", 2), ("0.0 0.0 0.0 1/70 9", 0), ("0 0 0 0/70 9", 0)]
)
def test_who_wants_a_cpu(text: str, count: int) -> None:
    assert command_ssi_member.wanting(text) == count


def test_the_mean_follows_within_seconds() -> None:
    value = 0.0
    for _tick in range(int(3 * command_ssi_member.MEAN / command_ssi_member.TICK)):
        value = command_ssi_member.mean(value, 2, command_ssi_member.TICK)
    assert 1.8 < value < 2


def test_memory_in_bytes() -> None:
    assert command_ssi_member.memory_of("MemTotal:  738 kB\nHugePages_Total: 0\n") == {
        "MemTotal": 755712,
        "HugePages_Total": 0,
    }
