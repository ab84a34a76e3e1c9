# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: table
short_description: Rows as aligned lines of text
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes a list of lines, a header first, for a message that people read. Columns of numbers are aligned at the right.
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  columns:
    description: The keys to show, in this order. Default is all keys of the rows, in the order in which they first appear.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the nodes
  ansible.builtin.debug:
    msg: "{{ nodes | oneimage.cluster.table(['name', 'address', 'seconds']) }}"
  vars:
    nodes:
      - {name: n1, address: 10.77.0.11, seconds: 41}
      - {name: n2, address: 10.77.0.12, seconds: 115}
"""

RETURN = r"""
_value:
  description: The lines. A missing or null value is shown as C(-).
  type: list
  elements: str
  sample:
    - name  address     seconds
    - n1    10.77.0.11       41
    - n2    10.77.0.12      115
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

GAP = "  "


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> list[str]:
    listed = list(rows)
    if not all(isinstance(row, Mapping) for row in listed):
        raise AnsibleFilterError("table: each row must be a dictionary")
    names = list(columns or dict.fromkeys(key for row in listed for key in row))
    cells = [[text(row.get(name)) for name in names] for row in listed]
    widths = [max(map(width, column)) for column in zip(names, *cells)]
    numeric = [is_numeric([row.get(name) for row in listed]) for name in names]
    return [GAP.join(map(padded, line, widths, numeric)).rstrip() for line in (names, *cells)]


def text(value: Any) -> str:
    """A value in one line: a line break or a terminal's control character would tear the table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, value))
    return "".join(char if char.isprintable() else " " for char in str(value))


def is_numeric(values: Sequence[Any]) -> bool:
    numbers = [value for value in values if value is not None]
    return bool(numbers) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers
    )


def width(cell: str) -> int:
    """Columns that a terminal gives to ``cell``: East Asian letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in cell
    )


def padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - width(cell))
    return space + cell if right else cell + space


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"table": table}
