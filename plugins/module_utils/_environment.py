# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Bring environments into a registry, change, hold and remove them: decide what is to be done, then do it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import (
    check_owner,
    check_version,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_declaration import (
    Declaration,
    declare,
    differences,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_directory import DirectoryRegistry
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import IN_PLACE, get
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_formats import latest, read
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_image import (
    image_facts,
    preflight,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_kadeploy import (
    KADEPLOY_SPEC,
    open_kadeploy,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_lookup import find
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Image,
    Refresh,
    Registry,
    Specification,
    parse_specification,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_store import suffix_of
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import write_document
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

REGISTRY_SPEC: dict[str, Any] = {
    "kind": {"type": "str", "choices": ["directory", "kadeploy"], "default": "directory"},
    "path": {"type": "path"},
    "url": {"type": "str"},
    **KADEPLOY_SPEC,
}
"""The option ``registry`` of the modules."""


@dataclass
class Plan:
    """What is to be done. ``action``: created, replaced, altered, mended, removed, held, released, or none."""

    action: str
    entry: Entry | None = None
    replaced: Entry | None = None
    differ: list[str] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return self.action != "none" or bool(self.removed or self.garbage)


def open_registry(options: Mapping[str, Any]) -> Registry:
    """The registry that the option ``registry`` names; raises ClusterError for options that its kind needs, or has not."""
    if options["kind"] == "kadeploy":
        return open_kadeploy(options, current_user())
    strange = [
        name for name, spec in KADEPLOY_SPEC.items() if options[name] not in (None, spec.get("default"))
    ]
    if strange:
        raise ClusterError(f"registry.{strange[0]} is for a registry of kind kadeploy; set registry.kind")
    if not options.get("path"):
        raise ClusterError("registry.path is mandatory for a registry of kind directory")
    return DirectoryRegistry(Path(options["path"]), options.get("url"))


def current_user() -> str:
    """The name of the user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise ClusterError(f"user {os.geteuid()} of this host has no name; give owner") from error


def apply(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module ``environment``: its result without ``diff`` in the options' own terms; raises ClusterError."""
    registry = open_registry(options["registry"])
    owner = check_owner(options["owner"] or registry.user or current_user())
    if options["version"] is not None:
        check_version(options["version"])
    if options["keep"] is not None and options["keep"] < 1:
        raise ClusterError(f"keep is {options['keep']}; the highest version stays, so give 1 or more")
    if options["state"] == "present":
        return present(options, registry, owner, check_mode)
    if not options["name"]:
        raise ClusterError(f"name is mandatory for state {options['state']}")
    if options["state"] == "absent":
        return execute(registry, lambda: plan_absent(options, registry, owner), None, check_mode)
    if not options["holder"]:
        raise ClusterError(
            f"holder is mandatory for state {options['state']}; name what uses the environment"
        )
    return execute(registry, lambda: plan_holder(options, registry), None, check_mode, options["holder"])


def present(options: Mapping[str, Any], registry: Registry, owner: str, check_mode: bool) -> dict[str, Any]:
    base = find(registry, parse_specification(options["base"]), owner) if options["base"] else None
    path = Path(options["image"]) if options["image"] else None
    facts = image_facts(path) if path else None
    parts: list[Mapping[str, Any]] = []
    notes: list[str] = []
    if options["content"] is not None:
        reading = latest(read(options["content"], options["format"], "content"), None, "content")
        parts.append(reading.description)
        notes += reading.warnings
    parts.append(options["description"] or {})
    parts.append({key: options[key] for key in ("name", "version", "visibility") if options[key] is not None})
    kept = bool(path) and options["store_image"] and registry.embedded
    if facts and kept:
        # any path will do until the registry settles it, which takes visibility and suffix
        parts.append({"image": {"file": f"server:///{facts['oneimage']['sha256']}"}})
    declaration = declare(parts, base, facts, owner)
    image = image_of(path, declaration) if path and kept else None
    promised = declaration.description["oneimage"]
    declaration = replace(declaration, description=registry.settle(declaration.description, owner, image))
    plan = plan_present(options, registry, declaration)
    if plan.action in ("created", "replaced"):
        described = {**declaration.description, "oneimage": promised}
        notes += preflight(registry, described, owner, path, options)
    result = execute(registry, lambda: plan_present(options, registry, declaration), image, check_mode)
    notes += [*declaration.warnings, *registry.remarks(), *result["warnings"]]
    return refreshed({**result, "warnings": notes}, registry, check_mode)


def refreshed(result: dict[str, Any], registry: Registry, check_mode: bool) -> dict[str, Any]:
    """``result`` of an environment that stays, after the registry looked whether its notes of the files still hold."""
    found = Refresh()
    if result["action"] in ("none", "altered"):
        entry = Entry(result["owner"], result["name"], result["version"], result["description"])
        found = registry.refresh(entry, check_mode)
    if found.updated:
        state = "".join(f"checksum of {kind}: {{}}\n" for kind in found.updated)
        headers = {"before_header": entry.title, "after_header": entry.title}
        shown = {
            **headers,
            "before": state.replace("{}", "stale"),
            "after": state.replace("{}", "up to date"),
        }
        action = "refreshed" if result["action"] == "none" else result["action"]
        result = {**result, "changed": True, "action": action, "diff": [*result["diff"], shown]}
    return {**result, "refreshed": found.updated, "warnings": [*result["warnings"], *found.warnings]}


def image_of(path: Path, declaration: Declaration) -> Image:
    described = declaration.description
    suffix = suffix_of(described["image"]["kind"], described["image"]["compression"])
    return Image(path, described["oneimage"]["sha256"], described["oneimage"]["size"], suffix)


def plan_present(options: Mapping[str, Any], registry: Registry, declaration: Declaration) -> Plan:
    own = registry.listing(declaration.name, declaration.owner)
    if own.faults:
        raise ClusterError(f"cannot count the versions of {declaration.name}: {'; '.join(own.faults)}")
    if own.hidden:
        raise ClusterError(
            f"{current_user()} may not read all versions of {declaration.name}; run as its owner or root"
        )
    current = next(
        (
            entry
            for entry in sorted(own.entries, key=lambda entry: -entry.version)
            if declaration.version in (None, entry.version)
        ),
        None,
    )
    plan = decide(declaration, current, options["on_change"])
    if plan.action == "none" and current and registry.lacks_image(current):
        plan = Plan("mended", current, current, ["image/file"])
    moved = plan.replaced and plan.entry and file_of(plan.replaced) != file_of(plan.entry)
    if plan.replaced and (moved or plan.action == "replaced"):
        refuse_in_use(registry, [plan.replaced], "cannot be changed")
    if options["keep"] is not None:
        thin_out(plan, registry, own.entries, options["keep"])
    if options["collect"] and registry.embedded:
        sweep(plan, registry)
    return plan


def decide(declaration: Declaration, current: Entry | None, on_change: str) -> Plan:
    def entry(version: int) -> Entry:
        description = {**declaration.description, "version": version}
        return Entry(declaration.owner, declaration.name, version, description)

    if current is None:
        return Plan("created", entry(1 if declaration.version is None else declaration.version))
    differ = differences(current.description, declaration.description)
    if not differ:
        return Plan("none", current)
    if set(differ) <= set(IN_PLACE):
        return Plan("altered", entry(current.version), current, differ)
    if on_change == "replace":
        return Plan("replaced", entry(current.version), current, differ)
    if declaration.version is None:
        return Plan("created", entry(check_version(current.version + 1)), None, differ)
    raise ClusterError(
        f"{current.title} is there and differs in {', '.join(differ)}; leave version out to have the next version made, "
        "or set on_change to replace"
    )


def file_of(entry: Entry) -> Any:
    return get(entry.description, "image/file")


def refuse_in_use(registry: Registry, entries: list[Entry], verb: str) -> None:
    held = [
        f"{entry.title} by {', '.join(holders)}" for entry in entries if (holders := registry.holders(entry))
    ]
    if held:
        raise ClusterError(f"{verb} while in use: {'; '.join(held)}; release it first (state released)")


def thin_out(plan: Plan, registry: Registry, own: list[Entry], keep: int) -> None:
    """Leave the ``keep`` highest versions, and those in use."""
    after = {entry.version: entry for entry in own}
    if plan.entry:
        after[plan.entry.version] = plan.entry
    for version in sorted(after)[: -keep or None]:
        holders = registry.holders(after[version])
        if holders:
            plan.warnings.append(
                f"{after[version].title} is kept, since it is in use by {', '.join(holders)}"
            )
        elif after[version] is not plan.entry:
            plan.removed.append(after[version])


def sweep(plan: Plan, registry: Registry) -> None:
    """Images that nothing refers to once the plan is done; none while this user does not see every description."""
    everything = registry.listing()
    if everything.hidden or everything.faults:
        plan.warnings.extend(everything.faults)
        if everything.faults or plan.removed:
            plan.warnings.append("images are not collected, since not every description can be read")
        return
    gone = {entry.place for entry in (*plan.removed, plan.replaced) if entry}
    after = [entry for entry in everything.entries if entry.place not in gone]
    plan.garbage = registry.garbage([*after, *([plan.entry] if plan.entry else [])])


def plan_absent(options: Mapping[str, Any], registry: Registry, owner: str) -> Plan:
    own = registry.listing(options["name"], owner)
    if own.faults:
        raise ClusterError(f"cannot tell the versions of {options['name']}: {'; '.join(own.faults)}")
    found = [entry for entry in own.entries if options["version"] in (None, entry.version)]
    refuse_in_use(registry, found, "cannot be removed")
    plan = Plan("removed" if found else "none", removed=found)
    if options["collect"] and registry.embedded:
        sweep(plan, registry)
    return plan


def plan_holder(options: Mapping[str, Any], registry: Registry) -> Plan:
    wanted = Specification(options["name"], options["owner"], options["version"])
    entry = find(registry, wanted, options["owner"] or current_user())
    if not registry.embedded:
        registry.hold(entry, options["holder"])
    held = options["holder"] in registry.holders(entry)
    return Plan("none" if held == (options["state"] == "held") else options["state"], entry)


def execute(
    registry: Registry, make: Callable[[], Plan], image: Image | None, check_mode: bool, holder: str = ""
) -> dict[str, Any]:
    """Do what the plan says; it is made again under the lock, since another writer may have come first."""
    plan = make()
    if check_mode or not plan.changed:
        return result(registry, plan, holder)
    with registry.locked():
        plan = make()
        if plan.entry and plan.action in ("created", "replaced", "altered", "mended"):
            plan.entry = registry.publish(plan.entry, image, plan.replaced)
        elif plan.entry and plan.action == "held":
            registry.hold(plan.entry, holder)
        elif plan.entry and plan.action == "released":
            registry.release(plan.entry, holder)
        for entry in plan.removed:
            registry.remove(entry)
        registry.collect(plan.garbage)
    return result(registry, plan, holder)


def result(registry: Registry, plan: Plan, holder: str) -> dict[str, Any]:
    """The module's result; check mode has not added or taken away ``holder`` yet."""
    entry = plan.entry
    holders = set(registry.holders(entry)) if entry else set()
    if plan.action == "held":
        holders.add(holder)
    elif plan.action == "released":
        holders.discard(holder)
    return {
        "changed": plan.changed,
        "action": plan.action,
        "owner": entry.owner if entry else None,
        "name": entry.name if entry else None,
        "version": entry.version if entry else None,
        "file": registry.place(entry) if entry else None,
        "description": entry.description if entry else None,
        "holders": sorted(holders),
        "differences": plan.differ,
        "removed": [old.title for old in plan.removed],
        "collected": plan.garbage,
        "warnings": plan.warnings,
        "diff": diff(plan),
    }


def diff(plan: Plan) -> list[dict[str, str]]:
    pairs = [(old, None) for old in plan.removed]
    shown: list[tuple[Entry | None, Entry | None]] = [*pairs]
    if plan.action in ("created", "replaced", "altered"):
        shown.insert(0, (plan.replaced, plan.entry))
    return [
        {
            "before_header": old.title if old else "",
            "after_header": new.title if new else "",
            "before": write_document(old.description) if old else "",
            "after": write_document(new.description) if new else "",
        }
        for old, new in shown
    ]
