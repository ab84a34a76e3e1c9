# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_lookup import (
    find,
    in_order,
    matching,
    newest,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Image,
    Listing,
    Registry,
    Specification,
    parse_specification,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def entry(owner: str, name: str, version: int, visibility: str, **more: str) -> Entry:
    return Entry(owner, name, version, {"visibility": visibility, **more})


class Fixed(Registry):
    """A registry of the entries that a test gives it."""

    kind = "fixed"
    target = "current"

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    def listing(self, name: str | None = None, owner: str | None = None) -> Listing:
        return Listing(
            [one for one in self.entries if name in (None, one.name) and owner in (None, one.owner)]
        )

    def publish(self, entry: Entry, image: Image | None, replaced: Entry | None) -> Entry:
        raise NotImplementedError

    def remove(self, entry: Entry) -> None:
        raise NotImplementedError

    def verify(self, entry: Entry) -> Iterator[str]:
        raise NotImplementedError


REGISTRY = Fixed(
    entry("deploy", "min", 1, "public"),
    entry("deploy", "min", 3, "public", arch="aarch64"),
    entry("deploy", "min", 4, "private"),
    entry("alice", "min", 2, "private"),
    entry("bob", "min", 9, "shared"),
    entry("zoe", "min", 3, "public"),
    entry("carol", "own", 1, "private"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("min", Specification("min")),
        ("min@bob", Specification("min", "bob")),
        ("min:3", Specification("min", None, 3)),
        ("min@bob:3%x86_64", Specification("min", "bob", 3, "x86_64")),
        ("a b%aarch64", Specification("a b", None, None, "aarch64")),
        ("a@b@bob", Specification("a@b", "bob")),
        ("a:b", Specification("a:b")),
    ],
)
def test_specification(text: str, expected: Specification) -> None:
    assert parse_specification(text) == expected


def test_an_empty_specification() -> None:
    with pytest.raises(ClusterError, match="an environment is named name, name@owner"):
        parse_specification("")


@pytest.mark.parametrize(
    ("user", "text", "expected"),
    [
        ("alice", "min", "min@alice:2"),
        ("dave", "min", "min@deploy:3"),
        ("dave", "min:1", "min@deploy:1"),
        ("dave", "min%aarch64", "min@deploy:3"),
        ("dave", "min@bob", "min@bob:9"),
        ("dave", "min@zoe", "min@zoe:3"),
        ("deploy", "min", "min@deploy:4"),
        ("alice", "min:3", "min@deploy:3"),
        ("carol", "own@carol", "own@carol:1"),
    ],
)
def test_whose_environment_is_meant(user: str, text: str, expected: str) -> None:
    assert find(REGISTRY, parse_specification(text), user).title == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("own", "there is no environment 'own' that dave can see"),
        ("own@carol", "there is no environment 'own' of carol that dave can see"),
        (
            "min:4",
            "there is no environment 'min', version 4 that dave can see; there are min@deploy:1, min@deploy:3",
        ),
        ("min@deploy:4", "'min' of deploy, version 4"),
    ],
)
def test_what_somebody_cannot_see_is_not_there(text: str, fault: str) -> None:
    with pytest.raises(ClusterError) as caught:
        find(REGISTRY, parse_specification(text), "dave")
    assert fault in str(caught.value)
    assert "carol:" not in str(caught.value) and "deploy:4" not in str(caught.value)


def test_order_and_newest() -> None:
    assert [one.title for one in in_order(newest(REGISTRY.entries))] == [
        "min@zoe:3",
        "min@alice:2",
        "min@deploy:4",
        "own@carol:1",
        "min@bob:9",
    ]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("debian%", "debian12", True),
        ("%min", "debian12-min", True),
        ("d%12%", "debian12-min", True),
        ("%", "", True),
        ("debian.%", "debian12", False),
        ("debian", "debian12", False),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert matching(pattern, name) is fits


def test_what_a_registry_does_not_know() -> None:
    assert REGISTRY.holders(REGISTRY.entries[0]) == [] and REGISTRY.garbage([]) == []
    REGISTRY.collect([])
    for act in (REGISTRY.hold, REGISTRY.release):
        with pytest.raises(
            ClusterError, match="a registry of kind fixed cannot note who uses an environment"
        ):
            act(REGISTRY.entries[0], "x")
    with pytest.raises(ClusterError, match="keeps no images"):
        REGISTRY.collect(["x"])
