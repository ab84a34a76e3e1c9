# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a flavour's rules say of a process: why something cannot be, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, Said, line
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import read_text
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import search

Fields = Mapping[str, Any]
Rules = Sequence[Mapping[str, Any]]


def failure(said: Said, known: Rules, fields: Fields) -> str | None:
    """Why the command failed, in the words of the flavour where it knows them; None if it did not fail.

    Some of these programs exit with 0 after a failure, so that what they print counts too.
    """
    for rule in known:
        found = search(rule["match"], said.text)
        if found:
            return f"{told(rule, fields, found)} ({line(said.err or said.out)})"
    return f"exit code {said.code}: {line(said.err or said.out)}" if said.code else None


def refusal(entry: Entry, rules: Rules, fields: Fields) -> str | None:
    """The reason of the first rule that refuses, None if there is none."""
    for rule in rules:
        found = search(rule["match"], read_text(entry, rule["file"].format_map(fields)) or "")
        if found and out_of_bounds(rule, found.groupdict()):
            return told(rule, fields, found)
    return None


def out_of_bounds(rule: Mapping[str, Any], groups: Mapping[str, str]) -> bool:
    """Whether one of the numbers that a rule found is beyond its bounds; a rule without bounds always refuses."""
    if not rule["at_least"] and not rule["at_most"]:
        return True
    return any(int(groups[name]) < bound for name, bound in rule["at_least"].items()) or any(
        int(groups[name]) > bound for name, bound in rule["at_most"].items()
    )


def told(rule: Mapping[str, Any], fields: Fields, found: re.Match[str]) -> str:
    """The rule's meaning with the fields of the task and what it found."""
    return str(rule["means"]).format_map({**fields, **found.groupdict()})
