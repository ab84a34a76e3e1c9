# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What has to be done to a scheduler's folder, from what is there and what shall be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_tree import Tree

OFF = "0"


@dataclass
class Found:
    """What is below the root, by paths relative to it; links lead to such paths too, or to absolute ones out of it."""

    directories: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    """What has to be done, in the order in which it is done. A value is None until the one that it is made of is there."""

    unlinked: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    linked: dict[str, str] = field(default_factory=dict)
    written: dict[str, str | None] = field(default_factory=dict)


def make_plan(now: Found, wanted: Tree, kernel_groups: Collection[str], exact: bool) -> Plan:
    """The way from ``now`` to ``wanted``; raises ClusterError where something of another kind is in the way."""
    _check_way(now, wanted)
    plan = Plan(
        made=[path for path in wanted.directories if path not in now.directories],
        linked={path: target for path, target in wanted.links.items() if now.links.get(path) != target},
    )
    gone = set(now.links) - set(wanted.links) if exact else set()
    plan.unlinked = deepest_first(gone | (set(plan.linked) & set(now.links)))
    if exact:
        plan.removed = deepest_first(_removable(now, wanted, kernel_groups))
    for path, value in wanted.values.items():
        text = goal(value, now.values)
        if text is None or path not in now.values or not same(text, now.values[path]):
            plan.written[path] = text
    return plan


def _check_way(now: Found, wanted: Tree) -> None:
    for path in sorted(wanted.kept()):
        if path in now.files or path in now.links:
            raise ClusterError(
                f"{path} shall be a directory, but is a {'file' if path in now.files else 'link'}"
            )
    for kind, paths, others in (
        ("value", wanted.values, (now.directories, now.links)),
        ("link", wanted.links, (now.directories, now.files)),
    ):
        for path in paths:
            if any(path in other for other in others):
                raise ClusterError(f"{path} shall be a {kind}, but something else has this name")


def _removable(now: Found, wanted: Tree, kernel_groups: Collection[str]) -> set[str]:
    """Directories that nobody wants, but for those that the kernel made in one that stays."""
    kept = wanted.kept()

    def stays(path: str) -> bool:
        above, _slash, name = path.rpartition("/")
        return path in kept or (name in kernel_groups and (not above or stays(above)))

    return {path for path in now.directories if not stays(path)}


def deepest_first(paths: Collection[str]) -> list[str]:
    """In the order in which they can be removed."""
    return sorted(paths, key=lambda path: (-path.count("/"), path))


def goal(value: Any, values: Mapping[str, str]) -> str | None:
    """The text that a declared value stands for; None where it is made of one that is not in ``values``."""
    if not isinstance(value, Mapping):
        return str(value)
    text = values.get(value["from"])
    if text is None:
        return None
    number = as_number(text)
    if number is None:
        raise ClusterError(f"{value['from']} is {text!r} and no number, of which another value shall be made")
    return str(number * int(value["multiply"]) // int(value["divide"]))


def same(one: str, other: str) -> bool:
    """Whether the kernel would print both alike: a number has many spellings."""
    number = as_number(one)
    return one.strip() == other.strip() or (number is not None and number == as_number(other))


def as_number(text: str) -> int | None:
    try:
        return int(text.strip(), 0)
    except ValueError:
        return None


def sources(values: Mapping[str, Any]) -> set[str]:
    """The values that others are made of."""
    return {value["from"] for value in values.values() if isinstance(value, Mapping)}


def listing(now: Found, plan: Plan, wanted: Tree) -> tuple[str, str]:
    """Everything that is wanted or goes away, as it was and as it will be, for a diff."""
    before, after = [], []
    for path in {*wanted.directories, *plan.removed}:
        before += [f"{path}/"] if path in now.directories else []
        after += [f"{path}/"] if path in wanted.directories else []
    for path in {*wanted.links, *plan.unlinked}:
        before += [f"{path} -> {now.links[path]}"] if path in now.links else []
        after += [f"{path} -> {wanted.links[path]}"] if path in wanted.links else []
    for path, value in wanted.values.items():
        before += [f"{path} = {now.values[path].strip()}"] if path in now.values else []
        text = plan.written.get(path, now.values.get(path))
        after += [f"{path} = {computed(value) if text is None else text.strip()}"]
    return "".join(f"{line}\n" for line in sorted(before)), "".join(f"{line}\n" for line in sorted(after))


def computed(value: Any) -> str:
    """A value that cannot be known yet, in words."""
    return f"{value['from']} * {value['multiply']} / {value['divide']}"
