# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tree of processes has open: what must be the same where it goes on, and what cannot go with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterable
from typing import Any, NamedTuple

from ssi import node
from ssi.errors import SsiError
from ssi.process import Process

TERMINALS = {
    4,
    5,
    *range(136, 144),
}  # major numbers: consoles, /dev/tty, pseudo terminals; Documentation/admin-guide/devices.txt
COPIED = 1 << 20  # bytes at once


class Open(NamedTuple):
    """One descriptor of one process."""

    pid: int
    path: str
    mode: int
    device: int  # file system
    number: int  # device file
    size: int
    writable: bool


def survey(members: Iterable[Process]) -> list[Open]:
    return [found for member in members for found in _of(member.pid)]


def _of(pid: int) -> Iterable[Open]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            path, status = os.readlink(f"/proc/{pid}/fd/{name}"), os.stat(f"/proc/{pid}/fd/{name}")
            fields = dict(
                line.split(":", 1)
                for line in node.read(f"/proc/{pid}/fdinfo/{name}").splitlines()
                if ":" in line
            )
            yield Open(
                pid,
                path,
                status.st_mode,
                status.st_dev,
                status.st_rdev,
                status.st_size,
                int(fields["flags"], 8) & os.O_ACCMODE != os.O_RDONLY,
            )


def sizes(opened: Iterable[Open]) -> dict[str, int]:
    """Bytes of each ordinary file, on the server: the other nodes must see what was written before they look."""
    files = {
        found.path: found.size
        for found in opened
        if stat.S_ISREG(found.mode) and not found.path.endswith(" (deleted)")
    }
    for path in files:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    return files


def check_shared(opened: Iterable[Open]) -> None:
    """SsiError: a file that is written lies on this node alone."""
    shared = os.stat(node.SHARED).st_dev
    for found in opened:
        if stat.S_ISREG(found.mode) and found.writable and found.device != shared:
            raise SsiError(
                f"process {found.pid} writes to {found.path}, which only this node has; let it write below /home"
            )


def check_no_terminal(opened: Iterable[Open], members: Iterable[Process]) -> None:
    """SsiError: a terminal is in use."""
    using = [
        found.pid for found in opened if stat.S_ISCHR(found.mode) and os.major(found.number) in TERMINALS
    ]
    using.extend(member.pid for member in members if member.terminal)
    if using:
        raise SsiError(
            f"process {using[0]} uses a terminal, which stays behind; start it by setsid, with its input and output in files"
        )


def check_no_pipe_outside(opened: Iterable[Open], members: Iterable[Process]) -> None:
    """SsiError: the other end of a pipe is held by a process that does not go along; it would be cut without a word."""
    inside = {member.pid for member in members}
    pipes = {found.path: found.pid for found in opened if stat.S_ISFIFO(found.mode)}
    if not pipes:
        return
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in inside:
            for path in _links(int(name)):
                if path in pipes:
                    raise SsiError(
                        f"process {pipes[path]} has a pipe to process {name}, which does not go with it; give it files instead"
                    )


def _links(pid: int) -> list[str]:
    found = []
    # Where even root may not look, in a container, there are only processes of the container's host.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def cut(files: dict[str, int], kept: str) -> None:
    """Give files the sizes that they had, as CRIU asks for, and keep what came after in the folder `kept` until `paste`.

    Killed at any time, `paste` gives everything back.
    """
    os.makedirs(kept, exist_ok=True)
    cuts: list[dict[str, Any]] = []
    for number, (path, size) in enumerate(sorted(files.items())):
        try:
            now = os.stat(path).st_size
        except FileNotFoundError:
            continue  # CRIU says it better
        if now != size:
            cuts.append({"path": path, "size": size, "was": now, "tail": str(number)})
            if now > size:
                _copy(path, size, f"{kept}/{number}", 0)
    with open(f"{kept}/list.new", "w", encoding="utf-8") as file:
        json.dump(cuts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{kept}/list.new", f"{kept}/list")
    for change in cuts:
        os.truncate(change["path"], change["size"])


def paste(kept: str) -> None:
    """Put back what `cut` took, and forget it."""
    with contextlib.suppress(FileNotFoundError):
        for change in json.loads(node.read(f"{kept}/list")):
            if change["was"] > change["size"]:
                _copy(f"{kept}/{change['tail']}", 0, change["path"], change["size"])
            else:
                os.truncate(change["path"], change["was"])
    shutil.rmtree(kept, ignore_errors=True)


def _copy(source: str, start: int, target: str, where: int) -> None:
    with open(source, "rb") as reader, open(target, "r+b" if os.path.exists(target) else "wb") as writer:
        reader.seek(start)
        writer.seek(where)
        shutil.copyfileobj(reader, writer, COPIED)
        writer.flush()
        os.fsync(writer.fileno())
