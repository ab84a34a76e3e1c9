# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Build an initrd where none is, or where it is not what its inputs make; prove it before it is published."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _atomic,
    _cpio,
    _initrd_compress,
    _initrd_coverage,
    _initrd_ext2,
    _initrd_generators,
    _initrd_modules,
    _initrd_native,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import ModuleTree
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import InitrdContent, read_initrd

GENERATORS = ("native", *_initrd_generators.GENERATORS)
BUILT_BY_GENERATOR = "generator"
FORMATS = ("cpio", "ext2")


@dataclass(frozen=True)
class InitrdRequest:
    """The options of the module, as they come."""

    path: Path
    root: Path
    kernel_version: str | None
    generator: str
    modules: list[str] | None
    root_modes: list[str]
    compression: str
    firmware: bool
    busybox: Path | None
    diff: bool = False
    hardware: list[dict[str, Any]] = field(default_factory=list)
    strict: bool = True
    format: str = "cpio"
    size_kb: int | None = None
    inodes: int | None = None


@dataclass
class Plan:
    """All that is known before anything is built."""

    tree: ModuleTree
    wanted: list[str]
    order: list[str]
    compression: str
    busybox: Path
    coverage: dict[str, dict[str, list[str]]]


def ensure_initrd(request: InitrdRequest, check: bool) -> dict[str, Any]:
    """Make ``request.path`` the initrd that the request describes; the keys are those of the module's RETURN.

    Raises ClusterError, with the old file untouched, where something is missing or the result lacks a module.
    """
    started = time.monotonic()
    plan = make_plan(request)
    build = build_native if request.generator == "native" else build_foreign
    result = build(request, plan, check)
    return {
        "path": str(request.path),
        "generator": request.generator,
        "kernel_version": plan.tree.version,
        "format": request.format,
        "parameters": [],
        "compression": plan.compression,
        "modules": plan.order,
        "coverage": plan.coverage,
        "builtin": sorted(name for name in plan.wanted if name in plan.tree.builtin),
        **result,
        "changed": result["reason"] is not None,
        "seconds": round(time.monotonic() - started, 3),
    }


def make_plan(request: InitrdRequest) -> Plan:
    check_options(request)
    tree = _initrd_modules.read_tree(request.root, request.kernel_version)
    needs = _initrd_coverage.needs_of(tree, request.hardware)
    if request.strict:
        _initrd_coverage.refuse_gaps(tree, needs)
    drivers = request.modules
    if request.hardware:
        drivers = [*(request.modules or []), *_initrd_coverage.drivers(tree, needs)]
    wanted = _initrd_modules.choose(tree, drivers, request.root_modes)
    return Plan(
        tree=tree,
        wanted=wanted,
        order=_initrd_modules.closure(tree, wanted),
        compression=_initrd_compress.choose_compression(request.root, tree.version, request.compression),
        busybox=_initrd_native.choose_busybox(request.root, request.busybox),
        coverage=_initrd_coverage.coverage(tree, needs),
    )


def check_options(request: InitrdRequest) -> None:
    for option, folder in (("path", request.path.parent), ("root", request.root)):
        if not folder.is_dir():
            raise ClusterError(f"{option}: the folder {folder} does not exist; make it first")
    if request.path.is_dir():
        raise ClusterError(f"path: {request.path} is a folder; name the file in it")
    if request.generator != "native":
        _initrd_generators.check(request.generator, request.root)
    if request.format == "ext2" and request.generator != "native":
        raise ClusterError(
            f"format ext2: the init of generator {request.generator} cannot leave a RAM disk; use generator: native"
        )
    if request.format == "ext2" and "disk" in request.root_modes:
        raise ClusterError(
            "root_modes: with format ext2 root= is the RAM disk and can name no other; leave out disk"
        )
    for option in ("size_kb", "inodes"):
        value = getattr(request, option)
        if value is not None and request.format != "ext2":
            raise ClusterError(f"{option}: only a RAM disk has a size of its own; use format: ext2 with it")
        if value is not None and value < 1:
            raise ClusterError(f"{option}: {value} is too small; leave it out for just what is needed")


def build_native(request: InitrdRequest, plan: Plan, check: bool) -> dict[str, Any]:
    """Cheap enough to be built each time: the same inputs give the same bytes, so the bytes say what changed."""
    members, missing = _initrd_native.members(
        plan.tree, plan.wanted, plan.order, request.root_modes, request.firmware, plan.busybox
    )
    archive, facts_of_format = pack(members, request)
    content, compressor = _initrd_compress.compress(archive, plan.compression)
    old = read_old(request.path)
    reason = None
    if old is None:
        reason = f"{request.path} does not exist"
    elif old != content:
        reason = f"{request.path} is not what its inputs make"
    shown = reason is not None and request.diff
    before = listing_of(request.path) if shown else ""
    if reason and not check:
        publish(request, plan, content)
        sidecar(request.path).unlink(missing_ok=True)
    after = listing([member for member in members if not member.is_folder]) if shown else ""
    return {
        **facts(content),
        **facts_of_format,
        "compressor": compressor,
        "missing_firmware": missing,
        "reason": reason,
        "diff": {"before": before, "after": after},
    }


