# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Text of the programs of an SSI cluster, which rewrite their own lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MOST_NODES = 65536
"""How many numbers one line may stand for: a line that claims more is no list of nodes."""


def clean(text: str) -> str:
    """``text`` as a terminal shows it: backspaces and carriage returns go back, what follows writes over.

    krgadm counts the nodes that joined by ``%4d/%-4d`` and nine backspaces (tools/krgadm.c).
    """
    return "\n".join(shown(line) if "\b" in line or "\r" in line else line for line in text.split("\n"))


def shown(line: str) -> str:
    cells: list[str] = []
    at = 0
    for character in line:
        if character == "\b":
            at = max(0, at - 1)
        elif character == "\r":
            at = 0
        else:
            cells[at : at + 1] = [character]
            at += 1
    return "".join(cells)


def parse_nodes(text: str, rule: Mapping[str, Any]) -> dict[int, str]:
    """Nodes with their states from the lines that ``rule['line']`` matches.

    Groups ``node_id`` (decimal or 0x...), ``state`` (translated by ``rule['states']``), ``count`` (so many numbers from
    that one on). Where there is no state the node is ``possible``. Raises ClusterError for a state without translation,
    and where no line at all is understood.
    """
    pattern = re.compile(rule["line"])
    nodes: dict[int, str] = {}
    foreign = []
    for line in filter(str.strip, text.splitlines()):
        match = pattern.search(line)
        if match is None:
            foreign.append(line.strip())
            continue
        found = match.groupdict()
        state = "possible"
        if found.get("state") is not None:
            if found["state"] not in rule["states"]:
                raise ClusterError(f"{line.strip()!r}: unknown state {found['state']!r}")
            state = rule["states"][found["state"]]
        first, count = int(found["node_id"], 0), int(found.get("count") or 1)
        if count > MOST_NODES:
            raise ClusterError(f"{line.strip()!r}: no cluster has {count} nodes")
        nodes.update(dict.fromkeys(range(first, first + count), state))
    if foreign and not nodes:
        raise ClusterError(f"no list of nodes: {foreign[0]!r}")
    return nodes


def search(pattern: str | None, text: str) -> re.Match[str] | None:
    """The first match in ``text``, where ``^`` and ``$`` are those of a line; None without a pattern."""
    return re.search(pattern, text, re.MULTILINE) if pattern is not None else None


def number(text: str) -> int | float | str:
    """A value from a table: a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
