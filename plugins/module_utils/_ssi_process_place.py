# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Where a process of a session runs, and how it gets to another node."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, fill, line
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import (
    ask,
    find,
    read_lines,
    read_text,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_rules import Fields, failure
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import search

POLL_SECONDS = 0.2


def place_of(entry: Entry, where: Mapping[str, Any], pid: int) -> str | None:
    """The node that process ``pid`` runs on, as the flavour writes nodes; None if the session has no such process.

    ``where`` is ``{file | argv, match, none, nodes}``. ``match`` gives the node as its group ``node_id``, or other groups
    by which ``nodes`` finds it among files that each node has: ``{folder, name, node_id: regex of the path, match}``.
    ``none`` is what ``argv`` prints where there is no such process. Raises ClusterError where it fails otherwise.
    """
    if where["file"]:
        text = read_text(entry, where["file"].format(pid=pid))
    else:
        said = ask(entry, fill(where["argv"], pid=pid))
        if said.code and not search(where["none"], said.text):
            raise ClusterError(f"cannot tell where process {pid} is: {line(said.err or said.out)}")
        text = None if said.code else said.out
    found = search(where["match"], text or "")
    if found is None:
        return None
    groups = found.groupdict()
    return groups["node_id"] if "node_id" in groups else _node_with(entry, where["nodes"], groups, pid)


def _node_with(entry: Entry, nodes: Mapping[str, str], wanted: Mapping[str, str], pid: int) -> str:
    """The node one of whose lines has the ``wanted`` groups, as a processor's number that is unique in the session."""
    paths = find(entry, nodes["folder"], "-name", nodes["name"])
    for path, lines in read_lines(entry, paths).items():
        named = re.search(nodes["node_id"], path)
        for text in lines:
            found = re.search(nodes["match"], text)
            if named and found and found.groupdict() == dict(wanted):
                return named["node_id"]
    listed = ", ".join(f"{name} {value}" for name, value in wanted.items())
    raise ClusterError(f"process {pid} runs on {listed}, which no {nodes['name']} in {nodes['folder']} lists")


def reached(migrate: Mapping[str, Any], target: str) -> str | None:
    """What ``place_of`` says of a process that is there: ``home`` may have a number; None: the kernel chooses the node.

    Raises ClusterError for what is neither a node's number nor a word that the flavour knows.
    """
    words: Mapping[str, Any] = migrate["targets"]
    if target in words:
        return None if words[target] is None else str(words[target])
    if re.fullmatch(r"\d+", target):
        return str(int(target))
    known = " or ".join(["a node's number", *words])
    raise ClusterError(f'node_id "{target}": no process can be migrated there; take {known}')


def move(
    entry: Entry, section: Mapping[str, Any], fields: Fields, goal: str | None, before: str, timeout: float
) -> str | None:
    """Migrate process ``pid`` of ``fields`` to its ``node_id``, wait until it is at ``goal``, and say where it is then.

    Raises ClusterError that tells where the process is, as soon as the command fails or ``timeout`` seconds are over.
    """
    pid, target = fields["pid"], fields["node_id"]
    said = entry.run(fill(section["migrate"]["argv"], **fields), timeout=timeout)
    failed = failure(said, section["migrate"]["failures"], fields)
    if failed:
        raise ClusterError(
            f"cannot migrate process {pid} to {target}: {failed}; {_told(entry, section, pid, before)}"
        )
    end = time.monotonic() + timeout
    while True:
        place = place_of(entry, section["where"], pid)
        if goal in (None, place):
            return place
        if time.monotonic() > end:
            raise ClusterError(
                f"process {pid} did not reach {target} within {timeout:g} s; "
                f"{_told(entry, section, pid, before)}"
            )
        time.sleep(POLL_SECONDS)


def _told(entry: Entry, section: Mapping[str, Any], pid: int, before: str) -> str:
    place = place_of(entry, section["where"], pid)
    if place is None:
        return f"it was on node {before}, and no node of the session has it now: restart it from a checkpoint"
    return f"it is still on node {place}" if place == before else f"it is on node {place} now"
