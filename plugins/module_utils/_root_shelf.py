# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The storage of roots: versions beside each other, a link to the current one, each step one rename."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import sync_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_customise import MANIFEST
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path

LINK = "current"
PARTIAL, REMOVED = ".partial", ".removed"


@dataclass(frozen=True)
class Shelf:
    """``STORAGE/roots/NAME``: the versions of one root."""

    folder: Path

    def place(self, version: str) -> Path:
        return self.folder / version

    def partial(self, version: str) -> Path:
        return self.folder / f".{version}{PARTIAL}"

    def current(self) -> str | None:
        """The version that the link names, None where there is none."""
        link = self.folder / LINK
        if not link.is_symlink():
            return None
        version = os.readlink(link)
        return version if self.place(version).is_dir() else None

    def versions(self) -> list[str]:
        """The published versions, the newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        return [
            path.name
            for path in sorted(found, key=publication, reverse=True)
            if not path.name.startswith(".")
        ]

    def manifest(self, version: str) -> dict[str, Any]:
        """What a version was made from; raises ClusterError where the folder is none of ours."""
        path = self.place(version) / MANIFEST.lstrip("/")
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{self.place(version)} is no root that was published here: {MANIFEST} cannot be read; move it away"
            ) from error
        return manifest

    def surplus(self, version: str, keep: int, in_use: Iterable[str]) -> list[str]:
        """The versions to remove once ``version`` is current: beyond ``keep`` and used by nobody."""
        others = [other for other in self.versions() if other != version]
        return [other for other in others[keep - 1 :] if other not in set(in_use)]

    def sweep(self) -> None:
        """Remove what killed runs left; only under the lock of the folder."""
        for suffix in (PARTIAL, REMOVED):
            for leftover in self.folder.glob(f".*{suffix}"):
                remove_path(leftover)

    def half_removed(self) -> bool:
        return any(self.folder.glob(f".*{REMOVED}"))

    def publish(self, version: str) -> None:
        """Make the finished partial root a version; on the disk before its name is."""
        partial = self.partial(version)
        run(["sync", "--file-system", str(partial)])
        partial.rename(self.place(version))
        sync_folder(self.folder)

    def switch(self, version: str) -> None:
        link = self.folder / f".{LINK}{PARTIAL}"
        link.unlink(missing_ok=True)
        link.symlink_to(version)
        link.replace(self.folder / LINK)
        sync_folder(self.folder)

    def remove(self, version: str) -> None:
        """Take the name away first: a run that is killed here leaves no half of a root under it."""
        removed = self.folder / f".{version}{REMOVED}"
        if self.place(version).is_dir():
            self.place(version).rename(removed)
            remove_path(removed)


def publication(path: Path) -> float:
    manifest = path / MANIFEST.lstrip("/")
    return manifest.stat().st_mtime if manifest.is_file() else 0.0
