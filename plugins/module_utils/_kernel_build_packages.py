# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""Debian packages of a built kernel, by the tree's own bindeb-pkg."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import Make
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_state import Stamp

PACKAGE_PROGRAMS = {
    "dpkg-buildpackage": "dpkg-dev",
    "fakeroot": "fakeroot",
    "rsync": "rsync",
    "cpio": "cpio",
    "depmod": "kmod",
}
SUFFIX = ".deb"


def missing_packages(stamp: Stamp, folder: Path) -> bool:
    return not stamp.packages or not all((folder / name).is_file() for name in stamp.packages)


def make_packages(make: Make, folder: Path) -> tuple[str, ...]:
    """The names of the packages, which come into ``folder`` complete; raises ClusterError."""
    build = make.target.build
    make.progress.enter("making packages")
    make("bindeb-pkg")
    try:
        listed = [line.split()[0] for line in (build / "debian/files").read_text("utf-8").splitlines()]
        # dpkg-buildpackage names this one after the other
        changes = [name[: -len("buildinfo")] + "changes" for name in listed if name.endswith(".buildinfo")]
        for name in (*listed, *changes):
            # they come to lie beside the build folder
            source = build.parent / os.path.basename(name)
            with partial_file(folder / source.name) as partial:
                shutil.copyfile(source, partial)
            if source.parent != folder:
                source.unlink()
    except OSError as error:
        raise ClusterError(
            f"packages: cannot put {error.filename} into {folder}: {error.strerror}"
        ) from error
    return tuple(sorted(os.path.basename(name) for name in listed if name.endswith(SUFFIX)))
