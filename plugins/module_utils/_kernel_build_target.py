# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""What differs between kernels' build systems and architectures, as tables, and the words that make gets."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_tree import KernelTree


@dataclass(frozen=True)
class BuildSystem:
    """``since`` is the first version that has it; ``programs`` are needed besides make and the compiler."""

    since: tuple[int, int]
    out_of_tree: bool
    steps: tuple[str, ...]
    together: bool
    version_variable: str
    programs: Mapping[str, str]
    depmod: str


# depmod runs once, by us: what make gets as DEPMOD is what its own rule skips silently
BUILD_SYSTEMS = (
    BuildSystem((0, 0), False, ("dep",), False, "EXTRAVERSION", {}, "true"),
    BuildSystem((2, 6), True, (), True, "LOCALVERSION", {}, "/nonexistent"),
    BuildSystem((3, 9), True, (), True, "LOCALVERSION", {"bc": "bc"}, "/nonexistent"),
    BuildSystem(
        (4, 16),
        True,
        (),
        True,
        "LOCALVERSION",
        {"bc": "bc", "flex": "flex", "bison": "bison"},
        "/nonexistent",
    ),
)


@dataclass(frozen=True)
class Architecture:
    """``kbuild`` is make's ARCH, ``folder`` its folder below arch/, ``image`` the target of the bootable kernel."""

    kbuild: str
    folder: str
    image: str
    kept_in: str = "arch/{folder}/boot"


ARCHITECTURES = {
    "x86_64": Architecture("x86_64", "x86", "bzImage"),
    "i386": Architecture("i386", "x86", "bzImage"),
    "aarch64": Architecture("arm64", "arm64", "Image.gz"),
    "arm": Architecture("arm", "arm", "zImage"),
    "ppc64le": Architecture("powerpc", "powerpc", "vmlinux", "."),
    "riscv64": Architecture("riscv", "riscv", "Image.gz"),
    "s390x": Architecture("s390", "s390", "bzImage"),
}
SAME_ARCHITECTURE = {"i486": "i386", "i586": "i386", "i686": "i386", "armv7l": "arm", "arm64": "aarch64"}

IMAGES = ("bzImage", "zImage", "Image.gz", "Image", "uImage", "vmlinuz", "vmlinux")
INSTALLING = ("modules_install", "headers_install")
"""Done by the module itself, into O(root)."""
FORBIDDEN = re.compile(r"install|.*_install|.*clean|mrproper|.*config|.*pkg|-.*|.*=.*")
OWN_VARIABLES = {
    "O": "build",
    "KBUILD_OUTPUT": "build",
    "ARCH": "architecture",
    "CROSS_COMPILE": "cross_compile",
    "CC": "cc",
    "HOSTCC": "hostcc",
    "LOCALVERSION": "localversion",
    "EXTRAVERSION": "localversion",
    "INSTALL_MOD_PATH": "root",
    "INSTALL_PATH": "root",
    "INSTALL_MOD_STRIP": "strip_modules",
}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOCAL_VERSION = re.compile(r"[A-Za-z0-9.+~_-]*")

KEPT_ENVIRONMENT = re.compile(r"PATH|HOME|USER|LOGNAME|TMPDIR|CCACHE_.*")
"""make takes every variable of its environment for one of its own: what is not declared must not reach it."""


@dataclass(frozen=True)
class Target:
    """A tree, what to make of it, and how make is called for it."""

    tree: KernelTree
    system: BuildSystem
    build: Path
    architecture: str
    targets: tuple[str, ...]
    variables: dict[str, str]
    cross_compile: str
    cc: str
    hostcc: str

    @property
    def in_tree(self) -> bool:
        return self.build == self.tree.path

    def argv(self, jobs: int) -> list[str]:
        output = [] if self.in_tree else [f"O={self.build}"]
        return ["make", f"-j{jobs}", *output, *(f"{name}={text}" for name, text in self.variables.items())]

    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if KEPT_ENVIRONMENT.fullmatch(name)}
        # 2.4 takes PWD for the folder that it stands in
        return {**kept, "LC_ALL": "C", "TERM": "dumb", "PWD": str(self.tree.path)}

    def image(self) -> str:
        """The bootable kernel's path in the output folder, as far as the declaration tells it."""
        kind = ARCHITECTURES[self.architecture]
        name = next((target for target in self.targets if target in IMAGES), kind.image)
        if name == "vmlinux":
            return name
        for folder in (kind.folder, kind.kbuild):
            path = f"{kind.kept_in.format(folder=folder)}/{name}"
            if (self.build / path).exists():
                return path
        return f"{kind.kept_in.format(folder=kind.folder)}/{name}"


