from __future__ import annotations

import random

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_fold import fold, in_order

FOLDED = {
    "": "",
    "n1": "n1",
    "n3 n1 n2 n1": "n[1-3]",
    "n1 n3 n5": "n[1,3,5]",
    "n01 n1 n10 n02 n9": "n[1,9,01-02,10]",
    "n8 n9 n08 n09 n10": "n[8-9,08-10]",
    "n9 n10 n010 n011": "n[9-10,010-011]",
    "n99 n100 n101": "n[99-101]",
    "n098 n099 n100": "n[098-100]",
    "n98 n099 n100": "n[98,099-100]",
    "n09 n10 n99 n100": "n[09-10,99-100]",
    "n0 n00 n000": "n[0,00,000]",
    "z b a1 a": "a,a1,b,z",
    "b10a1 b9a1 b1 b c-2 c2 C3 a_1 a1": "C3,a1,a_1,b,b1,b[9-10]a1,c2,c-2",
    "node-1.s1.fr node-2.s1.fr node-3.s2.fr": "node-[1-2].s1.fr,node-3.s2.fr",
    "n-1.g5k.fr n-2.g5k.fr": "n-[1-2].g5k.fr",
    "a1b1 a1b2 a2b1 a2b2": "a[1-2]b[1-2]",
    "a1b1 a1b2 a2b1": "a1b[1-2],a2b1",
    "a1b1 a2b1 a2b2": "a[1-2]b1,a2b2",
    "a10b1 a2b2 a3b10": "a10b1,a2b2,a3b10",
    "a0b5 a1b1 a1b2 a2b1 a2b2": "a[1-2]b[1-2],a0b5",
    "r1c1n1 r1c1n2 r1c2n1 r1c2n2 r2c1n1 r2c1n2 r2c2n1 r2c2n2 r3c1n1": "r[1-2]c[1-2]n[1-2],r3c1n1",
}
"""As `nodeset --fold` of ClusterShell 1.9.1 printed them."""


@pytest.mark.parametrize("names", FOLDED)
def test_folded(names: str) -> None:
    assert fold(names.split()) == FOLDED[names]


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(ClusterError, match=r'host name "n\[1-2\]" holds "\["'):
        fold(["n1", "n[1-2]"])


def test_natural_order() -> None:
    names = ["n10", "n9", "n09", "n1", "n01", "m2", "n", "n1", "a2b10", "a2b9", "a10b1"]
    assert in_order(names) == ["a2b9", "a2b10", "a10b1", "m2", "n", "n1", "n9", "n01", "n09", "n10"]
    assert in_order([]) == []


def some_names(chance: random.Random) -> list[str]:
    """Names that collide and adjoin often: few patterns, few numbers, mixed padding."""
    patterns = chance.sample(
        ["n%s", "gpu-%s.s1.org", "r%sn%s", "r%s-c%s-n%s", "login", "a_%s", "%sx", "10.0.%s.%s"], 3
    )
    pool = [str(chance.randrange(120)).zfill(chance.choice((0, 0, 2, 3))) for _number in range(6)]
    chosen = chance.choices(patterns, k=chance.randrange(40))
    return [pattern % tuple(chance.choices(pool, k=pattern.count("%s"))) for pattern in chosen]


def test_expanding_undoes_folding() -> None:
    chance = random.Random(7)
    for _round in range(500):
        names = some_names(chance)
        text = fold(names)
        assert in_order(expand(text) if text else []) == in_order(names)


def test_the_order_of_the_names_does_not_matter() -> None:
    chance = random.Random(11)
    for _round in range(100):
        names = some_names(chance)
        assert fold(chance.sample(names, len(names))) == fold(names)


@pytest.mark.parametrize(
    "names",
    [
        [f"r{row}n{column}" for row in range(60) for column in range(row)],
        [f"r{number}n{number}" for number in range(500)],
        [f"r{number}n{number + more}" for number in range(500) for more in (0, 1)],
        [".".join(f"{number:08b}") for number in range(256) if number % 7],
    ],
    ids=["triangle", "diagonal", "band", "cube with holes"],
)
def test_shapes_that_fold_badly_lose_nothing(names: list[str]) -> None:
    assert in_order(expand(fold(names))) == in_order(names)
