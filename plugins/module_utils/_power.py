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

from ansible_collections.oneimage.cluster.plugins.module_utils import _power_qemu, _power_redfish
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
LEVELS = ("soft", "hard", "very_hard")
"""How hard a machine is switched: its operating system is asked, its power is switched, its supply is taken away."""
PORTS = {"ipmi": 623, "redfish": 443}

ARGV = {"type": "list", "elements": "str"}
ACTIONS = ("status", "on", "off", "soft_off", "reset", "very_hard", "boot_pxe", "boot_disk", "boot_bios")
OPTIONS = {
    "driver": {"type": "str", "choices": ["ipmi", "redfish", "qemu", "command"], "default": "ipmi"},
    "address": {"type": "str"},
    "port": {"type": "int"},
    "system": {"type": "str"},
    "tls": {"type": "bool", "default": True},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "socket": {"type": "path"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "cipher_suite": {"type": "int"},
    "commands": {"type": "dict", "options": dict.fromkeys(ACTIONS, ARGV)},
}
"""The way to a machine's power switch, as the modules take it: spelled out so that the password is known as one."""


@dataclass(frozen=True)
class Target:
    """One machine and the way to its power switch."""

    name: str
    driver: str = "ipmi"
    address: str | None = None
    port: int = -1
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    cipher_suite: int | None = None
    system: str | None = None
    tls: bool = True
    validate_certs: bool = True
    ca_path: str | None = None
    socket: str | None = None
    firmware: str = "bios"
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.port == -1:  # the driver's own
            object.__setattr__(self, "port", PORTS.get(self.driver, 0))

    def can(self, action: str) -> bool:
        return bool(self.commands.get(action)) or action in DRIVERS[self.driver][1]


@dataclass(frozen=True)
class Order:
    """What to do to every target."""

    state: str
    timeout: float = 60
    retries: int = 2
    boot_device: str | None = None
    check: bool = False
    level: str = "hard"

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
    level: str | None = None
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


def ipmi_command(target: Target, action: str) -> tuple[list[str], Mapping[str, str]]:
    """The password goes through the environment: argument lists can be read by every user of the host."""
    argv = ["ipmitool", "-I", "lanplus", "-H", str(target.address), "-p", str(target.port)]
    argv += ["-U", target.user] if target.user else []
    argv += ["-C", str(target.cipher_suite)] if target.cipher_suite is not None else []
    if action.startswith("boot_"):
        words = ["bootdev", action[len("boot_") :]]
        words += ["options=efiboot"] if target.firmware == "uefi" else []
    else:
        words = ["power", IPMI_WORDS.get(action, action)]
    return [*argv, "-E", "chassis", *words], {"IPMI_PASSWORD": target.password or ""}


def printed(argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> str:
    return run(argv, environment=environment, timeout=timeout).stdout.decode("utf-8", "replace")


def by_ipmi(target: Target, action: str, timeout: float) -> str:
    return printed(*ipmi_command(target, action), timeout)


def by_command(target: Target, action: str, timeout: float) -> str:
    return printed(target.commands[action], {}, timeout)


def by_qemu(target: Target, action: str, timeout: float) -> str:
    return _power_qemu.act(str(target.socket), action, timeout)


def by_redfish(target: Target, action: str, timeout: float) -> str:
    service = _power_redfish.Service(
        str(target.address),
        target.port,
        tls=target.tls,
        verify=target.validate_certs,
        ca_path=target.ca_path,
        user=target.user,
        password=target.password,
        timeout=timeout,
    )
    return _power_redfish.act(service, target.system, action, target.firmware)


IPMI_WORDS = {"soft_off": "soft"}
SWITCH = ("status", "on", "off", "soft_off", "reset")
BOOT = ("boot_pxe", "boot_disk", "boot_bios")
DRIVERS: Mapping[str, tuple[Callable[[Target, str, float], str], tuple[str, ...]]] = {
    "ipmi": (by_ipmi, (*SWITCH, *BOOT)),
    "redfish": (by_redfish, (*SWITCH, *BOOT)),
    "qemu": (by_qemu, SWITCH),
    "command": (by_command, ()),
}
"""How each driver acts, and what it can do. A command of the user's own takes the place of any of it."""


def parse_targets(items: Iterable[Mapping[str, Any]], order: Order) -> list[Target]:
    """The declared nodes as targets; raises ClusterError naming the node whose way to power is not whole."""
    declared = [{key: value for key, value in item.items() if value is not None} for item in items]
    parse_nodes([{"name": item.get("name")} for item in declared])
    targets = [Target(**item) for item in declared]
    switches: dict[tuple[str | None, ...], str] = {}
    for target in targets:
        check_target(target, order)
        if target.driver == "command":
            continue
        way = (target.address, str(target.port), target.system, target.socket)
        first = switches.setdefault(way, target.name)
        if first != target.name:
            where = target.socket or f"{target.address} port {target.port}"
            raise ClusterError(f"nodes {first} and {target.name} have the same BMC {where}")
    if any(target.driver == "ipmi" for target in targets):
        require("ipmitool", package="ipmitool")
    return targets


def check_target(target: Target, order: Order) -> None:
    """Raises ClusterError when the way to its power is not whole, or cannot do what ``order`` needs."""
    missing = [action for action in order.actions if not target.can(action)]
    if missing:
        raise ClusterError(f"node {target.name}: commands has no {', '.join(missing)}, which this needs")
    if target.driver == "qemu" and not target.socket:
        raise ClusterError(f"node {target.name}: driver qemu needs socket, the path of its QMP socket")
    if target.driver not in PORTS:
        return
    if not ADDRESS.fullmatch(target.address or ""):
        raise ClusterError(
            f'node {target.name}: address "{target.address or ""}" is no name or address of a BMC'
        )
    if not 0 < target.port < 65536:
        raise ClusterError(f"node {target.name}: port {target.port} is no port")


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
    failed: list[str] = []
    for level in ways(target, order):
        try:
            change(target, order, level, gate, outcome)
        except ClusterError as error:
            failed.append(f"{level}: {error}" if level != order.level or failed else str(error))
        else:
            outcome.level = level
            return
    raise ClusterError("; then ".join(failed))


def ways(target: Target, order: Order) -> list[str]:
    """The levels to try, from the one ordered to the hardest that the machine has; a hard one is always there."""
    harder = LEVELS[LEVELS.index(order.level) :]
    offered = {
        "soft": target.can("soft_off") and order.state in ("off", "cycle"),
        "hard": True,
        "very_hard": target.can("very_hard"),
    }
    return [level for level in harder if offered[level]] or ["hard"]


def change(target: Target, order: Order, level: str, gate: Gate, outcome: Outcome) -> None:
    """Bring the machine to the ordered state, as hard as ``level`` says."""
    if level == "very_hard":
        act(target, "very_hard", order)
        outcome.after = status(target, order)
        if outcome.after == order.state or (outcome.after == "on" and order.state != "off"):
            return  # its supply was gone: it starts anew
    elif order.state == "reset":
        act(target, "reset", order)
        outcome.after = reach(target, "on", order)
        return
    if order.state != "on" and outcome.after == "on":
        act(target, "soft_off" if level == "soft" else "off", order)
        outcome.after = reach(target, "off", order)
    if order.state != "off":
        gate.wait()
        act(target, "on", order)
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
    driver = by_command if target.commands.get(action) else DRIVERS[target.driver][0]
    for attempt in range(order.retries + 1):
        if attempt:
            time.sleep(RETRY_SECONDS)
        try:
            return driver(target, action, order.timeout)
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
