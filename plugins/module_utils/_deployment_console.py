# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the nodes' consoles show during a deployment, kept with it: the log itself begins anew at the next power-on."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Target

PAUSE = 1.0
"""Seconds between two looks: less than a machine needs to be switched off and on twice."""
LARGEST = 1 << 24
"""Bytes of a kept log: a node that starts over and over must not fill the boot server's disk."""


class Console:
    """Follows one log by its name from its present end on, also when it is truncated or another file takes its name."""

    def __init__(self, log: Path, kept: Path) -> None:
        self._log = log
        self._kept = kept
        self._stream: BinaryIO | None = None
        with contextlib.suppress(OSError):
            self._stream = log.open("rb")
            self._stream.seek(0, os.SEEK_END)

    def copy(self) -> None:
        """Add what is new. A log that cannot be read or kept is no fault of the deployment."""
        with contextlib.suppress(OSError):
            if self._stream:
                self._add(self._stream)
            there = self._log.stat()
            if not self._stream or not os.path.samestat(there, os.fstat(self._stream.fileno())):
                self.close()
                self._stream = self._log.open("rb")
                self._add(self._stream)

    def _add(self, stream: BinaryIO) -> None:
        if os.fstat(stream.fileno()).st_size < stream.tell():
            stream.seek(0)
        with self._kept.open("ab") as kept:
            text = stream.read(max(0, LARGEST - kept.tell()))
            kept.write(text)

    def close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None


def kept_at(folder: Path, node: Target) -> Path:
    """Where the console of ``node`` is kept in a deployment's ``folder``."""
    return folder / f"console-{node.name}.log"


@contextlib.contextmanager
def kept_consoles(folder: Path, nodes: Sequence[Target]) -> Iterator[None]:
    """Keep the consoles of those ``nodes`` that have a log on this host."""
    consoles = [Console(Path(node.console), kept_at(folder, node)) for node in nodes if node.console]
    over = threading.Event()

    def follow() -> None:
        while not over.wait(PAUSE):
            for console in consoles:
                console.copy()

    thread = threading.Thread(target=follow, name="consoles", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for console in consoles:
            console.copy()
            console.close()
