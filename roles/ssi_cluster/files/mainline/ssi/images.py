# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes as CRIU's images, and back. What is written is a tree that was stopped, and it comes back stopped."""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

from ssi.errors import SsiError
from ssi.node import read

# The groups are the business of this node; a program that uses the terminal of its shell may be written with it.
OPTIONS = ["--shell-job", "--manage-cgroups=ignore", "-v2"]
TIMEOUT = 900  # seconds, for a process of many gigabytes on a slow network


class Failure(NamedTuple):
    """What a line of CRIU's log means to the user."""

    match: str
    means: str


FAILURES = (
    Failure(
        r"Connected TCP socket|inet.*established|tcp.*(dump|repair)",
        "it has an open TCP connection, which belongs to this node's address",
    ),
    Failure(
        r"half of stream unix|external (unix )?socket|unix:.*peer",
        "it talks by a local socket to a process that does not go with it",
    ),
    Failure(
        r"[Cc]an't dump.*(tty|ptmx)|tty:.*([Cc]an't|[Ff]ound|sid)|no tty|Can't set tty",
        "it uses a terminal that is not there",
    ),
    Failure(r"File .* (has bad|bad) size|bad (mode|build-ID)", "a file that it has open has changed"),
    Failure(
        r"[Cc]an't open file|Can't open .*: No such file",
        "a file that it has open is not on this node; keep files on the shared folder",
    ),
    Failure(
        r"(Can't fork|clone).*File exists|Pid \d+ do(es)? not match|pid \d+ .*busy",
        "one PID (including session id or group id) of the application is already in use",
    ),
    Failure(r"ghost file|[Cc]an't dump ghost|link-remap", "it has a file open that was removed"),
    Failure(
        r"Can't (open|find).*\.img|[Mm]agic|pb.*unpack|[Ii]mage.*(corrupt|version)|inventory",
        "invalid checkpoint files (corrupted or wrong kernel version)",
    ),
    Failure(
        r"cpu.*(not match|differ|missing|capab)|Runtime xsave",
        "the processor of this node cannot do what that of the other node can",
    ),
)


def dump(root: int, folder: str) -> None:
    """Write a stopped tree of processes into an empty folder and leave it stopped.

    SsiError: CRIU cannot, and why.
    """
    _criu(
        ["dump", "--tree", str(root), "--images-dir", folder, "--leave-running", "--log-file", "dump.log"],
        f"{folder}/dump.log",
    )


def restore(folder: str, log: str) -> None:
    """Make the processes of a folder again, with their pids, stopped. `log`: a file on this node.

    SsiError: CRIU cannot, and why; nothing of them is left then.
    """
    work = os.path.dirname(log)
    os.makedirs(work, exist_ok=True)
    arguments = [
        "restore",
        "--restore-detached",
        "--images-dir",
        folder,
        "--work-dir",
        work,
        "--log-file",
        os.path.basename(log),
    ]
    _criu(arguments, log)


def _criu(arguments: list[str], log: str) -> None:
    try:
        # Its standard input stays: a program that used its shell's terminal gets that of who restarts it.
        done = subprocess.run(
            ["criu", *arguments, *OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SsiError(f"criu {arguments[0]} did not end within {TIMEOUT} s") from error
    if done.returncode:
        raise SsiError(reason(read(log) if os.path.exists(log) else ""))


def reason(log: str) -> str:
    """Why CRIU failed, in the user's words where they are known, and in CRIU's own."""
    errors = [
        found["text"].strip()
        for found in re.finditer(
            r"^(?:\(\d+\.\d+\) *)?(?: *\d+: )?Error \([^)]*\): (?P<text>.*)$", log, re.MULTILINE
        )
    ]
    for error in errors:
        for failure in FAILURES:
            if re.search(failure.match, error):
                return f"{failure.means} (criu: {error})"
    return f"criu: {errors[0]}" if errors else "criu failed without a word"
