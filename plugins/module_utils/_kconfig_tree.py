# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read a kernel's source tree of any age: its version, its architecture, its options.

Kernels from 2.6 on describe their options in Kconfig files, 2.4 in shell-like Config.in files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _kconfig_tree_24, _kconfig_tree_26
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree, SourceFiles

ARCHITECTURES = {
    "i386": r"i.86",
    "x86_64": r"x86_64|amd64",
    "arm64": r"aarch64(_be)?|arm64",
    "arm": r"arm(v\d.*|hf|el)?",
    "powerpc": r"ppc.*|powerpc.*",
    "s390": r"s390x?",
    "riscv": r"riscv(32|64)?",
    "mips": r"mips.*",
    "sparc": r"sparc(64)?",
    "loongarch": r"loongarch(64)?",
}
"""The kernel's word for an architecture (``ARCH=``), and how ``uname -m`` and distributions call it."""
SOURCE_FOLDERS = {"i386": "x86", "x86_64": "x86", "sparc64": "sparc", "sh64": "sh"}
"""Where ``arch/ARCH`` has another name, since 2.6.24; older trees have a folder for each."""


def kernel_architecture(machine: str) -> str:
    """``ARCH=`` for what ``uname -m`` says; what is not in the table is taken as the kernel's own word."""
    return next((arch for arch, names in ARCHITECTURES.items() if re.fullmatch(names, machine)), machine)


def read_tree(path: Path, architecture: str | None = None) -> KernelTree:
    """Raises ClusterError where ``path`` is no kernel source tree, or not for that architecture."""
    version = read_version(path)
    architecture = kernel_architecture(architecture or os.uname().machine)
    folders = (SOURCE_FOLDERS.get(architecture, architecture), architecture)
    source_folder = next((name for name in folders if (path / "arch" / name).is_dir()), "")
    if not source_folder:
        raise ClusterError(
            f"kernel source tree {path} has no arch/{folders[0]}; it has: {', '.join(architectures(path)) or 'none'}"
        )
    top = next((name for name in ("Kconfig", f"arch/{source_folder}/Kconfig") if (path / name).is_file()), "")
    tree = KernelTree(path, version, architecture, source_folder, legacy=not top)
    files = SourceFiles(tree)
    if tree.legacy:
        _kconfig_tree_24.read(files, f"arch/{source_folder}/config.in")
    else:
        _kconfig_tree_26.read(files, top)
    tree.fingerprint = files.digest.hexdigest()
    return tree


def architectures(path: Path) -> list[str]:
    place = path / "arch"
    return sorted(one.name for one in place.iterdir() if one.is_dir()) if place.is_dir() else []


def read_version(path: Path) -> str:
    """``6.1.90`` or ``2.4.22``, from the first lines of the tree's Makefile."""
    try:
        head = (path / "Makefile").read_text(encoding="utf-8", errors="replace")[:2000]
    except OSError as error:
        raise ClusterError(
            f"source: {path} is no kernel source tree: cannot read its Makefile: {error.strerror}"
        ) from error
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)\s*=[ \t]*(\S*)", head, re.M))
    if not found.get("VERSION") or not found.get("PATCHLEVEL"):
        raise ClusterError(f"source: {path} is no kernel source tree: its Makefile says no VERSION")
    numbers = [found.get(name, "") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(filter(None, numbers)) + found.get("EXTRAVERSION", "")
