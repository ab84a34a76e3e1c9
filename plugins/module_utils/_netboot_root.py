# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a root must hold so that a node can run from it over the network, and so that several nodes can share it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import installed_versions
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot_boot import Boot, Finding, warning

INITS = ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")
"""Where the kernel looks, in this order."""
MOUNT_POINTS = ("/proc", "/sys", "/dev", "/run")
SSH_SERVERS = ("/usr/sbin/sshd", "/usr/sbin/dropbear", "/usr/local/sbin/sshd")
NFS_MOUNT = "/sbin/mount.nfs"
UNSET_MACHINE_IDS = ("", "uninitialized")
ELF_MAGIC = b"\x7fELF"
ELF_I386 = 3
ELF_X86_64 = 62

LEFTOVERS = (
    (
        "root-host-keys",
        "/etc/ssh",
        "ssh_host_*_key",
        "every node that shares the root would have the same ssh host key",
        "remove it; each node makes its own",
    ),
    (
        "root-persistent-net",
        "/etc/udev/rules.d",
        "*persistent-net*.rules",
        "it names NICs by the addresses of one machine",
        "remove it",
    ),
)
"""Files of one machine that nodes must not share: finding, folder, pattern, problem, remedy."""


def root_init(boot: Boot) -> Iterator[Finding]:
    named = boot.parameters.init
    places = [named] if named else list(INITS)
    present = [place for place in places if boot.in_root(place)]
    if not present:
        yield Finding(
            "root-init",
            places[0],
            f"missing in the root {boot.root}: the kernel panics after the root is mounted",
            "install an init such as systemd-sysv" if not named else "correct init= or install that program",
        )
        return
    init = boot.in_root(present[0])
    if init is None or not init.is_file() or not init.stat().st_mode & 0o111:
        yield Finding(
            "root-init", present[0], f"not an executable file in the root {boot.root}", "install it again"
        )
        return
    with init.open("rb") as stream:
        header = stream.read(20)
    if header.startswith(ELF_MAGIC) and len(header) == 20:
        (machine,) = struct.unpack_from("<H", header, 18)
        wide = boot.config.value("64BIT") == "y"
        runs = {ELF_X86_64: wide, ELF_I386: not wide or boot.config.value("IA32_EMULATION") == "y"}
        if not runs.get(machine, False):
            yield Finding(
                "root-architecture",
                present[0],
                f"a program for a processor (ELF machine {machine}) whose programs the kernel does not run",
                "use a root and a kernel of one architecture",
            )


def root_modules(boot: Boot) -> Iterator[Finding]:
    if boot.tree is None and boot.config.value("MODULES") == "y":
        versions = installed_versions(boot.root)
        release = boot.kernel.release
        there = f"only modules of {', '.join(sorted(versions))}" if versions else "no kernel modules"
        problem, remedy = (
            f"the root {boot.root} has {there}",
            f"install the package of the kernel {release} in the root",
        )
        if release in versions:
            problem, remedy = (
                "the list of the modules is missing or torn",
                f"run depmod {release} in the root",
            )
        yield Finding("root-modules", f"/lib/modules/{release}", problem, remedy)


def root_mount_points(boot: Boot) -> Iterator[Finding]:
    for path in MOUNT_POINTS:
        folder = boot.in_root(path)
        if folder is None or not folder.is_dir():
            yield Finding(
                "root-mount-point",
                path,
                f"no such folder in the root {boot.root}; nothing can be mounted on it",
                f"make the folder {path}",
            )


def root_sshd(boot: Boot) -> Iterator[Finding]:
    if not any(boot.in_root(path) for path in SSH_SERVERS):
        yield Finding(
            "root-sshd",
            SSH_SERVERS[0],
            f"the root {boot.root} has no ssh server, so that nobody reaches the node",
            "install openssh-server in the root",
        )


def root_machine_id(boot: Boot) -> Iterator[Finding]:
    path = boot.in_root("/etc/machine-id")
    if path is None and boot.systemd:
        yield warning(
            "root-machine-id",
            "/etc/machine-id",
            "missing, so that systemd takes each boot for the first and enables units by their presets",
            "make it an empty file",
        )
    if path and path.read_text(encoding="utf-8", errors="replace").strip() not in UNSET_MACHINE_IDS:
        yield Finding(
            "root-machine-id",
            "/etc/machine-id",
            "every node that shares the root would have the same machine id, and with it the same DHCP identity",
            "make it an empty file",
            severity_of_sharing(boot),
        )


def root_leftovers(boot: Boot) -> Iterator[Finding]:
    for name, folder, pattern, problem, remedy in LEFTOVERS:
        place = boot.in_root(folder)
        for path in sorted(place.glob(pattern)) if place else ():
            yield Finding(name, f"{folder}/{path.name}", problem, remedy, severity_of_sharing(boot))


def severity_of_sharing(boot: Boot) -> str:
    """A root that is mounted read-write may be one node's own."""
    return "error" if boot.root_mode == "nfs_ro" else "warning"


def root_fstab(boot: Boot) -> Iterator[Finding]:
    path = boot.in_root("/etc/fstab")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    entries = [line.split() for line in lines if not line.lstrip().startswith("#")]
    for source, target, kind in (entry[:3] for entry in entries if len(entry) >= 3):
        if target == "/" and source.startswith(
            ("/dev/sd", "/dev/vd", "/dev/nvme", "/dev/disk", "UUID=", "LABEL=", "PARTUUID=")
        ):
            yield Finding(
                "root-fstab",
                f"{source} on /",
                "/etc/fstab has / on a disk, which a node without one waits for",
                "remove the line",
            )
        elif target != "/" and kind.startswith("nfs") and not boot.in_root(NFS_MOUNT):
            yield Finding(
                "root-nfs-client",
                f"{source} on {target}",
                f"/etc/fstab mounts it over NFS, and the root has no {NFS_MOUNT}",
                "install nfs-common in the root",
            )


CHECKS = (root_init, root_modules, root_mount_points, root_sshd, root_machine_id, root_leftovers, root_fstab)
