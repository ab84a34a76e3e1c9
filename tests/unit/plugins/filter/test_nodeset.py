"""The two filters, and by hypothesis what must hold of them for any names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.oneimage.cluster.plugins.filter.nodeset_expand import nodeset_expand
from ansible_collections.oneimage.cluster.plugins.filter.nodeset_fold import nodeset_fold
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import HOST_NAME, in_order

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy, and a short text may stand for a million names."""

LABEL = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?", fullmatch=True)
ANY_NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not name.isdigit())
NUMBER = st.from_regex("0{0,2}[0-9]{1,3}", fullmatch=True)
CLOSE_NAME = st.one_of(
    NUMBER.map("n{}".format),
    NUMBER.map("n-{}.s1.org".format),
    st.tuples(NUMBER, NUMBER).map(lambda numbers: "r{}n{}".format(*numbers)),
    st.tuples(*[st.integers(0, 2)] * 3).map(lambda numbers: "r{}c{}n{}".format(*numbers)),
)
"""Names near each other, which fold."""
NAMES = st.lists(st.one_of(ANY_NAME, CLOSE_NAME), min_size=1)


@patient
@given(NAMES)
def test_expanding_undoes_folding(names: list[str]) -> None:
    expanded = nodeset_expand(nodeset_fold(names))
    assert sorted(expanded) == sorted(set(names))


@patient
@given(st.lists(NUMBER.map("n{}.s1.org".format), min_size=1))
def test_names_that_vary_in_one_number_come_back_in_natural_order(names: list[str]) -> None:
    assert nodeset_expand(nodeset_fold(names)) == in_order(names)


@patient
@given(NAMES)
def test_folding_again_changes_nothing(names: list[str]) -> None:
    folded = nodeset_fold(names)
    assert nodeset_fold(nodeset_expand(folded)) == folded


@patient
@given(st.text(st.sampled_from("n.-_,!&^[]0123/@ \n\t;{%"), max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        names = nodeset_expand(text)
    except AnsibleFilterError as error:
        assert str(error).startswith("nodeset_expand: ") and "\n" not in str(error)
    else:
        assert all(HOST_NAME.fullmatch(name) for name in names)


def test_no_names_fold_to_nothing() -> None:
    assert nodeset_fold([]) == ""
    assert nodeset_fold(name for name in ("n2", "n1")) == "n[1-2]"


@pytest.mark.parametrize(
    ("filter_", "value", "message"),
    [
        (nodeset_expand, ["n1"], "nodeset_expand: one text is needed; for a list, use map and flatten"),
        (nodeset_expand, "n[2-1]", 'nodeset_expand: "n[2-1]": the range "2-1" runs backwards'),
        (
            nodeset_fold,
            "n[1-2]",
            "nodeset_fold: a list of names is needed; for one text, use nodeset_expand first",
        ),
        (nodeset_fold, ["n1", 2], "nodeset_fold: 2 is no name of a node, which is a text"),
        (nodeset_fold, ["n1", "n 2"], 'nodeset_fold: host name "n 2" holds " "'),
    ],
)
def test_bad_input(filter_: Any, value: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        filter_(value)
    assert str(error.value).startswith(message)
