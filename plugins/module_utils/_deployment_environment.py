# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The deployment environment: a system in RAM that partitions disks and unpacks images, as one initrd."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _atomic,
    _command,
    _cpio,
    _initrd,
    _initrd_compress,
    _initrd_init,
    _initrd_modules,
    _initrd_native,
    _initrd_system,
)
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_environment_init as _init
from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _deployment_environment_programs as _programs,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import ModuleTree
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import read_initrd

SYSTEM = ("af_packet", "virtio_rng")
"""For DHCP, and for keys that cannot be guessed."""

FOLDERS = ("mnt/dest", "mnt/tmp", "rambin", "root/.ssh", "var/log", "etc/dropbear")
SAME_PLACE = {"sbin": "bin", "lib64": "lib", "usr/bin": "../bin", "usr/sbin": "../bin", "usr/lib": "../lib"}
"""Links: one folder of programs and one of libraries, whatever path a script or an ELF file names."""


@dataclass(frozen=True)
class EnvironmentRequest:
    """The options of the module, as they come. ``programs_root`` is where the programs are taken from."""

    path: Path
    root: Path
    programs_root: Path
    kernel_version: str | None
    modules: list[str] | None
    programs: list[str]
    compression: str
    firmware: bool
    busybox: Path | None
    diff: bool = False


@dataclass
class Contents:
    """What the environment holds, and what a report says of it."""

    members: list[_cpio.Member]
    order: list[str]
    builtin: list[str]
    programs: list[str]
    missing_firmware: list[str]


def ensure_environment(request: EnvironmentRequest, check: bool) -> dict[str, Any]:
    """Make ``request.path`` the environment that the request describes; the keys are those of the module's RETURN.

    It is built each time, since the same inputs give the same bytes. Raises ClusterError, with the old file untouched,
    where a program, a library or a kernel module is missing.
    """
    started = time.monotonic()
    for option in ("root", "programs_root"):
        if not getattr(request, option).is_dir():
            raise ClusterError(
                f"{option}: the folder {getattr(request, option)} does not exist; make it first"
            )
    if not request.path.parent.is_dir():
        raise ClusterError(f"path: the folder {request.path.parent} does not exist; make it first")
    if request.path.is_dir():
        raise ClusterError(f"path: {request.path} is a folder; name the file in it")
    tree = _initrd_modules.read_tree(request.root, request.kernel_version)
    compression = _initrd_compress.choose_compression(request.root, tree.version, request.compression)
    contents = gather(request, tree)
    packed, compressor = _initrd_compress.compress(_cpio.pack(contents.members), compression)
    old = _initrd.read_old(request.path)
    reason = None
    if old is None:
        reason = f"{request.path} does not exist"
    elif old != packed:
        reason = f"{request.path} is not what its inputs make"
    before = _initrd.listing_of(request.path) if reason and request.diff else ""
    if reason and not check:
        publish(request.path, packed, contents, tree.version)
    facts = _initrd.facts(packed)
    return {
        "file": str(request.path),
        "sha256": facts["sha256"],
        "bytes": facts["size"],
        "unpacked_bytes": sum(member.size for member in contents.members),
        "kernel_version": tree.version,
        "compression": compression,
        "compressor": compressor,
        "modules": contents.order,
        "builtin": contents.builtin,
        "programs": contents.programs,
        "missing_firmware": contents.missing_firmware,
        "reason": reason,
        "changed": reason is not None,
        "diff": {"before": before, "after": listing(contents) if reason and request.diff else ""},
        "seconds": round(time.monotonic() - started, 3),
    }


def gather(request: EnvironmentRequest, tree: ModuleTree) -> Contents:
    """All members: programs first, then what is ours, which nothing of the root can replace."""
    by_name, wanted = choose_modules(tree, request.modules)
    order = _initrd_modules.closure(tree, wanted)
    collected = _programs.collect(request.programs_root, request.programs)
    busybox = _initrd_native.choose_busybox(request.programs_root, request.busybox)
    from_kernel, missing_firmware = _initrd_native.module_members(tree, order, request.firmware)
    members = {member.name: member for member in skeleton(busybox)}
    members.update(collected.members)
    members.update((member.name, member) for member in (*own_files(by_name), *from_kernel))
    return Contents(
        members=list(members.values()),
        order=order,
        builtin=sorted(name for name in wanted if name in tree.builtin),
        programs=collected.programs,
        missing_firmware=missing_firmware,
    )


