# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Names of hosts: what the field's schedulers print, and nothing that a shell, a template or a path could take for more.

RFC 1123 (2.1) with two departures: ``_`` is allowed, since sites use it; a bare number is refused, although the grammar
has it, since every resolver reads ``42`` as the address 0.0.0.42, and since it mostly is a count that was read as a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NAME_LENGTH = 253
LABEL_LENGTH = 63
"""Characters of a name, and of each of its parts between dots (RFC 1035, 2.3.4, without the final dot)."""
SHOWN_LENGTH = 60
"""How much of what was written an error shows."""

_LABEL = rf"(?![A-Za-z0-9_-]{{{LABEL_LENGTH + 1}}})[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*"
HOST_NAME = re.compile(
    rf"(?![A-Za-z0-9._-]{{{NAME_LENGTH + 1}}})(?![0-9]+(?![A-Za-z0-9._-])){_LABEL}(?:\.{_LABEL})*"
)
"""One host name, without groups or anchors: for ``fullmatch``, or as a part of the pattern of a whole text."""
FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")


def quoted(text: str) -> str:
    """``text`` for an error message: shortened, in quotes, control characters spelled out."""
    shown = repr(text[:SHOWN_LENGTH])[1:-1].replace("\\'", "'")
    return f'"{shown}{"…" if len(text) > SHOWN_LENGTH else ""}"'


def check_name(name: str) -> str:
    """The host name as it is (case kept); raises ClusterError that quotes it and says what is wrong."""
    if HOST_NAME.fullmatch(name):
        return name
    forbidden = FORBIDDEN.search(name)
    if not name:
        fault = "is empty"
    elif forbidden:
        fault = (
            f"holds {quoted(forbidden[0])}: only letters, digits, hyphen, underscore and dot may stand in it"
        )
    elif len(name) > NAME_LENGTH:
        fault = f"has {len(name)} characters, {NAME_LENGTH} at most are allowed"
    elif name.isdigit():
        fault = "is a bare number, which is read as an address"
    else:
        fault = f"has a part between dots that is empty, longer than {LABEL_LENGTH} or begins or ends with a hyphen"
    raise ClusterError(f"host name {quoted(name)} {fault}")


def check_names(names: Iterable[str]) -> list[str]:
    """All ``names`` as a list; raises ClusterError for the first one that ``check_name`` refuses."""
    match = HOST_NAME.fullmatch
    checked = list(names)
    for name in checked:
        if not match(name):
            check_name(name)
    return checked
