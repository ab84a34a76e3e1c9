# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What one job of a scheduler, or one list of nodes, gives: nodes and their slots."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """The nodes that one source gives for one job.

    ``source``: what the user wrote, for messages, such as ``file /home/alice/nodes``.
    ``format``: the name in FORMATS (_allocation_formats.py) by which the text was read.
    ``nodes``: name -> slots (cores, or whatever the scheduler counts), in the order of appearance, never empty.
    A format that counts no slots gives 1 each.
    ``job``: the job's id as the scheduler spells it; None where neither the text nor the caller knows it.
    ``expires``: when the job ends, in Unix seconds; None where it is not known.
    ``state``: the scheduler's own word, such as ``Running``; None where the text does not say it.
    """

    source: str
    format: str
    nodes: dict[str, int]
    job: str | None = None
    expires: int | None = None
    state: str | None = None


@dataclass(frozen=True)
class Claim:
    """What a parser finds: one job's nodes, not yet checked, or ``fault``, why this job's nodes cannot be used.

    A fault is raised only if the caller wants this job: a list of several may hold others that are over.
    """

    nodes: dict[str, int]
    job: str | None = None
    expires: int | None = None
    state: str | None = None
    fault: str | None = None
