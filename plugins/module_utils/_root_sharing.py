# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What makes one root safe to share by all nodes: a table of rules, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import (
    inside,
    link_path,
    remove_path,
    write_path,
)

UNITS = "/etc/systemd/system"
HOST_KEY = "/run/oneimage/ssh/ssh_host_ed25519_key"
HOST_KEY_UNIT = "oneimage-ssh-host-key.service"


@dataclass(frozen=True)
class Rule:
    """One thing that several nodes must not share.

    ``only_if`` names a path without which there is nothing to do, ``shared`` the one way of sharing that needs it.
    """

    name: str
    reason: str
    only_if: str = "/"
    shared: str = ""
    remove: tuple[str, ...] = ()
    write: tuple[tuple[str, str], ...] = ()
    link: tuple[tuple[str, str], ...] = ()
    mask: tuple[str, ...] = ()
    volatile: tuple[tuple[str, str], ...] = ()
    stamp: tuple[str, ...] = ()


RULES = (
    Rule(
        "build_leftovers",
        "settings of the builder: its mirror options, its resolver, the programs that kept services from starting",
        remove=(
            "/etc/apt/apt.conf.d/99mmdebstrap",
            "/etc/apt/apt.conf.d/99oneimage-build",
            "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
            "/etc/dpkg/dpkg.cfg.d/99oneimage-build",
            "/usr/sbin/policy-rc.d",
            "/var/lib/apt/lists/*",
            "/var/cache/apt/*.bin",
            "/var/cache/apt/archives/*.deb",
            "/var/cache/debconf/*-old",
            "/var/cache/ldconfig/*",
            "/var/lib/dpkg/*-old",
            "/etc/passwd-",
            "/etc/group-",
            "/etc/shadow-",
            "/etc/gshadow-",
            "/etc/.pwd.lock",
            "/debootstrap",
            "/tmp/*",
            "/var/tmp/*",
            "/run/*",
        ),
    ),
    Rule(
        "machine_id",
        "empty, so that the initrd or systemd gives each node its own; a missing one would run systemd's first-boot"
        " presets; committing one to the disk would give it to all nodes that share the root read-write",
        write=(("/etc/machine-id", ""),),
        mask=("systemd-machine-id-commit.service",),
    ),
    Rule(
        "machine_id_dbus",
        "a copy would outlive the machine id of the node",
        only_if="/var/lib/dbus",
        link=(("/var/lib/dbus/machine-id", "/etc/machine-id"),),
    ),
    Rule(
        "ssh_host_keys",
        "a key in the root is everybody's: each node makes its own in /run, which no other node sees in any root mode",
        only_if="/usr/sbin/sshd",
        remove=("/etc/ssh/ssh_host_*",),
        write=(
            ("/etc/ssh/sshd_config.d/00-oneimage.conf", f"HostKey {HOST_KEY}\n"),
            (
                f"{UNITS}/{HOST_KEY_UNIT}",
                f"""[Unit]
Description=SSH host key of this node
Before=ssh.service
ConditionPathExists=!{HOST_KEY}

[Service]
Type=oneshot
RemainAfterExit=yes
RuntimeDirectory=oneimage/ssh
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -C "" -f {HOST_KEY}
""",
            ),
        ),
        link=(
            (f"{UNITS}/ssh.service.requires/{HOST_KEY_UNIT}", f"../{HOST_KEY_UNIT}"),
            (f"{UNITS}/multi-user.target.wants/{HOST_KEY_UNIT}", f"../{HOST_KEY_UNIT}"),
        ),
        # trixie's own generator writes its keys into the root
        mask=("sshd-keygen.service",),
    ),
    Rule(
        "hostname",
        "the name comes from DHCP; systemd keeps the one that the initrd set",
        remove=("/etc/hostname",),
    ),
    Rule(
        "resolver",
        "the name servers come from DHCP; the initrd writes or mounts its answer over this file",
        write=(("/etc/resolv.conf", ""),),
    ),
    Rule(
        "boot_nic_networkd",
        "whoever reconfigures the NIC that carries the root hangs the node",
        write=(
            (
                "/etc/systemd/network/00-oneimage-boot.network",
                "[Match]\nType=ether\n\n[Link]\nUnmanaged=yes\n",
            ),
        ),
        mask=("systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service"),
    ),
    Rule(
        "boot_nic_ifupdown",
        "ifupdown takes down at shutdown what it has in its file, and the root with it",
        only_if="/etc/network",
        write=(("/etc/network/interfaces", "auto lo\niface lo inet loopback\n"),),
    ),
    Rule(
        "boot_nic_networkmanager",
        "NetworkManager would ask for another lease on the NIC that carries the root",
        only_if="/etc/NetworkManager",
        write=(
            ("/etc/NetworkManager/conf.d/00-oneimage.conf", "[keyfile]\nunmanaged-devices=type:ethernet\n"),
        ),
    ),
    Rule(
        "persistent_net",
        "rules that tie a name to one machine's MAC rename the NICs of all others",
        remove=(
            "/etc/udev/rules.d/*persistent-net*.rules",
            "/lib/udev/rules.d/*persistent-net-generator.rules",
            "/usr/lib/udev/rules.d/*persistent-net-generator.rules",
        ),
    ),
    Rule(
        "journal",
        "journals of several nodes in one folder collide, and old ones fill the overlay",
        remove=("/var/log/journal",),
        write=(
            (
                "/etc/systemd/journald.conf.d/00-oneimage.conf",
                "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
            ),
        ),
    ),
    Rule(
        "volatile_folders",
        "scratch and logs are each node's own, in memory, as the overlay gives them to nodes that only read the root",
        shared="rw",
        volatile=(
            ("/tmp", "mode=1777,nosuid,nodev"),
            ("/var/tmp", "mode=1777,nosuid,nodev"),
            ("/var/log", "mode=0755,nosuid,nodev"),
        ),
    ),
    Rule(
        "mtab",
        "a copy of one node's mounts is wrong on all others",
        link=(("/etc/mtab", "../proc/self/mounts"),),
    ),
    Rule(
        "random_seed",
        "a seed that all nodes share is none",
        remove=("/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret"),
        mask=("systemd-random-seed.service",),
    ),
    Rule(
        "needless_units",
        "they work on disks, on packages or on / itself, which the nodes do not have or must not change",
        mask=(
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "dpkg-db-backup.timer",
            "e2scrub_all.timer",
            "e2scrub_reap.service",
            "fstrim.timer",
            "man-db.timer",
            "systemd-pstore.service",
            "systemd-remount-fs.service",
        ),
    ),
    Rule(
        "initrd_links",
        "the initrd is built for the root, never inside it",
        remove=("/initrd.img", "/initrd.img.old"),
    ),
    Rule("logs", "logs of the build", remove=("/var/log/*.log", "/var/log/apt/*", "/root/.bash_history")),
    Rule(
        "up_to_date",
        "systemd would rebuild its caches at every boot, for it finds /usr newer than its marks",
        stamp=("/etc/.updated", "/var/.updated"),
    ),
)


