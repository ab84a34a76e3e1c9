# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a failed micro-step's lines tell: rules from a pattern to the advice, and the end of a node's console log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONSOLE_LINES = 12
"""How many of a console log's last lines belong to the evidence."""
CONSOLE_BYTES = 8192
CONSOLE = "console: "
"""How a line of evidence from a node's console begins."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\t\x20-\x7e\u00a0-\uffff]")
"""Terminal sequences and control characters, which a log of a serial line is full of."""


@dataclass(frozen=True)
class Rule:
    """Lines that match ``pattern``, in any case, mean ``advice``."""

    pattern: str
    advice: str


RULES: Sequence[Rule] = (
    Rule(
        r"No space left on device|not enough space|too small",
        "the image needs more room than the partition has: enlarge it in the layout, or take a larger disk",
    ),
    Rule(
        r"sha256|checksum",
        "the node got other bytes than the registry has: look for a faulty link or RAM, and verify the image with"
        " environment_info",
    ),
    Rule(
        r"I/O error|blk_update_request|Medium Error|critical medium|failed command: (READ|WRITE)",
        "the node's disk reports errors: replace it",
    ),
    Rule(
        r"Permission denied \(publickey|Host key verification failed",
        "the node runs something else than this deployment's environment: see on its console what it booted",
    ),
    Rule(
        r"Kernel panic|not syncing",
        "the kernel stopped: see the console's lines above the panic, and check kernel and initrd with netboot_check",
    ),
    Rule(
        r"Out of memory|Cannot allocate memory|oom-kill",
        "the node has too little RAM for the deployment environment and this broadcast",
    ),
    Rule(
        r"PXE-E|No DHCP|no configuration methods succeeded|TFTP.*(timed? ?out|not found)|Nothing to boot",
        "the node found no boot server: check its cable, its VLAN and the boot server with boot_server_check",
    ),
    Rule(
        r"No bootable (device|disk)|Boot failed: not a bootable|Operating system not found|error: no such (device|partition)",
        "the firmware finds no bootloader: check that the node's declared firmware is what it boots with",
    ),
    Rule(
        r"IPMI|BMC|RMCP|Redfish|power command",
        "the node's BMC did not do what it was told: check its address and account with node_power, state status",
    ),
    Rule(
        r"No route to host|Connection (refused|timed out|reset)|Network is unreachable|did not answer|no answer|not responding"
        r"|cannot be reached|Broken pipe|closed by remote host",
        "the node does not answer: see its console, and whether its address is the declared one",
    ),
    Rule(
        r"Device or resource busy",
        "something still uses the disk: reboot the node into the deployment environment",
    ),
    Rule(
        r"No such (device|file).*/dev/|no disk|cannot find.*disk",
        "the deployment environment has no driver for this disk, or the layout names another one",
    ),
)
"""The first rule that matches wins: what names a cause stands before what names a symptom."""


def advise(lines: Iterable[str]) -> str:
    """The advice of the first rule that one of ``lines`` matches, empty if none does."""
    text = "\n".join(lines)
    return next((rule.advice for rule in RULES if re.search(rule.pattern, text, re.IGNORECASE)), "")


def console_end(path: str) -> list[str]:
    """The last lines of the console log at ``path``, without what a terminal would not show; none where there is no log."""
    if not path:
        return []
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - CONSOLE_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [CONTROL.sub("", line).rstrip() for line in text.replace("\r", "\n").split("\n")]
    return [CONSOLE + line for line in lines if line][-CONSOLE_LINES:]
