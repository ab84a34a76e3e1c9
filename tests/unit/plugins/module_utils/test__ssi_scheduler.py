"""What has to be done to a scheduler's folder, and which trees are none."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_plan import (
    Found,
    Plan,
    deepest_first,
    goal,
    listing,
    make_plan,
    same,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_tree import (
    Tree,
    check_scheduler,
    wanted_tree,
)

GROUPS = ["probes", "schedulers", "process_set", "load"]
WANTED = Tree(
    ["probes/p", "schedulers/s", "schedulers/s/policy"],
    {"schedulers/s/process_set/all": "1"},
    {"schedulers/s/policy/load/one": "probes/p/source"},
)
THERE = Found(
    {"probes", "schedulers", "probes/p", "schedulers/s", "schedulers/s/policy", "schedulers/s/policy/load"},
    {"schedulers/s/process_set/all"},
    {"schedulers/s/policy/load/one": "probes/p/source"},
    {"schedulers/s/process_set/all": "1\n"},
)


def test_nothing_is_there() -> None:
    assert make_plan(Found({"probes", "schedulers"}), WANTED, GROUPS, True) == Plan(
        made=WANTED.directories, linked=WANTED.links, written={"schedulers/s/process_set/all": "1"}
    )


@pytest.mark.parametrize("exact", [False, True])
def test_everything_is_there(exact: bool) -> None:
    assert make_plan(THERE, WANTED, GROUPS, exact) == Plan()


def test_only_what_nobody_wants_goes_and_from_below() -> None:
    other = Found({"probes", "schedulers", "schedulers/r", "schedulers/r/policy", "schedulers/r/policy/load"})
    other.links = {"schedulers/r/policy/load/x": "probes/p", "schedulers/s/policy/load/one": "elsewhere"}
    plan = make_plan(other, WANTED, GROUPS, True)
    assert plan.removed == ["schedulers/r/policy/load", "schedulers/r/policy", "schedulers/r"]
    assert plan.unlinked == ["schedulers/r/policy/load/x", "schedulers/s/policy/load/one"]
    assert plan.linked == WANTED.links
    lenient = make_plan(other, WANTED, GROUPS, False)
    assert (lenient.removed, lenient.unlinked) == ([], ["schedulers/s/policy/load/one"])


def test_groups_of_the_kernel_stay_with_what_stays() -> None:
    now = Found({"probes", "probes/p", "probes/p/load", "probes/q", "probes/q/load"})
    assert make_plan(now, Tree(["probes/p"]), GROUPS, True).removed == ["probes/q/load", "probes/q"]
    assert make_plan(now, Tree(["probes/p"]), ["probes"], True).removed == [
        "probes/p/load",
        "probes/q/load",
        "probes/q",
    ]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("1", "1\n", True),
        ("0x10", "16", True),
        ("a b", "a b \n", True),
        ("1", "10", False),
        ("a", "b", False),
        ("", "0", False),
    ],
)
def test_values_as_they_are_read_back(one: str, other: str, alike: bool) -> None:
    assert same(one, other) is alike


def test_a_value_made_of_another() -> None:
    threshold = {"from": "p/value", "multiply": 3, "divide": 2}
    assert goal(threshold, {"p/value": "251\n"}) == "376", "whole numbers, as the shell reckons"
    assert goal(threshold, {}) is None
    with pytest.raises(ClusterError, match="p/value is 'many' and no number"):
        goal(threshold, {"p/value": "many"})
    wanted = Tree(["p"], {"t": threshold})
    plan = make_plan(Found(), wanted, [], False)
    assert plan.written == {"t": None}
    assert listing(Found(), plan, wanted) == ("", "p/\nt = p/value * 3 / 2\n")


def test_deepest_first() -> None:
    assert deepest_first(["a", "b/c", "a/b/c", "a/b"]) == ["a/b/c", "a/b", "b/c", "a"]


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/..", "a/./b", "a//b", "a/", "a\nb", ".."])
def test_paths_that_leave_the_root(path: str) -> None:
    for tree in ({"directories": [path]}, {"links": {"a": path}}, {"values": {"a": {"from": path}}}):
        with pytest.raises(ClusterError, match="path below the root|is no text"):
            wanted_tree({"presets": {}}, None, tree, "x")


def section(**presets: Any) -> dict[str, Any]:
    return {"root": "/config", "presets": presets}


def test_presets_of_presets() -> None:
    found = check_scheduler(section(a={"directories": ["x"]}, b={"directories": ["x", "y"]}, both=["a", "b"]))
    tree = wanted_tree(found, "both", {"values": {"y/v": 2}}, "x")
    assert (tree.directories, tree.values) == (["x", "y"], {"y/v": "2"})


@pytest.mark.parametrize(
    ("presets", "said"),
    [
        ({"a": ["b"]}, "no preset b; there are a"),
        ({"a": ["b"], "b": ["a"]}, "preset a is made of itself"),
        ({"a": {"directories": ["x"], "links": {"x": "y"}}}, "x is a directory, and cannot be a link too"),
        ({"a": {"values": {"x": "1"}, "links": {"x": "y"}}}, "x is a link, and cannot be a value too"),
        ({"a": {"folders": []}}, "unknown field 'folders'"),
    ],
)
def test_presets_that_are_wrong(presets: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        check_scheduler(section(**presets))
