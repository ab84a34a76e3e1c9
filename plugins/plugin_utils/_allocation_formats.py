# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The formats in which schedulers and people list nodes: one table, ``recognise`` and ``parse``."""

from __future__ import annotations

from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation

FORMATS: dict[str, str] = {}


def recognise(text: str) -> str:
    """The name in FORMATS of the format of ``text``; raises ClusterError when it is none of them."""
    raise NotImplementedError


def parse(
    text: str | bytes, *, source: str, format: str = "auto", job: str | None = None, tasks: str | None = None
) -> list[Allocation]:
    """The allocations that ``text`` holds, one per job; raises ClusterError ``SOURCE, line N: FAULT``."""
    raise NotImplementedError
