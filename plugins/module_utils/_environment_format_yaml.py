# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy's YAML: what version 3.3 takes, and the current one with alias, arch, zstd and custom variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import TARGETS
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import (
    Loss,
    Reading,
    Written,
    losses,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import (
    read_mapping,
    write_document,
)


def read_yaml(text: str, where: str) -> list[Reading]:
    """Every document of ``text``; ``kaenv3 -p`` prints one for each architecture."""
    return [Reading(description) for description in read_mapping(text, where)]


def write_current(description: Mapping[str, Any]) -> Written:
    """``description``, complete, as text; nothing is lost."""
    return Written(write_document(description), tuple(losses(description, "current")))


def write_33(description: Mapping[str, Any]) -> Written:
    """As ``write_current``, without the fields that version 3.3 refuses, or forgets with a warning.

    Unknown fields and ``oneimage`` stay in the text, where they do no harm, but are reported.
    """
    kept = {name: value for name, value in description.items() if name not in TARGETS["3.3"].lacks}
    partitions = (kept.pop("options", None) or {}).get("partitions")
    if partitions:
        # version 3.3 refuses options that are there without partitions
        kept["options"] = {"partitions": partitions}
    return Written(write_document(kept), (*losses(description, "3.3"), *separator_losses(description)))


def separator_losses(description: Mapping[str, Any]) -> Iterator[Loss]:
    for index, item in enumerate(description.get("postinstalls", [])):
        if "," in item["script"] or "|" in item["script"]:
            reason = (
                "Kadeploy 3.3 keeps post-installs in one text, separated by | and commas, and quotes neither"
            )
            yield Loss(f"postinstalls[{index}]/script", reason)
