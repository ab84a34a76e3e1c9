# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Programs in a row, the last one's output taken by us: written, hashed and counted on its only way."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import subprocess
import tempfile
import threading
import typing as t
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import bound

PIECE = 1 << 20
"""What is read at once, in bytes: pieces that are written past the page cache must not be small."""
PIPE = 1 << 20
"""What a pipe holds, in bytes, where the host allows it (``/proc/sys/fs/pipe-max-size``): every time that one end waits
for the other costs a wake-up on another core, and with the usual 64 KiB those took a third of all the work."""
SET_PIPE_SIZE = 1031
"""F_SETPIPE_SZ of fcntl(2), which Python names from 3.10 on."""
BROKEN_PIPE = -13
"""SIGPIPE: the program wrote to one that had ended, whose own words say why."""


@dataclass
class Stage:
    """One program of a row and what it says on standard error."""

    argv: list[str]
    accept: tuple[int, ...] = (0,)
    process: subprocess.Popen[bytes] | None = None
    errors: t.IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def start(self, stdin: t.Any, **settings: t.Any) -> t.IO[bytes]:
        if self.errors.closed:
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            # logic knows no AnsibleModule, so that its run_command is out of reach
            self.process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                bound(self.argv),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                **settings,
            )
        except FileNotFoundError as error:
            raise ClusterError("cannot run setpriv: not found on this host; install util-linux") from error
        output = t.cast("t.IO[bytes]", self.process.stdout)
        with contextlib.suppress(OSError):  # over this user's limit: the usual size does too
            fcntl.fcntl(output, SET_PIPE_SIZE, PIPE)
        return output

    def said(self) -> bytes:
        self.errors.seek(0)
        return self.errors.read()

    def finish(self) -> int:
        """Its exit code; raises ClusterError for one that is a failure of its own."""
        code = self.process.wait() if self.process else 0
        if code not in self.accept and code != BROKEN_PIPE:
            how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
            raise ClusterError(f"{self.argv[0]} failed {how}: {tail(self.said())}")
        return code

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            t.cast("t.IO[bytes]", self.process.stdout).close()
        self.errors.close()


@contextlib.contextmanager
def row(
    stages: Sequence[Stage],
    stdin: t.Any = subprocess.DEVNULL,
    prefix: bytes = b"",
    **settings: t.Any,
) -> Iterator[t.IO[bytes]]:
    """Start the programs and yield the last one's output; all have ended when the block ends, however it ends.

    ``prefix`` takes the place of as many bytes at the start of the first one's output. Raises ClusterError where a
    program failed; the last one is asked first, for the others fail when it does.
    """
    output = stdin
    try:
        for number, stage in enumerate(stages):
            source = output
            output = stage.start(source, **settings)
            if number:
                source.close()
            if number == 0 and prefix:
                output = replaced(output, prefix)
        yield t.cast("t.IO[bytes]", output)
        codes = [stage.finish() for stage in reversed(stages)]
        if any(code == BROKEN_PIPE for code in codes):
            raise ClusterError(f"{stages[0].argv[0]} could not write all that it read")
    finally:
        for stage in stages:
            stage.end()


def replaced(source: t.IO[bytes], prefix: bytes) -> t.IO[bytes]:
    """``source`` with its first bytes replaced, through a thread and another pipe."""
    reading, writing = os.pipe()

    def copy() -> None:
        with (
            source,
            open(writing, "wb", buffering=0) as target,
            contextlib.suppress(BrokenPipeError, ValueError),
        ):
            source.read(len(prefix))
            target.write(prefix)
            while piece := source.read(PIECE):
                target.write(piece)

    threading.Thread(target=copy, daemon=True).start()
    return open(reading, "rb")


@dataclass
class Taken:
    """What came out of a row."""

    size: int
    sha256: str
    md5: str


def take(source: t.IO[bytes], write: Callable[[memoryview], t.Any]) -> Taken:
    """Hand all of ``source`` to ``write``; memory stays at one piece however large it is.

    The piece begins at a page's start, as files want it that are written past the page cache.
    """
    sha256, md5, size = hashlib.sha256(), new_md5(), 0
    buffer = mmap.mmap(-1, PIECE)
    view = memoryview(buffer)
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        piece = view[:count]
        sha256.update(piece)
        md5.update(piece)
        write(piece)
        size += count
    return Taken(size, sha256.hexdigest(), md5.hexdigest())


def new_md5() -> t.Any:
    """MD5 as descriptions of environments carry it: it guards against accidents, never against malice."""
    return hashlib.new("md5", usedforsecurity=False)
