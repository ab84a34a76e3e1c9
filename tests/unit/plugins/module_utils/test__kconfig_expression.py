"""Dependencies are read, evaluated and taken apart as the kernel's Kconfig does it."""

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_expression import (
    Values,
    evaluate,
    names,
    parse,
    terms,
    write,
)

VALUES = Values({"Y": "y", "M": "m", "N": "n", "NUMBER": "17", "TEXT": "some", "HEX": "0x10"})


@pytest.mark.parametrize(
    "text, level",
    [
        ("Y", 2),
        ("M", 1),
        ("N", 0),
        ("UNKNOWN", 0),
        ("!UNKNOWN", 2),
        ("!M", 1),
        ("Y && M", 1),
        ("N || M", 1),
        ("Y || N && N", 2),
        ("(Y || N) && N", 0),
        ("!(N || M) && Y", 1),
        ("M=m", 2),
        ("M = y", 0),
        ("M != n", 2),
        ("NUMBER >= 17 && NUMBER<20", 2),
        ("NUMBER > 100", 0),
        ("HEX = 16", 2),
        ('TEXT = "some"', 2),
        ("TEXT!='other'", 2),
        ("m", 1),
        ("y && !n", 2),
        ("$(cc-option,-march=x)", 2),
        ("!$(cc-option,-march=x) || N", 0),
        ("$(success,$(CC) -v (x)) && M", 1),
    ],
)
def test_it_is_evaluated(text: str, level: int) -> None:
    assert evaluate(parse(text), VALUES) == level


@pytest.mark.parametrize(
    "text, level",
    [("UNSET", 2), ('UNSET != "n"', 2), ('UNSET = "y"', 0), ("N", 0), ("M", 1), ('UNSET = ""', 2)],
)
def test_in_kernels_24_what_is_not_mentioned_does_not_bind(text: str, level: int) -> None:
    assert evaluate(parse(text), Values(VALUES.symbols, unset_allows=True)) == level


@pytest.mark.parametrize(
    "text, written",
    [
        ("A&&!B", ["A", "!B"]),
        ("A && (B||C)", ["A", "B || C"]),
        ("!(A || B) && C=y", ["!A", "!B", "C = y"]),
        ("A || B && C", ["A || (B && C)"]),
        ('!(A && B) && D = "x y"', ["!(A && B)", 'D = "x y"']),
        ("A && $(cc-option,-m (x)) && B", ["A", "$(cc-option,-m (x))", "B"]),
    ],
)
def test_terms_are_what_must_hold(text: str, written: list[str]) -> None:
    assert [write(term) for term in terms(parse(text))] == written


@pytest.mark.parametrize("text", ["A &&", "(A", "A B", ")", "", "A = ", "%", "&& A"])
def test_what_cannot_be_read_is_shown_as_it_is(text: str) -> None:
    node = parse(text)
    assert (node.kind, write(node)) == ("macro", text.strip())


def test_names_are_options_only() -> None:
    assert list(names(parse('A = "B" && C != y && (D || 5 < E) && $(F)'))) == ["A", "C", "D", "E"]
