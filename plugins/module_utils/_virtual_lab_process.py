# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Processes that outlive Ansible: found by what they were started with, so that no recorded number can lie."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PROC = Path("/proc")
PATIENCE = 10.0
"""Seconds between SIGTERM and SIGKILL, and between SIGKILL and giving up."""


def find(argument: str) -> list[int]:
    """The processes that have exactly ``argument`` among their arguments.

    A path inside the lab's directory identifies a process better than a pid file, which a kill -9 or a reboot
    leaves behind to name somebody else's process.
    """
    return [
        pid for pid in sorted(int(entry.name) for entry in PROC.glob("[0-9]*")) if has_argument(argument, pid)
    ]


def has_argument(argument: str, pid: int) -> bool:
    """Whether ``pid`` lives and was started with ``argument``."""
    try:
        return os.fsencode(argument) in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def network_of(pid: int) -> tuple[int, int] | None:
    """What identifies the network namespace of ``pid``; None when it has ended."""
    return identity(PROC / str(pid) / "ns" / "net")


def identity(namespace: Path) -> tuple[int, int] | None:
    """Device and inode of a namespace file: equal for the same namespace under whatever name."""
    try:
        status = namespace.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def start(argv: Sequence[str], log: Path) -> None:
    """Start a process that survives this one: its own session, no inherited file, output to ``log``."""
    with log.open("ab") as output:
        subprocess.Popen(  # pylint: disable=ansible-bad-function
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )


def end(pids: Sequence[int], still_ours: Callable[[int], bool]) -> None:
    """End ``pids`` and wait until they are gone: SIGTERM first, SIGKILL after a while.

    A handle is taken before ``still_ours`` looks again, so that a number that another process got meanwhile is
    never hit. Raises ClusterError naming what survives even SIGKILL.
    """
    with contextlib.ExitStack() as handles:
        alive: dict[int, int] = {}
        for pid in pids:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            handles.callback(os.close, handle)
            if still_ours(pid):
                alive[pid] = handle
        for number in (signal.SIGTERM, signal.SIGKILL):
            for handle in alive.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            alive = {
                pid: handle
                for pid, handle in alive.items()
                if not select.select([handle], [], [], PATIENCE)[0]
            }
    if alive:
        raise ClusterError(
            f"processes {', '.join(map(str, alive))} survive SIGKILL; look at their state in /proc/PID/stack"
        )
