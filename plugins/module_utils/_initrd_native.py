# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Our own initrd: kernel modules, busybox and a small init, written straight into a cpio archive."""

from __future__ import annotations

import struct
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _command,
    _cpio,
    _initrd_init,
    _initrd_system,
)
from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_modules as _modules
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import ModuleTree

PROGRAM_INTERPRETER = 3
BUSYBOX_PLACES = ("bin/busybox", "usr/bin/busybox")
EMPTY_FOLDERS = ("dev", "etc", "newroot", "proc", "root", "run", "sys", "tmp")


def members(
    tree: ModuleTree,
    wanted: list[str],
    order: list[str],
    root_modes: list[str],
    firmware: bool,
    busybox: Path,
) -> tuple[list[_cpio.Member], list[str]]:
    """All that the initrd holds, and the firmware that its modules name and the root lacks."""
    found = [_cpio.folder(name) for name in EMPTY_FOLDERS]
    found += [_cpio.character_device("dev/console", 5, 1), _cpio.character_device("dev/null", 1, 3, 0o666)]
    found += [_cpio.regular("bin/busybox", busybox.read_bytes(), 0o755)]
    found += [_cpio.link(f"bin/{applet}", "busybox") for applet in _initrd_init.APPLETS.split()]
    found += [_cpio.link("sbin", "bin")]  # the kernel calls /sbin/modprobe
    built = {"root_modes": root_modes, "modules": _modules.loaded_by_name(tree, wanted)}
    settings = "".join(f"{name}='{' '.join(value)}'\n" for name, value in built.items())
    found += [
        _cpio.regular("init", _initrd_init.NATIVE_INIT.encode(), 0o755),
        _cpio.regular("lib/oneimage/root.sh", _initrd_init.ROOT_FUNCTIONS.encode()),
        _cpio.regular("lib/oneimage/dhcp", _initrd_system.DHCP_SCRIPT.encode(), 0o755),
        _cpio.regular("lib/oneimage/built.sh", settings.encode()),
    ]
    found += [
        _cpio.regular(f"etc/modprobe.d/{path.name}", path.read_bytes())
        for path in sorted((tree.root / "etc/modprobe.d").glob("*.conf"))
    ]
    from_kernel, missing_firmware = module_members(tree, order, firmware)
    return found + from_kernel, missing_firmware


def module_members(
    tree: ModuleTree, order: list[str], firmware: bool
) -> tuple[list[_cpio.Member], list[str]]:
    """The modules, decompressed for busybox, what modprobe needs to find them, and their firmware."""
    folder, inside = f"lib/modules/{tree.version}", set(order)
    found, missing = [], []
    for name in order:
        module = _modules.read_module(tree, name)
        found.append(_cpio.regular(f"{folder}/{_modules.plain_path(tree, name)}", module.content))
        for blob in module.firmware if firmware else ():
            path = _modules.find_firmware(tree, blob)
            if path is None:
                missing.append(blob)
            else:
                suffix = path.name[len(blob.rpartition("/")[2]) :]
                found.append(_cpio.regular(f"lib/firmware/{blob}{suffix}", path.read_bytes()))
    lists = {
        "modules.dep": (_modules.load_line(tree, name) for name in order),
        "modules.alias": _modules.alias_lines(tree, inside),
    }
    for file, lines in lists.items():
        found.append(_cpio.regular(f"{folder}/{file}", "".join(f"{line}\n" for line in lines).encode()))
    return found, sorted(set(missing))


def choose_busybox(root: Path, named: Path | None) -> Path:
    """The busybox for the initrd: the one named, or the root's, or this host's; it must need no libraries."""
    places = [named] if named else [base / place for base in (root, Path("/")) for place in BUSYBOX_PLACES]
    present = [path for path in places if path.is_file()]
    static = [path for path in present if is_static(path)]
    if not static:
        what = f"{present[0]} needs shared libraries" if present else f"there is no {places[0]}"
        raise ClusterError(f"busybox: {what}; install the package busybox-static, or name a static one")
    check_applets(static[0])
    return static[0]


def check_applets(busybox: Path) -> None:
    applets = set(_command.run([str(busybox), "--list"], timeout=30).stdout.decode().split())
    missing = [applet for applet in _initrd_init.APPLETS.split() if applet not in applets]
    if missing:
        raise ClusterError(
            f"busybox: {busybox} lacks {', '.join(missing)}; the package busybox-static has them"
        )


def is_static(path: Path) -> bool:
    """Whether the ELF program at ``path`` asks for no interpreter, which would bring shared libraries."""
    try:
        content = path.read_bytes()
        if content[:4] != b"\x7fELF":
            return False
        order, wide = "<" if content[5] == 1 else ">", content[4] == 2
        table = struct.unpack_from(order + ("Q" if wide else "I"), content, 32 if wide else 28)[0]
        entry_size, count = struct.unpack_from(order + "HH", content, 54 if wide else 42)
        kinds = [struct.unpack_from(order + "I", content, table + at * entry_size)[0] for at in range(count)]
    except OSError as error:
        raise ClusterError(f"busybox: cannot read {path}: {error.strerror}") from error
    except (IndexError, struct.error):
        return False
    return PROGRAM_INTERPRETER not in kinds
