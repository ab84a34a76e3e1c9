# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import a_node
from ssi import command_krgadm, membership, node
from ssi.errors import SsiError

HERE = a_node(1)


def test_who_is_seen_and_how(shared: Path, beat: Callable[..., None]) -> None:
    beat(HERE)
    beat(a_node(2))
    beat(a_node(3), age=membership.LOST + 5)
    membership.add(membership.view(HERE), [1])
    seen = membership.view(HERE)
    assert (seen.online(), seen.present(), seen.lost()) == ([1], [2], [])


def test_a_member_that_falls_silent_is_lost_and_one_that_booted_again_is_present(
    shared: Path, beat: Callable[..., None]
) -> None:
    for number in (1, 2, 3):
        beat(a_node(number))
    membership.add(membership.view(HERE), [1, 2, 3])
    beat(a_node(2), age=membership.LOST + 5)
    beat(a_node(3, boot_id="another"))
    seen = membership.view(HERE)
    assert (seen.online(), seen.present(), seen.lost()) == ([1], [3], [2])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node_id": 2}', "null"])
def test_a_heartbeat_that_cannot_be_read_is_none(shared: Path, beat: Callable[..., None], text: str) -> None:
    beat(HERE)
    (shared / "nodes/2").mkdir()
    (shared / "nodes/2/state.json").write_text(text, encoding="utf-8")
    assert list(membership.view(HERE).states) == [1]


@pytest.mark.parametrize(
    ("field", "other", "said"),
    [
        ("kernel", "6.1.0-2", r"must run one kernel: node 1 \(n1\) runs 6.1.0-1, node 2 \(n2\) runs 6.1.0-2"),
        ("image_id", "demo-2", "must run one image: .* demo-1, .* demo-2"),
    ],
)
def test_nodes_that_differ_are_refused_with_both_versions(
    shared: Path, beat: Callable[..., None], field: str, other: str, said: str
) -> None:
    beat(HERE)
    beat(a_node(2, **{field: other}))
    with pytest.raises(SsiError, match=said):
        membership.add(membership.view(HERE), [1, 2])
    assert membership.members().last() == (0, {})


def test_a_number_that_another_node_holds_is_refused(shared: Path, beat: Callable[..., None]) -> None:
    beat(a_node(1, name="other", address="10.0.0.99", boot_id="x"))
    with pytest.raises(SsiError, match=r"node id 1 is held by other \(10.0.0.99\) in session 1"):
        membership.check_number(HERE, membership.view(HERE))


@pytest.mark.parametrize(("age", "address"), [(0, "10.0.0.1"), (membership.LOST + 5, "10.0.0.99")])
def test_a_number_is_free_for_the_machine_itself_and_after_its_holder_is_gone(
    shared: Path, beat: Callable[..., None], age: float, address: str
) -> None:
    beat(a_node(1, address=address, boot_id="before"), age=age)
    membership.check_number(HERE, membership.view(HERE))


def test_a_session_forms_by_itself_once_enough_nodes_are_there(
    shared: Path, beat: Callable[..., None]
) -> None:
    here = HERE._replace(nodes_min=2)
    beat(here)
    assert membership.automatic(here, membership.view(here)) == []
    beat(a_node(2))
    assert membership.automatic(here, membership.view(here)) == [1, 2]
    assert membership.automatic(HERE, membership.view(HERE)) == [], "it waits for an administrator"


def test_who_comes_later_becomes_a_member_unless_removed_since_its_boot(
    shared: Path, beat: Callable[..., None]
) -> None:
    late = a_node(3, nodes_min=2)
    for number in (1, 2, 3):
        beat(a_node(number))
    membership.add(membership.view(HERE), [1, 2])
    assert membership.automatic(late, membership.view(late)) == [3]
    membership.add(membership.view(HERE), [3])
    membership.remove(membership.view(HERE), [3])
    assert membership.automatic(late, membership.view(late)) == []
    rebooted = late._replace(boot_id="again")
    assert membership.automatic(rebooted, membership.view(rebooted)) == [3]


def test_a_session_that_was_stopped_stays_so(shared: Path, beat: Callable[..., None]) -> None:
    here = HERE._replace(nodes_min=1)
    beat(here)
    membership.add(membership.view(here), [1])
    membership.stop()
    assert membership.automatic(here, membership.view(here)) == []


