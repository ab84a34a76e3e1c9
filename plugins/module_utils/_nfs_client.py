# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read a file of an NFS export as a node would, with what this host has: libnfs in user space, or the kernel's client."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

CLONE_NEWNS = 0x00020000


@dataclass(frozen=True)
class Source:
    """A file of an export, or with no file the export itself."""

    server: str
    export: str
    file: str | None
    version: int
    timeout: float


def read_by_libnfs(source: Source) -> str:
    program, file = ("nfs-cat", f"/{urllib.parse.quote(source.file)}") if source.file else ("nfs-ls", "")
    url = f"nfs://{source.server}{urllib.parse.quote(source.export)}{file}?version={source.version}"
    return hashlib.sha256(run([program, url], timeout=source.timeout).stdout).hexdigest()


def read_by_kernel(source: Source) -> str:
    """Mount in a mount namespace of this process's own: nobody else sees the mount and it ends with the process."""
    enter_private_mounts()
    # soft: a server that stops answering must fail the test, not hang it. Reading needs no lock daemon.
    options = f"ro,soft,nolock,vers={source.version},timeo=50,retrans=2"
    with tempfile.TemporaryDirectory(prefix="oneimage-nfs-") as folder:
        run(
            ["mount", "-t", "nfs", "-o", options, f"{source.server}:{source.export}", folder],
            timeout=source.timeout,
        )
        try:
            content = (
                Path(folder, source.file).read_bytes()
                if source.file
                else "\n".join(os.listdir(folder)).encode()
            )
        except OSError as error:
            raise ClusterError(f"mounted, but not readable: {error.strerror}") from error
        finally:
            run(["umount", "--lazy", folder], timeout=source.timeout)
    return hashlib.sha256(content).hexdigest()


def enter_private_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare came with Python 3.12
    if libc.unshare(CLONE_NEWNS) != 0:
        raise ClusterError(
            f"cannot make a mount namespace for the NFS test: {os.strerror(ctypes.get_errno())}; root is needed"
        )
    run(["mount", "--make-rprivate", "/"])


@dataclass(frozen=True)
class Client:
    """How to read, the program that it takes and the Debian package that holds it."""

    read: Callable[[Source], str]
    program: str
    package: str


CLIENTS = {
    "libnfs": Client(read_by_libnfs, "nfs-cat", "libnfs-utils"),
    "kernel": Client(read_by_kernel, "mount.nfs", "nfs-common"),
}


def choose_client(wanted: str) -> Callable[[Source], str]:
    """The reader ``wanted``, or for ``auto`` the first that this host has; it returns the sha256 of what it read.

    Raises ClusterError where there is none; the reader raises it with what the server answered.
    """
    if wanted != "auto":
        require(CLIENTS[wanted].program, package=CLIENTS[wanted].package)
        return CLIENTS[wanted].read
    for client in CLIENTS.values():
        if shutil.which(client.program):
            return client.read
    raise ClusterError(
        "this host has no NFS client: install the package libnfs-utils or nfs-common where the self-test runs"
    )
