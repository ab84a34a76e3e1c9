# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Bring a root of the storage into the declared state, or say what that would take."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _image_unpack,
    _root_image,
)
from ansible_collections.oneimage.cluster.plugins.module_utils import _root_declaration as declaration
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_base import ensure_base, locked, unpack
from ansible_collections.oneimage.cluster.plugins.module_utils._root_customise import (
    customise,
    installed_packages,
    kernels,
    tree_size,
    write_manifest,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import PROGRAMS
from ansible_collections.oneimage.cluster.plugins.module_utils._root_shelf import Shelf
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import (
    APT_HELPER,
    KEYRING,
    Source,
    host_sources,
    resolve_sources,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_validation import (
    absolute,
    check_declaration,
    words,
)

DISTRIBUTION_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
}


@dataclass(frozen=True)
class Plan:
    """A validated declaration, its version, and what stands between the storage and it."""

    shelf: Shelf
    archive: Path
    declared: dict[str, Any]
    contents: dict[str, bytes]
    sources: list[Source]
    version: str
    published: bool
    current: str | None
    surplus: list[str]

    @property
    def image_id(self) -> str:
        return f"{self.declared['name']}-{self.version}"

    @property
    def reason(self) -> str | None:
        """Why something changes, None where nothing does."""
        if not self.published:
            return f"{self.image_id} is not published yet; current is {self.current or 'nothing'}"
        if self.current != self.version:
            return f"{self.image_id} was published before and becomes current again instead of {self.current or 'nothing'}"
        if self.surplus:
            return f"older versions are no longer kept: {', '.join(self.surplus)}"
        return None


def make_plan(options: dict[str, Any], host_architecture: str) -> Plan:
    """Validate everything and find out what there is to do, without a write and without the network."""
    for field in ("storage", "cache"):
        absolute(field, options[field])
    if options["keep"] < 1:
        raise ClusterError(f"keep: {options['keep']} is less than 1; the current version is always kept")
    words("in_use", options["in_use"], "version")
    declared = declaration.complete(
        options, DISTRIBUTION_ARCHITECTURES.get(host_architecture, host_architecture)
    )
    check_declaration(declared)
    contents = declaration.load_files(declared)
    if declared["image"]:
        declared = _root_image.declare(declared)
    of_host = [] if declared["mirror"] or declared["image"] else host_sources()
    sources = [] if declared["image"] else resolve_sources(declared, of_host)
    version = declaration.version(declared, contents, sources)
    shelf = Shelf(Path(options["storage"]) / "roots" / declared["name"])
    published = shelf.place(version).is_dir()
    fingerprint = declaration.base_fingerprint(declared, sources)
    cached = Path(options["cache"]) / "roots" / f"{fingerprint}.tar.zst"
    in_use = [entry.rpartition("-")[2] for entry in options["in_use"]]
    return Plan(
        shelf=shelf,
        archive=Path(declared["image"] or cached),
        declared=declared,
        contents=contents,
        sources=sources,
        version=version,
        published=published,
        current=shelf.current(),
        surplus=shelf.surplus(version, options["keep"], in_use),
    )


def carry_out(plan: Plan) -> dict[str, Any]:
    """Build, publish, switch, prune; returns warnings and the seconds of each step."""
    warnings: list[str] = []
    seconds: dict[str, float] = {}
    if plan.reason is None and not plan.shelf.half_removed():
        return {"warnings": warnings, "seconds": seconds}
    if not plan.published:
        check_programs(plan.declared)
    with locked(plan.shelf.folder):
        try:
            warnings += bring_about(plan, seconds)
        except OSError as error:
            raise ClusterError(f"cannot change {plan.shelf.folder}: {error}") from error
    return {"warnings": warnings, "seconds": seconds}


def bring_about(plan: Plan, seconds: dict[str, float]) -> list[str]:
    """The steps of ``carry_out`` under the lock; each of them is found done by a run that comes after a kill."""
    warnings: list[str] = []
    plan.shelf.sweep()
    if not plan.shelf.place(plan.version).is_dir():
        with timed(seconds, "base"):
            if plan.declared["image"]:
                _image_unpack.check(plan.archive, devices="dev")
            else:
                warnings = ensure_base(plan.declared, plan.sources, plan.archive)
        build(plan, seconds)
    if plan.shelf.current() != plan.version:
        plan.shelf.switch(plan.version)
    with timed(seconds, "prune"):
        for version in plan.surplus:
            plan.shelf.remove(version)
    return warnings


def check_programs(declared: dict[str, Any]) -> None:
    """Raise ClusterError where the builder lacks a program or the keys, before anything is written."""
    if os.geteuid() != 0:
        raise ClusterError("a root is made by root alone, for it holds the files of all users; use become")
    require(*PROGRAMS, package="util-linux, tar, zstd, coreutils")
    if declared["image"]:
        return
    require(declared["tool"], package=declared["tool"])
    require(APT_HELPER, "apt-config", package="apt")
    keyring = declared["keyring"] or KEYRING
    if not Path(keyring).is_file():
        raise ClusterError(
            f"keyring: {keyring} does not exist on this host; install debian-archive-keyring or set keyring"
        )


def build(plan: Plan, seconds: dict[str, float]) -> None:
    """Make the root beside the published ones and publish it; whatever fails leaves those as they were."""
    partial = plan.shelf.partial(plan.version)
    try:
        partial.mkdir()
        with timed(seconds, "unpack"):
            (_image_unpack.unpack if plan.declared["image"] else unpack)(plan.archive, partial)
        with timed(seconds, "customise"):
            if plan.declared["image"]:
                _root_image.check_bootable(partial, plan.declared["image"])
            customise(partial, plan.declared, plan.contents, plan.version)
            write_manifest(partial, describe(plan, partial))
        with timed(seconds, "publish"):
            plan.shelf.publish(plan.version)
    except OSError as error:
        raise ClusterError(
            f"cannot make {plan.image_id} in {plan.shelf.folder}: {error.strerror}; the published root is untouched"
        ) from error
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)