@pytest.mark.parametrize(("text", "numbers"), [("2", [2]), ("2,3,6-8", [2, 3, 6, 7, 8]), ("3,1,3", [1, 3])])
def test_lists_of_nodes(text: str, numbers: list[int]) -> None:
    assert membership.parse_list(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "1-", "-1", "1 2"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(SsiError, match="is no list of node ids"):
        membership.parse_list(text)


class TestKrgadm:
    @pytest.fixture(autouse=True)
    def two_nodes(self, shared: Path, beat: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
        beat(HERE)
        beat(a_node(2))
        monkeypatch.setattr(node, "member", lambda: HERE)

    @pytest.mark.parametrize(
        ("steps", "last"),
        [
            (["nodes"], "1:present\n2:present\n"),
            (["cluster status"], "status: down\n"),
            (["nodes add -n 1,2"], "Waiting for nodes to join... done\nAdding nodes [1,2]... done\n"),
            (["nodes add --all"], "Adding nodes [1,2]... done\n"),
            (["nodes add -a", "nodes status"], "1:online\n2:online\n"),
            (["nodes add -n 1", "nodes"], "1:online\n2:present\n"),
            (["nodes add -a", "cluster"], "status: up on 2 nodes\n"),
            (["nodes add -a", "nodes del -n 2"], "Removing nodes [2]... done\n"),
            (["nodes add -a", "nodes del -n 2", "nodes"], "1:online\n2:present\n"),
            (["nodes add -a", "nodes del -a", "cluster"], "status: up on 1 nodes\n"),
            (["cluster start -n 1,2"], "Waiting for nodes to join... done\nStarting cluster... done\n"),
            (["nodes add -a", "cluster stop"], "Stopping cluster... done\n"),
            (["nodes add -a", "cluster stop", "cluster"], "status: down\n"),
            (["nodes add -a", "cluster wait_start"], "Waiting for cluster to start... done\n"),
        ],
    )
    def test_says(self, steps: list[str], last: str, capsys: pytest.CaptureFixture[str]) -> None:
        for step, left in zip(steps, itertools.count(len(steps) - 1, -1)):
            assert command_krgadm.main(step.split()) == 0
            assert left == 0 or capsys.readouterr()
        assert capsys.readouterr().out == last

    def test_counts_with_backspaces(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command_krgadm.main(["nodes", "add", "-t", "2"]) == 0
        counted = "   2/2   " + "\b" * 9
        assert (
            capsys.readouterr().out
            == f"Waiting for 2 nodes to join... {counted} done\nAdding nodes [1,2]... done\n"
        )

    @pytest.mark.parametrize(
        ("steps", "said"),
        [
            (["nodes add -a", "nodes add -a"], "No present node to add."),
            (
                ["nodes add -a -n 1"],
                "Only one of --all, --count, --total or --nodes option is\nsupported. Aborting.",
            ),
            (["nodes add -a", "nodes del -n 1"], "Unable to suppress current node."),
            (["nodes add -n 1", "nodes del -n 2"], "Unable to suppress node 2 (must be 'online')."),
            (["nodes add -a", "nodes del -c 2"], "Not enough nodes to remove. Aborting."),
            (["nodes add -n 1", "nodes del -a"], "No online node to remove."),
            (["nodes", "nodes frobnicate"], "usage: krgadm nodes"),
        ],
    )
    def test_refuses(self, steps: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        codes = [command_krgadm.main(step.split()) for step in steps]
        assert codes == [0] * (len(steps) - 1) + [1]
        assert capsys.readouterr().err.startswith(said)

    def test_two_kernels(self, beat: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
        beat(a_node(2, kernel="6.1.0-2"))
        assert command_krgadm.main(["nodes", "add", "-a"]) == 1
        assert capsys.readouterr().err.startswith("fail: nodes of one session must run one kernel")

    def test_outside_of_a_session(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(node, "load", lambda: None)
        assert command_krgadm.main(["nodes"]) == 1
        assert capsys.readouterr().err == "Kerrighed is not running: Resource temporarily unavailable\n"
