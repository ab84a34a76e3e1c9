# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A base for roots that is made in a second, without a network: real programs of this machine in a small tree."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._root_declaration import (
    base_fingerprint,
    complete,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import resolve_sources

MIRROR = "http://mirror.invalid/debian"
"""Answers nobody: what works with it needs no network."""

KERNEL = "6.1.0-1-tiny"

PROGRAMS = ("env", "bash", "useradd", "groupadd", "chpasswd", "systemctl", "sleep")

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nwww-data:x:33:\nsudo:x:27:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nwww-data:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\nwww-data:!::\nsudo:*::\n",
    "etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
    "etc/hostname": "builder\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/resolv.conf": "nameserver 192.0.2.1\n",
    "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n",
    "etc/mtab": "/dev/sda1 / ext4 rw 0 0\n",
    "etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
    "etc/ssh/ssh_host_ed25519_key": "a private key\n",
    "etc/udev/rules.d/70-persistent-net.rules": 'NAME="eth7"\n',
    "usr/lib/udev/rules.d/75-persistent-net-generator.rules": 'NAME="eth%n"\n',
    "usr/lib/os-release": 'PRETTY_NAME="Tiny"\nID=debian\n',
    "usr/lib/systemd/systemd": "init\n",
    "usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd\n[Install]\nWantedBy=multi-user.target\n",
    "usr/lib/systemd/system/fstrim.timer": "[Timer]\nOnCalendar=weekly\n[Install]\nWantedBy=timers.target\n",
    "usr/sbin/sshd": "sshd\n",
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "usr/share/zoneinfo/Europe/Paris": "zone\n",
    f"boot/vmlinuz-{KERNEL}": "kernel\n",
    f"boot/config-{KERNEL}": "CONFIG_X=y\n",
    f"usr/lib/modules/{KERNEL}/modules.dep": "",
    "var/lib/dpkg/status": "Package: tiny\nStatus: install ok installed\nVersion: 1.2-3\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
    "var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n",
    "var/lib/systemd/random-seed": "seed\n",
    "var/log/journal/0123/system.journal": "journal\n",
    "var/log/dpkg.log": "log\n",
    "var/log/nginx/access.log": "log\n",
    "var/cache/apt/pkgcache.bin": "cache\n",
}


def options(folder: Path, **more: Any) -> dict[str, Any]:
    """Options of root_tree for a root in ``folder`` that the tiny base serves."""
    fixed = {"name": "tiny", "storage": str(folder / "srv"), "cache": str(folder / "cache"), "mirror": MIRROR}
    return {
        **fixed,
        "packages": ["tiny"],
        "kernel_package": "linux-image-tiny",
        "architecture": "amd64",
        **more,
    }


def fill_cache(folder: Path, archive: Path, **more: Any) -> Path:
    """Put ``archive`` where root_tree looks for the base of ``options(folder, **more)``; returns that path."""
    declared: dict[str, Any] = {
        **options(folder, **more),
        "suite": "bookworm",
        "variant": "minbase",
        "tool": "mmdebstrap",
        "slim": True,
        "revision": "",
        "proxy": None,
        "security_mirror": None,
        "components": ["main"],
        "sources": [],
        "locale": "C.UTF-8",
        "timezone": "Etc/UTC",
    }
    declared = complete(declared, "amd64")
    place = folder / "cache/roots" / f"{base_fingerprint(declared, resolve_sources(declared, []))}.tar.zst"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(archive, place)
    return place


def make(folder: Path) -> Path:
    """Build the base in ``folder``; returns the archive."""
    root = folder / "tree"
    for name in (
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "var/tmp",
        "root",
    ):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    (root / "usr/bin/sh").symlink_to("bash")
    (root / "var/run").symlink_to("/run")
    for name in PROGRAMS:
        copy_program(root, name)
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    archive = folder / "base.tar.zst"
    subprocess.run(["tar", "-I", "zstd", "-cf", archive, "-C", root, "."], check=True)
    return archive


def copy_program(root: Path, name: str) -> None:
    program = shutil.which(name)
    assert program, f"{name} is not installed on this machine"
    needed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+) \(0x", needed)]:
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy2(path, place)
