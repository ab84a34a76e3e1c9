# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Send much data through a program without copying it about: in by large writes, out into an unnamed file."""

from __future__ import annotations

import mmap
import os
import subprocess
import tempfile
import threading
import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def through(argv: Sequence[str], pieces: Iterable[Content], timeout: float) -> memoryview:
    """What ``argv`` makes of ``pieces``; raises ClusterError where it fails, is missing or takes over ``timeout`` s."""
    with open(os.memfd_create("output"), "w+b") as output, tempfile.TemporaryFile() as errors:
        try:
            # logic knows no AnsibleModule, so that its run_command is out of reach
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv), stdin=subprocess.PIPE, stdout=output, stderr=errors
            )
        except FileNotFoundError as error:
            raise ClusterError(f"cannot run {argv[0]}: not found on this host") from error
        watch = threading.Timer(timeout, process.kill)
        watch.start()
        try:
            feed(process, pieces)
            code = process.wait()
        finally:
            process.kill()
            watch.cancel()
        errors.seek(0)
        if code:
            raise ClusterError(f"{argv[0]} failed with exit code {code}: {tail(errors.read())}")
        if not output.seek(0, 2):
            return memoryview(b"")
        return memoryview(mmap.mmap(output.fileno(), 0, access=mmap.ACCESS_READ))


def feed(process: subprocess.Popen[bytes], pieces: Iterable[Content]) -> None:
    try:
        with t.cast("t.IO[bytes]", process.stdin) as stream:
            for piece in pieces:
                stream.write(piece)
    except BrokenPipeError:
        pass  # the program ended early: its exit code and its own words say why
