# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Power of many machines: a bounded number at once, one failure never stops the others."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import parse_nodes

ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:%_-]*")
STATUS = re.compile(r"\b(on|off)\b", re.IGNORECASE)
RETRY_SECONDS = 1.0
POLL_SECONDS = 0.5
NEEDED: Mapping[str, Sequence[str]] = {
    "status": ("status",),
    "on": ("status", "on"),
    "off": ("status", "off"),
    "cycle": ("status", "on", "off"),
    "reset": ("status", "reset"),
}
"""The actions that reach a state. A cycle is off, then on, so that each half can be seen to have happened."""
STARTING = ("on", "cycle", "reset")
Command = tuple[list[str], Mapping[str, str]]


@dataclass(frozen=True)
class Target:
    """One machine and the way to its power switch."""

    name: str
    driver: str = "ipmi"
    address: str | None = None
    port: int = 623
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    cipher_suite: int | None = None
    firmware: str = "bios"
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What to do to every target."""

    state: str
    timeout: float = 60
    retries: int = 2
    boot_device: str | None = None
    check: bool = False

    @property
    def actions(self) -> tuple[str, ...]:
        boot = (f"boot_{self.boot_device}",) if self.boot_device and self.state in STARTING else ()
        return (*NEEDED[self.state], *boot)


@dataclass
class Outcome:
    """What happened to one target; ``before`` and ``after`` are ``on``, ``off`` or None if unknown."""

    before: str | None = None
    after: str | None = None
    changed: bool = False
    error: str | None = None


class Gate:
    """Lets power-ups through one by one, ``pause`` seconds apart: a rack that starts at once can trip its fuse."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.lock = threading.Lock()
        self.opens = 0.0

    def wait(self) -> None:
        with self.lock:
            delay = self.opens - time.monotonic()
            self.opens = max(self.opens, time.monotonic()) + self.pause
        if delay > 0:
            time.sleep(delay)


def ipmi_command(target: Target, action: str) -> Command:
    """The password goes through the environment: argument lists can be read by every user of the host."""
    argv = ["ipmitool", "-I", "lanplus", "-H", str(target.address), "-p", str(target.port)]
    argv += ["-U", target.user] if target.user else []
    argv += ["-C", str(target.cipher_suite)] if target.cipher_suite is not None else []
    if action.startswith("boot_"):
        words = ["bootdev", action[len("boot_") :]]
        words += ["options=efiboot"] if target.firmware == "uefi" else []
    else:
        words = ["power", action]
    return [*argv, "-E", "chassis", *words], {"IPMI_PASSWORD": target.password or ""}


def own_command(target: Target, action: str) -> Command:
    return list(target.commands[action]), {}


DRIVERS: Mapping[str, Callable[[Target, str], Command]] = {"ipmi": ipmi_command, "command": own_command}


def parse_targets(items: Iterable[Mapping[str, Any]], order: Order) -> list[Target]:
    """The declared nodes as targets; raises ClusterError naming the node whose way to power is not whole."""
    declared = [{key: value for key, value in item.items() if value is not None} for item in items]
    parse_nodes([{"name": item.get("name")} for item in declared])
    targets = [Target(**item) for item in declared]
    switches: dict[tuple[str | None, int], str] = {}
    for target in targets:
        if target.driver == "command":
            missing = [action for action in order.actions if not target.commands.get(action)]
            if missing:
                raise ClusterError(
                    f"node {target.name}: commands has no {', '.join(missing)}, which this needs"
                )
            continue
        if not ADDRESS.fullmatch(target.address or ""):
            raise ClusterError(
                f'node {target.name}: address "{target.address or ""}" is no name or address of a BMC'
            )
        if not 0 < target.port < 65536:
            raise ClusterError(f"node {target.name}: port {target.port} is no UDP port")
        first = switches.setdefault((target.address, target.port), target.name)
        if first != target.name:
            raise ClusterError(
                f"nodes {first} and {target.name} have the same BMC {target.address} port {target.port}"
            )
    if any(target.driver == "ipmi" for target in targets):
        require("ipmitool", package="ipmitool")
    return targets


def power(
    targets: Sequence[Target], order: Order, parallel: int = 16, pause: float = 0
) -> dict[str, Outcome]:
    """Give ``order`` to all ``targets``, at most ``parallel`` at a time; failures stand in the outcomes."""
    gate = Gate(pause)
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        outcomes = pool.map(lambda target: bring(target, order, gate), targets)
        return dict(zip((target.name for target in targets), outcomes))


def bring(target: Target, order: Order, gate: Gate) -> Outcome:
    outcome = Outcome()
    try:
        outcome.before = outcome.after = status(target, order)
        switch(target, order, gate, outcome)
    except ClusterError as error:
        outcome.error = str(error)
    return outcome


def switch(target: Target, order: Order, gate: Gate, outcome: Outcome) -> None:
    """Change the power if it is not yet as ordered; ``outcome`` says at each moment how far it came."""
    if order.state in ("status", outcome.before):
        return
    if order.state == "reset" and outcome.before == "off":
        raise ClusterError("it is off, so that there is nothing to reset; use on or cycle")
    outcome.changed = True
    if order.check:
        outcome.after = "off" if order.state == "off" else "on"
        return
    if order.boot_device and order.state in STARTING:
        act(target, f"boot_{order.boot_device}", order)
    if order.state in ("off", "cycle") and outcome.before == "on":
        act(target, "off", order)
        outcome.after = reach(target, "off", order)
    if order.state in ("on", "cycle"):
        gate.wait()
        act(target, "on", order)
        outcome.after = reach(target, "on", order)
    if order.state == "reset":
        act(target, "reset", order)
        outcome.after = reach(target, "on", order)


def status(target: Target, order: Order) -> str:
    """``on`` or ``off``, the last of these words that the driver's command prints; raises ClusterError."""
    output = act(target, "status", order)
    words = STATUS.findall(output)
    if not words:
        raise ClusterError(f'the status command says neither "on" nor "off": {output.strip()[:80]!r}')
    return words[-1].lower()


def act(target: Target, action: str, order: Order) -> str:
    """What the driver's command printed; tried again after a failure, since BMCs drop requests when busy."""
    argv, environment = DRIVERS[target.driver](target, action)
    for attempt in range(order.retries + 1):
        if attempt:
            time.sleep(RETRY_SECONDS)
        try:
            return run(argv, environment=environment, timeout=order.timeout).stdout.decode("utf-8", "replace")
        except ClusterError as error:
            failure = f"{action}: {error}"
    raise ClusterError(failure + (f" ({order.retries + 1} attempts)" if order.retries else ""))


def reach(target: Target, wanted: str, order: Order) -> str:
    """Wait until the machine is ``wanted``; raises ClusterError when the time is up."""
    deadline = time.monotonic() + order.timeout
    while status(target, order) != wanted:
        if time.monotonic() >= deadline:
            raise ClusterError(f"it was told to go {wanted}, and was not {wanted} within {order.timeout:g} s")
        time.sleep(POLL_SECONDS)
    return wanted


def failures(outcomes: Mapping[str, Outcome]) -> str:
    """One sentence that names each node that failed with the reason; empty if none did."""
    failed = [f"{name}: {outcome.error}" for name, outcome in outcomes.items() if outcome.error]
    return f"{len(failed)} of {len(outcomes)} nodes failed: {'; '.join(failed)}" if failed else ""


def listing(outcomes: Mapping[str, Outcome], moment: str) -> str:
    """One line per node for --diff."""
    return "".join(f"{name}: {getattr(outcome, moment) or 'unknown'}\n" for name, outcome in outcomes.items())
