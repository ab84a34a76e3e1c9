# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Bring a lab up or remove it: every step is found by looking at what is there, so that any half-way state is mended.

The steps come from generators. Each is made before the next is looked for, so a step sees what the ones before it
did; in check mode none is made, and what depends on them is predicted as missing.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_boot_server as boot_server
from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_network as network
from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_node as node
from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_process as process
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import Lab, Step
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_acceleration import (
    Acceleration,
    choose,
    remembered,
)

TIMEOUT = 30
PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "nc": "netcat-openbsd",
    "ssh-keygen": "openssh-client",
}
NODE_PROGRAMS = {"ipmi_sim": "openipmi", node.QEMU: "qemu-system-x86"}
BOOT_SERVER_PROGRAMS = {"podman": "podman", "mmdebstrap": "mmdebstrap"}


def apply(steps: Iterable[Step], check: bool) -> list[str]:
    """Make each step, or in check mode none; returns what was, or would be, done."""
    made = []
    for step in steps:
        if not check:
            step.make()
        made.append(step.what)
    return made


def present_steps(lab: Lab) -> Iterator[Step]:
    """From whatever is there to the lab as declared, with every BMC alive and no node touched that is as declared."""
    check_directory(lab)
    boot_server.check_owner(lab)
    node.check_disks(lab)
    yield from directory_steps(lab)
    yield from network.network_steps(lab)
    if lab.boot_server:
        yield from boot_server.boot_server_steps(lab, lab.boot_server)
    else:
        yield from boot_server.container_removal_steps(lab)
    yield from acceleration_steps(lab)
    yield from node.node_steps(lab, acceleration(lab).get("name", "tcg"))


def absent_steps(lab: Lab, purge: bool) -> Iterator[Step]:
    """Remove everything that a lab can have made, in an order that leaves nothing in use."""
    check_directory(lab)
    boot_server.check_owner(lab)
    for path in sorted((lab.directory / "nodes").glob("*")):
        yield from node.node_removal_steps(lab, path.name)
    yield from boot_server.container_removal_steps(lab)
    yield from boot_server.image_removal_steps(lab, purge)
    yield from boot_server.storage_steps()
    for namespace in (lab.boot_namespace, lab.namespace):
        if network.namespace_pids(namespace):
            yield Step(f"end what still runs in {namespace}", end_inhabitants, namespace)
    yield from network.removal_steps(lab)
    for mount in mounts_below(lab.directory):
        yield Step(f"unmount {mount}", run, ["umount", mount], timeout=TIMEOUT)
    if lab.directory.exists():
        yield Step(f"remove {lab.directory}", remove_directory, lab)


def check_programs(lab: Lab) -> None:
    """Raise ClusterError naming the first program, and its package, that this machine lacks."""
    wanted = {
        **PROGRAMS,
        **(NODE_PROGRAMS if lab.nodes else {}),
        **(BOOT_SERVER_PROGRAMS if lab.boot_server else {}),
    }
    for program, package in wanted.items():
        require(program, package=package)
    if not node.OVMF_VARS.exists() and any(one.firmware == "uefi" for one in lab.nodes):
        raise ClusterError(f"{node.OVMF_VARS} is missing; install the package ovmf")


def check_directory(lab: Lab) -> None:
    """Refuse a directory that holds something else, or another lab."""
    if lab.marker.exists():
        owner = record(lab).get("name")
        if owner != lab.name:
            raise ClusterError(f"directory: {lab.directory} holds the lab {owner}; give {lab.name} its own")
    elif lab.directory.exists() and any(lab.directory.iterdir()):
        raise ClusterError(
            f"directory: {lab.directory} holds something that is no lab; choose an empty or new one"
        )


def directory_steps(lab: Lab) -> Iterator[Step]:
    """The lab's directory, keys and the interpreter by which Ansible manages a host on the nodes' wire."""
    if not lab.marker.exists():
        yield Step(f"make {lab.directory}", make_directory, lab)
    for folder, owner in ((lab.directory / "ssh", lab.controller_user), (lab.directory / "boot", "root")):
        if not folder.exists():
            yield Step(f"make {folder}", make_private, folder, owner)
    if not (lab.directory / "ssh" / "id_ed25519").exists():
        yield Step("make the lab's ssh key", make_login_key, lab)
    if lab.boot_server and not (lab.directory / "boot" / "authorized_keys").exists():
        yield Step("make the boot server's host key", make_host_key, lab)
    interpreter = lab.directory / "client-python"
    text = f'#!/bin/sh\n# A Python on the nodes\' wire.\nexec ip netns exec {lab.namespace} /usr/bin/python3 "$@"\n'
    if node.read(interpreter) != text:
        yield Step(f"write {interpreter}", write_file, interpreter, text.encode(), 0o755)


def make_directory(lab: Lab) -> None:
    """The directory and its marker; a kill in between leaves an empty directory, which counts as nobody's."""
    lab.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_record(lab, {"name": lab.name})


