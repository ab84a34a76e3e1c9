# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node without a machine: the real deployment environment in a namespace of this host, its disk a loop device.

The programs are those that the module packed, and the scripts are run by its shell, as over ssh. This host's kernel
stands for the node's, so that what needs another kernel or firmware is left to the tests that boot.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Deadline,
    Image,
    Layout,
    Order,
    StepFailed,
    Target,
    Work,
)

PROGRAMS = ("dropbear", "curl", "sfdisk", "mkfs.vfat", "extlinux", "losetup", "cpio", "busybox", "partprobe")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

NAMESPACE = r"""
set -eu
mount --make-rprivate /
mount -t devtmpfs dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t sysfs sys "$1/sys"
echo ready
exec sleep infinity
"""


class Namespace:
    """The channel of the micro-steps. ``said`` holds every script's output."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root = root
        self.pid = pid
        self.scripts: list[str] = []

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        self.scripts.append(script)
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "chroot", self.root, "/bin/sh", "-c", script],
            input=stdin or b"",
            capture_output=True,
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            check=False,
        )
        out = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            lines = (out + done.stderr.decode("utf-8", "replace")).splitlines()
            raise StepFailed(" | ".join(lines[-8:]), evidence=lines)
        return out

    def answers(self, timeout: float) -> bool:
        return True

    def ask(self, script: str) -> str:
        return self.run(f"set -eu\n{script}", timeout=60).strip()


def unpack(archive: Path, folder: Path) -> None:
    """The environment as its kernel would unpack it; device nodes come from devtmpfs."""
    folder.mkdir()
    cpio = gzip.decompress(archive.read_bytes())
    subprocess.run(["cpio", "-i", "-d", "--quiet"], input=cpio, cwd=folder, check=True)
    (folder / "run/oneimage").mkdir(parents=True)
    (folder / "run/oneimage/interface").write_text("eth0\n")
    (folder / "etc/resolv.conf").write_text("nameserver 10.0.0.2\n")


@contextmanager
def namespace(root: Path) -> Iterator[Namespace]:
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", root], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield Namespace(root, holder.pid)
    finally:
        holder.kill()
        holder.wait()


@contextmanager
def loop_disk(file: Path, mib: int) -> Iterator[str]:
    """A disk of ``mib`` MiB that takes partitions."""
    with file.open("wb") as image:
        image.truncate(mib << 20)
    argv = ["losetup", "--partscan", "--find", "--show", file]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        # a partition that partprobe made outlives its disk's file otherwise
        subprocess.run(["partx", "--delete", device], capture_output=True, check=False)
        subprocess.run(["losetup", "--detach", device], check=True)


def make_work(
    channel: Namespace, layout: Layout, disk: str, said: list[str], firmware: str = "bios", **order: Any
) -> Work:
    description = {
        "name": "lab",
        "version": 3,
        "os": "linux",
        "filesystem": "ext4",
        "image": {"kind": "tar"},
        "boot": {"kernel": "/vmlinuz", "initrd": "/boot/initrd", "kernel_params": "quiet"},
        "partition_type": 131,
        **order.pop("description", {}),
    }
    made = Order(
        id="D-1",
        description=description,
        image=Image("/image", "http://boot/image", "tar", "zstd", 1, "0" * 64),
        layout=layout,
        folder="/srv/deployment",
        base_url="http://boot/deployment",
        server="10.0.0.1",
        **order,
    )
    node = Target(
        "node-1.lab.example",
        "52:54:00:AB:00:01",
        "10.0.0.5",
        firmware=firmware,
        cluster="lab",
        disk=disk,
        facts={"room": "a 1"},
    )
    return Work(made, node, channel, Deadline.after(300), {}, said.append)


def is_root() -> bool:
    return os.geteuid() == 0
