from __future__ import annotations

import pytest

AnsibleFilterError = pytest.importorskip("ansible.errors").AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.filter.table import table


def test_aligned() -> None:
    rows = [{"name": "n1", "seconds": 41, "load": 1.25}, {"name": "node10", "seconds": 115, "load": None}]
    assert table(rows) == [
        "name    seconds  load",
        "n1           41   1.2",
        "node10      115     -",
    ]


def test_columns_choose_and_order() -> None:
    assert table([{"a": 1, "b": "x"}], ["b", "c"]) == ["b  c", "x  -"]


def test_text_that_would_tear_the_table() -> None:
    assert table([{"a": "x\ny\x1b[31m", "b": ["p", 1], "c": True}]) == [
        "a         b     c",
        "x y [31m  p, 1  True",
    ]


def test_wide_letters_keep_the_columns_straight() -> None:
    assert table([{"a": "\u6771", "b": "1"}, {"a": "xy", "b": "2"}]) == ["a   b", "\u6771  1", "xy  2"]


def test_no_rows() -> None:
    assert table([], ["a", "b"]) == ["a  b"]


def test_no_dictionaries() -> None:
    with pytest.raises(AnsibleFilterError, match="each row must be a dictionary"):
        table(["x"])
