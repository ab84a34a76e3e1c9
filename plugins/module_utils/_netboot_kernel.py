# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the kernel and the initrd must hold for a boot from the network: options, drivers, programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Callable

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_modules as _modules
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import PREFIX, check
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot_boot import (
    RAM_DISK_INIT,
    Boot,
    Finding,
    warning,
)

Condition = Callable[[Boot], bool]

PROFILES: dict[str, Condition] = {
    "netboot_initrd": lambda boot: boot.initrd is not None,
    "nfsroot_builtin": lambda boot: boot.initrd is None,
    "nfs_overlay": lambda boot: boot.root_mode == "nfs_ro",
    "serial_console": lambda boot: any(
        value.startswith("tty") and value[3].isupper() for value in consoles(boot)
    ),
    "uefi_boot": lambda boot: boot.firmware == "uefi",
    "systemd": lambda boot: boot.systemd,
}
"""When each of the collection's profiles holds; those that the user names always do."""

NFS_VERSION_OPTIONS = {"3": "NFS_V3", "4": "NFS_V4", "4.0": "NFS_V4", "4.1": "NFS_V4_1", "4.2": "NFS_V4_2"}

UNPACK_OPTIONS = {
    "gzip": "RD_GZIP",
    "bzip2": "RD_BZIP2",
    "lzma": "RD_LZMA",
    "xz": "RD_XZ",
    "lzo": "RD_LZO",
    "lz4": "RD_LZ4",
    "zstd": "RD_ZSTD",
}

RAM_DISK_OPTIONS = (
    ((("BLK_DEV_RAM",),), "the kernel has no RAM disk built in to copy this image to"),
    (
        (("EXT2_FS",), ("EXT4_FS", "EXT4_USE_FOR_EXT2")),
        "the kernel has no ext2 built in to mount this image, and a module of it would lie in there",
    ),
)
"""Each with the sets of options of which one is enough."""

NEEDED_MODULES: tuple[tuple[str, str, Condition], ...] = (
    ("nfs", "NFS_FS", lambda boot: True),
    ("nfsv3", "NFS_V3", lambda boot: (boot.parameters.nfs_version or "3").startswith("3")),
    ("nfsv4", "NFS_V4", lambda boot: (boot.parameters.nfs_version or fallback_version(boot)).startswith("4")),
    ("overlay", "OVERLAY_FS", lambda boot: boot.root_mode == "nfs_ro"),
    ("af_packet", "PACKET", lambda boot: True),
)
"""What the initrd must carry, besides the drivers of the hardware, unless the option is built in."""

INITRD_PROGRAMS: tuple[tuple[str, frozenset[str], str, Condition], ...] = (
    (
        "initrd-nfs-client",
        frozenset({"busybox", "mount.nfs", "mount.nfs4", "nfsmount"}),
        "no program that mounts NFS",
        lambda boot: True,
    ),
    (
        "initrd-dhcp-client",
        frozenset(
            {"busybox", "dhclient", "dhcpcd", "ipconfig", "nm-initrd-generator", "systemd-networkd", "udhcpc"}
        ),
        "no DHCP client, and ip= gives no address",
        lambda boot: ":" not in (boot.parameters.value("ip") or ""),
    ),
)
KLIBC_MOUNT = b"nfsmount"
BUILT_FOR = re.compile(rb"^root_modes='(.*)'$", re.M)
WILDCARD = re.compile(r"[*?\[]")
MODULE = re.compile(r"\.ko(?:\.\w+)?$")
UNTOLD_ALIASES = (("pci:v00001AF4d*", "virtio_pci"), ("virtio:d00000001v*", "virtio_net"))
"""The hardware of drivers that kernels often have built in."""


def consoles(boot: Boot) -> list[str]:
    return boot.parameters.values("console")


def fallback_version(boot: Boot) -> str:
    """Where no version is asked for: 3, or 4 for a kernel without it."""
    return "3" if boot.config.enabled("NFS_V3") else "4"