def make_target(tree: KernelTree, options: Mapping[str, Any]) -> Target:
    """Raises ClusterError naming the option that cannot be."""
    system = next(one for one in reversed(BUILD_SYSTEMS) if tree.number[:2] >= one.since)
    build = Path(os.path.normpath(options["build"])) if options["build"] else default_build(tree, system)
    if build != tree.path and not system.out_of_tree:
        raise ClusterError(
            f"build: a kernel {tree.version} can only be built in its own tree; leave build out, or give {tree.path}"
        )
    machine = platform.machine()
    name = options["architecture"] or machine
    name = SAME_ARCHITECTURE.get(name, name)
    if name not in ARCHITECTURES:
        raise ClusterError(
            f"architecture: {name} is none of those known here: {', '.join(sorted(ARCHITECTURES))}"
        )
    cross = options["cross_compile"] or ""
    compiler = options["cc"] or ("clang" if options["make_variables"].get("LLVM") else f"{cross}gcc")
    return Target(
        tree=tree,
        system=system,
        build=build,
        architecture=name,
        targets=choose_targets(options["targets"], system, ARCHITECTURES[name]),
        variables=make_variables(tree, system, ARCHITECTURES[name], options),
        cross_compile=cross,
        cc=compiler,
        hostcc=options["hostcc"] or "gcc",
    )


def default_build(tree: KernelTree, system: BuildSystem) -> Path:
    return tree.path.with_name(f"{tree.path.name}-build") if system.out_of_tree else tree.path


def choose_targets(declared: list[str] | None, system: BuildSystem, kind: Architecture) -> tuple[str, ...]:
    if declared is None:
        return (*system.steps, kind.image, "modules")
    for target in declared:
        if target not in INSTALLING and FORBIDDEN.fullmatch(target):
            raise ClusterError(
                f"targets: {target!r} is not for the building of a kernel: root installs it, packages makes packages, "
                "config configures it, make_variables sets variables"
            )
    chosen = tuple(target for target in declared if target not in INSTALLING)
    if not chosen:
        raise ClusterError("targets: there is none that builds a kernel, such as bzImage")
    return chosen


def make_variables(
    tree: KernelTree, system: BuildSystem, kind: Architecture, options: Mapping[str, Any]
) -> dict[str, str]:
    local = options["localversion"] or ""
    if not LOCAL_VERSION.fullmatch(local):
        raise ClusterError(f"localversion: {local!r} may have letters, digits and . + ~ _ - only")
    variables = {}
    if options["architecture"]:
        variables["ARCH"] = kind.kbuild
    for name in ("cross_compile", "cc", "hostcc"):
        if options[name]:
            variables[name.upper()] = options[name]
    # set even to nothing: without it, a build in a repository appends "+" to the version
    prefix = tree.extra_version if system.version_variable == "EXTRAVERSION" else ""
    variables[system.version_variable] = prefix + local
    for name, value in options["make_variables"].items():
        if not VARIABLE.fullmatch(name):
            raise ClusterError(f"make_variables: {name!r} is no name of a variable of make")
        if name in OWN_VARIABLES:
            raise ClusterError(f"make_variables: {name} has an option of its own, {OWN_VARIABLES[name]}")
        variables[name] = str(value)
    return variables


def check_programs(target: Target, further: Mapping[str, str]) -> None:
    """Raise ClusterError that names every missing program and its Debian package, before anything is written."""
    linker = "ld.lld" if target.variables.get("LLVM") else f"{target.cross_compile}ld"
    prefix = target.cross_compile.rstrip("-").replace("_", "-")
    needed = {
        "make": "make",
        "setpriv": "util-linux",
        first_word(target.cc): f"gcc-{prefix}" if prefix else "gcc",
        first_word(target.hostcc): "gcc",
        linker: f"binutils-{prefix}" if prefix else "binutils",
        **target.system.programs,
        **further,
    }
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        packages = sorted({needed[program] for program in missing})
        raise ClusterError(
            f"not found on this host: {', '.join(missing)}; install {', '.join(packages)}, or set cc, hostcc or "
            "cross_compile; nothing was built"
        )


def first_word(command: str) -> str:
    words = shlex.split(command)
    if not words:
        raise ClusterError(f"cc: {command!r} names no compiler")
    return words[0]


def toolchain(target: Target) -> dict[str, str]:
    """What the compilers and the linker call themselves: another text means another toolchain."""
    linker = "ld.lld" if target.variables.get("LLVM") else f"{target.cross_compile}ld"
    commands = {"cc": target.cc, "hostcc": target.hostcc, "ld": linker}
    return {name: called(shlex.split(command)) for name, command in commands.items()}


def called(command: list[str]) -> str:
    said = run([*command, "--version"], accept=range(256), timeout=60).stdout.decode("utf-8", "replace")
    return said.splitlines()[0].strip() if said.strip() else "unknown"