def pack(
    members: list[_cpio.Member], request: InitrdRequest
) -> tuple[Iterable[_cpio.Content], dict[str, Any]]:
    """The initrd, not compressed, and what only its format has to tell."""
    if request.format == "cpio":
        return _cpio.pack(members), {}
    init = [_cpio.link("linuxrc", "init")]  # where kernels, loaders and humans expect it on a RAM disk
    disk = _initrd_ext2.build([*members, *init], request.size_kb, request.inodes)
    return [disk.content], {"parameters": disk.parameters, "ram_disk": disk.facts}


def build_foreign(request: InitrdRequest, plan: Plan, check: bool) -> dict[str, Any]:
    """Costs many seconds, so a file beside the initrd remembers what it was made from."""
    ours = _initrd_generators.files(request.generator, plan.order, plan.compression, plan.busybox)
    module_files = [plan.tree.folder / plan.tree.paths[name] for name in plan.order]
    inputs = {
        BUILT_BY_GENERATOR: request.generator,
        "kernel": plan.tree.version,
        "compression": plan.compression,
        **_initrd_generators.inputs(request.generator, request.root, ours, module_files),
    }
    old = read_old(request.path)
    reason = why_rebuild(request.path, old, inputs)
    shown = reason is not None and request.diff
    before = listing_of(request.path) if shown else ""
    content, after = old or b"", before
    if reason and check:
        after = f"{before}(built again by {request.generator}: {reason})\n"
    elif reason:
        content = _initrd_generators.generate(
            request.generator, request.root, plan.tree.version, plan.compression, ours
        )
        publish(request, plan, content)
        memory = {**inputs, **facts(content)}
        _atomic.write_file(sidecar(request.path), json.dumps(memory, indent=2).encode() + b"\n")
        after = listing_of(request.path) if shown else ""
    return {
        **(facts(content) if not (reason and check) else {"sha256": None, "size": None}),
        "compressor": request.generator,
        "missing_firmware": [],
        "reason": reason,
        "diff": {"before": before, "after": after},
    }


def why_rebuild(path: Path, old: bytes | None, inputs: dict[str, str]) -> str | None:
    """None where the file is the one that was built from the same inputs."""
    if old is None:
        return f"{path} does not exist"
    try:
        memory = json.loads(sidecar(path).read_text())
    except (OSError, ValueError):
        return f"nothing tells what {path} was made from"
    if not isinstance(memory, dict) or memory.get("sha256") != facts(old)["sha256"]:
        return f"{path} is not the file that was built"
    differing = [name for name, value in inputs.items() if memory.get(name) != value]
    return f"changed: {', '.join(differing)}" if differing else None


def publish(request: InitrdRequest, plan: Plan, content: _cpio.Content) -> None:
    with _atomic.partial_file(request.path) as temporary:
        temporary.write_bytes(content)
        verify(read_initrd(temporary), plan, request)


def verify(found: InitrdContent, plan: Plan, request: InitrdRequest) -> None:
    """What was built must hold each module that was asked for, and what that needs, or the kernel has it built in."""
    lacking = [name for name in plan.order if name not in found.modules]
    what = f"the initrd that {request.generator} built for {request.path}"
    if lacking:
        raise ClusterError(f"{what} lacks the modules {', '.join(lacking)}; it is not published")
    if plan.order and found.kernel_versions != {plan.tree.version}:
        there = ", ".join(sorted(found.kernel_versions))
        raise ClusterError(
            f"{what} has modules of {there}, not of {plan.tree.version} alone; it is not published"
        )
    if "init" not in found.files:
        raise ClusterError(f"{what} has no /init; it is not published")


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def read_old(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"cannot read {path}: {error.strerror}") from error


def facts(content: _cpio.Content) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def listing_of(path: Path) -> str:
    """The files of an initrd for ``--diff``; what is there may also be anything else."""
    if not os.path.lexists(path):
        return ""
    try:
        return listing(list(read_initrd(path).files.values()))
    except ClusterError as error:
        return f"{error}\n"


def listing(members: list[_cpio.Member]) -> str:
    lines = (
        f"{member.mode:o} {hashlib.sha256(member.data).hexdigest()[:12]} {member.size:>9} {member.name}"
        for member in sorted(members, key=lambda member: member.name)
    )
    return "".join(f"{line}\n" for line in lines)
