# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The power switch of one QEMU machine by its QMP socket (QEMU Machine Protocol, JSON lines).

A machine that is stopped right after a reset has done nothing yet: that is what "off" means while the process lives.
QEMU must have been started with ``-no-shutdown``, or a shutdown of the guest ends the process, which then is off too but
can be switched on by a command of the user's alone.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

COMMANDS: Mapping[str, Sequence[str]] = {
    "on": ("system_reset", "cont"),
    "off": ("stop", "system_reset"),
    "soft_off": ("system_powerdown",),
    "reset": ("system_reset",),
}


def act(path: str, action: str, timeout: float) -> str:
    """Do ``action`` to the machine behind the socket ``path``; ``status`` gives ``on`` or ``off``. Raises ClusterError."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout)
        try:
            link.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if action == "status":
                return "off"
            raise ClusterError(f"no QEMU process listens on {path}: start it by commands.{action}") from error
        except OSError as error:
            raise ClusterError(f"QMP socket {path}: {error.strerror or error}") from error
        with link.makefile("rw", encoding="utf-8") as stream:
            try:
                heard(stream, "QMP")
                say(stream, "qmp_capabilities")
                if action == "status":
                    return "on" if say(stream, "query-status")["running"] else "off"
                for command in COMMANDS[action]:
                    say(stream, command)
            except (OSError, ValueError, KeyError) as error:
                raise ClusterError(f"QMP socket {path}: no QEMU answers as it should ({error})") from error
    return ""


def say(stream: TextIO, command: str) -> dict[str, Any]:
    stream.write(json.dumps({"execute": command}) + "\n")
    stream.flush()
    return heard(stream, "return")


def heard(stream: TextIO, wanted: str) -> dict[str, Any]:
    """The next answer that has the key ``wanted``; events in between say nothing to us."""
    for line in stream:
        answer = json.loads(line)
        if "error" in answer:
            raise ClusterError(f"QEMU refused: {answer['error'].get('desc')}")
        if wanted in answer:
            found: dict[str, Any] = answer[wanted]
            return found
    raise ValueError("it closed the connection")
