# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a configuration is wanted to have: from rules of profiles, from a task's options, as lines of a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _kconfig
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import ABSENT, NOT_SET, PREFIX
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree

ALLOWED = {
    "bool": (r"[yn]", "y or n"),
    "tristate": (r"[ymn]", "y, m or n"),
    "int": (r"-?\d+", "a number"),
    "hex": (r"0[xX][0-9a-fA-F]+", "a number such as 0x1000000"),
    "string": (r"[^\n\0]*", "text on one line"),
    "": (r"[^\n\0]*", "text on one line"),
}
STEP = {">": 1, "<": -1}
LEVELS = {"n": 0, "m": 1, "y": 2}


@dataclass(frozen=True)
class Wish:
    """``option`` without prefix; ``value`` as in a report, ``n`` for off. ``at_least``: y will do where m is wanted.

    ``of_rule``: what was chosen to meet a rule, which other values or options may meet as well.
    """

    option: str
    value: str
    origin: str
    at_least: bool = False
    of_rule: bool = False

    def granted(self, value: str) -> bool:
        """Whether it is met by ``value``, as a configuration has it: ``n`` where it is off or not mentioned."""
        if self.at_least and value in LEVELS:
            return LEVELS[value] >= LEVELS.get(self.value, 0)
        number = _kconfig.as_number(self.value)
        return value == self.value or (number is not None and number == _kconfig.as_number(value))


def bare(option: str) -> str:
    return option.removeprefix(PREFIX)


def explicit_wishes(tree: KernelTree, options: Mapping[str, Any]) -> list[Wish]:
    """The task's ``options``; raises ClusterError for what the tree does not know, or another type than it has."""
    unknown = [bare(name) for name in options if bare(name) not in tree.options]
    if unknown:
        raise ClusterError("; ".join(unknown_option(tree, name) for name in unknown))
    return [Wish(bare(name), checked(tree, bare(name), value), "options") for name, value in options.items()]


def unknown_option(tree: KernelTree, name: str) -> str:
    close = [f"CONFIG_{one}" for one in tree.close_names(name)]
    hint = f"; close to it are {', '.join(close)}" if close else ""
    return f"CONFIG_{name} does not exist in Linux {tree.version} for {tree.architecture} ({tree.path}){hint}"


def checked(tree: KernelTree, option: str, value: Any) -> str:
    """``value`` as a configuration has it, without quotes."""
    if isinstance(value, bool):
        raise ClusterError(
            f"options: CONFIG_{option}: write {'y' if value else 'n'}, not {str(value).lower()}"
        )
    kind = tree.type_of(option)
    text = "n" if value == NOT_SET and kind in ("bool", "tristate") else str(value)
    pattern, words = ALLOWED[kind]
    if isinstance(value, (list, dict)) or value is None or not re.fullmatch(pattern, text):
        raise ClusterError(
            f"options: CONFIG_{option} is of type {kind or 'unknown'}: {text!r} does not fit; give {words}"
        )
    return text


def rule_wishes(
    tree: KernelTree, rules: Sequence[_kconfig.Rule], base: _kconfig.KernelConfig
) -> tuple[list[Wish], dict[str, str]]:
    """What has to be set for the rules that ``base`` does not meet; and options that the tree has not, with that in words."""
    wishes: list[Wish] = []
    hopeless: dict[str, str] = {}
    for rule in rules:
        if met(tree, rule, base):
            continue
        origin = f"profile {rule.profile}" if rule.profile else "rules"
        known = [bare(option) for option in rule.options if bare(option) in tree.options]
        choices = ((option, setting(tree, option, value)) for option in known for value in rule.values)
        found = next(((option, value) for option, value in choices if value is not None), None)
        if found:
            wishes.append(Wish(*found, origin=origin, of_rule=True))
        elif not known:
            hopeless[rule.options[0]] = f"{unknown_option(tree, bare(rule.options[0]))} ({origin})"
    return wishes, hopeless


def met(tree: KernelTree, rule: _kconfig.Rule, base: _kconfig.KernelConfig) -> bool:
    """What ``base`` does not mention meets a rule only where the tree does not know it either."""
    for option in rule.options:
        found = base.value(option)
        if found == ABSENT and bare(option) in tree.options:
            continue
        if any(_kconfig.accepts(value, found) for value in rule.values):
            return True
    return False


def setting(tree: KernelTree, option: str, value: str) -> str | None:
    """What to set so that a rule accepts it; none where the option's type does not allow it."""
    comparison = _kconfig.COMPARISON.fullmatch(value)
    if comparison:
        value = str(int(comparison[2], 0) + STEP.get(comparison[1], 0))
    if value == ABSENT:
        return None
    value = "n" if value == NOT_SET else value
    return value if re.fullmatch(ALLOWED[tree.type_of(option)][0], value) else None


def apply(tree: KernelTree, symbols: Mapping[str, str], wishes: Iterable[Wish]) -> str:
    """A configuration's text: ``symbols`` with prefix and values as written, the wishes over them, later ones winning."""
    merged = dict(symbols)
    for wish in wishes:
        if wish.value == "y":
            merged.update((PREFIX + other, NOT_SET) for other in tree.choice_of(wish.option))
        merged[PREFIX + wish.option] = written(tree.type_of(wish.option), wish.value)
    lines = (
        f"# {name} is not set" if value == NOT_SET else f"{name}={value}" for name, value in merged.items()
    )
    return "\n".join(lines) + "\n"


def written(kind: str, value: str) -> str:
    if kind == "string":
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return NOT_SET if value == "n" and kind in ("bool", "tristate") else value
