from __future__ import annotations

import re

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_names import (
    HOST_NAME,
    check_name,
    check_names,
    quoted,
)

GOOD = (
    "a",
    "n1",
    "1n",
    "node-3.cluster.site.org",
    "NODE_1",
    "_a",
    "a--b",
    "10.0.0.1",
    "1.2",
    "a" * 63,
    ".".join(["a" * 63] * 3 + ["b" * 61]),
)
BAD = {
    "": "is empty",
    "a" * 64: "longer than 63",
    ".".join(["a" * 63] * 3 + ["b" * 62]): "has 254 characters",
    "42": "is a bare number",
    "-a": "hyphen",
    "a-": "hyphen",
    "a-.b": "hyphen",
    ".a": "empty",
    "a.": "empty",
    "a..b": "empty",
    "a b": 'holds " "',
    "a\n": r'holds "\n"',
    "a/b": 'holds "/"',
    "nœud": 'holds "œ"',
    "n٣": 'holds "٣"',
    "a'b": """holds "'\"""",
    "\u202ea": r'holds "\u202e"',
}


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_bad_names(name: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(BAD[name])):
        check_name(name)
    with pytest.raises(ClusterError, match=re.escape(BAD[name])):
        check_names(["a", name, "-"])


def test_the_pattern_fits_into_the_pattern_of_a_text() -> None:
    lines = re.compile(rf"(?:{HOST_NAME.pattern}\n)*")
    assert lines.fullmatch("".join(f"{name}\n" for name in GOOD))
    for name in BAD:
        assert not lines.fullmatch(f"a\n{name}\nb\n")


def test_long_input_is_judged_at_once() -> None:
    for name in ("a-" * 5_000_000, "-" * 10_000_000, "a" * 10_000_000, "1" * 10_000_000):
        with pytest.raises(ClusterError, match="10000000 characters"):
            check_name(name)


def test_quoted() -> None:
    assert quoted("it's\t\x07\ud800") == r'''"it's\t\x07\ud800"'''
    assert quoted("a" * 61) == '"' + "a" * 60 + '…"'
