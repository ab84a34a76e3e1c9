# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A workflow of Kadeploy (deployment, reboot, power operation): what is asked for, and what became of each node.

Kadeploy's exit codes, its lists of nodes and its statistics do not tell the truth: breakpointed nodes are among the
successful ones, discarded nodes are nowhere. What does tell are the states of REST and the lines of the log.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import (
    NOTHING_MODIFIED,
    KadeployError,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_steps import Chain
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand

OUTCOMES = ("ok", "ko", "brk", "discarded", "missing")

VERBOSE = 4
"""The level from which on the log has every micro-step."""


@dataclass(frozen=True)
class Order:
    """What one site is asked to do. ``environment`` is {name, user, version}, ``description`` an anonymous one."""

    operation: str
    environment: Mapping[str, Any] | None = None
    description: Mapping[str, Any] | None = None
    key: str | None = None
    partition: str | None = None
    block_device: str | None = None
    boot_partition: int | None = None
    vlan: str | None = None
    reformat_tmp: str | None = None
    no_kexec: bool = False
    disable_bootloader_install: bool = False
    disable_disk_partitioning: bool = False
    chain: Chain | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    breakpoint: str | None = None
    kind: str | None = None
    level: str = "soft"
    state: str | None = None
    pxe_profile: str | None = None
    check_destructive: bool = False
    force: bool = False


@dataclass
class Outcome:
    """What became of one node. ``again``: a retry may help, and hits nobody else's work."""

    site: str
    outcome: str
    macro: str | None = None
    micro: str | None = None
    message: str = ""
    attempts: int = 0
    wid: str | None = None
    console: str | None = None
    evidence: list[str] = field(default_factory=list)
    again: bool = False

    def public(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "again"}


class Running(ABC):
    """A workflow on its way. ``wid`` is None until it is known."""

    wid: str | None = None

    def identify(self) -> str | None:
        """Kadeploy's id of it, asked without delay."""
        return self.wid

    @abstractmethod
    def done(self) -> bool:
        """Whether it is over; raises ClusterError if the server does not answer."""

    @abstractmethod
    def outcomes(self) -> dict[str, Outcome]:
        """By node, once it is over, all nodes that were asked for."""

    @abstractmethod
    def cancel(self) -> None:
        """End it now; nodes stay as they are."""

    @abstractmethod
    def clean(self) -> None:
        """Have the server forget it, once it is over."""


class Site(ABC):
    """One Kadeploy server. Every method raises KadeployError for a refusal, ClusterError for no answer."""

    name: str
    title: str

    @abstractmethod
    def nodes(self) -> list[str]:
        """The names of all nodes that it knows."""

    @abstractmethod
    def states(self) -> dict[str, dict[str, Any] | None]:
        """By node its state, user and environment in Kadeploy's database, None for one that was never used."""

    @abstractmethod
    def automata(self) -> dict[str, Chain]:
        """The chains of its clusters, as configured."""

    @abstractmethod
    def power(self, nodes: Sequence[str]) -> dict[str, str]:
        """``on``, ``off`` or what else the power status of each node is; none of nodes that gave no answer."""

    @abstractmethod
    def statistics(self, filters: Mapping[str, str]) -> str:
        """CSV of what was done; ``filters``: operation, wid, date_min, date_max."""

    @abstractmethod
    def console(self, node: str) -> list[str]:
        """The argv that shows the node's console on a terminal; raises ClusterError where there is none."""

    @abstractmethod
    def start(self, order: Order, nodes: Sequence[str]) -> Running:
        """Begin ``order`` on ``nodes``."""


PERFORMING = re.compile(r"Performing a \w+\[(?P<macro>\w+)\] step")
AT_MICRO = re.compile(r"\*\*\* Breakpoint on (?P<micro>\w+) reached for (?P<nodes>\S.*)")
AT_MACRO = re.compile(r"Step \w+\[(?P<macro>\w+)\] breakpointed")
BROKEN = re.compile(r"(?<!\*\*\* )Breakpoint reached for (?P<nodes>\S.*)")
DISCARDED = re.compile(r"The nodes (?P<nodes>\S.*) are already involved in .*, let's discard them")
STEP = re.compile(r"(?P<macro>\w+)-(?P<micro>\w+): (?P<message>.*)", re.DOTALL)
FAILED = re.compile(r"(?P<node>[\w.-]+) \((?P<error>.*)")
STATUS = re.compile(r"^(?P<node>[\w.-]+): (?P<status>\S.*)$", re.MULTILINE)


@dataclass
class Log:
    """What a log tells: where nodes stopped, as {node: (macro or None, micro or None)}, and which were discarded."""

    broken: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    discarded: set[str] = field(default_factory=set)


def read_log(text: str) -> Log:
    """``text`` are lines of a log, with or without a prefix such as ``[1]`` of a set of nodes."""
    log = Log()
    macro: str | None = None
    micros: dict[str, str] = {}
    for line in text.splitlines():
        if match := PERFORMING.search(line):
            macro = match["macro"]
        elif match := AT_MICRO.search(line):
            micros.update(dict.fromkeys(expand(match["nodes"]), match["micro"]))
        elif match := AT_MACRO.search(line):
            macro = match["macro"]
        elif match := BROKEN.search(line):
            log.broken.update({node: (macro, micros.get(node)) for node in expand(match["nodes"])})
        elif match := DISCARDED.search(line):
            log.discarded.update(expand(match["nodes"]))
    log.broken.update({node: (macro, micro) for node, micro in micros.items() if node not in log.broken})
    return log


def read_failures(text: str, nodes: Sequence[str]) -> dict[str, str]:
    """By node what is in the parentheses behind it, at the end of what a client printed; it has line breaks in it."""
    _head, _title, tail = text.rpartition(" failed on nodes\n")
    found: dict[str, list[str]] = {}
    last: list[str] = []
    for line in tail.splitlines():
        match = FAILED.match(line)
        if match and match["node"] in nodes:
            last = found.setdefault(match["node"], [match["error"]])
        else:
            last.append(line)
    return {node: "\n".join(lines).rstrip().removesuffix(")").rstrip() for node, lines in found.items()}


def read_power(text: str) -> dict[str, str]:
    """By node its power status, from the lines between the ``---`` of a log."""
    blocks = re.split(r"^---$", text, flags=re.MULTILINE)
    return {match["node"]: match["status"].strip() for block in blocks for match in STATUS.finditer(block)}


def failure(site: str, error: str) -> Outcome:
    """The outcome ko of ``Macro-micro: message``, or of a message alone."""
    match = STEP.fullmatch(error.strip())
    if match is None:
        return Outcome(site, "ko", message=error.strip(), again=True)
    return Outcome(site, "ko", match["macro"], match["micro"], match["message"].strip(), again=True)


def broken(site: str, log: Log, node: str) -> Outcome:
    macro, micro = log.broken.get(node, (None, None))
    return Outcome(site, "brk", macro, micro, "stopped at the breakpoint, before this step")


def discarded(site: str) -> Outcome:
    return Outcome(
        site,
        "discarded",
        message="another deployment works on it; nothing was done to it (force takes it all the same)",
    )


def missing(site: str) -> Outcome:
    return Outcome(site, "missing", message="Kadeploy says nothing about it", again=True)


def refused(site: str, error: ClusterError, nodes: Sequence[str], log: Log) -> dict[str, Outcome]:
    """The outcomes of a workflow that ended as a whole with ``error``; if all nodes were discarded that is one too."""
    all_discarded = isinstance(error, KadeployError) and error.number == NOTHING_MODIFIED
    return {
        node: discarded(site)
        if all_discarded or node in log.discarded
        else Outcome(site, "ko", message=str(error), again=True)
        for node in nodes
    }
