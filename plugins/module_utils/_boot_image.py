# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A kernel and its initrds in the boot tree, as one folder whose name tells its content and which appears whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_swap import replace_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._root_base import locked
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.A)
IMAGES = "images"
KERNEL = "vmlinuz"
VERSION_DIGITS = 12
FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""TFTP and HTTP servers run as nobody in particular."""


@dataclass(frozen=True)
class Plan:
    """``sources`` and ``digests`` (SHA-256) by name in the image; ``there`` has those of what lies at ``place``."""

    tree: Path
    name: str
    sources: Mapping[str, Path]
    digests: Mapping[str, str]

    @property
    def image_id(self) -> str:
        text = json.dumps(dict(self.digests), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]}"

    @property
    def folder(self) -> str:
        """Below the boot tree, as boot entries name it."""
        return f"{IMAGES}/{self.image_id}"

    @property
    def place(self) -> Path:
        return self.tree / self.folder

    def reason(self) -> str | None:
        """Why there is something to do; None where the image is there with this very content."""
        if not os.path.lexists(self.place):
            return f"{self.place} does not exist"
        if not self.place.is_dir() or self.place.is_symlink():
            return f"{self.place} is no folder"
        if digests_of(self.place) != self.digests:
            return f"{self.place} is not as it was published"
        return None


def make_plan(tree: Path, name: str, kernel: Path, initrds: Mapping[str, Any]) -> Plan:
    """Read all files; raises ClusterError naming the option that cannot be."""
    for label in (name, *initrds):
        if not NAME.fullmatch(label):
            raise ClusterError(
                f"{'name' if label == name else 'initrds'}: {label!r} cannot be part of a file name in a boot tree; "
                "use letters, digits and . _ + -"
            )
    if not tree.is_absolute():
        raise ClusterError(f"directory: {tree} is no absolute path")
    sources = {KERNEL: kernel, **{f"initrd-{label}": Path(path) for label, path in initrds.items()}}
    return Plan(tree, name, sources, {label: digest(path, label) for label, path in sources.items()})


def digest(path: Path, label: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ClusterError(f"{label}: cannot read {path}: {error.strerror}") from error


def digests_of(folder: Path) -> dict[str, str]:
    """What lies in a published folder; anything but a file counts as other content."""
    found = {}
    for path in folder.iterdir():
        regular = path.is_file() and not path.is_symlink()
        found[path.name] = digest(path, path.name) if regular else ""
    return found


def publish(plan: Plan) -> None:
    """Bring the image to its place by one rename; raises ClusterError, the boot tree as it was then."""
    images = plan.tree / IMAGES
    partial = images / f".{plan.image_id}.partial"
    with locked(images):
        try:
            sweep(images, plan.name)
            partial.mkdir(mode=FOLDER_MODE)
            for label, source in plan.sources.items():
                shutil.copyfile(source, partial / label)
                (partial / label).chmod(FILE_MODE)
            if digests_of(partial) != plan.digests:
                raise ClusterError("the files changed while they were copied; run it again")
            partial.chmod(FOLDER_MODE)
            run(["sync", "--file-system", str(partial)])
            if plan.place.is_symlink() or plan.place.is_file():
                plan.place.unlink()
            replace_folder(partial, plan.place)
        except OSError as error:
            raise ClusterError(
                f"cannot publish {plan.place}: {error.strerror}{f' ({error.filename})' if error.filename else ''}"
            ) from error
        finally:
            sweep(images, plan.name)


def sweep(images: Path, name: str) -> None:
    """Remove what this run, or one that was killed, left; only under the lock of the folder."""
    for leftover in images.glob(f".{name}-*.partial"):
        remove_path(leftover)


def result(plan: Plan, reason: str | None) -> dict[str, Any]:
    """What the module returns."""
    return {
        "changed": reason is not None,
        "reason": reason,
        "image_id": plan.image_id,
        "folder": plan.folder,
        "kernel": f"{plan.folder}/{KERNEL}",
        "initrds": {
            label.partition("-")[2]: f"{plan.folder}/{label}" for label in plan.sources if label != KERNEL
        },
        "digests": dict(plan.digests),
    }


def difference(plan: Plan) -> dict[str, str]:
    """The files with their checksums, as ``sha256sum`` prints them."""
    before = digests_of(plan.place) if plan.place.is_dir() else {}
    return {
        "before_header": str(plan.place),
        "after_header": str(plan.place),
        "before": readable(before),
        "after": readable(plan.digests),
    }


def readable(digests: Mapping[str, str]) -> str:
    return "".join(f"{checksum}  {name}\n" for name, checksum in sorted(digests.items()))