def choose_modules(tree: ModuleTree, named: list[str] | None) -> tuple[list[str], list[str]]:
    """The modules that init loads by name, and all that must be inside; raises ClusterError naming what the kernel lacks."""
    usual = (*_initrd_modules.NICS, *_initrd_modules.DISKS)
    drivers = (
        [name for name in usual if tree.holds(name)]
        if named is None
        else list(map(_initrd_modules.plain, named))
    )
    missing = [name for name in drivers if not tree.holds(name)]
    if missing:
        raise ClusterError(
            f"modules: the kernel {tree.version} in {tree.root} has no module {', '.join(missing)}, neither in "
            f"{tree.folder}/modules.dep nor built in; check the name, or install the package that holds it"
        )
    others = [name for name in (*SYSTEM, *_initrd_modules.DISK_KINDS) if tree.holds(name)]
    file_systems = [
        name for name in _initrd_modules.FILE_SYSTEMS if tree.holds(name)
    ]  # the kernel asks for them
    by_name = _initrd_modules.loaded_by_name(tree, [*drivers, *others])
    by_name += [name for name in _initrd_modules.DISK_KINDS if name in tree.paths and name not in by_name]
    return by_name, list(dict.fromkeys((*drivers, *others, *file_systems)))


def skeleton(busybox: Path) -> list[_cpio.Member]:
    """Folders, links and busybox with every applet that it has."""
    found = [_cpio.folder(name) for name in (*_initrd_native.EMPTY_FOLDERS, *FOLDERS)]
    found += [_cpio.character_device("dev/console", 5, 1), _cpio.character_device("dev/null", 1, 3, 0o666)]
    found += [_cpio.link(place, target) for place, target in SAME_PLACE.items()]
    found += [_cpio.regular("bin/busybox", busybox.read_bytes(), 0o755)]
    applets = _command.run([str(busybox), "--list"], timeout=30).stdout.decode().split()
    found += [_cpio.link(f"bin/{applet}", "busybox") for applet in applets if applet != "busybox"]
    return [
        _cpio.folder(member.name, 0o700) if member.name in ("root", "root/.ssh") else member
        for member in found
    ]


def own_files(by_name: list[str]) -> list[_cpio.Member]:
    return [
        _cpio.regular("init", _init.INIT.encode(), 0o755),
        _cpio.regular("lib/oneimage/root.sh", _initrd_init.ROOT_FUNCTIONS.encode()),
        _cpio.regular("lib/oneimage/system.sh", _initrd_system.SYSTEM_FUNCTIONS.encode()),
        _cpio.regular("lib/oneimage/dhcp", _initrd_system.DHCP_SCRIPT.encode(), 0o755),
        _cpio.regular("lib/oneimage/keep_ssh", _init.KEEP_SSH.encode(), 0o755),
        _cpio.regular("lib/oneimage/built.sh", f"modules='{' '.join(by_name)}'\n".encode()),
        *(_cpio.regular(path, text.encode()) for path, text in _init.ACCOUNTS.items()),
    ]


def publish(path: Path, packed: _cpio.Content, contents: Contents, version: str) -> None:
    """Write it beside ``path``, read it back, and only then rename it."""
    with _atomic.partial_file(path) as temporary:
        temporary.write_bytes(packed)
        found = read_initrd(temporary)
        lacking = [name for name in contents.order if name not in found.modules]
        lacking += [name for name in ("init", "bin/dropbear", "bin/busybox") if name not in found.files]
        if lacking or (contents.order and found.kernel_versions != {version}):
            raise ClusterError(
                f"what was built for {path} lacks {', '.join(lacking) or f'modules of {version} alone'};"
                " it is not published"
            )


def listing(contents: Contents) -> str:
    return _initrd.listing([member for member in contents.members if not member.is_folder])
