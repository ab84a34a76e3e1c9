# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which environments a user sees, in which order, and which one is meant by a name: the rules of Kadeploy."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Listing,
    Registry,
    Specification,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def visible(entry: Entry, user: str, owner: str | None) -> bool:
    """One's own; those of a named owner that are public or shared; without an owner, others' public ones."""
    if owner is not None and entry.owner != owner:
        return False
    if entry.owner == user or entry.visibility == "public":
        return True
    return owner is not None and entry.visibility == "shared"


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Public, private, shared, then by name; versions upwards."""
    order = {name: place for place, name in enumerate(("public", "private", "shared"))}
    return sorted(
        entries, key=lambda entry: (order[entry.visibility], entry.name, entry.owner, entry.version)
    )


def newest(entries: Iterable[Entry]) -> list[Entry]:
    """The highest version of each owner's each name."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        key = (entry.owner, entry.name)
        if key not in found or found[key].version < entry.version:
            found[key] = entry
    return list(found.values())


def matching(pattern: str, name: str) -> bool:
    """Whether ``name`` fits ``pattern``, in which % stands for any text."""
    expression = ".*".join(re.escape(part) for part in pattern.split("%"))
    return re.fullmatch(expression, name, re.DOTALL) is not None


def candidates(listing: Listing, wanted: Specification, user: str) -> list[Entry]:
    """The versions that ``wanted`` may mean: the user's own if there are any, else others'."""
    seen = [
        entry
        for entry in listing.entries
        if entry.name == wanted.name
        and wanted.version in (None, entry.version)
        and wanted.arch in (None, entry.description.get("arch"))
        and visible(entry, user, wanted.owner)
    ]
    return [entry for entry in seen if entry.owner == user] or seen


def find(registry: Registry, wanted: Specification, user: str) -> Entry:
    """The one environment that ``wanted`` means to ``user``: the highest version, of the first owner by name.

    Raises ClusterError if there is none; a private one of somebody else is none.
    """
    listing = registry.listing(wanted.name, wanted.owner)
    found = candidates(listing, wanted, user)
    if not found:
        others = [entry.title for entry in listing.entries if visible(entry, user, wanted.owner)]
        hint = f"; there are {', '.join(others)}" if others else ""
        broken = f"; not readable: {'; '.join(listing.faults)}" if listing.faults else ""
        raise ClusterError(f"there is no environment {described(wanted)} that {user} can see{hint}{broken}")
    return max(sorted(found, key=lambda entry: entry.owner), key=lambda entry: entry.version)


def described(wanted: Specification) -> str:
    return "".join(
        (
            repr(wanted.name),
            f" of {wanted.owner}" if wanted.owner else "",
            f", version {wanted.version}" if wanted.version is not None else "",
            f", for {wanted.arch}" if wanted.arch else "",
        )
    )
