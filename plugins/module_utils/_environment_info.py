# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a registry holds, as one user sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment import current_user, open_registry
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check_owner
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_lookup import (
    candidates,
    in_order,
    matching,
    newest,
    visible,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Registry,
    Specification,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import write_document


def look(options: Mapping[str, Any]) -> dict[str, Any]:
    """The module ``environment_info``: its result and ``warnings``; raises ClusterError for a wrong option.

    A name without % is looked up as a deployment does; a pattern, or no name, lists.
    """
    registry = open_registry(options["registry"])
    user = check_owner(options["user"] or options["owner"] or registry.user or current_user())
    owner = check_owner(options["owner"]) if options["owner"] else None
    name, version, arch = options["name"], options["version"], options["arch"]
    exact = name is not None and "%" not in name
    listing = registry.listing(name if exact else None, owner)
    if exact:
        seen = candidates(listing, Specification(name, owner, version, arch), user)
    else:
        seen = [
            entry
            for entry in listing.entries
            if visible(entry, user, owner)
            and (name is None or matching(name, entry.name))
            and version in (None, entry.version)
            and arch in (None, entry.description.get("arch"))
        ]
    if not options["all_versions"]:
        seen = newest(seen)
    return {
        "environments": [report(registry, entry, options["verify"]) for entry in in_order(seen)],
        "warnings": listing.faults,
    }


def report(registry: Registry, entry: Entry, verify: bool) -> dict[str, Any]:
    problems = list(registry.verify(entry)) if verify else None
    image = registry.local_image(entry.description, entry.owner)
    return {
        "owner": entry.owner,
        "name": entry.name,
        "version": entry.version,
        "visibility": entry.visibility,
        "description": entry.description,
        "text": write_document(entry.description),
        "file": registry.place(entry),
        "image": str(image) if image else None,
        "holders": registry.holders(entry),
        "verified": None if problems is None else not problems,
        "problems": problems or [],
    }
