# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-serve: what the other nodes of the session may have done here. sshd runs it for their keys, whatever they ask for."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
from typing import Callable

from ssi import errors, node, process
from ssi.errors import SsiError

COMMANDS = ("migrate", "checkpoint", "krgcapset")  # the guides' programs, for processes that are here


def main(arguments: list[str]) -> int:
    words = arguments or shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    return errors.run(lambda: _serve(words), "ssi-serve")


def _serve(words: list[str]) -> int:
    served: dict[str, Callable[[list[str]], int]] = {
        "alive": _alive, "processes": _processes, "receive": _receive, "poweroff": _power, "reboot": _power,
    }  # fmt: skip
    word = words[0] if words else ""
    if word in served:
        return served[word](words)
    if word in COMMANDS:
        return int(importlib.import_module(f"ssi.command_{word}").main(words[1:]))
    raise SsiError(f"'{' '.join(words)}' is not served to other nodes")


def _alive(words: list[str]) -> int:
    """Those of the pids that live here."""
    print(" ".join(word for word in words[1:] if process.look(int(word))))
    return 0


def _receive(words: list[str]) -> int:
    from ssi import migration  # here, as the other answers need nothing of it

    return migration.receive(node.member(), int(words[1]))


def _processes(words: list[str]) -> int:
    """The node's processes without the kernel's own (children of 2), as ssi-ps shows them."""
    fields = "user:32,pid,ppid,pcpu,rss,stat,etimes,args"
    said = subprocess.run(
        ["ps", "-e", "-w", "-w", "-o", fields, "--no-headers"], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 7) for line in said.stdout.splitlines()]
    print(json.dumps([row for row in rows if len(row) == 8 and "2" not in row[1:3]]))
    return 0


def _power(words: list[str]) -> int:
    # In a moment: the one who asks gets an answer first.
    subprocess.run(["systemd-run", "--quiet", "--on-active=1", "systemctl", words[0]], check=True)
    return 0
