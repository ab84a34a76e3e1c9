# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""What a kernel was built from, and whether that is what it would be built from now."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_target import Target, toolchain

STAMP = ".oneimage-build.json"
LOG = ".oneimage-build.log"
LOCK = ".oneimage-build.lock"

FRESH_START = ("source", "toolchain", "architecture")
"""What make's own look at dates and commands does not notice, or not in every version: nothing old is kept."""

WRITTEN = re.compile(
    r"[^/]+\.[chS]|.*\.lds(?:\.S)?|Makefile.*|Kbuild.*|Kconfig.*|[Cc]onfig\.in|.*\.(?:pl|sh|py|tbl|l|y|bc)"
)
"""Names of what people write, in a tree where the build lies in between."""
LEFT_OUT = (".git", "include/config", "include/generated", "include/linux/modules")
"""Folders that hold no source."""
GENERATED_FILES = ("autoconf.h", "version.h", "compile.h", "modversions.h", "utsrelease.h")

RELEASE_FILES = ("include/config/kernel.release", ".kernelrelease")
RELEASE_LINE = re.compile(r'^#define[ \t]+UTS_RELEASE[ \t]+"([^"]+)"', re.MULTILINE)
RELEASE_HEADERS = (
    "include/generated/utsrelease.h",
    "include/linux/utsrelease.h",
    "include/linux/version.h",
)
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")


@dataclass(frozen=True)
class Stamp:
    """``state`` is ``cleaning``, then ``building`` until all is made, then ``finished``; ``files`` of a build of all."""

    state: str
    parts: dict[str, Any]
    release: str = ""
    image: str = ""
    image_state: tuple[int, int] = (0, 0)
    configured: str = ""
    files: int = 0
    packages: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        return identity(self.parts)


def identity(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp(build: Path) -> Stamp | None:
    """None where nothing was begun here, and for a stamp that cannot be read."""
    try:
        said = json.loads((build / STAMP).read_bytes())
        fields = {**said, "image_state": tuple(said["image_state"]), "packages": tuple(said["packages"])}
        return Stamp(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(build: Path, stamp: Stamp) -> None:
    write_file(build / STAMP, (json.dumps(stamp.__dict__, indent=1, sort_keys=True) + "\n").encode())


def find_parts(target: Target, config: Path) -> dict[str, Any]:
    """All that decides what is built; ``files`` is None where the tree has a mark and is not built in.

    Raises ClusterError where the configuration cannot be read.
    """
    mark = target.tree.mark
    return {
        "source": mark["fingerprint"] if mark else "",
        "files": tree_digest(target),
        "configuration": config_digest(config),
        "toolchain": toolchain(target),
        "architecture": target.architecture,
        "targets": list(target.targets),
        "variables": target.variables,
    }


def config_digest(config: Path) -> str:
    try:
        return hashlib.sha256(config.read_bytes()).hexdigest()
    except OSError as error:
        raise ClusterError(
            f"config: cannot read {config}: {error.strerror}; make one with kernel_config"
        ) from error


def tree_digest(target: Target) -> str:
    """Names, sizes and dates of the source's files, so that an edit by hand is noticed without reading them all."""
    found = hashlib.sha256()
    for path, size, date in tree_files(target):
        found.update(f"{path}\0{size}\0{date}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def tree_files(target: Target) -> Iterator[tuple[str, int, int]]:
    root, build, in_tree = str(target.tree.path), str(target.build), target.in_tree
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{root}/{folder}") as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if path not in LEFT_OUT and f"{root}/{path}" != build:
                    pending.append(f"{path}/")
            elif not entry.name.startswith(".") and (not in_tree or is_written(path)):
                status = entry.stat(follow_symlinks=False)
                yield path, status.st_size, status.st_mtime_ns


def is_written(path: str) -> bool:
    name = path.rpartition("/")[2]
    return WRITTEN.fullmatch(name) is not None and name not in GENERATED_FILES


def find_release(build: Path) -> str:
    """What ``uname -r`` will say; raises ClusterError where the build does not tell it."""
    said = ""
    for path in RELEASE_FILES:
        if (build / path).is_file():
            said = said or (build / path).read_text("utf-8", "replace").strip()
    for path in RELEASE_HEADERS:
        if not said and (build / path).is_file():
            match = RELEASE_LINE.search((build / path).read_text("utf-8", "replace"))
            said = match.group(1) if match else ""
    if not RELEASE.fullmatch(said):
        raise ClusterError(
            f"the build in {build} does not tell the release of its kernel, which was {said!r}"
        )
    return said


def file_state(path: Path) -> tuple[int, int]:
    """Size and date, (0, 0) for a file that is not there."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_size, status.st_mtime_ns


def why_build(target: Target, parts: dict[str, Any], stamp: Stamp | None) -> str | None:
    """Why a build is needed, None where the last one is finished and would give the same."""
    if stamp is None:
        return f"nothing was built in {target.build} yet"
    if stamp.state != "finished":
        return "the last build did not come to its end"
    other = differing(parts, stamp)
    if other:
        return f"changed: {', '.join(other)}"
    if config_digest_or_none(target.build / ".config") != stamp.configured:
        return f"changed: {target.build / '.config'}"
    if file_state(target.build / stamp.image) != stamp.image_state:
        return f"{target.build / stamp.image} is not as it was built"
    return None


def differing(parts: dict[str, Any], stamp: Stamp) -> list[str]:
    """The names of the parts that are others; a configuration may have become what make completed it to."""
    other = [name for name, value in parts.items() if stamp.parts.get(name) != value]
    if "configuration" in other and parts["configuration"] == stamp.configured:
        other.remove("configuration")
    return other


def config_digest_or_none(config: Path) -> str | None:
    return config_digest(config) if config.is_file() else None
