# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""A built kernel into a root: modules and headers by one rename each, the bootable file last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import Make
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_target import ARCHITECTURES
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_swap import replace_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import inside, remove_path

MARK = ".oneimage.json"
BUILTIN_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
"""What modules_install leaves for depmod, and what a kernel without modules has nothing for."""
WARNINGS = 5
"""How many of depmod's warnings are told."""


@dataclass(frozen=True)
class Install:
    """``identity`` tells this build from every other."""

    root: Path
    build: Path
    source: Path
    architecture: str
    release: str
    image: str
    identity: str
    strip: bool
    headers: bool

    @property
    def modules(self) -> Path:
        return inside(self.root, f"/lib/modules/{self.release}")

    @property
    def header_folder(self) -> Path:
        return inside(self.root, f"/usr/src/linux-headers-{self.release}")

    def boot_files(self) -> list[tuple[Path, Path, int]]:
        """(file of the build, where it goes, mode), the bootable kernel last."""
        boot = inside(self.root, f"/boot/{self.release}").parent
        return [
            (self.build / "System.map", boot / f"System.map-{self.release}", 0o600),
            (self.build / ".config", boot / f"config-{self.release}", 0o644),
            (self.build / self.image, boot / f"vmlinuz-{self.release}", 0o644),
        ]

    def mark(self) -> dict[str, Any]:
        return {"build": self.identity, "strip": self.strip}

    def paths(self) -> dict[str, str | None]:
        (_map, system_map, _mode), (_config, config, _mode), (_image, kernel, _mode) = self.boot_files()
        return {
            "kernel": str(kernel),
            "system_map": str(system_map),
            "config": str(config),
            "modules": str(self.modules),
            "headers": str(self.header_folder) if self.headers else None,
        }


def check_root(root: Path) -> None:
    if not root.is_absolute() or not root.is_dir():
        raise ClusterError(
            f"root: the folder {root} does not exist; it holds the kernel's /boot and /lib/modules"
        )


def read_install_mark(folder: Path) -> dict[str, Any] | None:
    try:
        mark = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def refuse_foreign(install: Install) -> None:
    """A kernel of the same release that came by other means is not ours to replace."""
    there = [install.modules, install.boot_files()[-1][1]]
    if read_install_mark(install.modules) is None and any(os.path.lexists(path) for path in there):
        found = next(path for path in there if os.path.lexists(path))
        raise ClusterError(
            f"root: {found} exists and was not installed by kernel_build, perhaps by a package; set localversion, so "
            f"that this kernel is not called {install.release}"
        )


def missing_pieces(install: Install) -> list[str]:
    """What is not yet in the root as it was built; what a killed run left makes it be put there again."""
    missing = []
    if not in_place(install, install.modules) or not (install.modules / "modules.dep").is_file():
        missing.append("modules")
    if install.headers and not in_place(install, install.header_folder):
        missing.append("headers")
    for source, place, _mode in install.boot_files():
        if not same_content(source, place):
            missing.append(place.name)
    return missing


def in_place(install: Install, folder: Path) -> bool:
    return read_install_mark(folder) == install.mark() and not leftovers(folder)


