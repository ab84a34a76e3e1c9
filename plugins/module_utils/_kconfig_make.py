# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Let a kernel's own make settle a configuration, in a folder of its own: tree and build folder stay as they are.

A clean tree is built with ``O=`` an empty folder. Kernels 2.4 know no ``O=``, and later ones refuse it where the tree
was configured itself: those get a folder of links to the tree, with copies of what make writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _command
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree

SECONDS = 600
LOG_BYTES = 64 << 20
"""Far more than any make of a configuration takes and prints; an old ``oldconfig`` that never stops to ask is ended."""
ANSWERS = 200_000
"""Empty answers for an old ``oldconfig``: each takes the default; kernels have fewer questions."""
SETTLE = (("olddefconfig", "olddefconfig"), ("oldnoconfig", "oldnoconfig"), ("", "oldconfig"))
"""A word in the tree's ``scripts/kconfig/Makefile``, and the target that it stands for: since 3.7, since 2.6.36, ever."""
PROGRAMS = ("scripts/basic", "scripts/kconfig")
"""What make builds to settle a configuration; worth keeping, they take longer than the rest."""
WRITTEN = {"include", "include/linux", "scripts"}
"""Folders that make writes in: real ones, with links to what is in them."""
LEFT_OUT = {
    ".config",
    ".config.old",
    "include/config",
    "include/generated",
    "include/asm",
    "include/linux/autoconf.h",
}
UNCLEAN = (".config", "include/config")
PREFIX = ".oneimage-partial-kconfig-"
TIMED_OUT = 124
TAIL_BYTES = 4096
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "KCONFIG_NOTIMESTAMP": "1",
    "KCONFIG_CONFIG": ".config",
    "KBUILD_OUTPUT": "",
    "MAKEFLAGS": "",
}
"""What a user's environment must not change, and no dates in configurations, which trees before 2.6.38 write."""


@dataclass(frozen=True)
class Toolchain:
    """``make`` variables that configuration and build must share: a configuration holds what the compiler can do."""

    architecture: str
    cross_compile: str = ""
    cc: str = ""

    def variables(self) -> list[str]:
        given = {"ARCH": self.architecture, "CROSS_COMPILE": self.cross_compile, "CC": self.cc}
        return [f"{name}={value}" for name, value in given.items() if value]

    def identity(self) -> str:
        """What the compiler says of itself; raises ClusterError where there is none."""
        program = self.cc or f"{self.cross_compile}gcc"
        version = _command.run([*program.split(), "--version"]).stdout.decode("utf-8", "replace")
        return " ".join([*self.variables(), version.partition("\n")[0]])


@contextlib.contextmanager
def workshop(tree: KernelTree, build: Path, toolchain: Toolchain) -> Iterator[Workshop]:
    """A folder to make configurations in, removed afterwards, as are those that killed runs left.

    ``build`` is the build folder: programs that an earlier make left there are taken from it. Raises ClusterError
    where make is missing or the folder cannot be made.
    """
    _command.require("make", package="make")
    _command.require("prlimit", package="util-linux")
    remove_leftovers(Path(tempfile.gettempdir()))
    linked = (
        tree.legacy
        or build.resolve() == tree.path.resolve()
        or any((tree.path / name).exists() for name in UNCLEAN)
    )
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        if linked:
            link(tree.path, folder)
            command = ["make", "-s", "-C", str(folder)]
        else:
            copy_programs(build, folder)
            command = ["make", "-s", "-C", str(tree.path), f"O={folder}"]
        yield Workshop(tree, folder, [*command, *toolchain.variables()])
    except OSError as error:
        raise ClusterError(f"cannot make a configuration in {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """What runs of the same user left that were killed: the process in the name is no more."""
    for folder in parent.glob(f"{PREFIX}*"):
        process = folder.name[len(PREFIX) :].partition("-")[0]
        with contextlib.suppress(OSError):
            if not Path("/proc", process).exists() and folder.lstat().st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Workshop:
    tree: KernelTree
    folder: Path
    command: Sequence[str]

    @property
    def config(self) -> Path:
        return self.folder / ".config"

    def start(self, base: str) -> None:
        """Make the configuration that a target of make stands for; kernels 2.4 have only the file of ``defconfig``."""
        if not self.tree.legacy or base != "defconfig":
            self.make(base)
            return
        default = self.tree.path / "arch" / self.tree.source_folder / base
        if not default.is_file():
            raise ClusterError(f"base: {default} does not exist; give a configuration as base")
        shutil.copyfile(default, self.config)

    def make(self, target: str, answers: bytes = b"") -> None:
        """Raises ClusterError with the end of what make said; a Kconfig error has its file and line there."""
        bounded = ["prlimit", f"--fsize={LOG_BYTES}", "timeout", "--kill-after=5", str(SECONDS)]
        with tempfile.TemporaryFile() as log:
            # the log is a file with a limit, and all processes end with make: logic knows no AnsibleModule for that
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                [*bounded, *self.command, target],
                input=answers,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRONMENT},
                check=False,
            )
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            said = _command.tail(log.read())
        if done.returncode:
            problem = f"failed with exit code {done.returncode}"
            if done.returncode == TIMED_OUT:
                problem = f"did not end within {SECONDS} s"
            raise ClusterError(f"kernel source tree {self.tree.path}: make {target} {problem}: {said}")
        if not self.config.is_file():
            raise ClusterError(f"kernel source tree {self.tree.path}: make {target} made no .config")

    def settle(self) -> None:
        """Let the tree complete and correct ``.config``; what is new to it gets its default."""
        rules = self.tree.path / "scripts/kconfig/Makefile"
        known = rules.read_text(encoding="utf-8", errors="replace") if rules.is_file() else ""
        target = next(target for word, target in SETTLE if re.search(rf"\b{word}\b", known) or not word)
        self.make(target, b"\n" * ANSWERS if target == "oldconfig" else b"")


def link(tree: Path, folder: Path, below: str = "") -> None:
    """Fill ``folder`` with links to the tree's entries; what make writes in is a real folder, its programs are copied."""
    for entry in os.scandir(tree / below):
        name = f"{below}/{entry.name}" if below else entry.name
        if name in LEFT_OUT:
            continue
        if name in PROGRAMS:
            shutil.copytree(tree / name, folder / name, symlinks=True)
        elif name in WRITTEN:
            (folder / name).mkdir()
            link(tree, folder, name)
        else:
            (folder / name).symlink_to(tree / name)


def copy_programs(build: Path, folder: Path) -> None:
    """Programs that an earlier make left in the build folder, with their times, so that make takes them."""
    for name in PROGRAMS:
        if (build / name).is_dir():
            shutil.copytree(build / name, folder / name, symlinks=True)
