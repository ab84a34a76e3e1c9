# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a task declares of one environment: base, file and overrides merged into one complete description."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check, complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import get
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_image import KEPT
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Entry

NOT_INHERITED = ("version", "visibility", "alias")
"""Who derives an environment does not publish it, and does not take its alias over."""

FOLLOWS = frozenset(
    ("version", "oneimage/base", "oneimage/owner", *(f"oneimage/{name}" for name in KEPT if name != "sha256"))
)
"""What says nothing of its own when two versions are compared: it follows from the rest, or from where they came from."""


@dataclass(frozen=True)
class Declaration:
    """``version`` is None where the registry counts; ``description`` is complete and has been checked."""

    owner: str
    name: str
    version: int | None
    description: dict[str, Any]
    warnings: tuple[str, ...] = ()


def declare(
    parts: list[Mapping[str, Any]],
    base: Entry | None,
    facts: Mapping[str, Any] | None,
    owner: str,
) -> Declaration:
    """Merge ``base``, the ``facts`` of the image file, and ``parts`` (the last one wins).

    Raises ClusterError with every fault of the result.
    """
    merged: dict[str, Any] = {}
    for part in parts:
        merged = merge(merged, part)
    name = merged.get("name", base.name if base else None)
    start = inherited(base, base is not None and (base.owner, base.name) == (owner, name))
    if facts or get(merged, "image/file") not in (None, get(start, "image/file")):
        start["oneimage"] = {
            key: value for key, value in start.get("oneimage", {}).items() if key not in KEPT
        }
    description = merge(start, {"image": facts["image"]} if facts else {})
    for part in parts:
        description = merge(description, part)
    oneimage = {**(description.get("oneimage") or {}), **(facts["oneimage"] if facts else {}), "owner": owner}
    if base:
        oneimage["base"] = base.title
    description["oneimage"] = oneimage
    warnings = check(description, f"environment {name or 'without a name'}")
    return Declaration(
        owner, description["name"], merged.get("version"), complete(description), tuple(warnings)
    )


def inherited(base: Entry | None, same: bool) -> dict[str, Any]:
    if base is None:
        return {}
    left_out = ("version",) if same else NOT_INHERITED
    kept = {name: value for name, value in base.description.items() if name not in left_out}
    return copy.deepcopy(kept)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``: mappings merge, anything else replaces, null removes."""
    merged = dict(below)
    for name, value in above.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            under = merged.get(name)
            merged[name] = merge(under if isinstance(under, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two complete descriptions say something else; an image is its bytes, wherever they lie."""
    left, right = dict(flat(one)), dict(flat(other))
    return sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))


def flat(description: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    sha256 = get(description, "oneimage/sha256")
    for name, value in description.items():
        pairs = value.items() if isinstance(value, Mapping) else (("", value),)
        for key, item in pairs:
            path = f"{name}/{key}" if key else name
            if path not in FOLLOWS and not (path == "image/file" and sha256 and sha256 in item):
                yield path, item