def same_content(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_size == other.stat().st_size and digest(one) == digest(other)
    except OSError:
        return False


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install_kernel(install: Install, missing: list[str], make: Make, with_modules: bool) -> list[str]:
    """Bring ``missing`` into the root; returns warnings. Raises ClusterError, the old kernel still bootable then."""
    warnings: list[str] = []
    try:
        for folder in (install.modules.parent, install.boot_files()[0][1].parent):
            folder.mkdir(parents=True, exist_ok=True)
        if "headers" in missing:
            make.progress.enter("installing headers")
            install_headers(install)
        if "modules" in missing:
            make.progress.enter("installing modules")
            warnings = install_modules(install, make, with_modules)
        make.progress.enter("installing the kernel")
        for source, place, mode in install.boot_files():
            if place.name in missing:
                with partial_file(place, mode) as partial:
                    shutil.copyfile(source, partial)
    except OSError as error:
        raise ClusterError(
            f"cannot install {install.release} into {install.root}: {error.strerror} ({error.filename})"
        ) from error
    return warnings


def install_modules(install: Install, make: Make, with_modules: bool) -> list[str]:
    """Beside their place, with depmod's lists made there, then renamed."""
    partial = install.modules.with_name(f".{install.release}.partial")
    sweep(install.modules)
    folder = partial / "lib/modules" / install.release
    try:
        folder.mkdir(parents=True)
        if with_modules:
            strip = ["INSTALL_MOD_STRIP=1"] if install.strip else []
            depmod = f"DEPMOD={make.target.system.depmod}"
            make("modules_install", variables=[f"INSTALL_MOD_PATH={partial}", depmod, *strip])
        else:
            for name in BUILTIN_LISTS:
                (folder / name).touch()
        for name in ("build", "source"):
            # they lead to this host's folders, which the node that boots the root does not have
            (folder / name).unlink(missing_ok=True)
        if install.headers:
            (folder / "build").symlink_to(f"/usr/src/linux-headers-{install.release}")
        warnings = depmod_lists(install, partial)
        (folder / MARK).write_text(json.dumps(install.mark()) + "\n", encoding="utf-8")
        run(["sync", "--file-system", str(folder)])
        finished = install.modules.with_name(f".{install.release}.new")
        folder.rename(finished)
        replace_folder(finished, install.modules)
    finally:
        sweep(install.modules)
    return warnings


def depmod_lists(install: Install, partial: Path) -> list[str]:
    """The lists that modprobe reads; warnings tell of modules that need what nothing has."""
    argv = ["depmod", "-b", str(partial), "-e", "-F", str(install.build / "System.map"), install.release]
    said = run(argv).stderr.decode("utf-8", "replace").splitlines()
    more = [f"depmod: and {len(said) - WARNINGS} more warnings"] if len(said) > WARNINGS else []
    return [*said[:WARNINGS], *more]


def leftovers(place: Path) -> list[Path]:
    """What this run, or one that was killed, left beside ``place``."""
    paths = [place.with_name(f".{place.name}.{suffix}") for suffix in ("partial", "new", "removed")]
    return [path for path in paths if os.path.lexists(path)]


def sweep(place: Path) -> None:
    for path in leftovers(place):
        remove_path(path)


def install_headers(install: Install) -> None:
    """What modules of others are compiled against, as scripts/package/builddeb of the kernel chooses it."""
    place = install.header_folder
    partial = place.with_name(f".{place.name}.partial")
    sweep(place)
    try:
        for base in (install.source, install.build):
            for path in header_files(base, ARCHITECTURES[install.architecture].folder, base == install.build):
                copied = partial / path
                copied.parent.mkdir(parents=True, exist_ok=True)
                if copied.is_symlink() or copied.exists():
                    copied.unlink()
                shutil.copy2(base / path, copied, follow_symlinks=False)
        (partial / MARK).write_text(json.dumps(install.mark()) + "\n", encoding="utf-8")
        run(["sync", "--file-system", str(partial)])
        replace_folder(partial, place)
    finally:
        sweep(place)


def header_files(base: Path, folder: str, built: bool) -> Iterator[str]:
    """Paths relative to ``base``: Makefiles, Kconfig, headers and scripts; of the build also what scripts became."""
    for name in ("Makefile", "Kbuild", "Kconfig", ".config", "Module.symvers", "tools/objtool/objtool"):
        if (base / name).is_file():
            yield name
    architecture = base / "arch" / folder
    for path in architecture.glob("*") if architecture.is_dir() else ():
        if path.is_file() and path.name.startswith(("Makefile", "Kbuild", "Kconfig", "module.lds")):
            yield str(path.relative_to(base))
    for part in ("include", "scripts", f"arch/{folder}/include", f"arch/{folder}/scripts"):
        for where, _folders, files in os.walk(base / part):
            for name in files:
                path = Path(where, name)
                of_interest = not (built and name.endswith((".o", ".cmd")))
                if of_interest and (path.is_symlink() or stat.S_ISREG(path.lstat().st_mode)):
                    yield str(path.relative_to(base))
