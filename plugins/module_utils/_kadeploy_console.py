# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the consoles of a site's nodes show while Kadeploy works on them: ``kaconsole3``, which wants a terminal, one for each."""

from __future__ import annotations

import contextlib
import os
import pty
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_console import LARGEST
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PAUSE = 5.0
"""Seconds until a console that ended is asked for again: some sites' consoles end with the node's power."""
LOOK = 0.5
"""Seconds in which the end of the operation is noticed."""
ESCAPE = b"\x1b" * 4
"""What ends ``kaconsole3``, typed."""
GRACE = 2.0
"""Seconds that it has for that."""
PIECE = 1 << 16


class Console:
    """``argv`` on a terminal of its own, and the file that keeps what comes."""

    def __init__(self, argv: Sequence[str], path: Path) -> None:
        self.argv = list(argv)
        self.next = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.terminal = -1
        # what is typed on a console may be shown by it
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.kept = open(descriptor, "wb", buffering=0)  # noqa: SIM115

    def start(self) -> None:
        """Raises OSError."""
        self.next = time.monotonic() + PAUSE
        self.terminal, theirs = pty.openpty()
        try:
            # logic knows no AnsibleModule, so that its run_command is out of reach
            self.process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                self.argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
            )
        except OSError:
            os.close(self.terminal)
            raise
        finally:
            os.close(theirs)

    def copy(self) -> None:
        """Keep what is there; raises OSError where the console ended, or cannot be kept."""
        text = os.read(self.terminal, PIECE)
        self.kept.write(text[: max(0, LARGEST - self.kept.tell())])

    def leave(self) -> None:
        """End it as a user would."""
        if self.process:
            with contextlib.suppress(OSError):
                os.write(self.terminal, ESCAPE)

    def stop(self) -> None:
        if self.process is None:
            return
        for end in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(GRACE)
                break
            except subprocess.TimeoutExpired:
                end()
        self.process.wait()
        os.close(self.terminal)
        self.process = None


def kept_at(folder: str, node: str) -> Path:
    return Path(folder, f"console-{node}.log")


def check_consoles(folder: str, argv: Sequence[str]) -> None:
    """Raises ClusterError where consoles could not be kept in ``folder``, or the program of ``argv`` is not there."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ClusterError(f"consoles: {folder} is no folder that can be written into; make it first")
    if shutil.which(argv[0]) is None:
        raise ClusterError(f"consoles: {argv[0]} is not on this host; install Kadeploy's clients")


@contextlib.contextmanager
def kept_consoles(folder: str, shown_by: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Keep during the block what the argv of each node shows; raises ClusterError before it where a log cannot be written."""
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        consoles = []
        for node, argv in shown_by.items():
            path = kept_at(folder, node)
            try:
                consoles.append(Console(argv, path))
            except OSError as error:
                raise ClusterError(f"consoles: cannot write {path}: {error.strerror}") from error
            stack.callback(consoles[-1].kept.close)
        thread = threading.Thread(target=follow, args=(consoles, over), name="consoles", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield


def follow(consoles: Sequence[Console], over: threading.Event) -> None:
    """Copy until ``over``. A console that cannot be had or kept is no fault of the operation."""
    with selectors.DefaultSelector() as ready:
        while not over.wait(0 if ready.get_map() else LOOK):
            for console in consoles:
                if console.process is None and time.monotonic() >= console.next:
                    with contextlib.suppress(OSError):
                        console.start()
                        ready.register(console.terminal, selectors.EVENT_READ, console)
            for key, _events in ready.select(LOOK):
                try:
                    key.data.copy()
                except OSError:
                    ready.unregister(key.fileobj)
                    key.data.leave()
                    key.data.stop()
    for console in consoles:
        console.leave()
    for console in consoles:
        console.stop()
