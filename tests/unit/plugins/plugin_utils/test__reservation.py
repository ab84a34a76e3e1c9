"""Several allocations as one reservation, and where its nodes stand by their names."""

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation
from ansible_collections.oneimage.cluster.plugins.plugin_utils._reservation import (
    LOCATION,
    locate,
    location_patterns,
    merge,
)

NOW = 1_000_000_000


def held(
    source: str, nodes: dict[str, int], job: str | None = None, expires: int | None = None
) -> Allocation:
    return Allocation(source, "hosts", nodes, job, expires)


def refusal(*allocations: Allocation) -> str:
    with pytest.raises(ClusterError) as raised:
        merge(allocations, NOW)
    return str(raised.value)


def test_a_source_that_counts_no_slots_adds_none_to_its_job() -> None:
    node_file = Allocation("node file", "oar", {"n1": 4, "n2": 4}, "42", None, None)
    oarstat = Allocation("command oarstat", "oarstat", {"n1": 1, "n2": 1}, "42", 2000, "Running")
    for allocations in ([node_file, oarstat], [oarstat, node_file]):
        merged = merge(allocations, 1000)
        assert merged.slots == {"n1": 4, "n2": 4}
        assert merged.expires == {"n1": 2000, "n2": 2000}


def test_slots_are_added_and_the_order_is_kept() -> None:
    merged = merge([held("a", {"n2": 4, "n1": 1}), held("b", {"n3": 2, "n1": 3}, "7")], NOW)
    assert list(merged.slots.items()) == [("n2", 4), ("n1", 4), ("n3", 2)]
    assert merged.jobs == {"7": ["n3", "n1"]}
    assert merged.expires == {}


def test_one_job_in_two_sources_is_one_job_that_ends_first() -> None:
    merged = merge(
        [held("a", {"n1": 1, "n2": 1}, "7", NOW + 5), held("b", {"n2": 1, "n3": 1}, "7", NOW + 3)], NOW
    )
    assert merged.jobs == {"7": ["n1", "n2", "n3"]}
    assert merged.expires == {"n1": NOW + 5, "n2": NOW + 3, "n3": NOW + 3}


def test_the_same_number_on_two_sites_is_no_contradiction() -> None:
    merged = merge([held("a", {"n1.a.org": 1}, "7"), held("b", {"n1.b.org": 1}, "7")], NOW)
    assert merged.jobs == {"7": ["n1.a.org", "n1.b.org"]}


def test_a_node_of_two_jobs() -> None:
    first = held("file a", {f"n{number}": 1 for number in range(1, 6)}, "42")
    second = held("file b", {f"m{number}": 1 for number in range(1, 6)}, "43")
    third = held("file c", {"n2": 1, "x": 1, "n3": 1, "n5": 1, "m1": 1}, "44")
    assert refusal(first, second, third) == (
        "nodes are claimed by two jobs: n[2-3,5] by job 42 (file a) and job 44 (file c); "
        "m1 by job 43 (file b) and job 44 (file c); leave one of the sources out"
    )


def test_the_nodes_of_an_error_are_cut() -> None:
    names = {f"{chr(97 + number % 26)}{number}": 1 for number in range(1000)}
    assert len(refusal(held("a", names, "1"), held("b", names, "2"))) < 500


@pytest.mark.parametrize(
    "job, expected",
    [
        ("42", "file a: job 42 is over since 2001-09-09 01:46:40 UTC"),
        (None, "file a: the reservation is over since 2001-09-09 01:46:40 UTC"),
    ],
)
def test_a_reservation_that_is_over(job: str | None, expected: str) -> None:
    assert refusal(held("b", {"n1": 1}, expires=NOW + 1), held("file a", {"n2": 1}, job, NOW)) == expected


def test_no_node_is_an_error() -> None:
    assert refusal() == "no source gives a node; is this inside a job?"


@pytest.mark.parametrize(
    "name, site, cluster",
    [
        ("node-3.cluster.site.domain", "site", "cluster"),
        ("node-3.gdx.orsay.grid5000.fr", "orsay", "gdx"),
        ("node3.gdx.orsay.grid.example.org", "orsay", "gdx"),
        ("cluster-3.site.domain", "site", "cluster"),
        ("griffon-1.nancy.grid5000.fr", "nancy", "griffon"),
        ("griffon-12.nancy.example.org", "nancy", "griffon"),
        ("griffon-12-kavlan-3.nancy.grid5000.fr", "nancy", "griffon"),
        ("abacus22-1.rennes.grid5000.fr", "rennes", "abacus22"),
        ("paravent12.rennes.grid5000.fr", "rennes", "paravent"),
        ("big-mem-3.site.domain", "site", "big-mem"),
        ("nodes-3.site.domain", "site", "nodes"),
        ("node-1.site1.grid5000.fr", "site1", None),
        ("node-1.site.domain", "site", None),
        ("node-1.example.org", None, None),
        ("griffon-1.example.org", None, "griffon"),
        ("griffon-1", None, "griffon"),
        ("griffon12", None, "griffon"),
        ("node-1", None, None),
        ("n0001", None, None),
        ("localhost", None, None),
        ("frontend.nancy.grid5000.fr", None, None),
        ("10.0.0.1", None, None),
    ],
)
def test_where_a_node_stands_by_default(name: str, site: str | None, cluster: str | None) -> None:
    assert locate([name], location_patterns(LOCATION)) == {
        "site": {site: [name]} if site else {},
        "cluster": {cluster: [name]} if cluster else {},
    }


def test_the_first_expression_counts_and_must_match_all_of_the_name() -> None:
    patterns = location_patterns([r"a(?P<cluster>\d)?", r"(?P<site>[a-z])\d+"])
    assert locate(["a1", "a12", "a", "!"], patterns) == {"site": {"a": ["a12"]}, "cluster": {"1": ["a1"]}}


@pytest.mark.parametrize("expression", ["(", 3, None])
def test_an_expression_that_is_none(expression: object) -> None:
    with pytest.raises(ClusterError, match="location 1: .* is no regular expression: "):
        location_patterns([expression])  # type: ignore[list-item]


def test_an_expression_without_a_known_group() -> None:
    with pytest.raises(ClusterError, match=r"location 2: .* has neither a group \(\?P<site>"):
        location_patterns(["(?P<site>a)", "(?P<rack>a)"])