def active_rules(skipped: Iterable[str], shared: str) -> list[Rule]:
    return [rule for rule in RULES if rule.name not in set(skipped) and rule.shared in ("", shared)]


def apply_rules(root: Path, rules: Iterable[Rule], wanted_units: Iterable[str]) -> None:
    """Make ``root`` safe to share; a unit that the user wants enabled is never masked."""
    wanted = set(wanted_units)
    for rule in rules:
        if not inside(root, rule.only_if).exists():
            continue
        for pattern in rule.remove:
            remove_matching(root, pattern)
        for path, content in rule.write:
            write_path(root, path, content.encode(), 0o444 if path == "/etc/machine-id" else 0o644)
        for path, target in rule.link:
            link_path(root, path, target)
        for unit in rule.mask:
            if unit not in wanted:
                mask(root, unit)


def mask(root: Path, unit: str) -> None:
    """What ``systemctl mask`` does, which needs no systemd in the root or on this host."""
    link_path(root, f"{UNITS}/{unit}", "/dev/null")


def remove_matching(root: Path, pattern: str) -> None:
    folder, _slash, name = pattern.rpartition("/")
    place = inside(root, f"{folder}/-").parent
    for path in sorted(place.glob(name)) if place.is_dir() else ():
        remove_path(path)


def volatile_mounts(rules: Iterable[Rule], taken: Iterable[str]) -> list[tuple[str, str]]:
    """The folders in memory and their mount options, without those that the user mounts himself."""
    mine = set(taken)
    return [(path, options) for rule in rules for path, options in rule.volatile if path not in mine]


def volatile_folders(root: Path, paths: Iterable[str]) -> str:
    """Lines of tmpfiles.d that give each node the folders which the packages made below ``paths``."""
    lines = []
    for path in paths:
        top = inside(root, path)
        for folder in sorted(child for child in top.rglob("*") if child.is_dir() and not child.is_symlink()):
            status = folder.stat()
            name = "/" + str(folder.relative_to(root))
            if " " not in name and "%" not in name:
                lines.append(f"d {name} {status.st_mode & 0o7777:04o} {status.st_uid} {status.st_gid} -\n")
    return "".join(lines)


def stamp_marks(root: Path, rules: Iterable[Rule]) -> None:
    """Put the marks of systemd-update-done after /usr; the last thing done to a root."""
    newest = inside(root, "/usr").stat().st_mtime_ns + 1_000_000_000
    for path in (path for rule in rules for path in rule.stamp):
        write_path(root, path, b"", 0o644)
        os.utime(inside(root, path), ns=(newest, newest))
