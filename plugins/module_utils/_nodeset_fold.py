# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Names of nodes to the shortest text that stands for them, and their natural order.

The text is the one of ``nodeset --fold`` (ClusterShell 1.9, default settings), character for character. It is also the one
of ``scontrol show hostlistsorted`` (Slurm) except where the two differ:

* Slurm folds the last number of a name only, and only where nothing follows it: ``a[1-2]b[1-2]``, ``a[1-2]b1`` and
  ``n[1-2].org`` are ClusterShell's. ``scontrol`` reads the first, but nothing that stands behind the last bracket.
* Slurm folds ``n01`` to ``n120`` as ``n[01-120]``, which ClusterShell refuses to read; its own is ``n[01-99,100-120]``.

Text and time grow with the number of names; names that vary in several numbers at once cost a few passes more.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_blocks import blocks_of
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_names import check_names

NUMBER = re.compile(r"[0-9]+")
HOLE = "%s"
"""Stands for a number in a pattern of names; no name holds a percent sign, and patterns sort as ClusterShell's."""


def fold(names: Iterable[str]) -> str:
    """``["n1", "n2", "n3", "gpu-07"]`` -> ``gpu-07,n[1-3]``; nothing for no names; raises ClusterError for a bad name."""
    groups = _by_pattern(dict.fromkeys(check_names(names)))
    return ",".join(text for pattern in sorted(groups) for text in _fold_pattern(pattern, groups[pattern]))


def in_order(names: Iterable[str]) -> list[str]:
    """``names`` once each in natural order: by what stands around the numbers, then number by number.

    A longer number comes after a shorter one, so that padding does not mix: 1 2 10 01 02 is ``1 2 01 02 10``.
    """
    ordered: list[str] = []
    groups = _by_pattern(dict.fromkeys(check_names(names)))
    for pattern in sorted(groups):
        vectors = list(zip(*_columns(pattern, groups[pattern]))) or [()]
        for axis in reversed(range(pattern.count(HOLE))):
            vectors.sort(key=itemgetter(axis))
            vectors.sort(key=_digits(axis))
        ordered += map(pattern.__mod__, vectors)
    return ordered


def _digits(axis: int) -> Callable[[Sequence[str]], int]:
    return lambda vector: len(vector[axis])


def _by_pattern(names: Iterable[str]) -> dict[str, list[str]]:
    """Distinct checked names under what they share: ``n1``, ``n2`` under ``n%s``."""
    groups: dict[str, list[str]] = defaultdict(list)
    known = list(names)
    if known:
        for pattern, name in zip(NUMBER.sub(HOLE, "\n".join(known)).split("\n"), known):
            groups[pattern].append(name)
    return groups


def _columns(pattern: str, names: Sequence[str]) -> list[list[str]]:
    """The numbers of all ``names`` of one pattern, a list for each place where the pattern has one."""
    axes = pattern.count(HOLE)
    numbers = NUMBER.findall("\n".join(names)) if axes else []
    return [numbers[axis::axes] for axis in range(axes)]


def _fold_pattern(pattern: str, names: Sequence[str]) -> list[str]:
    columns = _columns(pattern, names)
    varying = [len(set(column)) > 1 for column in columns]
    if sum(varying) > 1:
        blocks = blocks_of(zip(*columns))
    else:
        blocks = [[column if varies else column[:1] for column, varies in zip(columns, varying)]]
    return [pattern % tuple(map(_fold_numbers, block)) for block in blocks]


def _fold_numbers(numbers: Sequence[str]) -> str:
    """Distinct numbers -> ``[1-3,07]``, or the only one without brackets. A run ends where the padding changes."""
    runs: list[tuple[str, str]] = []
    for members in map(itemgetter(1), groupby(sorted(sorted(numbers), key=len), key=len)):
        same = list(members)
        values = list(map(int, same))
        ends = [at for at, (low, high) in enumerate(zip(values, values[1:]), 1) if high - low != 1]
        found = [(same[start], same[end - 1]) for start, end in zip([0, *ends], [*ends, len(same)])]
        if runs and not _padded(runs[-1][0]) and not _padded(same[0]) and values[0] - int(runs[-1][1]) == 1:
            found[0] = (runs.pop()[0], found[0][1])
        runs += found
    if len(numbers) == 1:
        return numbers[0]
    return f"[{','.join(low if low == high else f'{low}-{high}' for low, high in runs)}]"


def _padded(number: str) -> bool:
    return len(number) > 1 and number[0] == "0"
