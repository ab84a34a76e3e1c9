# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Debian root of its own in which a test runs a scheduler's real daemons, and of which nothing is left after it.

The root is made once by mmdebstrap and cached. A sandbox lays a file system in memory over it and runs there in network,
process, mount, host name and IPC namespaces of its own: the kernel ends all of it with the sandbox's first process, which
dies with the test run, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import bound
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import (
    KEYRING,
    Source,
    host_settings,
    host_sources,
    resolve_sources,
    serving,
)

CACHE = Path("/var/cache/oneimage/scheduler_roots")
SUITE = "bookworm"
BUILD_TIMEOUT = 600
# far more than anything takes: busy machines are slow, and no test hangs
TIMEOUT = 120
HOSTNAME = "frontend"
# the resolver finds no names while a host has loopback addresses only, if a program asks it as Slurm does
ADDRESS = "192.0.2.1"

BASE_PACKAGES = ("iproute2", "procps")
# Nobody reads documentation in a sandbox.
DPKG_OPTIONS = tuple(f"path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale"))
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")

# bash as the first process reaps what daemons leave behind; the schedulers want a host name that resolves.
FIRST_PROCESS = f"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ip link set lo up
ip address add {ADDRESS}/32 dev lo
hostname {HOSTNAME}
printf '%s\\n' '127.0.0.1 localhost' '{ADDRESS} {HOSTNAME}' > etc/hosts
exec chroot . bash -c 'echo ready; sleep infinity & wait'
"""

Value = TypeVar("Value")


class Unavailable(Exception):
    """A sandbox cannot be had on this machine; the text says why."""


@dataclass(frozen=True)
class Sandbox:
    """``pid`` is its first process, as this machine counts."""

    pid: int

    @property
    def root(self) -> Path:
        """Its files, as this machine's programs reach them."""
        return Path(f"/proc/{self.pid}/root")

    def argv(self, *argv: str) -> list[str]:
        """What this machine runs to have ``argv`` run in the sandbox."""
        namespaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd")
        inner = ["/usr/bin/env", "-i", *ENVIRONMENT, *argv]
        return ["nsenter", "--target", str(self.pid), *namespaces, *inner]

    def run(self, *argv: str, stdin: str = "") -> str:
        """What ``argv`` prints; raises ClusterError when it fails."""
        return run(self.argv(*argv), stdin=stdin.encode(), timeout=TIMEOUT).stdout.decode()

    def run_as(self, user: str, *argv: str) -> str:
        """What ``argv`` prints that ``user`` runs in a login shell; raises ClusterError when it fails."""
        return self.run("su", "-", user, "-c", shlex.join(argv))

    def script(self, text: str) -> str:
        """What a bash script prints; raises ClusterError when one of its commands fails."""
        return self.run("bash", "-eu", "-o", "pipefail", "-c", text)


@contextmanager
def sandbox(packages: Sequence[str], scratch: Path) -> Iterator[Sandbox]:
    """A running sandbox with ``packages``; ``scratch`` is an empty folder. Raises Unavailable."""
    root = scheduler_root(packages)
    namespaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
    argv = bound(["unshare", *namespaces, "bash", "-c", FIRST_PROCESS, "bash", str(root), str(scratch)])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if said != "ready\n":
                raise Unavailable(f"namespaces or overlays cannot be made here: {said.strip()}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Sandbox(int(children[0]))
        finally:
            process.kill()


def scheduler_root(packages: Sequence[str], cache: Path = CACHE) -> Path:
    """The cached root that holds ``packages``, made now if it is not there. Raises Unavailable."""
    if shutil.which("mmdebstrap") is None:
        raise Unavailable("mmdebstrap is not installed on this machine")
    included = sorted({*BASE_PACKAGES, *packages})
    cache.mkdir(parents=True, exist_ok=True)
    try:
        declared = {"suite": SUITE, "components": ["main"], "mirror": None, "security_mirror": None}
        sources = resolve_sources(declared, host_sources())
        made_from = json.dumps([SUITE, included, [source.line() for source in sources], DPKG_OPTIONS])
        root = cache / sha256(made_from.encode()).hexdigest()[:12]
        with root.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may make the same root
            if not root.exists():
                make_root(root, included, sources)
    except ClusterError as error:
        raise Unavailable(f"no root with {', '.join(included)} can be made: {error}") from error
    return root


def make_root(root: Path, packages: Sequence[str], sources: Sequence[Source]) -> None:
    """Make the root beside its place and move it there when it is whole. Raises ClusterError."""
    partial = root.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    settings = host_settings()
    answering, _warnings = serving(sources, settings, root.parent)
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--keyring={KEYRING}"]
    argv += [f"--aptopt={setting}" for setting in settings]
    argv += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    argv += [f"--include={','.join(packages)}", SUITE, str(partial), *(one.line() for one in answering)]
    try:
        run(bound(argv), timeout=BUILD_TIMEOUT)
        os.rename(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def wait_for(what: str, found: Callable[[], Value], seconds: float = TIMEOUT) -> Value:
    """The first true answer of ``found``; raises TimeoutError that names ``what`` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
    return value
