# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the controller does with a stream: compress it if the node does not, hash it, store it, say how far it is."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

BLOCK = 1 << 20
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Receiver:
    """Stores pieces of a stream at ``path``, through ``compressor`` if there is one; memory does not grow with the stream.

    ``received`` counts the bytes that came, ``size`` those that were stored, ``sha256`` and ``md5`` are of the latter.
    """

    def __init__(self, path: Path, compressor: Sequence[str] = ()) -> None:
        self.received = self.size = 0
        self._sha256 = hashlib.sha256()
        # MD5 because Kadeploy compares images by it, not as a proof
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file = path.open("wb", buffering=0)
        self._filter: subprocess.Popen[bytes] | None = None
        self._fault: OSError | None = None
        if compressor:
            self._filter = subprocess.Popen(
                compressor, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            self._drain = threading.Thread(target=self._store_filtered, daemon=True)
            self._drain.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._filter and self._filter.poll() is None:
            self._filter.kill()
            self._filter.communicate()
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def write(self, piece: bytes) -> None:
        """Take the next bytes. Raises OSError where they cannot be stored, ClusterError when the compressor failed."""
        self.received += len(piece)
        if not self._filter:
            self._store(piece)
            return
        try:
            self._filter.stdin.write(piece)
        except BrokenPipeError:
            self.finish()

    def finish(self) -> None:
        """Store what the compressor still holds; raises as ``write`` does."""
        if not self._filter:
            return
        try:
            self._filter.stdin.close()
        except BrokenPipeError:
            pass
        self._drain.join()
        message = self._filter.stderr.read()
        code = self._filter.wait()
        if self._fault:
            raise self._fault
        if code:
            raise ClusterError(f"{self._filter.args[0]} failed with exit code {code}: {tail(message)}")

    def _store(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._md5.update(piece)
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(piece)

    def _store_filtered(self) -> None:
        try:
            while piece := self._filter.stdout.read1(BLOCK):
                self._store(piece)
        except OSError as fault:
            self._fault = fault
            self._filter.kill()


class Progress:
    """Prints how many bytes came, how fast and, where the whole is known, how much of it that is."""

    def __init__(
        self, show: Callable[[str], None], name: str, *, interval: float, clock: Any = time.monotonic
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
