# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kernel profiles: YAML files on the controller, resolved into the plain rules that the modules get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import Rule, parse_rules
from ansible_collections.oneimage.cluster.plugins.plugin_utils._yaml_file import read_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "profiles" / "kernel"
SUFFIXES = (".yml", ".yaml")
FIELDS = {"summary", "includes", "rules"}


def find_profiles(paths: Sequence[Path]) -> dict[str, Path]:
    """Every profile's file by name: the collection's own and those in ``paths``, files or folders of files."""
    found: dict[str, Path] = {}
    for path in [file for place in (SHIPPED, *paths) for file in profile_files(place)]:
        other = found.setdefault(path.stem, path)
        if other != path:
            raise ClusterError(f"kernel profile {path.stem} is there twice: {other} and {path}; rename yours")
    return found


def profile_files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(file for file in place.iterdir() if file.suffix in SUFFIXES)
    if not place.is_file():
        raise ClusterError(
            f"profile_paths: {place} does not exist; give a profile's file or a folder of profiles"
        )
    return [place]


def resolve(names: Sequence[str], paths: Sequence[Path] = ()) -> list[Rule]:
    """The rules of the named profiles and of all that they include, included ones first, each rule once."""
    known = find_profiles(paths)
    unique: dict[tuple[Any, ...], Rule] = {}
    seen: set[str] = set()
    for name in names:
        for rule in walk(name, known, seen, ()):
            unique.setdefault((rule.options, rule.values), rule)
    return list(unique.values())


def walk(name: str, known: Mapping[str, Path], seen: set[str], chain: tuple[str, ...]) -> Iterator[Rule]:
    if name not in known:
        origin = f", included by {chain[-1]}" if chain else ""
        raise ClusterError(f"unknown kernel profile {name!r}{origin}; known: {', '.join(sorted(known))}")
    if name in chain:
        raise ClusterError(
            f"kernel profiles include each other: {' -> '.join((*chain, name))}; remove one includes"
        )
    if name in seen:
        return
    profile = read_profile(known[name])
    for included in profile.get("includes") or []:
        yield from walk(included, known, seen, (*chain, name))
    seen.add(name)
    yield from parse_rules(profile.get("rules") or [], f"kernel profile {known[name]}", name)


def read_profile(path: Path) -> Mapping[str, Any]:
    profile = read_yaml(path, "kernel profile")
    if not isinstance(profile, Mapping) or not (profile.get("includes") or profile.get("rules")):
        raise ClusterError(f"kernel profile {path} holds neither includes nor rules")
    foreign = sorted(set(map(str, profile)) - FIELDS)
    if foreign:
        raise ClusterError(
            f"kernel profile {path}: unknown field {foreign[0]!r}; known: {', '.join(sorted(FIELDS))}"
        )
    for field in ("includes", "rules"):
        if not isinstance(profile.get(field) or [], list):
            raise ClusterError(f"kernel profile {path}: {field} is no list")
    return profile


def as_option(rule: Rule) -> dict[str, Any]:
    """``rule`` as a module takes it in its options."""
    return {
        "options": list(rule.options),
        "values": list(rule.values),
        "why": rule.why,
        "remedy": rule.remedy,
        "profile": rule.profile,
    }
