# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Where deployments keep what is theirs, and the locks that keep two of them from one node.

| below the folder of deployments | is |
|---|---|
| ``ID/journal.jsonl`` | the journal |
| ``ID/console-NODE.log`` | what the console of a node showed meanwhile |
| ``ID/key``, ``key.pub`` | the one-time key, until all nodes are ok |
| ``ID/served`` | the folder's name below the boot tree, which nobody can guess |
| ``history.sqlite`` | all deployments |
| ``locks/`` | one file for each node and each deployment that ever was; who works on it holds it by flock |

A lock goes with the process that holds it, so that a kill leaves none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NOT_IDS = ("locks", "history.sqlite")
TRIES = 5
PAUSE = 0.05
SERVED = "deployments"
"""The folder below the boot tree in which each deployment has one."""


def parse_id(text: str) -> str:
    """Raises ClusterError for what is no good name of a folder."""
    if not ID.fullmatch(text) or text in NOT_IDS:
        raise ClusterError(f"id: {text!r} is no name of a deployment: letters, digits, dot, dash, at most 64")
    return text


class Folder:
    """The folder of one deployment below ``top``."""

    def __init__(self, top: Path, deployment: str) -> None:
        self.top = top
        self.path = top / deployment
        self.journal = self.path / "journal.jsonl"
        self.key = self.path / "key"
        self.history = top / "history.sqlite"

    def make(self) -> None:
        """Readable by its owner alone, since the key lies in it. Raises ClusterError."""
        try:
            self.top.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"cannot make the folder {self.path}: {error.strerror}") from error

    def served(self, tree: Path) -> Path:
        """The folder that the nodes see, made with a name that nobody can guess. Raises ClusterError."""
        note = self.path / "served"
        try:
            name = note.read_text("ascii").strip() if note.is_file() else ""
            if not name:
                name = secrets.token_hex(16)
                write_file(note, name.encode() + b"\n", 0o600)
            folder = tree / SERVED / name
            # the web server goes through, and nobody sees the names
            (tree / SERVED).mkdir(mode=0o711, exist_ok=True)
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"cannot make a folder in {tree}: {error.strerror}") from error
        return folder


def lock_names(deployment: str, nodes: Sequence[Target]) -> dict[str, str]:
    """Lock files and what each is for: the deployment itself, each node by its name and by its MAC."""
    names = {f"deployment-{deployment}": f"deployment {deployment}"}
    for node in nodes:
        names[f"node-{node.name.lower()}"] = node.name
        names[f"mac-{node.mac.replace(':', '-')}"] = node.name
    return names


@contextlib.contextmanager
def held(top: Path, deployment: str, nodes: Sequence[Target]) -> Iterator[Mapping[str, str]]:
    """Hold the deployment and its nodes; yields the nodes that another one holds, with its id.

    Raises ClusterError where the deployment itself is at work in another process.
    """
    folder = top / "locks"
    with contextlib.ExitStack() as stack:
        busy: dict[str, str] = {}
        for name, what in sorted(lock_names(deployment, nodes).items()):
            try:
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise ClusterError(f"cannot lock {folder / name}: {error.strerror}") from error
            stack.callback(os.close, descriptor)
            if not take(descriptor):
                holder = os.pread(descriptor, 100, 0).decode("ascii", "replace").strip()
                if name.startswith("deployment-"):
                    raise ClusterError(
                        f"{what} is at work in another process: wait for it, or take another id"
                    )
                busy[what] = holder
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, deployment.encode(), 0)
        yield busy


def take(descriptor: int) -> bool:
    """Whether the lock could be had; who only looks holds it for a moment."""
    for _attempt in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE)
    return False


def running(top: Path, deployment: str) -> bool:
    """Whether some process works on it now."""
    try:
        descriptor = os.open(top / "locks" / f"deployment-{deployment}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def deployments(top: Path) -> Iterator[str]:
    """The ids that have a journal."""
    with contextlib.suppress(OSError):
        for path in sorted(top.iterdir()):
            if (path / "journal.jsonl").is_file():
                yield path.name
