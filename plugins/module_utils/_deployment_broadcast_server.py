# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Programs that serve nodes while a broadcast lasts: they end with it, and with the process that started them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

GUARD = r"""
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r line <&3; kill -KILL $child; } 2>/dev/null &
guard=$!
exec 3<&-
wait $child
code=$?
kill -KILL $guard 2>/dev/null
exit $code
"""
"""Ends the program when standard input does: a pipe whose other end the kernel closes, however its holder dies.

The kernel's own signal at a parent's death comes when the *thread* that started the child ends, and an engine's threads do.
"""
START_SECONDS = 30.0
STOP_SECONDS = 30.0
TRIES = 50


class Served:
    """One program. ``name`` is what messages call it."""

    def __init__(self, name: str, argv: Sequence[str], cwd: str = "/") -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 # closed by end()
        # logic knows no AnsibleModule, so that its run_command is out of reach
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
            ["sh", "-c", GUARD, "sh", *argv],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            cwd=cwd,
            start_new_session=True,
        )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises ClusterError with what it said when it ends instead, or is not ready in time."""
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                how = "ended" if self._process.poll() is not None else f"was not ready in {START_SECONDS:g} s"
                raise ClusterError(f"{self.name} {how}: {self.said()}")
            time.sleep(0.05)

    def said(self) -> str:
        """The end of what it printed, on one line."""
        with open(f"/proc/self/fd/{self._said.fileno()}", "rb") as copy:
            return tail(copy.read())

    def end(self) -> None:
        """End it and wait until it is gone; does nothing when it is."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{self.name} (process {self._process.pid}) does not end") from error
        self._said.close()


def free_port(address: str, kinds: Sequence[int], width: int = 1, even: bool = False) -> int:
    """The first of ``width`` ports that are free at ``address`` for sockets of all ``kinds``.

    Raises ClusterError when ``address`` is not this host's.
    """
    for _attempt in range(TRIES):
        with contextlib.ExitStack() as held:
            first = held.enter_context(_bound(address, kinds[0], 0))
            port = int(first.getsockname()[1])
            if even and port % 2:
                continue
            wanted = [(port + offset, kind) for offset in range(width) for kind in kinds]
            try:
                for number, kind in wanted[1:]:
                    held.enter_context(_bound(address, kind, number))
            except OSError:
                continue
            return port
    raise ClusterError(f"no free port at {address}")


def _bound(address: str, kind: int, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, kind)
    try:
        one.bind((address, port))
    except OSError as error:
        one.close()
        if port:
            raise
        raise ClusterError(
            f"server: {address} is no address of this host: {error.strerror}; it must be the boot server's own"
        ) from error
    return one
