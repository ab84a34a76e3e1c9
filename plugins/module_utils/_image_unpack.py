# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Unpack a tar image into a folder of its own, checked before, renamed into place when it is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress, _image_signature
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import sync_folder, write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_info import checksums, tar_content
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import read_manifest
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row
from ansible_collections.oneimage.cluster.plugins.module_utils._root_base import locked
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path

TAR = (
    *("tar", "--extract", "--file=-", "--preserve-permissions", "--same-owner", "--numeric-owner"),
    *("--acls", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"),
)


@dataclass(frozen=True)
class Plan:
    """``unpacked`` is the sha256 of the image that ``dest`` was made of before, None where it does not exist."""

    image: Path
    dest: Path
    sha256: str
    unpacked: str | None
    devices: str

    @property
    def changed(self) -> bool:
        return self.unpacked != self.sha256


def mark_path(dest: Path) -> Path:
    return dest.with_name(f".{dest.name}.image.json")


def partial_path(dest: Path) -> Path:
    return dest.with_name(f".{dest.name}.partial")


def make_plan(options: Mapping[str, Any]) -> Plan:
    """Verify the image and look at the folder, without a write; raises ClusterError for everything in the way."""
    image, dest = Path(options["src"]), Path(options["dest"])
    if os.geteuid() != 0:
        raise ClusterError(
            "an image can only be unpacked by root, since it gives files their owners; use become"
        )
    require("tar", "setpriv", "sync", package="util-linux")
    if not dest.parent.is_dir():
        raise ClusterError(f"dest: the folder {dest.parent} does not exist")
    sha256 = checksums(image).sha256
    promised = {"sha256": options["sha256"], "manifest": (read_manifest(image) or {}).get("sha256")}
    for source, value in promised.items():
        if value and value.lower() != sha256:
            raise ClusterError(f"{image}: its sha256 is {sha256}, but {source} says {value}; copy it again")
    if options["signature"]:
        verify(image, options["signature"])
    unpacked = read_mark(dest)
    if unpacked not in (None, sha256):
        raise ClusterError(
            f"dest: {dest} exists and was not unpacked from {image}; a root that nodes may run from is never replaced:"
            " give another dest, or remove it yourself"
        )
    if unpacked is None:
        check(image, options["devices"])
    return Plan(image, dest, sha256, unpacked, options["devices"])


def verify(image: Path, signature: Mapping[str, Any]) -> None:
    tool = signature["tool"]
    paths = [path for name, path in _image_signature.found(image) if name == tool]
    if not paths:
        raise ClusterError(f"{image} has no signature of {tool} beside it")
    for path in paths:
        fault = _image_signature.verify(tool, Path(signature["key"]), image, path)
        if fault:
            raise ClusterError(f"the signature {path} of {image} is not good: {fault}")


def check(image: Path, devices: str) -> None:
    """Refuse an image that would write outside its folder, or make devices where none belong."""
    content = tar_content(image)
    if content.unsafe:
        more = f" and {len(content.unsafe) - 5} more" if len(content.unsafe) > 5 else ""
        raise ClusterError(f"{image} is unsafe to unpack: {'; '.join(content.unsafe[:5])}{more}")
    strange = [name for name in content.devices if devices == "dev" and not name.startswith("dev/")]
    if strange:
        raise ClusterError(
            f"{image} holds devices outside /dev: {', '.join(strange[:5])}; say devices: any if you trust it"
        )


def read_mark(dest: Path) -> str | None:
    """What ``dest`` was unpacked from; the mark counts only for the very folder it was written for."""
    try:
        status = dest.lstat()
    except FileNotFoundError:
        return None
    try:
        mark = json.loads(mark_path(dest).read_bytes())
        return str(mark["sha256"]) if mark["inode"] == status.st_ino else "unknown"
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def carry_out(plan: Plan) -> None:
    """Unpack beside ``dest`` and rename; raises ClusterError and leaves nothing at ``dest`` where that fails."""
    partial = partial_path(plan.dest)
    with locked(plan.dest.parent):
        if partial.exists():
            remove_path(partial)
        try:
            partial.mkdir(mode=0o755)
            partial.chmod(0o755)
            unpack(plan.image, partial)
            run(["sync", "--file-system", str(partial)])
            mark = {"sha256": plan.sha256, "inode": partial.stat().st_ino, "image": str(plan.image)}
            # before the rename: without the folder it was written for, the mark says nothing
            write_file(mark_path(plan.dest), (json.dumps(mark, sort_keys=True) + "\n").encode())
            os.rename(partial, plan.dest)
            sync_folder(plan.dest.parent)
        except OSError as error:
            raise ClusterError(f"cannot unpack into {plan.dest}: {error.strerror}") from error
        finally:
            if partial.exists():
                remove_path(partial)


def unpack(image: Path, folder: Path) -> None:
    with image.open("rb", buffering=0) as file:
        compression = _image_compress.recognise(file.read(8))
        file.seek(0)
        stages = [
            Stage(_image_compress.decompressor(compression)),
            Stage([*TAR, f"--directory={folder}"]),
        ]
        try:
            with row(stages, stdin=file) as output:
                output.read()
        except ClusterError as error:
            remedy = "make room there" if "No space left" in str(error) else "copy the image again"
            raise ClusterError(f"cannot unpack {image} into {folder.parent}: {error}; {remedy}") from error
