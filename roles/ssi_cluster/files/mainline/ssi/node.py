# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this node is: its session and number as the kernel's parameters or `ssi-session join` say, its address, kernel
and image."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from typing import NamedTuple

from ssi.errors import SsiError

SHARED = "/var/lib/ssi"  # the session's folder, on every node of it
RUN = "/run/ssi"
CHECKPOINTS = "/var/chkpt"  # where the guides' programs look; the same folder as SHARED/chkpt
SETTINGS = "/etc/default/oneimage-ssi"

# Kept short, since nodes read what others write: attributes for a second, and no memory of names that were not there.
MOUNT_OPTIONS = "vers=3,nolock,proto=tcp,hard,actimeo=1,lookupcache=positive"


class Node(NamedTuple):
    """This node within its session."""

    session: int
    node_id: int
    nodes_min: int  # 0: it waits for an administrator
    storage: str  # SERVER:/PATH, which holds a folder for each session
    name: str
    address: str
    boot_id: str
    kernel: str
    image_id: str
    cpus: int

    @property
    def source(self) -> str:
        return f"{self.storage}/session-{self.session}"


def parameters(line: str) -> dict[str, str]:
    """NAME=VALUE of a kernel command line; the last one of a name counts, as for the kernel."""
    return dict(word.partition("=")[::2] for word in line.split() if "=" in word)


def identity(given: dict[str, str], address: str) -> tuple[int, int, int] | None:
    """(session, node id, least number of nodes) that kernel parameters give to a node with that address; None for a spare.

    SsiError: a number is missing or out of its range.
    """
    if "session_id" not in given:
        return None
    session = _number(given, "session_id", 1, 254)
    if given.get("autonodeid", "0") == "1":
        node_id = int(address.rpartition(".")[2])
    elif "node_id" in given:
        node_id = _number(given, "node_id", 1, 254)
    else:
        raise SsiError(
            "session_id without node_id or autonodeid=1 in the kernel's parameters: the node has no number"
        )
    return session, node_id, _number({"nb_nodes_min": "0", **given}, "nb_nodes_min", 0, 254)


def _number(given: dict[str, str], name: str, least: int, most: int) -> int:
    try:
        number = int(given[name])
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise SsiError(f"{name}={given[name]} is not a number from {least} to {most}")
    return number


def load() -> Node | None:
    """This node, or None where it is a spare; what `ssi-session join` was told comes before the kernel's parameters."""
    given = parameters(read("/proc/cmdline"))
    with contextlib.suppress(FileNotFoundError):
        given.update({name: str(value) for name, value in json.loads(read(f"{RUN}/joined")).items()})
    if given.get("session_id") == "":  # `ssi-session leave`
        return None
    storage = given.get("oneimage.ssi") or _setting("SSI_STORAGE")
    address = _own_address(storage.partition(":")[0])
    found = identity(given, address)
    if found is None:
        return None
    if not storage:
        raise SsiError(
            f"no oneimage.ssi= in the kernel's parameters and no SSI_STORAGE in {SETTINGS}: there is no shared folder"
        )
    session, node_id, nodes_min = found
    release = dict(line.partition("=")[::2] for line in read("/etc/os-release").splitlines())
    image = "-".join(release[name].strip('"') for name in ("IMAGE_ID", "IMAGE_VERSION") if name in release)
    return Node(
        session, node_id, nodes_min, storage, socket.gethostname(), address, read("/proc/sys/kernel/random/boot_id").strip(),
        os.uname().release, given.get("oneimage.image") or image or "unknown", os.cpu_count() or 1,
    )  # fmt: skip


def member() -> Node:
    """This node, of which the session's folder is mounted.

    SsiError in Kerrighed's words where it is in no session.
    """
    node = load()
    if node is None or mounted(SHARED) != node.source:
        raise SsiError("Resource temporarily unavailable")
    return node


def mounted(path: str) -> str | None:
    """What is mounted at `path` itself, as /proc/self/mounts names it."""
    found = None
    for line in read("/proc/self/mounts").splitlines():
        source, where = line.split()[:2]
        if where == path:
            found = source
    return found


def mount(node: Node) -> None:
    """Mount the session's folder, and lead /var/chkpt and /home into it; nothing is done twice.

    SsiError: a mount fails, or another session's folder is there.
    """
    held = mounted(SHARED)
    if held not in (None, node.source):
        raise SsiError(
            f"{held} is mounted at {SHARED}: the node is still in another session; leave it first (ssi-session leave)"
        )
    if held is None:
        os.makedirs(SHARED, exist_ok=True)
        server = node.storage.partition(":")[0]
        # -i: the kernel mounts by itself; the program mount.nfs is in a package that nodes can do without.
        _mount("-i", "-t", "nfs", "-o", f"{MOUNT_OPTIONS},addr={server}", node.source, SHARED)
    for folder, path in (("chkpt", CHECKPOINTS), ("home", "/home")):
        os.makedirs(f"{SHARED}/{folder}", exist_ok=True)
        if mounted(path) is None:
            os.makedirs(path, exist_ok=True)
            _mount("--bind", f"{SHARED}/{folder}", path)


def unmount() -> None:
    """SsiError: a process still uses the folder."""
    for path in ("/home", CHECKPOINTS, SHARED):
        if mounted(path) is not None:
            done = subprocess.run(["umount", path], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SsiError(
                    f"{path} is still in use: {done.stderr.strip()}; end what runs from it, then leave again"
                )


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SsiError(f"mount {' '.join(arguments)} failed: {done.stderr.strip()}")


def _setting(name: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return parameters(read(SETTINGS)).get(name, "")
    return ""


def _own_address(server: str) -> str:
    """The address from which this node reaches `server`, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((server or "192.0.2.1", 9))
        except OSError as error:
            raise SsiError(f"no way to {server or 'any network'}: {error.strerror}") from error
        return str(probe.getsockname()[0])


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