def describe(plan: Plan, root: Path) -> dict[str, Any]:
    """The manifest: what the root was declared to be, and what became of it."""
    tool = "tar" if plan.declared["image"] else plan.declared["tool"]
    return {
        "name": plan.declared["name"],
        "version": plan.version,
        "image_id": plan.image_id,
        "declared": declaration.without_secrets(plan.declared, plan.contents),
        "sources": [source.line() for source in plan.sources],
        "packages": installed_packages(root),
        "kernels": kernels(root),
        "size_bytes": tree_size(root),
        "tools": {tool: run([tool, "--version"]).stdout.decode().splitlines()[0]},
    }


def result(plan: Plan, done: dict[str, Any], predicted: bool) -> dict[str, Any]:
    """What the module returns; in check mode a root that is not built yet has neither kernel nor size."""
    place = plan.shelf.place(plan.version)
    manifest = {} if predicted and not plan.published else plan.shelf.manifest(plan.version)
    kept = [
        version
        for version in plan.shelf.versions()
        if version != plan.version and version not in plan.surplus
    ]
    return {
        **done,
        "changed": plan.reason is not None,
        "reason": plan.reason,
        "name": plan.declared["name"],
        "version": plan.version,
        "image_id": plan.image_id,
        "path": str(place),
        "current": str(plan.shelf.folder / "current"),
        "kernel": kernel(place, manifest.get("kernels") or []),
        "package_count": len(manifest["packages"]) if manifest else None,
        "size_bytes": manifest.get("size_bytes"),
        "kept_paths": [str(plan.shelf.place(version)) for version in (plan.version, *kept)],
        "removed": plan.surplus,
    }


def kernel(place: Path, versions: list[str]) -> dict[str, str] | None:
    if not versions:
        return None
    return {
        "version": versions[0],
        "vmlinuz": str(place / f"boot/vmlinuz-{versions[0]}"),
        "config": str(place / f"boot/config-{versions[0]}"),
    }


def difference(plan: Plan) -> dict[str, str]:
    """The current version's declaration and the wanted one, without secrets."""
    before = plan.shelf.manifest(plan.current) if plan.current else {}
    after = declaration.without_secrets(plan.declared, plan.contents)
    return {
        "before_header": str(plan.shelf.folder / (plan.current or "current")),
        "after_header": str(plan.shelf.place(plan.version)),
        "before": readable(plan.current, before.get("declared", {}), plan.shelf.versions()),
        "after": readable(
            plan.version,
            after,
            [plan.version, *(v for v in plan.shelf.versions() if v not in (plan.version, *plan.surplus))],
        ),
    }


def readable(version: str | None, declared: dict[str, Any], versions: list[str]) -> str:
    shown = {"current": version, "declared": declared, "versions": sorted(versions)}
    return json.dumps(shown, indent=2, sort_keys=True) + "\n"


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - start, 2)
