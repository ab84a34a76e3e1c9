# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What module ``deployment_info`` answers: the history, what runs now, and one deployment's journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_history as history
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_folder import (
    Folder,
    parse_id,
    running,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import (
    State,
    read_records,
    read_state,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import of_journal


def look(options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the module; raises ClusterError for an option that is wrong and a deployment that is not there."""
    top = Path(options["deployments"])
    if options["limit"] is not None and options["limit"] < 1:
        raise ClusterError(f"limit: {options['limit']} is less than 1")
    moments = {name: parse_moment(name, options[name]) for name in ("since", "until")}
    answer = history.ask(top / "history.sqlite", {**options, **moments})
    for one in answer["deployments"]:
        one["running"] = running(top, one["id"])
    if options["deployment"]:
        folder = Folder(top, parse_id(options["deployment"]))
        if not folder.journal.is_file():
            raise ClusterError(f"deployment: there is no {options['deployment']} in {top}")
        now = running(top, options["deployment"])
        answer["journal"] = report(read_state(folder.journal), options["nodes"], now)
        answer["timeline"] = of_journal(read_records(folder.journal)[0])
    return answer


def parse_moment(name: str, text: str | None) -> float | None:
    """Seconds since 1970 of a date, or of seconds; raises ClusterError."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError as error:
        raise ClusterError(
            f"{name}: {text!r} is neither a date such as 2026-11-21 or 2026-11-21 16:30 nor seconds since 1970"
        ) from error


def report(state: State, only: list[str], now: bool) -> dict[str, Any]:
    """How far each node is."""
    return {
        "running": now,
        "begun": state.begun,
        "last": state.last,
        "order": state.order,
        "nodes": {name: vars(node) for name, node in state.nodes.items() if name in (only or [name])},
    }
