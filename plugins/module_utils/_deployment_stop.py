# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""End the process that works on a deployment: it outlives the controller on purpose, so that somebody must be able to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_folder import parse_id, running
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LOCKS = Path("/proc/locks")
HELD = re.compile(
    r"^\d+: FLOCK\s+\S+\s+WRITE\s+(?P<pid>\d+) (?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) "
)
"""One line of /proc/locks (proc_locks(5)); a process that cannot be seen from here has the number 0."""
POLL_SECONDS = 0.2


def holders(lines: Iterable[str], device: int, inode: int) -> Iterator[int]:
    """The processes that hold the file by flock, from ``lines`` of /proc/locks."""
    place = (os.major(device), os.minor(device), inode)
    for line in lines:
        found = HELD.match(line)
        if found and (int(found["major"], 16), int(found["minor"], 16), int(found["inode"])) == place:
            yield int(found["pid"])


def pids(top: Path, deployment: str) -> list[int]:
    """Who works on ``deployment`` of the folder ``top``; raises ClusterError where somebody does who cannot be seen."""
    try:
        status = (top / "locks" / f"deployment-{deployment}").stat()
    except OSError:
        return []
    with LOCKS.open(encoding="ascii") as lines:
        found = sorted(set(holders(lines, status.st_dev, status.st_ino)))
    if not found and running(top, deployment) or 0 in found:
        raise ClusterError(f"deployment {deployment} is worked on by a process that cannot be seen from here")
    return found


def stop(top: Path, deployment: str, timeout: float, check: bool) -> bool:
    """End whoever works on ``deployment``, politely for ``timeout`` seconds; says whether there was anybody.

    Raises ClusterError for a name that no deployment has.
    """
    found = pids(top, parse_id(deployment))
    if check or not found:
        return bool(found)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids(top, deployment):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        over = time.monotonic() + timeout
        while running(top, deployment) and time.monotonic() < over:
            time.sleep(POLL_SECONDS)
    if running(top, deployment):
        raise ClusterError(f"deployment {deployment} did not end within {2 * timeout:g} s")
    return True
