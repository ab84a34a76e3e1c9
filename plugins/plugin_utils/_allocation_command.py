# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Ask a program for nodes: what it prints, within a time and a size, and nothing of it left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

CHUNK = 1 << 16
KEPT_ERRORS = 1 << 14
"""Bytes of a program's complaints that are kept; what comes after them is read and dropped."""


class ProgramMissing(ClusterError):
    """The program is not installed here."""


def output(argv: Sequence[str], *, timeout: float, limit: int, cwd: str) -> bytes:
    """What ``argv`` prints on standard output: at most ``limit`` bytes within ``timeout`` seconds.

    The program has neither standard input nor a terminal, so that ssh fails instead of asking for a password. It is
    ended with all that it started (its process group) when it takes too long or prints too much.
    Raises ClusterError, ProgramMissing if there is no such program; the messages do not repeat ``argv``.
    """
    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(f"cannot be run: {argv[0]} was not found on this host") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a word
        raise ClusterError(f"cannot be run: {getattr(error, 'strerror', None) or error}") from error
    with process:
        try:
            printed, complaints = _read(process, deadline, limit)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            # The program has not been waited for, so that its number cannot belong to another process group yet.
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, (TimeoutError, subprocess.TimeoutExpired)):
                raise ClusterError(f"gave no answer within {timeout:g} s and was ended") from None
            raise
    if code:
        reason = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        raise ClusterError(f"{reason}: {tail(complaints or printed)}")
    return printed


def _read(process: subprocess.Popen[bytes], deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Both outputs until their ends; raises TimeoutError."""
    printed, complaints = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, printed), (process.stderr, complaints)):
            selector.register(_open(stream), selectors.EVENT_READ, kept)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            ready = selector.select(remaining) if remaining > 0 else []
            if not ready:
                raise TimeoutError
            for key, _events in ready:
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is printed or len(complaints) < KEPT_ERRORS:
                    key.data.extend(chunk)
            if len(printed) > limit:
                raise ClusterError(f"printed more than {limit} bytes and was ended; that is no list of nodes")
    return bytes(printed), bytes(complaints)


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ClusterError("has no output")
    return stream
