# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A text that lists nodes: decoded, limited, and able to say in which line a fault lies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MAX_TEXT = 64 << 20
"""Bytes or characters of one text: 64 MiB hold a node file of half a million nodes with four cores each."""
MAX_LINE = 1 << 20
"""Characters of one line: folded lists of whole sites are far below, broken files are above."""


@dataclass(frozen=True)
class NodeText:
    """``text`` as read from ``source``, without byte order mark, its lines ending in a newline alone."""

    source: str
    text: str

    @cached_property
    def entries(self) -> dict[str, int]:
        """Line -> how often it is there, in the order of appearance; without blanks at its ends, empty lines and
        comments (``#`` first). Distinct lines, because a node file repeats each many times."""
        entries = Counter(map(str.strip, self.text.split("\n")))
        entries.pop("", None)
        if self.commented:
            for comment in [entry for entry in entries if entry.startswith("#")]:
                del entries[comment]
        return dict(entries)

    @cached_property
    def commented(self) -> bool:
        return "#" in self.text

    def fault(self, fault: object, within: str | None = None, line: int | None = None) -> ClusterError:
        """``SOURCE, line N: FAULT``; N is ``line``, or the first line that is, or else holds, ``within``."""
        line = self.line_of(within) if within else line
        return ClusterError(f"{self.source}{f', line {line}' if line else ''}: {fault}")

    def line_of(self, part: str) -> int | None:
        lines = self.text.split("\n")
        exact = (number for number, line in enumerate(lines, 1) if line.strip() == part)
        holding = (number for number, line in enumerate(lines, 1) if part in line)
        return next(exact, None) or next(holding, None)


def read_text(text: str | bytes, source: str) -> NodeText:
    """``text`` decoded from UTF-8; raises ClusterError for what no list of nodes holds: binary data, lines of more
    than MAX_LINE characters, more than MAX_TEXT in all. Silently accepts a byte order mark and CRLF."""
    if len(text) > MAX_TEXT:
        raise ClusterError(f"{source}: {len(text)} bytes are no list of nodes; the limit is {MAX_TEXT}")
    if isinstance(text, bytes):
        text = decoded(text, source)
    found = NodeText(source, text.removeprefix("\ufeff").replace("\r\n", "\n"))
    if "\0" in found.text:
        raise found.fault("binary data (a zero byte), not a list of nodes", "\0")
    start = overlong(found.text)
    if start is not None:
        line = found.text.count("\n", 0, start) + 1
        raise found.fault(f"the line is longer than the limit of {MAX_LINE} characters", line=line)
    return found


def overlong(text: str) -> int | None:
    """Where a line of more than MAX_LINE characters begins; looks at few places of a text of short lines."""
    start = 0
    while len(text) - start > MAX_LINE:
        end = text.rfind("\n", start, start + MAX_LINE + 1)
        if end < 0:
            return start
        start = end + 1
    return None


def decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fault = f"binary data (byte 0x{data[error.start]:02x} is no UTF-8), not a list of nodes"
        raise ClusterError(f"{source}, line {line}: {fault}") from None
