# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Programs that work on a root: they die with this process, and the kernel undoes their mounts when they end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

ROOT_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
    "SYSTEMD_OFFLINE=1",
    # the hook of initramfs-tools builds no initrd then: the nodes' initrd is built for the finished root
    "INITRD=No",
)
"""All that a program in the root sees of this host's environment."""

PROGRAMS = ("setpriv", "unshare", "tar", "zstd", "sync")

NO_SERVICE_STARTS = "#!/bin/sh\n# services start on the nodes, not while the root is made\nexit 101\n"


def bound(argv: Sequence[str]) -> list[str]:
    """``argv`` so that the kernel kills it when this process dies, however it dies."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


def isolated(argv: Sequence[str], root: Path | None = None) -> list[str]:
    """``argv`` as the first process of mount and process namespaces of its own.

    When it ends or is killed, the kernel ends all that it started and undoes all that it mounted; this host's
    mount table never has any of it. With ``root``, that is its /, and has a /proc.
    """
    place = ["--root", str(root)] if root else []
    return bound(["unshare", "--mount", "--pid", "--fork", "--kill-child", *place, "--mount-proc", *argv])


def in_root(
    root: Path, argv: Sequence[str], *, stdin: bytes | None = None, accept: Sequence[int] = (0,)
) -> subprocess.CompletedProcess[bytes]:
    """Run a program of the root, isolated; raises ClusterError as ``run`` does, under the program's own name."""
    try:
        return run(
            isolated(["/usr/bin/env", "-i", *ROOT_ENVIRONMENT, *argv], root), stdin=stdin, accept=accept
        )
    except ClusterError as error:
        raise ClusterError(str(error).replace("setpriv", f"in the root: {argv[0]}", 1)) from error
