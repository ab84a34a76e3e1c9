# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""How an initrd is compressed: what the kernel can undo, and the fastest program on this host that can do it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _filter
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

KERNEL_OPTIONS = {"zstd": "CONFIG_RD_ZSTD", "gzip": "CONFIG_RD_GZIP", "none": "CONFIG_BLK_DEV_INITRD"}
"""In the order of preference of ``auto``."""

PROGRAMS = {
    "zstd": (("zstd", "-q", "-c", "-1", "--single-thread"),),
    # fixed threads and block size: the same bytes on a host with another number of cores; -n: no name, no time
    "gzip": (("igzip", "-c", "-3", "-n"), ("pigz", "-c", "-n", "-p2"), ("gzip", "-c", "-n")),
    "none": (),
}
TIMEOUT = 600


def config_files(root: Path, version: str) -> list[Path]:
    return [root / "boot" / f"config-{version}", root / "usr/lib/modules" / version / "config"]


def read_config(root: Path, version: str) -> tuple[Path, frozenset[str]] | None:
    """The options that are built into the kernel, and the file that says so; None where the root holds none."""
    for path in config_files(root, version):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            return path, frozenset(line[:-2] for line in text.splitlines() if line.endswith("=y"))
    return None


def choose_compression(root: Path, version: str, wanted: str) -> str:
    """``wanted``, or for ``auto`` the best that this host can do and the kernel can undo.

    Without the kernel's configuration ``auto`` is gzip, which nearly every kernel can undo.
    """
    config = read_config(root, version)
    if config is None:
        return "gzip" if wanted == "auto" else wanted
    path, options = config
    if KERNEL_OPTIONS["none"] not in options:
        raise ClusterError(
            f"{path}: CONFIG_BLK_DEV_INITRD is not set, so the kernel {version} takes no initrd"
        )
    if wanted == "auto":
        usable = [kind for kind, option in KERNEL_OPTIONS.items() if option in options]
        return next(kind for kind in usable if kind != "zstd" or shutil.which("zstd"))
    if KERNEL_OPTIONS[wanted] not in options:
        raise ClusterError(
            f"compression {wanted}: {path} does not set {KERNEL_OPTIONS[wanted]}, so the kernel {version}"
            " cannot unpack it; use compression: auto"
        )
    return wanted


def compress(pieces: Iterable[Content], kind: str) -> tuple[Content, str]:
    """``pieces`` compressed, and the program that did it; the same bytes for the same content and program."""
    if kind == "none":
        return b"".join(pieces), "none"
    for argv in PROGRAMS[kind]:
        if shutil.which(argv[0]):
            return _filter.through(argv, pieces, TIMEOUT), argv[0]
    if kind == "gzip":
        return gzip.compress(b"".join(pieces), compresslevel=6, mtime=0), "python"
    raise ClusterError(
        f"compression {kind}: the program {kind} is not on this host; install the package {kind}"
    )
