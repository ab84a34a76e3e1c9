# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A root that is made from a captured image instead of a distribution's packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_info import checksums
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import read_manifest
from ansible_collections.oneimage.cluster.plugins.module_utils._root_customise import kernels
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import exists

NOTHING: dict[str, Any] = {
    **dict.fromkeys(
        ("suite", "tool", "variant", "revision", "kernel_package", "mirror", "security_mirror"), ""
    ),
    **dict.fromkeys(("packages", "components", "sources"), ()),
    "slim": False,
}
"""What chooses packages: an image has its own, so that none of it makes another version."""


def declare(declared: dict[str, Any]) -> dict[str, Any]:
    """The declaration with ``image_sha256``, which stands for all that is in the image.

    Raises ClusterError for an image that cannot be read or is not what the manifest beside it says.
    """
    image = Path(declared["image"])
    sha256 = checksums(image).sha256
    manifest = read_manifest(image) or {}
    if manifest.get("sha256", sha256) != sha256:
        raise ClusterError(
            f"image: the sha256 of {image} is {sha256}, its manifest says {manifest['sha256']}; copy it again"
        )
    if manifest.get("kind", "tar") != "tar":
        raise ClusterError(f"image: {image} is of kind {manifest['kind']}; a root is made from kind tar")
    return {**declared, **NOTHING, "image_sha256": sha256}


def check_bootable(root: Path, image: str) -> None:
    """Raise ClusterError for an unpacked image that could not be / of a node."""
    if not exists(root, "/sbin/init"):
        raise ClusterError(f"image: {image} has no /sbin/init")
    found = kernels(root)
    if not found:
        raise ClusterError(f"image: {image} has no kernel /boot/vmlinuz-VERSION")
    for kernel in found:
        if not exists(root, f"/lib/modules/{kernel}/modules.dep"):
            raise ClusterError(
                f"image: {image} has kernel {kernel} without /lib/modules/{kernel}/modules.dep"
            )