def kernel_options(boot: Boot) -> Iterator[Finding]:
    applying = [rules for name, rules in boot.rules.items() if PROFILES.get(name, lambda _boot: True)(boot)]
    unique = {(rule.options, rule.values): rule for rules in applying for rule in rules}
    for verdict in check(boot.config, unique.values()).unmet:
        rule = verdict.rule
        found = ", ".join(verdict.found.values())
        yield Finding(
            f"kernel-{rule.options[0][len(PREFIX) :].lower().replace('_', '-')}",
            ", ".join(rule.options),
            f"{found}, wanted {' or '.join(rule.values)}. {rule.why.rstrip('.')}",
            rule.remedy,
        )


def kernel_nfs_version(boot: Boot) -> Iterator[Finding]:
    version = boot.parameters.nfs_version
    option = NFS_VERSION_OPTIONS.get(version or "")
    if not option or (
        boot.config.value(option) == "absent" and boot.config.enabled("NFS_V4") and "_V4_" in option
    ):
        return  # newer kernels have the minor versions without an option
    if not boot.config.enabled(option):
        yield Finding(
            "kernel-nfs-version",
            f"{PREFIX}{option}",
            f"the kernel cannot mount the root by NFS {version}, as nfsroot= asks",
            "ask for a version that it has, such as vers=3, or build the kernel with this option",
        )


def kernel_efi_stub(boot: Boot) -> Iterator[Finding]:
    if boot.firmware == "uefi" and not boot.kernel.efi_stub:
        yield Finding(
            "kernel-efi-stub",
            str(boot.kernel.path),
            "UEFI firmware cannot start it, for it is no EFI program",
            "build the kernel with CONFIG_EFI_STUB, or boot the node in BIOS mode",
        )


def initrd_needed(boot: Boot) -> Iterator[Finding]:
    if boot.initrd is None and boot.root_mode == "nfs_ro":
        yield Finding(
            "initrd-needed",
            "nfs_ro",
            "only an initrd can lay the writable layer over a read-only root",
            "build an initrd, or use the root mode nfs_rw",
        )


def initrd_made_for(boot: Boot) -> Iterator[Finding]:
    versions = boot.initrd.kernel_versions if boot.initrd else set()
    if boot.initrd and versions and boot.kernel.release not in versions:
        yield Finding(
            "initrd-kernel-version",
            str(boot.initrd.path),
            f"made for the kernel {', '.join(sorted(versions))}, not for {boot.kernel.release}",
            f"build the initrd for {boot.kernel.release}",
        )


def initrd_unpacked(boot: Boot) -> Iterator[Finding]:
    if not boot.initrd:
        return
    tells = any(boot.config.value(option) != "absent" for option in UNPACK_OPTIONS.values())
    for compression in sorted({segment.compression for segment in boot.initrd.segments} - {"none"}):
        option = UNPACK_OPTIONS[compression]
        if boot.config.value(option) != "y" and (tells or compression != "gzip"):
            yield Finding(
                "initrd-compression",
                compression,
                f"the kernel cannot unpack the initrd {boot.initrd.path} (CONFIG_{option} is {boot.config.value(option)})",
                f"compress the initrd in a way that the kernel knows, or set CONFIG_{option} to y",
            )


def initrd_ram_disk(boot: Boot) -> Iterator[Finding]:
    """What an initrd of the format ext2 asks of the kernel, which cannot load a module before it is mounted."""
    if not boot.initrd or boot.initrd.format != "ext2":
        return
    for needed, problem in RAM_DISK_OPTIONS:
        if not any(all(boot.config.value(option) == "y" for option in options) for options in needed):
            wanted = " or ".join(" and ".join(f"CONFIG_{option}" for option in options) for options in needed)
            yield Finding("initrd-format", "ext2", problem, f"build a cpio initrd, or set {wanted} to y")
    size = boot.initrd.main.content_size // 1024
    told = boot.parameters.value("ramdisk_size") or boot.config.value("BLK_DEV_RAM_SIZE")
    if told.isdigit() and size > int(told):
        yield Finding(
            "initrd-ram-disk-size",
            f"{told} KB",
            f"the RAM disk is smaller than the initrd {boot.initrd.path} unpacked, {size} KB",
            f"add ramdisk_size={size}",
        )


