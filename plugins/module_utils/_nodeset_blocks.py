# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Fold names that vary in several numbers at once: points of a grid to few blocks, each a product of sets of numbers.

The fewest blocks are not looked for (that is NP-hard), but those of ClusterShell, whose greedy merge is repeated step by
step (``RangeSetND._fold_multivariate_merge`` of 1.9.1): blocks are sorted, neighbours that differ along one axis merge
until none does, then any two that do. ClusterShell compares all pairs in the last step; here the partner is looked up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import filterfalse, islice
from math import prod
from operator import xor
from random import getrandbits
from typing import Any

Axis = list[str]
"""The numbers of a block along one axis, as they are written, distinct."""


class _Block:
    """A product of sets, never overlapping another block: two that differ along one axis only have a product as union.

    A set is known by its mark, the exclusive or of one random 128-bit number per axis and member, and all sets of a block
    by the exclusive or of their marks. Unlike the sets themselves, marks are merged and compared in one step.
    """

    __slots__ = ("axes", "marks")

    def __init__(self, axes: list[Axis], marks: list[int]) -> None:
        self.axes = axes
        self.marks = marks

    def absorb(self, other: _Block, axis: int) -> None:
        self.axes[axis] += other.axes[axis]
        self.marks[axis] ^= other.marks[axis]

    def rank(self) -> tuple[Any, ...]:
        """ClusterShell's order: large blocks first, then by size, first and last number (as text) of each axis."""
        ends = []
        for axis in self.axes:
            ordered = sorted(axis, key=_natural)
            ends.append((-len(axis), ordered[0], ordered[-1]))
        return -prod(map(len, self.axes)), tuple(ends)

    def merge_keys(self) -> list[tuple[int, int]]:
        """For each axis what two blocks share that may merge along it: the marks of all others."""
        together = reduce(xor, self.marks)
        return [(axis, together ^ mark) for axis, mark in enumerate(self.marks)]


def _natural(number: str) -> tuple[int, str]:
    return len(number), number


def blocks_of(points: Iterable[tuple[str, ...]]) -> list[list[Axis]]:
    """Distinct points, each a tuple of numbers as they are written -> blocks that hold each point once."""
    ordered = sorted(points)
    marks: list[dict[str, int]] = [defaultdict(lambda: getrandbits(128)) for _axis in ordered[0]]
    single = (
        _Block([[number] for number in point], [mark[number] for mark, number in zip(marks, point)])
        for point in ordered
    )
    blocks = _merge_neighbours(single)
    merge: Callable[[Iterable[_Block]], list[_Block]] = _merge_neighbours
    while True:
        blocks.sort(key=_Block.rank)
        merged = merge(blocks)
        if len(merged) == len(blocks):
            if merge is _merge_any:
                return [block.axes for block in merged]
            merge = _merge_any
        blocks = merged


def _merge_neighbours(blocks: Iterable[_Block]) -> list[_Block]:
    merged: list[_Block] = []
    for block in blocks:
        if merged:
            differing = [
                n for n, (one, other) in enumerate(zip(merged[-1].marks, block.marks)) if one != other
            ]
            if len(differing) == 1:
                merged[-1].absorb(block, differing[0])
                continue
        merged.append(block)
    return merged


def _merge_any(blocks: Iterable[_Block]) -> list[_Block]:
    """Each block with the next one that it may merge with, then with the next after that one, and so on."""
    ordered = list(blocks)
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, block in enumerate(ordered):
        for key in block.merge_keys():
            places[key].append(place)
    gone: set[int] = set()
    merged = []
    for place, block in enumerate(ordered):
        if place in gone:
            continue
        merged.append(block)
        at = place
        while True:
            candidates = []
            for key in block.merge_keys():
                there = places.get(key, [])
                after = (there[n] for n in range(bisect_right(there, at), len(there)))
                candidates += [
                    (nearest, key[0]) for nearest in islice(filterfalse(gone.__contains__, after), 1)
                ]
            if not candidates:
                break
            at, axis = min(candidates)
            gone.add(at)
            block.absorb(ordered[at], axis)
    return merged
