"""Who may be touched, by what the inventory says is reserved."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("yaml", reason="the guard works on the controller, where Ansible brings PyYAML")

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._reservation_guard import examine

NODES = [f"n{number}.s.org" for number in range(1, 6)]
HELD = NODES[:3]
HOUR = 3600


def ask(nodes: Any, **given: Any) -> dict[str, Any]:
    """n1 to n3 are reserved, for an hour unless ``left`` says otherwise; n4 and n5 are not."""
    end = int(time.time()) + given.pop("left", HOUR)
    held = given.pop("held", HELD)
    variables: dict[str, dict[str, Any]] = {node: {} for node in NODES}
    for node in held or ():
        variables[node] = {"node_job": 42, "node_expires": end}
    groups = {"all": NODES, **({} if held is None else {"reserved": held})}
    options = {"nodes": nodes, "allow_outside": False, "require": "if_known", "minimum_left": 0, **given}
    return examine(options, groups, variables)


@pytest.mark.parametrize(
    "nodes, given, outside",
    [
        (HELD, {}, []),
        ("n[1-3].s.org", {}, []),
        (["n[1-2].s.org", "n3.s.org"], {}, []),
        ([], {}, []),
        (NODES[:4], {"allow_outside": ["n4.s.org"]}, ["n4.s.org"]),
        (NODES, {"allow_outside": "n[4-5].s.org"}, NODES[3:]),
        (NODES, {"allow_outside": True}, NODES[3:]),
        (NODES, {"allow_outside": "yes"}, NODES[3:]),
        (["n9.s.org"], {"allow_outside": ["n9.s.org"]}, ["n9.s.org"]),
        (HELD, {"minimum_left": HOUR - 60}, []),
        (HELD[:1], {"left": -10, "allow_outside": HELD[:1]}, []),
    ],
)
def test_what_is_reserved_or_allowed_passes(nodes: Any, given: dict[str, Any], outside: list[str]) -> None:
    result = ask(nodes, **given)
    assert "failed" not in result, result["msg"]
    assert result["guarded"]
    assert result["outside"] == outside


@pytest.mark.parametrize(
    "nodes, given, words",
    [
        (NODES, {}, r"outside the reservation: n[4-5].s.org (reserved: n[1-3].s.org); "),
        (NODES, {"allow_outside": "false"}, "n[4-5].s.org"),
        (NODES, {"allow_outside": ""}, "n[4-5].s.org"),
        (NODES, {"allow_outside": ["n4.s.org"]}, "outside the reservation: n5.s.org (reserved"),
        (["n1"], {}, "outside the reservation: n1 (reserved"),
        (["n1.s.org"], {"held": []}, "n1.s.org (nothing is reserved)"),
        (HELD, {"left": -10}, "n[1-3].s.org: the reservation is over since 20"),
        (HELD, {"left": 0}, "(job 42)"),
        (HELD, {"left": 500, "minimum_left": HOUR}, "which is less than minimum_left (3600 s) (job 42)"),
        (NODES, {"held": None, "require": "always"}, "no group reserved"),
    ],
)
def test_the_others_are_refused_and_named(nodes: Any, given: dict[str, Any], words: str) -> None:
    result = ask(nodes, **given)
    assert result["failed"]
    assert words in result["msg"]
    assert "allow_outside" in result["msg"] or "add a source" in result["msg"]


def test_the_result_says_jobs_and_the_first_end() -> None:
    end = int(time.time()) + HOUR
    result = ask(HELD)
    assert result["jobs"] == ["42"]
    assert end <= result["expires"] <= end + 60
    assert result["checked"] == HELD
    assert result["ending"] == []


def test_without_a_reservation_nothing_is_guarded_and_the_result_says_so() -> None:
    result = ask(NODES, held=None)
    assert not result["guarded"]
    assert result["msg"].startswith("nothing was checked: the inventory has no group reserved")


def test_an_unknown_end_is_no_end() -> None:
    groups = {"all": NODES, "reserved": NODES}
    options = {"nodes": NODES, "allow_outside": False, "require": "always", "minimum_left": HOUR}
    result = examine(options, groups, {node: {"node_expires": None} for node in NODES})
    assert "failed" not in result
    assert result["expires"] is None


def test_many_names_do_not_flood_the_message() -> None:
    result = ask([f"x{number * 7}.s.org" for number in range(500)])
    assert len(result["msg"]) < 1000
    assert len(result["outside"]) == 500


@pytest.mark.parametrize(
    "given, words",
    [
        ({"nodes": "n[1-"}, "nodes: "),
        ({"nodes": ["n1.s.org", "n{{ 7 }}"]}, "nodes: "),
        ({"nodes": 7}, "nodes is neither a nodeset nor a list of names"),
        ({"nodes": [7]}, "nodes is neither a nodeset nor a list of names"),
        ({"nodes": NODES, "allow_outside": {"n1": True}}, "allow_outside is neither"),
        ({"nodes": NODES, "allow_outside": "n[3-1]"}, "allow_outside: "),
    ],
)
def test_wrong_options_are_one_clear_error(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        ask(**given)


def test_an_end_that_is_no_time_is_named() -> None:
    options = {"nodes": NODES[:1], "allow_outside": False, "require": "always", "minimum_left": 0}
    with pytest.raises(ClusterError, match="node_expires of n1.s.org is 'noon', which are no Unix seconds"):
        examine(options, {"all": NODES, "reserved": NODES}, {NODES[0]: {"node_expires": "noon"}})
