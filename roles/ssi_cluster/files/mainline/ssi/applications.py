# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checkpoints: an application, which is a process with its descendants, as numbered versions below /var/chkpt/IDENTIFIER.

A version is a folder with CRIU's images, description.txt as Kerrighed writes it, and application.json.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from typing import Any, NamedTuple

from ssi import arrivals, capabilities, images, location, node, open_files, process
from ssi.capabilities import Sets
from ssi.errors import SsiError
from ssi.membership import View
from ssi.node import Node
from ssi.process import Process


class Version(NamedTuple):
    """A checkpoint."""

    identifier: int
    version: int
    description: str
    date: int  # Unix seconds

    def text(self, date: str) -> str:
        return f"Identifier: {self.identifier}\nVersion: {self.version}\nDescription: {self.description}\nDate: {date}\n"


def versions(identifier: int) -> list[int]:
    try:
        names = os.listdir(f"{node.CHECKPOINTS}/{identifier}")
    except FileNotFoundError:
        return []
    return sorted(int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit())


def check_folder(here: Node) -> None:
    """SsiError: /var/chkpt is not the session's."""
    found = node.mounted(node.CHECKPOINTS)
    if found not in (here.source, f"{here.source}/chkpt"):
        raise SsiError(
            f"{node.CHECKPOINTS} is {found or 'a folder of this node alone'}, not {here.source}/chkpt, which the nodes share: "
            "nothing in it could be restarted elsewhere; run ssi-session join again"
        )


def check_allowed(members: list[Process], capability: str) -> None:
    """SsiError: one of them lacks the capability."""
    for member in members:
        if not capabilities.get(member.pid).has(capability):
            raise SsiError(
                f"Operation not permitted: process {member.pid} ({member.command}) has no {capability}; "
                f"krgcapset -k {member.pid} -e +{capability} gives it"
            )


def describe(here: Node, members: list[Process], files: dict[str, int]) -> dict[str, Any]:
    """What must be known beside CRIU's images, as application.json holds it."""
    return {
        "kernel": here.kernel, "image_id": here.image_id, "files": files,
        "capabilities": {str(member.pid): capabilities.get(member.pid) for member in members},
    }  # fmt: skip


def save(here: Node, root: int, members: list[Process], description: str) -> Version:
    """Write the next version of a stopped application. It appears whole or not at all.

    SsiError: it cannot be written, and why.
    """
    opened = open_files.survey(members)
    open_files.check_shared(opened)
    open_files.check_no_pipe_outside(opened, members)
    base = f"{node.CHECKPOINTS}/{root}"
    written = f"{base}/.{here.node_id}-{os.getpid()}"
    os.makedirs(written)
    try:
        application = describe(here, members, open_files.sizes(opened))
        images.dump(root, written)
        return publish(written, root, description, application)
    except SsiError:
        shutil.rmtree(written, ignore_errors=True)
        raise


def publish(written: str, root: int, description: str, application: dict[str, Any]) -> Version:
    """Make a folder of images the next version."""
    with open(f"{written}/application.json", "w", encoding="utf-8") as file:
        json.dump(application, file)
    os.makedirs(f"{node.CHECKPOINTS}/{root}", exist_ok=True)
    while True:
        version = Version(root, max(versions(root), default=0) + 1, description, int(time.time()))
        with open(f"{written}/description.txt", "w", encoding="utf-8") as file:
            file.write(version.text(str(version.date)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.rename(written, f"{node.CHECKPOINTS}/{root}/v{version.version}")
            return version
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another node was faster
                raise


def restart(here: Node, seen: View, identifier: int, version: int) -> list[Process]:
    """Make a checkpoint's processes again on this node, and let them run.

    SsiError: they run already, one of their pids is taken, or the images are of another kernel.
    """
    folder = f"{node.CHECKPOINTS}/{identifier}/v{version}"
    if not os.path.exists(f"{folder}/description.txt"):
        known = ", ".join(f"v{number}" for number in versions(identifier)) or "none"
        raise SsiError(f"No such file or directory: {folder} (versions of {identifier}: {known})")
    application = read_application(folder)
    if (application["kernel"], application["image_id"]) != (here.kernel, here.image_id):
        raise SsiError(
            "invalid checkpoint files (corrupted or wrong kernel version): they are of kernel "
            f"{application['kernel']} and image {application['image_id']}, this node runs {here.kernel} and {here.image_id}"
        )
    taken = location.living(here, seen, [int(pid) for pid in application["capabilities"]])
    if identifier in taken:
        raise SsiError(
            f"an application using appid {identifier} is already running (on node {taken[identifier]})"
        )
    if taken:
        raise SsiError(
            "one PID (including session id or group id) of the application is already in use: "
            f"{min(taken)} on node {taken[min(taken)]}"
        )
    return _restart(here, identifier, folder, application)


def _restart(here: Node, identifier: int, folder: str, application: dict[str, Any]) -> list[Process]:
    ledger = location.ledger(identifier)
    number = ledger.last()[0]
    claim = {
        "event": "restarting",
        "node": here.node_id,
        "boot_id": here.boot_id,
        "driver": location.driver(),
        "images": folder,
    }
    if not ledger.append(claim, number):
        raise SsiError(
            f"an application using appid {identifier} is already running (another node restarts it at this moment)"
        )
    kept = f"{node.CHECKPOINTS}/{identifier}/.cut"
    open_files.paste(kept)  # of a restart that was killed
    try:
        open_files.cut(application["files"], kept)
        images.restore(folder, f"{node.RUN}/criu/{identifier}.log")
    except SsiError:
        ledger.remove(number + 1)
        raise
    finally:
        open_files.paste(kept)
    place = {"event": "on", "node": here.node_id, "boot_id": here.boot_id, "awake": False}
    if not ledger.append(place, number + 1):
        process.kill(process.tree(identifier))
        raise SsiError("the other nodes took this one for lost; restart it again")
    arrivals.note(identifier)
    members = settle(identifier, application)
    ledger.append({**place, "awake": True}, number + 2)
    return members


def settle(root: int, application: dict[str, Any]) -> list[Process]:
    """Give restored processes their capabilities and let them run."""
    members = process.tree(root)
    for member in members:
        if str(member.pid) in application["capabilities"]:
            capabilities.put(member.pid, Sets(*application["capabilities"][str(member.pid)]))
    process.thaw(members)
    return members


def read_application(folder: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(node.read(f"{folder}/application.json"))
    except (FileNotFoundError, ValueError) as error:
        raise SsiError(
            f"invalid checkpoint files (corrupted or wrong kernel version): {folder}/application.json: {error}"
        ) from error
    return found