def initrd_init(boot: Boot) -> Iterator[Finding]:
    if not boot.initrd:
        return
    usual = {"cpio": ("rdinit", "/init"), "ext2": ("init", RAM_DISK_INIT)}
    parameter, otherwise = usual[boot.initrd.format]
    name = (boot.parameters.value(parameter) or otherwise).lstrip("/")
    init = boot.initrd.files.get(name)
    if init is None or not (init.is_link or init.mode & 0o111):
        problem = "is not executable" if init else "is missing"
        yield Finding(
            "initrd-init",
            f"/{name}",
            f"{problem} in the initrd {boot.initrd.path}, which the kernel then ignores",
            "build the initrd again; a complete one has an executable /init",
        )


def initrd_programs(boot: Boot) -> Iterator[Finding]:
    if not boot.initrd:
        return
    names = {PurePosixPath(name).name for name in boot.initrd.files}
    for finding, programs, problem, needed in INITRD_PROGRAMS:
        if needed(boot) and not names & programs:
            yield Finding(
                finding,
                str(boot.initrd.path),
                f"the initrd holds {problem} (none of {', '.join(sorted(programs))})",
                "build it again with network support",
            )


def initrd_root_mode(boot: Boot) -> Iterator[Finding]:
    """Our own initrd says for which root modes it was built; others lay an overlay or not."""
    if not boot.initrd:
        return
    built = boot.initrd.files.get("lib/oneimage/built.sh")
    modes = BUILT_FOR.search(bytes(built.data)) if built else None
    if modes and boot.root_mode not in modes[1].decode().split():
        yield Finding(
            "initrd-root-mode",
            boot.root_mode,
            f"the initrd was built for {modes[1].decode()} only",
            "build the initrd for this root mode, or change the node's",
        )
    scripts = (name for name in boot.initrd.files if not MODULE.search(name))
    if boot.root_mode == "nfs_ro" and not any(
        "lib/oneimage/" in name or "overlay" in name for name in scripts
    ):
        yield warning(
            "initrd-root-mode",
            boot.root_mode,
            "no script in the initrd seems to lay a writable layer over the read-only root",
            "build the initrd with the module oneimage.cluster.initrd",
        )


def initrd_nfs_version(boot: Boot) -> Iterator[Finding]:
    """initramfs-tools mounts the root by the nfsmount of klibc."""
    script = boot.initrd.files.get("scripts/nfs") if boot.initrd else None
    version = boot.parameters.nfs_version or "3"
    if script and KLIBC_MOUNT in bytes(script.data) and version.startswith("4"):
        yield Finding(
            "initrd-nfs-version",
            "nfsroot",
            f"initramfs-tools mounts the root by nfsmount, which knows no NFS {version}",
            "ask for vers=3, or build a native initrd",
        )


def builtin(boot: Boot, module: str, option: str = "") -> bool:
    """Whether a module is in the kernel itself: by what its build listed, or by an option, often called like it."""
    listed = boot.tree is not None and module in boot.tree.builtin
    return listed or boot.config.value(option or module.upper()) == "y"


def driver_candidates(boot: Boot, entry: str) -> list[str]:
    """The modules for one piece of hardware: itself where a module is named, else those whose alias fits."""
    if ":" not in entry:
        name = _modules.plain(entry)
        known = builtin(boot, name) or (boot.tree is not None and name in boot.tree.paths)
        return [name] if known else []
    untold = [(alias, name) for alias, name in UNTOLD_ALIASES if builtin(boot, name)]
    aliases = [*(boot.tree.aliases if boot.tree else ()), *builtin_aliases(boot), *untold]
    likely = (
        (alias, name) for alias, name in aliases if entry.startswith(WILDCARD.split(alias, maxsplit=1)[0])
    )
    return list(dict.fromkeys(_modules.plain(name) for alias, name in likely if fnmatchcase(entry, alias)))


def builtin_aliases(boot: Boot) -> list[tuple[str, str]]:
    """(alias, module) of what is built in; kernels before 6.18 tell them of almost no driver."""
    listed = boot.tree.folder / "modules.builtin.modinfo" if boot.tree else None
    entries = listed.read_bytes().split(b"\0") if listed and listed.is_file() else []
    lines = (entry.decode("utf-8", "replace").partition(".alias=") for entry in entries)
    return [(alias, name) for name, _equals, alias in lines if ":" in alias]


