# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a running node says of itself, against what was declared for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

COMPARED = ("cmdline", "root", "kernel", "image_id")
"""The answers that a declaration is compared with."""
MAY_BE_EMPTY = ("image_id",)
"""What a root that this collection has not made does not say."""


def parse_answers(output: str, questions: Sequence[str]) -> dict[str, str]:
    """The answers, printed as ``QUESTION TEXT`` lines, by question; raises ClusterError naming each that is missing."""
    answers: dict[str, str] = {}
    for line in output.splitlines():
        question, _space, text = line.partition(" ")
        if question in questions:
            answers[question] = text.strip()
    missing = [
        question
        for question in (*COMPARED, *questions)
        if not answers.get(question) and not (question in MAY_BE_EMPTY and question in answers)
    ]
    if missing:
        raise ClusterError(f"the node did not answer: {', '.join(dict.fromkeys(missing))}")
    return answers


def mismatches(answers: Mapping[str, str], declared: Mapping[str, Any]) -> list[str]:
    """One sentence per answer that differs from ``declared``; an empty list is the proof.

    ``declared`` holds ``image_id``, ``kernel``, ``root_mode``, ``root`` (SERVER:/PATH) and ``parameters`` (a list),
    all of which the node must show; an empty ``image_id`` is not compared.
    """
    filesystem, source = (answers["root"].split() + [""])[:2]
    found = []
    if declared["image_id"] and answers["image_id"] != declared["image_id"]:
        found.append(f"image id is {answers['image_id'] or 'unknown'}, declared {declared['image_id']}")
    if answers["kernel"] != declared["kernel"]:
        found.append(f"kernel is {answers['kernel']}, declared {declared['kernel']}")
    if declared["root_mode"] == "nfs_ro":
        if filesystem != "overlay":
            found.append(f"/ is {filesystem}, declared an overlay (nfs_ro)")
    elif (filesystem, source) not in {("nfs", declared["root"]), ("nfs4", declared["root"])}:
        found.append(
            f"/ is {filesystem} from {source}, declared NFS from {declared['root']} ({declared['root_mode']})"
        )
    given = shlex.split(answers["cmdline"])
    absent = [parameter for parameter in declared["parameters"] if parameter not in given]
    if absent:
        found.append(f"/proc/cmdline lacks {' '.join(absent)}")
    return found
