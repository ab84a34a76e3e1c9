# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""Build a kernel where something changed, and install what the root does not have yet."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _kernel_build_state as state
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_expected import expected_files
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_install import (
    Install,
    check_root,
    install_kernel,
    missing_pieces,
    refuse_foreign,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import (
    DEFAULTS,
    ENDED,
    PROGRESS,
    Make,
    Progress,
    cores,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_packages import (
    PACKAGE_PROGRAMS,
    make_packages,
    missing_packages,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_state import Stamp
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_target import (
    ARCHITECTURES,
    Target,
    check_programs,
    make_target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_tree import read_tree

SAVED_CONFIG = ".oneimage-build.config"
"""The configuration while the folder is cleaned, which removes ``.config``."""
OWN_FILES = {".config", SAVED_CONFIG, state.STAMP, state.LOG, state.LOCK, PROGRESS}

LOCK_WAIT = 60.0
"""Seconds to wait for compilers that outlived a killed run; they end with the file that they are at."""


@dataclass(frozen=True)
class Plan:
    """``why`` is None where nothing has to be compiled; ``pieces`` are missing in the root, as far as can be told."""

    target: Target
    config: Path
    parts: dict[str, Any]
    stamp: Stamp | None
    why: str | None
    pieces: list[str]
    unpackaged: bool
    options: Mapping[str, Any]

    @property
    def reason(self) -> str | None:
        if self.why:
            return self.why
        if self.pieces:
            return f"not in {self.options['root']} as built: {', '.join(self.pieces)}"
        return f"packages are missing in {self.options['packages']}" if self.unpackaged else None


def make_plan(options: Mapping[str, Any]) -> Plan:
    """Check everything and find out what there is to do, without a write; raises ClusterError."""
    for field in ("source", "config", "build", "root", "packages"):
        if options[field] and not os.path.isabs(options[field]):
            raise ClusterError(f"{field}: {options[field]} is no absolute path")
    target = make_target(read_tree(Path(os.path.normpath(options["source"]))), options)
    if not target.build.parent.is_dir():
        raise ClusterError(f"build: the folder {target.build.parent} does not exist")
    if options["jobs"] is not None and options["jobs"] < 1:
        raise ClusterError(f"jobs: {options['jobs']} is less than 1")
    further = {**({"depmod": "kmod"} if options["root"] else {})}
    check_programs(target, {**further, **(PACKAGE_PROGRAMS if options["packages"] else {})})
    if options["root"]:
        check_root(Path(options["root"]))
    if options["packages"] and not Path(options["packages"]).is_dir():
        raise ClusterError(f"packages: the folder {options['packages']} does not exist")
    config = find_config(target, options["config"])
    parts = state.find_parts(target, config)
    stamp = state.read_stamp(target.build)
    why = state.why_build(target, parts, stamp)
    pieces: list[str] = []
    if stamp and not why and options["root"]:
        install = make_install(target, stamp, options)
        refuse_foreign(install)
        pieces = missing_pieces(install)
    unpackaged = bool(options["packages"]) and (
        stamp is None or missing_packages(stamp, Path(options["packages"]))
    )
    return Plan(target, config, parts, stamp, why, pieces, unpackaged, options)


def find_config(target: Target, declared: str | None) -> Path:
    """The declared one, else that of the build folder, which a killed run may have put aside."""
    place = target.build / ".config"
    saved = target.build / SAVED_CONFIG
    config = Path(os.path.normpath(declared)) if declared else place
    return saved if config == place and saved.is_file() and not place.is_file() else config


def make_install(target: Target, stamp: Stamp, options: Mapping[str, Any]) -> Install:
    return Install(
        root=Path(options["root"]),
        build=target.build,
        source=target.tree.path,
        architecture=target.architecture,
        release=stamp.release,
        image=stamp.image,
        identity=stamp.identity,
        strip=options["strip_modules"],
        headers=options["headers"],
    )


def carry_out(plan: Plan) -> dict[str, Any]:
    """Build, make packages, install; returns the new stamp, warnings and seconds. Raises ClusterError."""
    target, options = plan.target, plan.options
    try:
        target.build.mkdir(exist_ok=True)
    except OSError as error:
        raise ClusterError(f"build: cannot make {target.build}: {error.strerror}") from error
    started = time.monotonic()
    with locked(target.build) as lock:
        progress = Progress(target.build / PROGRESS)
        make = Make(target, options["jobs"] or cores(), target.build / state.LOG, progress, lock)
        try:
            # whoever held the folder until now may have built the same
            stamp = state.read_stamp(target.build)
            if stamp is None or state.why_build(target, plan.parts, stamp):
                stamp = build_kernel(plan, make, stamp)
            built = time.monotonic() - started
            if options["packages"] and missing_packages(stamp, Path(options["packages"])):
                stamp = package_kernel(stamp, make, Path(options["packages"]))
            warnings = []
            if options["root"]:
                install = make_install(target, stamp, options)
                refuse_foreign(install)
                warnings = install_kernel(install, missing_pieces(install), make, has_modules(target.build))
        finally:
            progress.enter(ENDED)
    seconds = {"build": round(built, 2), "total": round(time.monotonic() - started, 2)}
    return {"stamp": stamp, "warnings": warnings, "seconds": seconds, "files": progress.done}


def package_kernel(stamp: Stamp, make: Make, folder: Path) -> Stamp:
    names = make_packages(make, folder)
    # the kernel was linked once more, with another number
    image = state.file_state(make.target.build / stamp.image)
    stamp = dataclasses.replace(stamp, packages=names, image_state=image)
    state.write_stamp(make.target.build, stamp)
    return stamp


@contextlib.contextmanager
def locked(build: Path) -> Iterator[int]:
    """Hold the build folder; what make starts holds it too, so that nobody builds beside compilers left over."""
    try:
        stream = (build / state.LOCK).open("a")
    except OSError as error:
        raise ClusterError(f"build: cannot write in {build}: {error.strerror}") from error
    with stream:
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ClusterError(f"build: another build is at work in {build}; wait for it") from None
                time.sleep(0.2)
        yield stream.fileno()


def build_kernel(plan: Plan, make: Make, earlier: Stamp | None) -> Stamp:
    """Configure and compile; the stamp says ``finished`` only when the kernel is there."""
    target, build = plan.target, plan.target.build
    make.log.unlink(missing_ok=True)
    config = plan.config.read_bytes()
    fresh = earlier is None or starts_afresh(earlier, plan.parts)
    known = earlier.files if earlier else 0
    if fresh:
        clean(plan, make, config, known)
    state.write_stamp(build, Stamp("building", plan.parts, files=known))
    configure(plan, make, config)
    make.progress.expected = expected(plan, earlier) if fresh else None
    make.progress.enter("compiling")
    compile_targets(target, make)
    image = target.image()
    if not (build / image).is_file():
        raise ClusterError(
            f"make {' '.join(target.targets)} succeeded, but there is no {build / image}; see {make.log}"
        )
    stamp = Stamp(
        "finished",
        # in its own tree, the build wrote between the source's files: the next look has to find the same
        {**plan.parts, "files": state.tree_digest(target)} if target.in_tree else plan.parts,
        check_release(plan, state.find_release(build)),
        image,
        state.file_state(build / image),
        state.config_digest(build / ".config"),
        make.progress.done if fresh else max(known, make.progress.done),
    )
    state.write_stamp(build, stamp)
    return stamp


def starts_afresh(earlier: Stamp, parts: Mapping[str, Any]) -> bool:
    """Also where cleaning was cut short."""
    return earlier.state == "cleaning" or any(
        earlier.parts.get(name) != parts[name] for name in state.FRESH_START
    )


def clean(plan: Plan, make: Make, config: bytes, known: int) -> None:
    """Remove whatever was built; a run that is killed on the way leaves a stamp that says so."""
    build = plan.target.build
    if all(path.name in OWN_FILES for path in build.iterdir()):
        return
    state.write_stamp(build, Stamp("cleaning", plan.parts, files=known))
    make.progress.enter("cleaning")
    write_file(build / SAVED_CONFIG, config)
    make("mrproper")


def configure(plan: Plan, make: Make, config: bytes) -> None:
    """Put the configuration in place and let the tree complete it: what it asks for anew gets its default."""
    place = plan.target.build / ".config"
    if not place.is_file() or place.read_bytes() != config:
        write_file(place, config)
    (plan.target.build / SAVED_CONFIG).unlink(missing_ok=True)
    make.progress.enter("configuring")
    modern = plan.target.tree.has("scripts/kconfig/Makefile", "olddefconfig")
    make("olddefconfig" if modern else "oldconfig", answers=DEFAULTS)


def expected(plan: Plan, earlier: Stamp | None) -> int | None:
    """The files of the last build of the same configuration, else those that the tree's lists name."""
    target = plan.target
    if earlier and earlier.files and "configuration" not in state.differing(plan.parts, earlier):
        return earlier.files
    text = (target.build / ".config").read_text("utf-8", "replace")
    return expected_files(target.tree.path, ARCHITECTURES[target.architecture].folder, text)


def compile_targets(target: Target, make: Make) -> None:
    modules = has_modules(target.build)
    wanted = [name for name in target.targets if name != "modules" or modules]
    for targets in [wanted] if target.system.together else [[name] for name in wanted]:
        make(*targets)


def has_modules(build: Path) -> bool:
    return "\nCONFIG_MODULES=y" in "\n" + (build / ".config").read_text("utf-8", "replace")


def check_release(plan: Plan, release: str) -> str:
    if (plan.options["localversion"] or "") not in release:
        raise ClusterError(
            f"localversion: the tree ignores it, its kernel is called {release}; change EXTRAVERSION by a patch"
        )
    return release


def result(plan: Plan, done: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the module returns; ``done`` is None where nothing was carried out."""
    stamp: Stamp | None = done["stamp"] if done else (None if plan.why else plan.stamp)
    installed = None
    if stamp and plan.options["root"]:
        installed = make_install(plan.target, stamp, plan.options).paths()
    return {
        "changed": plan.reason is not None,
        "reason": plan.reason,
        "built": plan.why is not None,
        "release": stamp.release if stamp else None,
        "image": str(plan.target.build / stamp.image) if stamp else None,
        "build": str(plan.target.build),
        "log": str(plan.target.build / state.LOG),
        "files": done["files"] if done else 0,
        "installed": installed,
        "packages": [str(Path(plan.options["packages"]) / name) for name in stamp.packages]
        if stamp and plan.options["packages"]
        else [],
        "toolchain": plan.parts["toolchain"],
        "seconds": done["seconds"] if done else {},
    }


def difference(plan: Plan) -> dict[str, str]:
    """What the last build was made from and what this one is, one part a line, and what the root gets."""
    before = plan.stamp.parts if plan.stamp and plan.stamp.state == "finished" else {}
    return {
        "before_header": str(plan.target.build),
        "after_header": str(plan.target.build),
        "before": readable(before),
        "after": readable(plan.parts) + "".join(f"installed: {name}\n" for name in plan.pieces),
    }


def readable(parts: Mapping[str, Any]) -> str:
    return "".join(f"{name}: {json.dumps(value, sort_keys=True)}\n" for name, value in sorted(parts.items()))
