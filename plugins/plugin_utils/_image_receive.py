# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the controller does with a stream: compress it if the node does not, hash it, store it, say how far it is."""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import new_md5

BLOCK = 1 << 20
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Store:
    """Hands on what it gets and hashes it: ``size`` in bytes, ``sha256`` and ``md5`` in hexadecimal."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.size = 0
        self._write = write
        self._sha256, self._md5 = hashlib.sha256(), new_md5()

    def write(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._md5.update(piece)
        self._write(piece)
        self.size += len(piece)

    def finish(self) -> None:
        """Nothing is held back."""

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()


class Compression:
    """Sends what is written through a compressor of this host to ``store``, while the next pieces arrive."""

    def __init__(self, argv: Sequence[str], store: Callable[[bytes], None]) -> None:
        self._name, self._store = argv[0], store
        self._fault: OSError | None = None
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=BLOCK
        )
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def write(self, piece: bytes) -> None:
        """Raises OSError where the disk does not take the result, ClusterError where the compressor fails."""
        try:
            cast(IO[bytes], self._process.stdin).write(piece)
        except BrokenPipeError:
            self.finish()

    def finish(self) -> None:
        """Wait until all is stored; raises as ``write`` does."""
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).close()
        self._thread.join()
        message = cast(IO[bytes], self._process.stderr).read()
        code = self._process.wait()
        if self._fault:
            raise self._fault
        if code:
            raise ClusterError(f"{self._name} failed with exit code {code}: {tail(message)}")

    def close(self) -> None:
        """End it where it stands."""
        self._process.kill()
        self._thread.join()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass

    def _drain(self) -> None:
        output = cast(io.BufferedReader, self._process.stdout)
        try:
            while piece := output.read1(BLOCK):
                self._store(piece)
        except OSError as fault:
            self._fault = fault
            self._process.kill()


class Progress:
    """Prints how many bytes came, how fast and, where the whole is known, how much of it that is."""

    def __init__(
        self,
        show: Callable[[str], None],
        name: str,
        *,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``interval`` is the number of seconds between two lines, 0 for none at all."""
        self._show, self._name, self._interval, self._clock = show, name, interval, clock
        self._begun = self._shown = clock()
        self._last = 0

    def update(self, received: int, done: int | None = None, whole: int | None = None) -> None:
        """``done`` of ``whole`` source bytes were read when ``received`` bytes had come; prints when it is time to."""
        now = self._clock()
        if not self._interval or now - self._shown < self._interval:
            return
        rate = (received - self._last) / (now - self._shown)
        self._shown, self._last = now, received
        # an estimate: a file system in use is not what it was when it was measured
        share = f", {min(99, 100 * done // whole)} %" if done is not None and whole else ""
        self._show(f"{self._name}: {readable(received)}, {readable(rate)}/s{share}")

    @property
    def seconds(self) -> float:
        """How long the stream took so far."""
        return self._clock() - self._begun


def readable(count: float) -> str:
    """Bytes as people read them: ``1.4 GiB``."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:.0f} B"
