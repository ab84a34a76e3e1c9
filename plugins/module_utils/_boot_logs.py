# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Where the boot server says how far nodes came: dnsmasq's journal, nginx's logs, and the nodes' own ssh servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_stage import (
    Event,
    dnsmasq_events,
    nginx_events,
    observe,
    report_events,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run

OFTEN = (2.0, 2.0)
"""Seconds to wait for a connection and for the first line, where a node is asked again anyway."""
ONCE = (5.0, 30.0)
"""The same where it is asked but once: who is too busy to greet at once must not be taken for one that is off, and
powered. One that is off does not even connect."""
REFRESH_SECONDS = 3.0
FIRST_TAIL = 4 * 2**20
"""Bytes of a log that are read at first: enough for the boots of a while, whatever a server's log has grown to."""


def journal(since: float) -> list[str]:
    """What dnsmasq logged; nothing on a host that keeps no journal."""
    if shutil.which("journalctl") is None:
        return []
    argv = [
        "journalctl",
        "--unit=dnsmasq",
        f"--since=@{int(since)}",
        "--output=short-unix",
        "--no-pager",
        "--quiet",
    ]
    return run(argv, timeout=30).stdout.decode("utf-8", "replace").splitlines()


def log(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("utf-8", "replace").splitlines()
    return []


def greeting(address: str, patience: tuple[float, float] = OFTEN) -> str:
    """The first line of the ssh server at ``address``, or nothing; ``patience`` is ``OFTEN`` or ``ONCE``."""
    connect, greet = patience
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address, 22), connect) as connection,
    ):
        connection.settimeout(greet)
        said = connection.recv(255).split(b"\r\n")[0].decode("ascii", "replace")
        return said if said.startswith("SSH-") else ""
    return ""


class GrowingLog:
    """The lines that were added to a log since it was last looked at; a log that was rotated is read anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = -1

    def lines(self) -> list[str]:
        try:
            with self.path.open("rb") as stream:
                size = stream.seek(0, 2)
                if self.offset < 0:
                    self.offset = max(0, size - FIRST_TAIL)
                elif size < self.offset:
                    self.offset = 0
                stream.seek(self.offset)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


class BootLogs:
    """All the stages that nodes reached, for many threads that each ask for one node: the logs are read once for all."""

    def __init__(self, tree: str, logs: str) -> None:
        self.tree = tree
        self.access = GrowingLog(Path(logs) / "access.log")
        self.reports = GrowingLog(Path(logs) / "oneimage-report.log")
        self.events: list[Event] = []
        self.lock = threading.Lock()
        self.journal_read = time.time() - 1
        self.refreshed = 0.0

    def refresh(self) -> None:
        """Read what was added; a journal that is read twice at its edges says the same twice."""
        now = time.time()
        if now - self.refreshed < REFRESH_SECONDS:
            return
        self.events += dnsmasq_events(journal(self.journal_read), self.tree)
        self.journal_read, self.refreshed = now - 1, now
        self.events += nginx_events(self.access.lines())
        self.events += report_events(self.reports.lines())

    def look(self, node: Mapping[str, Any], since: float) -> dict[str, Any]:
        """What ``observe`` says of ``node`` (name, mac, address) since the time ``since``; its ssh is not asked."""
        with self.lock:
            self.refresh()
            own = [
                event for event in self.events if event.mac == node["mac"] or event.address == node["address"]
            ]
        return observe([node], own, {}, since, time.time())[node["name"]]