def drivers(boot: Boot) -> Iterator[Finding]:
    """Each piece of hardware has a driver that is there before the root is."""
    for entry in boot.hardware:
        candidates = driver_candidates(boot, entry)
        if not candidates:
            yield no_driver(boot, entry)
        elif any(builtin(boot, name) for name in candidates):
            continue
        elif boot.initrd is None:
            yield Finding(
                "kernel-driver-modular",
                candidates[0],
                "a module on the root, which is only reachable with it",
                f"build {candidates[0]} into the kernel, or boot with an initrd",
            )
        else:
            present = [name for name in candidates if name in boot.initrd.modules]
            yield from missing_modules(boot, (present or candidates)[0], f"the driver of {entry}")


def no_driver(boot: Boot, entry: str) -> Finding:
    remedy = "check the name, or use a kernel that has the driver"
    bus = entry.partition(":")[0]
    if bus == entry or any(alias.startswith(f"{bus}:") for alias, _name in builtin_aliases(boot)):
        return Finding(
            "hardware-driver", entry, f"the kernel {boot.kernel.release} has no driver for it", remedy
        )
    problem = f"no module of the kernel {boot.kernel.release} is for it, and of what is built in the kernel does not tell"
    return warning(
        "hardware-driver", entry, problem, f"{remedy}; nothing is to be done where the driver is built in"
    )


def initrd_modules(boot: Boot) -> Iterator[Finding]:
    """What the root needs on its way, unless it is built in; an option that is off is the kernel's finding."""
    for name, option, needed in NEEDED_MODULES:
        if boot.initrd and needed(boot) and boot.config.enabled(option) and not builtin(boot, name, option):
            yield from missing_modules(boot, name, "needed to mount the root")


def missing_modules(boot: Boot, name: str, purpose: str) -> Iterator[Finding]:
    """``name``, all its dependencies, and one of its companions, unless they are in the initrd or built in."""
    initrd, tree = boot.initrd, boot.tree
    if initrd is None:
        return
    wanted = {name: purpose}
    if tree and name in tree.paths:
        wanted.update({needed: f"needed by {name}" for needed in tree.needs(name)})
        companions = [one for one in _modules.COMPANIONS.get(name, ()) if tree.holds(one)]
        if companions and not any(builtin(boot, one) or one in initrd.modules for one in companions):
            wanted[companions[0]] = f"needed by {name}"
    for module, why in wanted.items():
        if module not in initrd.modules and not builtin(boot, module):
            yield Finding(
                "initrd-module-missing",
                module,
                f"{why}, neither in the initrd {initrd.path} nor built in",
                "name it in the initrd's modules and build the initrd again",
            )


def initrd_firmware(boot: Boot) -> Iterator[Finding]:
    """A driver that names firmware files, of which the initrd has none: some NICs would stay dead."""
    if not boot.initrd or not boot.tree:
        return
    held = {
        name.rpartition("lib/firmware/")[2].partition(".zst")[0].partition(".xz")[0]
        for name in boot.initrd.files
    }
    for name in (_modules.plain(entry) for entry in boot.hardware if ":" not in entry):
        if name not in boot.initrd.modules or name not in boot.tree.paths:
            continue
        try:
            named = _modules.read_module(boot.tree, name).firmware
        except ClusterError as error:
            yield Finding("root-module", name, str(error), "install the kernel's package in the root again")
            continue
        if named and not held.intersection(named):
            yield warning(
                "initrd-firmware-missing",
                name,
                f"some of its chips need firmware ({', '.join(named[:3])}), of which the initrd holds nothing",
                "install the firmware's package in the root and build the initrd again",
            )


CHECKS = (
    kernel_options,
    kernel_nfs_version,
    kernel_efi_stub,
    initrd_needed,
    initrd_made_for,
    initrd_unpacked,
    initrd_ram_disk,
    initrd_init,
    initrd_programs,
    initrd_root_mode,
    initrd_nfs_version,
    initrd_modules,
    drivers,
    initrd_firmware,
)