def make_private(path: Path, owner: str) -> None:
    """A folder for keys."""
    path.mkdir(mode=0o700, exist_ok=True)
    give(path, owner)


def make_login_key(lab: Lab) -> None:
    """The key with which the controller logs in everywhere in the lab; the private half appears last."""
    folder = lab.directory / "ssh"
    make_key(folder / "id_ed25519", f"lab {lab.name}")
    for name in ("id_ed25519", "id_ed25519.pub"):
        give(folder / name, lab.controller_user)


def make_host_key(lab: Lab) -> None:
    """The boot server's identity, known to the controller from the start; authorized_keys appears last."""
    folder, login = lab.directory / "boot", lab.directory / "ssh"
    make_key(folder / "ssh_host_ed25519_key", f"boot server of lab {lab.name}")
    if lab.boot_server:
        public = (
            (folder / "ssh_host_ed25519_key.pub").read_text(encoding="utf-8").rpartition(" boot server")[0]
        )
        write_file(login / "known_hosts", f"{lab.boot_server.address} {public}\n".encode(), 0o644)
        give(login / "known_hosts", lab.controller_user)
    write_file(folder / "authorized_keys", (login / "id_ed25519.pub").read_bytes(), 0o644)


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 pair at ``path``, made under another name since ssh-keygen writes the private half first."""
    partial = path.with_name(f".{path.name}")
    for leftover in (partial, partial.with_name(f"{partial.name}.pub")):
        leftover.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(partial)], timeout=TIMEOUT)
    partial.with_name(f"{partial.name}.pub").replace(path.with_name(f"{path.name}.pub"))
    partial.replace(path)


def give(path: Path, owner: str) -> None:
    """Hand ``path`` to the user who runs Ansible."""
    try:
        account = pwd.getpwnam(owner)
    except KeyError as error:
        raise ClusterError(f"controller_user: this machine has no user {owner!r}") from error
    os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def acceleration_steps(lab: Lab) -> Iterator[Step]:
    """Find out once per boot of this machine how the nodes run, and write it down."""
    if not lab.nodes:
        return
    known = remembered(lab, acceleration(lab))
    if not known:
        yield Step(
            "try a guest under KVM",
            record_choice,
            lab,
        )
    elif known.facts() != acceleration(lab):
        yield Step(f"use {known.name}", record_acceleration, lab, known)


def record_choice(lab: Lab) -> None:
    """Try, and write down what came of it."""
    record_acceleration(lab, choose(lab))


def record_acceleration(lab: Lab, chosen: Acceleration) -> None:
    """Write down how the nodes run."""
    write_record(lab, {"name": lab.name, "acceleration": chosen.facts()})


def acceleration(lab: Lab) -> dict[str, Any]:
    """How the nodes run and why, as recorded; empty before that is known."""
    return record(lab).get("acceleration") or {}


def record(lab: Lab) -> dict[str, Any]:
    """The marker's content; empty where there is none."""
    text = node.read(lab.marker)
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise ClusterError(
            f"{lab.marker} is no lab's record: {error}; remove it if the directory is to be reused"
        ) from error


def write_record(lab: Lab, content: dict[str, Any]) -> None:
    """Replace the marker's content."""
    write_file(lab.marker, json.dumps(content, indent=2).encode() + b"\n")


def end_inhabitants(namespace: str) -> None:
    """End connections and tests that still use a network that is about to go."""
    here = process.identity(network.NAMESPACES / namespace)
    process.end(network.namespace_pids(namespace), lambda pid: process.network_of(pid) == here)


def mounts_below(directory: Path) -> list[str]:
    """What is mounted in ``directory``, deepest first: removing a tree must never walk into a bind mount."""
    return [path for path in reversed(network.mount_points()) if path.startswith(f"{directory}/")]


def remove_directory(lab: Lab) -> None:
    """Remove the lab's directory, its marker last, so that a killed removal can be resumed."""
    if mounts_below(lab.directory):
        raise ClusterError(
            f"{lab.directory} still holds mounts: {', '.join(mounts_below(lab.directory))}; unmount them"
        )
    for path in lab.directory.iterdir():
        if path != lab.marker:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    lab.marker.unlink(missing_ok=True)
    lab.directory.rmdir()


def describe(lab: Lab) -> dict[str, Any]:
    """What a play needs to know of a lab: names, addresses, logs and sockets."""
    return {
        "namespace": lab.namespace,
        "acceleration": acceleration(lab).get("name"),
        "acceleration_reason": acceleration(lab).get("reason"),
        "container": lab.boot_namespace if lab.boot_server else None,
        "nodes": {one.name: describe_node(lab, one.name) for one in lab.nodes},
    }


def describe_node(lab: Lab, name: str) -> dict[str, str]:
    """Where a node's console and monitor are."""
    directory = lab.node_directory(name)
    return {
        "console_log": str(directory / "console.log"),
        "console_socket": str(directory / "console.sock"),
        "qmp_socket": str(directory / "qmp.sock"),
    }
