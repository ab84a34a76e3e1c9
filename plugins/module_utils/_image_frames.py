# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The node's end of a stream to the controller: frames on standard output, and a lifeline on standard input.

A frame is one byte for its kind, four for the length of its body (big endian), and the body. After a RESULT or a FAILURE
nothing follows, so that a stream without either was cut off, whatever exit code the programs in between report.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import threading
import time
from collections.abc import Callable

HEADER = struct.Struct(">cI")
DATA, READ, RESULT, FAILURE, BEAT = b"D", b"N", b"R", b"F", b"B"
BEAT_SECONDS = 10.0
"""How often the node says that it lives while it has nothing to send."""
SILENCE_SECONDS = 300.0
"""How long a controller may be silent before the node gives up: it sends a byte every second, unless its disk hangs."""


class FrameWriter:
    """Writes frames to a file descriptor, one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._sent = time.monotonic()

    def send(self, kind: bytes, body: bytes | memoryview = b"") -> None:
        """Write one frame; blocks until the other end took it, raises OSError when it is gone."""
        with self._lock:
            self.write(HEADER.pack(kind, len(body)))
            self.write(body)
            self._sent = time.monotonic()

    def beat(self) -> None:
        """Say that the node lives, unless something else says so already."""
        if not self._lock.locked() and time.monotonic() - self._sent >= BEAT_SECONDS:
            self.send(BEAT)

    def write(self, content: bytes | memoryview) -> None:
        """Write what is no frame: only before the first one."""
        left = memoryview(content)
        while left:
            left = left[os.write(self._descriptor, left) :]


def serve(work: Callable[[FrameWriter], None], token: str) -> None:
    """Announce the stream by a line with ``token``, so that greetings of login shells can be told from it; do the work.

    Standard output becomes standard error for all else, so that nothing strays into the frames.
    """
    # A process group of its own: the end of the lifeline ends every program of the pipeline, and nobody else.
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    frames = FrameWriter(os.dup(1))
    os.dup2(2, 1)
    threading.Thread(target=_hold_lifeline, args=(frames,), daemon=True).start()
    frames.write(f"{token}\n".encode())
    work(frames)


def _hold_lifeline(frames: FrameWriter) -> None:
    """End the whole process group when standard input ends or falls silent: the controller, or the way to it, is gone."""
    heard = time.monotonic()
    try:
        while time.monotonic() - heard < SILENCE_SECONDS:
            if select.select([0], [], [], 1.0)[0]:
                if not os.read(0, 4096):
                    break
                heard = time.monotonic()
            frames.beat()
    except OSError:
        pass  # the way out is broken: there is nobody to tell
    os.killpg(0, signal.SIGKILL)
