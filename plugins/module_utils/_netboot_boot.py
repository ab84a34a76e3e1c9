# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One boot from the network as it would happen: everything that the checks look at, and what they find."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import ModuleTree
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import InitrdContent
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import KernelConfig, Rule
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import KernelImage
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import DEEPEST_LINK, inside

WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
ROOT_MODES = ("nfs_ro", "nfs_rw")
RAM_DISK_INIT = "/linuxrc"
"""The init of an initrd that is a RAM disk; the one of the root is the usual one then."""
VERSION_OPTION = re.compile(r"(?:(?:nfs)?vers=|v)([0-9.]+)")


@dataclass(frozen=True)
class Finding:
    """``name`` is stable, for scripts and tests; ``subject`` is the option, file, module or parameter it is about."""

    name: str
    subject: str
    problem: str
    remedy: str
    severity: str = "error"

    def sentence(self) -> str:
        return f"[{self.name}] {self.subject}: {self.problem}; {self.remedy}"


def warning(name: str, subject: str, problem: str, remedy: str) -> Finding:
    """For what boots, but not as one wants it."""
    return Finding(name, subject, problem, remedy, "warning")


class Parameters:
    """The kernel command line; of a parameter given twice the last one counts, as for the kernel."""

    def __init__(self, given: str | Sequence[str]) -> None:
        self.line = given if isinstance(given, str) else " ".join(given)
        if self.line.count('"') % 2:
            raise ClusterError(f"parameters: a quotation mark is not closed in {self.line!r}")
        self.words = [word.replace('"', "") for word in WORD.findall(self.line)]

    def values(self, name: str) -> list[str]:
        return [word[len(name) + 1 :] for word in self.words if word.startswith(f"{name}=")]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return values[-1] if values else None

    @property
    def access(self) -> str | None:
        """``ro`` or ``rw``, whichever comes last."""
        words = [word for word in self.words if word in ("ro", "rw")]
        return words[-1] if words else None

    @property
    def on_ram_disk(self) -> bool:
        """Whether the kernel is to mount an initrd of the format ext2 at first; ``ro`` and ``rw`` are about it then."""
        return (self.value("root") or "").startswith("/dev/ram")

    @property
    def root_mode(self) -> str:
        """What the initrd makes of them: oneimage.root_mode, else rw or ro."""
        writable = self.access == "rw" and not self.on_ram_disk
        return self.value("oneimage.root_mode") or ("nfs_rw" if writable else "nfs_ro")

    @property
    def init(self) -> str | None:
        """The program of the root that ``init=`` names."""
        named = self.value("init")
        return None if named == RAM_DISK_INIT else named

    @property
    def nfs_options(self) -> list[str]:
        return (self.value("nfsroot") or "").split(",")[1:]

    @property
    def nfs_version(self) -> str | None:
        found = [match[1] for match in map(VERSION_OPTION.fullmatch, self.nfs_options) if match]
        return found[-1] if found else None


@dataclass(frozen=True)
class Boot:
    """``tree`` is None where the root has no modules of this kernel; ``rules`` are by profile."""

    kernel: KernelImage
    config: KernelConfig
    initrd: InitrdContent | None
    root: Path
    tree: ModuleTree | None
    parameters: Parameters
    root_mode: str
    firmware: str
    hardware: Sequence[str]
    rules: Mapping[str, Sequence[Rule]]

    def in_root(self, path: str) -> Path | None:
        """What ``path`` leads to for a program whose / is the root, through all links; None where that is nothing."""
        for _unused in range(DEEPEST_LINK):
            here = inside(self.root, path)
            if not here.is_symlink():
                return here if here.exists() else None
            target = here.readlink()
            path = str(target if target.is_absolute() else here.parent.relative_to(self.root) / target)
        return None

    @cached_property
    def systemd(self) -> bool:
        return bool(self.in_root("/usr/lib/systemd/systemd") or self.in_root("/lib/systemd/systemd"))
