# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Why a kernel's tree did not take over what was wanted: the dependency that failed, with the values that made it fail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.oneimage.cluster.plugins.module_utils import _kconfig_expression as expression
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import ABSENT, NOT_SET, KernelConfig
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_expression import Node, Values
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import Definition, KernelTree
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_wishes import LEVELS, Wish

SHOWN = 5
"""Of the options that select one; some are selected by hundreds."""


@dataclass(frozen=True)
class Dependency:
    """A condition that does not hold, and what the configuration has for the options in it."""

    condition: str
    values: dict[str, str] = field(default_factory=dict)

    def sentence(self) -> str:
        """``!KEYS, KEYS=y``."""
        return ", ".join([self.condition, *(f"{name}={value}" for name, value in self.values.items())])


@dataclass(frozen=True)
class Dropped:
    wish: Wish
    value: str
    reason: str
    dependencies: tuple[Dependency, ...] = ()

    def sentence(self) -> str:
        """``CONFIG_KERRIGHED is n, wanted y (options): depends on !KEYS, KEYS=y``."""
        return f"CONFIG_{self.wish.option} is {self.value}, wanted {self.wish.value} ({self.wish.origin}): {self.reason}"

    def as_result(self) -> dict[str, object]:
        return {
            "option": f"CONFIG_{self.wish.option}",
            "wanted": self.wish.value,
            "value": self.value,
            "origin": self.wish.origin,
            "reason": self.reason,
            "dependencies": [
                {"condition": one.condition, "values": dict(one.values)} for one in self.dependencies
            ],
        }


def dropped(tree: KernelTree, config: KernelConfig, wishes: Iterable[Wish]) -> list[Dropped]:
    """Those of ``wishes`` that the settled ``config`` does not grant; of several for one option the last counts."""
    last = {wish.option: wish for wish in wishes}
    refused = [
        (wish, value)
        for wish in last.values()
        for value in [value_of(config, wish.option)]
        if not wish.granted(value)
    ]
    if not refused:
        return []
    values = Values({name[7:]: value_of(config, name) for name in config.symbols}, unset_allows=tree.legacy)
    return [explain(tree, values, wish, value) for wish, value in refused]


def value_of(config: KernelConfig, option: str) -> str:
    value = config.value(option)
    return "n" if value in (NOT_SET, ABSENT) else value


def explain(tree: KernelTree, values: Values, wish: Wish, value: str) -> Dropped:
    definitions = tree.options[wish.option]
    if LEVELS.get(value, 0) > LEVELS.get(wish.value, LEVELS["y"]):
        return Dropped(wish, value, forced(tree, values, wish, definitions))
    needed = LEVELS["m"] if wish.value == "m" else LEVELS["y"]
    if wish.value in LEVELS and tree.type_of(wish.option) == "bool":
        needed = LEVELS["m"]  # a module is enough for what a yes-or-no option depends on
    failing = min((failures(one, values, needed) for one in definitions), key=len)
    if failing:
        reason = "depends on " + "; ".join(one.sentence() for one in failing)
        return Dropped(wish, value, reason, tuple(failing))
    return Dropped(wish, value, otherwise(tree, values, wish, definitions))


def failures(definition: Definition, values: Values, needed: int) -> list[Dependency]:
    """The conditions of one definition, and that of its prompt, that allow less than is needed."""
    conditions = [*definition.depends, *filter(None, [definition.prompt_if])]
    nodes = [term for text in conditions for term in expression.terms(expression.parse(text))]
    return list(
        {
            expression.write(node): dependency(node, values)
            for node in nodes
            if expression.evaluate(node, values) < needed
        }.values()
    )


def dependency(node: Node, values: Values) -> Dependency:
    return Dependency(expression.write(node), {name: values.of(name) for name in expression.names(node)})


def forced(tree: KernelTree, values: Values, wish: Wish, definitions: Sequence[Definition]) -> str:
    """Why an option is on, or built in, that was not wanted so."""
    by = [
        name if not condition else f"{name} if {condition}"
        for name, condition in tree.selectors.get(wish.option, ())
        if min(values.level(name), expression.evaluate(expression.parse(condition or "y"), values))
        > LEVELS[wish.value]
    ]
    if by:
        more = f" and {len(by) - SHOWN} others" if len(by) > SHOWN else ""
        return f"selected by {', '.join(by[:SHOWN])}{more}"
    if wish.value == "m":
        return "this option cannot be a module here"
    return otherwise(tree, values, wish, definitions)


def otherwise(tree: KernelTree, values: Values, wish: Wish, definitions: Sequence[Definition]) -> str:
    """What no dependency explains."""
    others = [name for name in tree.choice_of(wish.option) if values.of(name) == "y"]
    if others:
        return f"one of a choice, in which {', '.join(others)} is set"
    if not any(one.prompt for one in definitions):
        selectors = ", ".join(name for name, _condition in tree.selectors.get(wish.option, ())[:SHOWN])
        return f"it cannot be set by hand, only by its default{f' or by {selectors}' if selectors else ''}"
    ranges = [text for one in definitions for text in one.ranges]
    if ranges and wish.value not in LEVELS:
        return f"it must be in the range {' or '.join(ranges)}"
    unknown = [
        expression.write(node)
        for one in definitions
        for text in one.depends
        for node in expression.terms(expression.parse(text))
        if node.kind == "macro"
    ]
    if unknown:
        return f"depends on {'; '.join(unknown)}, which the tree found out itself"
    return "the tree's own make dropped it"
