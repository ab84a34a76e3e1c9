# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""OpenSSH to a node with the deployment's own key: nothing of the user's ssh is read or written, nobody is asked anything.

A node's host key says nothing here. The system that answers made it when it booted a moment ago, and another one at its
next boot; what proves which system answers is that it lets the one-time key in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run, tail
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import StepFailed, Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SSH_FAILED = 255
REFUSED = b"Permission denied ("
"""The exit code of ssh itself, for a connection that was refused, timed out or broke."""
CONNECT_SECONDS = 10
PERSIST_SECONDS = 60
"""How long a connection outlives its last script, and so an engine that was killed."""
PAUSE = 0.5
PARALLEL = 16
HANDSHAKES = threading.BoundedSemaphore(PARALLEL)
"""Logins at the same moment: hundreds of nodes that come up together would else slow each other beyond their time.

Nodes that take no connection hold none of them, and who waits for one loses no time of his own.
"""
EVIDENCE_LINES = 20

OPTIONS: Sequence[str] = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "LogLevel=ERROR",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)

ALONE = """pid=/run/oneimage/script.pid; mkdir -p /run/oneimage
if [ -s $pid ]; then
  old=$(cat $pid); kill -9 -"$old" 2>/dev/null
  for second in 1 2 3 4 5 6 7 8 9 10; do kill -0 -"$old" 2>/dev/null || break; sleep 1; done
fi
script=$(dd bs="$1" count=1 iflag=fullblock 2>/dev/null)
case $script in *"$2") ;; *) echo 'only a part of the script came' >&2; exit 1 ;; esac
setsid /bin/sh -c 'echo $$ >"$0"; /bin/sh -c "$1"; code=$?; rm -f "$0"; exit $code' $pid "$script"; exit $?"""
"""Runs a script in a session of its own, after what an engine that was killed, or ran out of time, left of another one.

That has ten seconds to be gone, as what waits for a disk ends late. The script comes first on standard input: dropbear takes
no command of more than 9000 bytes. Its last line says that it is whole: an engine can be killed while it sends it. The shell
is named by its path, since busybox runs its own for a bare ``sh``, which then prefers its own tar to the one that is there.
"""
LAST_LINE = "# whole"


def make_key(path: Path, comment: str) -> str:
    """Make the key pair at ``path`` unless it is there; returns the public line. Raises ClusterError."""
    require("ssh", "ssh-keygen", package="openssh-client")
    public = path.with_name(path.name + ".pub")
    if not (path.is_file() and public.is_file()):
        path.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], timeout=60)
    return public.read_text("ascii").strip()


class Doors:
    """Where the connections of one deployment meet: a folder with a short name, since a socket's may have 107 bytes."""

    def __init__(self, key: Path, deployment: str) -> None:
        self.key = key
        base = Path("/run" if os.geteuid() == 0 and Path("/run").is_dir() else tempfile.gettempdir())
        name = hashlib.sha256(f"{key.parent} {deployment} {os.geteuid()}".encode()).hexdigest()[:12]
        self.folder = base / f"oneimage-ssh-{name}"

    def open(self) -> None:
        """Close the connections of an earlier engine and make the folder anew."""
        self.close()
        self.folder.mkdir(mode=0o700)

    def close(self) -> None:
        paths = [*self.folder.glob("[0-9a-f]*")] if self.folder.is_dir() else []
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(hang_up, paths))
        shutil.rmtree(self.folder, ignore_errors=True)

    def channel(self, node: Target) -> SshChannel:
        return SshChannel(node, self.key, self.folder)


class SshChannel:
    """A Channel by OpenSSH as root."""

    def __init__(self, node: Target, key: Path, doors: Path, port: int = 22) -> None:
        self.node = node
        self.key = key
        self.port = port
        self.socket = doors / hashlib.sha256(node.name.encode()).hexdigest()[:12]

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        """Standard output of the shell script. Raises StepFailed with the end of its output."""
        text = f"{script}\n{LAST_LINE}".encode()
        command = alone(len(text))
        if not self.socket.exists() and self._listens(min(timeout, CONNECT_SECONDS)):
            with HANDSHAKES:
                self._login(timeout)
        done = self._ssh(command, timeout, text + (stdin or b""))
        if done is None:
            raise StepFailed(f"{self.node.name} had not finished its script after {timeout:.0f} s")
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode == SSH_FAILED and not output:
            raise StepFailed(
                f"{self.node.name} cannot be reached at {self.node.address}: {tail(done.stderr)}",
                evidence=lines(done.stderr),
            )
        if done.returncode:
            shown = lines(done.stdout) + lines(done.stderr)
            raise StepFailed(
                f"its script ended with exit code {done.returncode}: {tail(done.stderr or done.stdout)}",
                evidence=shown[-EVIDENCE_LINES:],
            )
        return output

    def answers(self, timeout: float) -> bool:
        """Asked by a new connection, since an old one may lead to the system that ran before; scripts then share it.

        A server that refuses the key is another system: it is not asked again.
        """
        over = time.monotonic() + timeout
        self._forget()
        while True:
            left = over - time.monotonic()
            if left <= 0:
                return False
            if self._listens(min(left, CONNECT_SECONDS)):
                came = time.monotonic()
                with HANDSHAKES:
                    over += time.monotonic() - came
                    done = self._login(over - time.monotonic())
                if done and (done.returncode == 0 or REFUSED in done.stderr):
                    return done.returncode == 0
            time.sleep(min(PAUSE, max(0.0, over - time.monotonic())))

    def _listens(self, timeout: float) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.node.address, self.port), timeout):
            return True
        return False

    def _login(self, timeout: float) -> subprocess.CompletedProcess[bytes] | None:
        """Open the connection that scripts share."""
        return self._ssh("true", timeout, b"")

    def _forget(self) -> None:
        if self.socket.exists():
            hang_up(self.socket)

    def _ssh(self, command: str, timeout: float, stdin: bytes) -> subprocess.CompletedProcess[bytes] | None:
        """What came of ``command``, None where it was not over in time."""
        connect = max(1, min(CONNECT_SECONDS, int(timeout)))
        shared = ["ControlMaster=auto", f"ControlPath={self.socket}", f"ControlPersist={PERSIST_SECONDS}"]
        options = [*OPTIONS, f"ConnectTimeout={connect}", *shared]
        argv = ["ssh", "-F", "none", "-T", "-l", "root", "-p", str(self.port), "-i", str(self.key)]
        argv += [word for option in options for word in ("-o", option)]
        try:
            # logic knows no AnsibleModule, so that its run_command is out of reach
            return subprocess.run(  # pylint: disable=ansible-bad-function
                [*argv, "--", self.node.address, command],
                input=stdin,
                capture_output=True,
                timeout=max(timeout, 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None


def alone(size: int) -> str:
    """The command that runs a script of so many bytes, which begins standard input."""
    return f"exec sh -c {shlex.quote(ALONE)} sh {size} {shlex.quote(LAST_LINE)}"


def hang_up(path: Path) -> None:
    """End the connection behind a control socket, whoever opened it."""
    with contextlib.suppress(ClusterError):
        run(["ssh", "-F", "none", "-S", str(path), "-O", "exit", "node"], timeout=10, accept=(0, SSH_FAILED))
    path.unlink(missing_ok=True)


def lines(output: bytes) -> list[str]:
    return [line.rstrip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()][
        -EVIDENCE_LINES:
    ]
