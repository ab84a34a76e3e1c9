# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Sets of nodes as text: Slurm's and Flux's hostlists, Kadeploy's lists, ClusterShell's nodesets.

``node[01-03,07]``, ``rack[1-2]n[01-02].site.org``, ``node[1-10/3]``; ``,`` (or white space) union, ``!`` difference,
``&`` intersection, ``^`` symmetric difference, all of one rank from left to right as in ClusterShell (``nodeset(1)``).
Padding is the width of a range's first number: ``n[08-11]`` is ``n08 n09 n10 n11``. What one program refuses and another
reads, such as Slurm's ``n[01-120]`` and ``n[1-2][3-4]`` or ClusterShell's ``n[1, 3]`` and ``n[1-2].org``, is read; what
may be a slip is not: reversed ranges (nothing to Kadeploy), ``n[1-02]`` (``n1 n2`` to Slurm), ``a,,b`` (``a b`` to Slurm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_fold import fold, in_order
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_names import (
    HOST_NAME,
    LABEL_LENGTH,
    check_name,
    check_names,
    quoted,
)

__all__ = ["HOST_NAME", "LIMIT", "check_name", "check_names", "expand", "fold", "in_order", "quoted"]

LIMIT = 2_000_000
"""How many names one text may stand for, duplicates included: twice the largest inventory that is measured."""

SHOWN_BEFORE = 20
"""How many characters before a missing node an error shows."""

BLANK = " \t\r\n"
SYNTAX = re.compile(r"[][!&^@]")
ITEM = re.compile(r"(?:[^][,!&^ \t\r\n]+|\[[^][]*\])+")
JOINT = re.compile(r"(?=[,!&^ \t\r\n])[ \t\r\n]*([,!&^]?)[ \t\r\n]*")
GROUP = re.compile(r"\[([^][]*)\]")
RANGE = re.compile(r"[ \t]*([0-9]+)[ \t]*(?:-[ \t]*([0-9]+)[ \t]*(?:/[ \t]*([0-9]+)[ \t]*)?)?")
EMPTY_ITEM = re.compile(r"(?:^|,)[ \t\r\n]*(?:,|$)")
SEPARATOR = re.compile(r"[ \t\r\n]*,[ \t\r\n]*|[ \t\r\n]+")


def expand(text: str, *, limit: int = LIMIT) -> list[str]:
    """The names that ``text`` stands for, once each, in the order in which it gives them; the last bracket varies fastest.

    Operators may leave none, an empty text is an error. Raises ClusterError, which quotes the part at fault, for what is
    malformed, for a name that is none (see ``check_name``) and, before anything is expanded, for more than ``limit``.
    """
    stripped = text.strip(BLANK)
    if not stripped:
        raise ClusterError("there is no node in it: the text is empty")
    if not SYNTAX.search(stripped) and not EMPTY_ITEM.search(stripped):
        plain = SEPARATOR.split(stripped, maxsplit=limit)
        if len(plain) > limit:
            raise _too_many(stripped, len(plain), limit)
        return list(dict.fromkeys(check_names(plain)))
    names: dict[str, None] = {}
    room = limit
    for operator, item in _items(stripped):
        found = _expand_item(item, room, limit)
        room -= len(found)
        names = _apply(operator, names, found)
    return list(names)


def _items(text: str) -> Iterator[tuple[str, str]]:
    """Each part of ``text`` after the operator before it; the first counts as one of a union."""
    operator, position = ",", 0
    while True:
        item = ITEM.match(text, position)
        if not item:
            raise _misplaced(text, position, position)
        yield operator, item[0]
        if item.end() == len(text):
            return
        joint = JOINT.match(text, item.end())
        if not joint:
            raise _misplaced(text, item.start(), item.end())
        operator, position = joint[1] or ",", joint.end()


def _misplaced(text: str, start: int, position: int) -> ClusterError:
    """Why the part of a nodeset that begins at ``start`` cannot be read at ``position``."""
    rest = text[position:]
    if rest[:1] == "]":
        return ClusterError(f'{quoted(text[start : position + 1])}: "]" closes no bracket')
    if rest[:1] == "[":
        nested = "[" in rest[1:].partition("]")[0]
        fault = "a bracket opens inside a bracket" if nested else "the bracket is not closed"
        return ClusterError(f"{quoted(text[start:])}: {fault}")
    return ClusterError(
        f"{quoted(text[max(0, position - SHOWN_BEFORE) :])}: a node is missing at character {position + 1}, "
        f"where two separators meet or one has nothing before or behind it"
    )


def _expand_item(item: str, room: int, limit: int) -> list[str]:
    if item[0] == "@":
        raise ClusterError(
            f"{quoted(item)} is a group, which only the machine where ClusterShell has it configured can resolve: "
            f"write the nodes that `nodeset --expand` prints there"
        )
    parts = GROUP.split(item)
    if len(parts) == 1:
        if room < 1:
            raise _too_many(item, limit + 1, limit)
        return [check_name(item)]
    count, groups = 1, []
    for body in parts[1::2]:
        groups.append(_ranges(item, body, limit))
        count *= sum(_length(numbers) for numbers, _width in groups[-1])
        if count > room:
            raise _too_many(item, count + limit - room, limit)
    longest = [max((f"{numbers[-1]:0{width}d}" for numbers, width in ranges), key=len) for ranges in groups]
    check_name("".join(text for pair in zip(parts[::2], [*longest, ""]) for text in pair))
    names = [parts[0]]
    for ranges, literal in zip(groups, parts[2::2]):
        written = [text for numbers, width in ranges for text in map(f"%0{width}d{literal}".__mod__, numbers)]
        names = [name + number for name in names for number in written]
    return names


def _ranges(item: str, body: str, limit: int) -> list[tuple[range, int]]:
    """What one pair of brackets in ``item`` holds, as numbers and the width to which they are padded."""
    if body.count(",") >= limit:
        raise _too_many(item, body.count(",") + 1, limit)
    ranges = []
    for part in body.split(","):
        found = RANGE.fullmatch(part)
        if not found:
            raise ClusterError(
                f"{quoted(item)}: {quoted(part)} is no number and no range like 1-10 or 1-10/2"
            )
        first, last, step = found[1], found[2] or found[1], found[3] or "1"
        if max(map(len, (first, last, step))) > LABEL_LENGTH:
            raise ClusterError(f"{quoted(item)}: {quoted(part)} has more digits than a host name may have")
        if int(first) > int(last):
            raise ClusterError(f"{quoted(item)}: the range {quoted(part.strip())} runs backwards")
        if len(last) > len(first) and last[0] == "0":
            raise ClusterError(
                f"{quoted(item)}: the ends of the range {quoted(part.strip())} are padded differently"
            )
        if not int(step):
            raise ClusterError(f"{quoted(item)}: the range {quoted(part.strip())} has a step of 0")
        ranges.append((range(int(first), int(last) + 1, int(step)), len(first) if first[0] == "0" else 0))
    return ranges


def _length(numbers: range) -> int:
    """Of a range that is not empty; ``len`` fails above 2^63."""
    return (numbers[-1] - numbers[0]) // numbers.step + 1


def _too_many(text: str, count: int, limit: int) -> ClusterError:
    return ClusterError(f"{quoted(text)} makes {count} nodes or more, {limit} at most are read")


def _apply(operator: str, names: dict[str, None], found: list[str]) -> dict[str, None]:
    """One step from left to right, in a time that all that was named so far bounds: ``&`` leaves no more than it got."""
    if operator == ",":
        names.update(dict.fromkeys(found))
    elif operator == "&":
        wanted = set(found)
        return {name: None for name in names if name in wanted}
    else:
        for name in dict.fromkeys(found):
            if name in names:
                del names[name]
            elif operator == "^":
                names[name] = None
    return names
