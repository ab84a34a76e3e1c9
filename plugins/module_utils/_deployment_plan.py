# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What an engine carries out: nodes, waves, steps with their time and their fallbacks, all checked before anything happens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_steps as steps
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast import (
    AUTO,
    choose_method,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Target
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import (
    MACROS,
    Implementation,
    Traits,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import parse_nodes

LIMIT = re.compile(r"([0-9]+)(%?)")
HOOK = re.compile(r"(?:(before|after|instead_of)_)?(\w+)")
OWN_HOOKS = ("set_vlan",)
"""Micro-steps that do nothing but run the site's own program."""


@dataclass(frozen=True)
class Step:
    """One implementation as this deployment uses it: ``retries`` more attempts of ``timeout`` seconds each."""

    implementation: Implementation
    micros: tuple[str, ...]
    timeout: float
    retries: int

    @property
    def name(self) -> str:
        return self.implementation.name


@dataclass(frozen=True)
class Breakpoint:
    """Where nodes stop. ``implementation`` empty for any of ``macro``; ``micro`` empty for its first."""

    macro: str
    implementation: str = ""
    micro: str = ""

    def hit(self, step: Step, micro: str) -> bool:
        if step.implementation.macro != self.macro or self.implementation not in ("", step.name):
            return False
        return micro == (self.micro or next(iter(step.micros), ""))


@dataclass(frozen=True)
class Plan:
    """All that the engine needs to know but what is deployed. ``wave`` and ``power_ups`` 0 for no limit."""

    nodes: tuple[Target, ...]
    steps: Mapping[str, tuple[Step, ...]]
    wave: int = 0
    pause: float = 0
    power_ups: int = 0
    breakpoint: Breakpoint | None = None

    def waves(self, nodes: Sequence[Target]) -> Iterator[Sequence[Target]]:
        size = self.wave or len(nodes) or 1
        for start in range(0, len(nodes), size):
            yield nodes[start : start + size]


def make_plan(options: Mapping[str, Any], traits: Traits) -> Plan:
    """The plan of ``options`` (those of module ``deployment``); raises ClusterError for what is wrong."""
    nodes = parse_targets(options["nodes"])
    for name in ("wave", "wave_pause", "power_ups"):
        if (options.get(name) or 0) < 0:
            raise ClusterError(f"{name}: {options[name]} is less than 0")
    chosen = choose_steps(options, traits, min(options.get("wave") or len(nodes), len(nodes)))
    wanted = options.get("breakpoint")
    return Plan(
        nodes=nodes,
        steps=chosen,
        wave=options.get("wave") or 0,
        pause=options.get("wave_pause") or 0,
        power_ups=options.get("power_ups") or 0,
        breakpoint=parse_breakpoint(wanted, chosen) if wanted else None,
    )


def parse_targets(items: Sequence[Mapping[str, Any]]) -> tuple[Target, ...]:
    """The declared nodes in their order, each with MAC and address; raises ClusterError naming all that is wrong."""
    if not items:
        raise ClusterError("nodes: there is none to deploy")
    nodes = parse_nodes(items, required=("mac", "address"))
    known = {one.name for one in fields(Target)}
    targets = []
    for item, node in zip(items, nodes):
        given = {name: value for name, value in item.items() if name in known and value is not None}
        exact = {name: getattr(node, name) for name in ("name", "mac", "address", "firmware")}
        targets.append(Target(**{**given, **exact}))
    return tuple(targets)


def choose_steps(options: Mapping[str, Any], traits: Traits, together: int) -> dict[str, tuple[Step, ...]]:
    """The implementations of each macro-step in the order in which they are tried. ``together`` nodes are sent to at once."""
    given: Mapping[str, Any] = options.get("steps") or {}
    unknown = sorted(set(given) - set(MACROS))
    if unknown:
        raise ClusterError(
            f"steps: {unknown[0]} is no macro-step of a deployment; they are {', '.join(MACROS)}"
        )
    defaults = {
        **steps.DEFAULTS,
        "BroadcastEnv": broadcasts(options, together),
        **({"BootNewEnv": steps.KEXEC} if options.get("kexec") else {}),
    }
    return {
        macro: tuple(
            make_step(macro, item, traits)
            for item in given.get(macro) or [{"implementation": name} for name in defaults[macro]]
        )
        for macro in MACROS
    }


def broadcasts(options: Mapping[str, Any], together: int) -> tuple[str, ...]:
    """The implementation of the method for so many nodes, and HTTP, which asks least of them, for those that it fails."""
    programs = (options.get("boot") or {}).get("programs") or ()
    method = choose_method(together, options.get("broadcast") or AUTO, node_programs=programs)
    return tuple(dict.fromkeys((steps.METHODS[method], steps.METHODS["http"])))


def make_step(macro: str, item: Mapping[str, Any], traits: Traits) -> Step:
    implementation = steps.find(macro, str(item["implementation"]))
    timeout = item.get("timeout")
    retries = item.get("retries")
    if timeout is not None and timeout <= 0:
        raise ClusterError(f"steps.{macro}: {implementation.name}: a timeout of {timeout:g} s leaves no time")
    if retries is not None and retries < 0:
        raise ClusterError(f"steps.{macro}: {implementation.name}: retries: {retries} is less than 0")
    return Step(
        implementation,
        steps.micro_steps(implementation, traits),
        implementation.timeout if timeout is None else timeout,
        implementation.retries if retries is None else retries,
    )


def parse_breakpoint(text: str, chosen: Mapping[str, Sequence[Step]]) -> Breakpoint:
    """``MACRO[:micro]`` or ``IMPLEMENTATION[:micro]``, as Kadeploy takes it; raises ClusterError where no node would stop."""
    place, colon, micro = text.partition(":")
    macro = next((name for name in MACROS if place.startswith(name)), None)
    if macro is None:
        raise ClusterError(
            f"breakpoint: {place} is neither a macro-step ({', '.join(MACROS)}) nor an implementation of one"
        )
    implementation = "" if place == macro else steps.find(macro, place).name
    if micro and micro not in steps.MICROS:
        raise ClusterError(f"breakpoint: there is no micro-step {micro}; there are {', '.join(steps.MICROS)}")
    used = [step for step in chosen[macro] if implementation in ("", step.name)]
    if not used:
        raise ClusterError(f"breakpoint: {implementation} is not used in this deployment")
    if colon and not any(micro in step.micros for step in used):
        left = ", ".join(dict.fromkeys(name for step in used for name in step.micros))
        raise ClusterError(f"breakpoint: {place} has no micro-step {micro} in this deployment; it has {left}")
    return Breakpoint(macro, implementation, micro)


def parse_hooks(hooks: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Programs by ``before_MICRO``, ``after_MICRO``, ``instead_of_MICRO`` or one of OWN_HOOKS; raises ClusterError."""
    for name, argv in hooks.items():
        match = HOOK.fullmatch(name)
        if match is None or match[2] not in (steps.MICROS if match[1] else OWN_HOOKS):
            raise ClusterError(
                f"hooks: {name} is no name of a hook: write before_, after_ or instead_of_ and a micro-step,"
                f" or {', '.join(OWN_HOOKS)}"
            )
        if not argv or not all(isinstance(word, str) for word in argv):
            raise ClusterError(f"hooks: {name}: give a program and its arguments as a list of texts")
    return dict(hooks)


def least(text: str, total: int) -> int:
    """How many of ``total`` nodes ``text`` asks for, ``3`` or ``80%``, rounded up; raises ClusterError."""
    match = LIMIT.fullmatch(str(text).strip())
    if match is None or (match[2] and int(match[1]) > 100):
        raise ClusterError(f"min_ok: {text} is neither a number of nodes nor a share such as 80%")
    count = math.ceil(int(match[1]) * total / 100) if match[2] else int(match[1])
    if count > total:
        raise ClusterError(f"min_ok: {count} nodes cannot be right, there are {total}")
    return count
