# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The manifest beside an image: what is in the file, proven by size and checksums, in ``IMAGE.manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

FORMAT = 1
SUFFIX = ".manifest.json"
KINDS = ("tar", "dd")
COMPRESSIONS = ("gzip", "zstd", "xz", "bzip2", "none")
LARGEST = 64 << 20

TYPES: dict[str, tuple[type, ...]] = {
    "manifest": (int,),
    "file": (str,),
    "kind": (str,),
    "compression": (str,),
    "size": (int,),
    "uncompressed_size": (int,),
    "sha256": (str,),
    "md5": (str,),
    "architecture": (str, type(None)),
    "distribution": (dict, type(None)),
    "kernels": (list,),
    "initrds": (list,),
    "tools": (dict,),
    "derived_from": (str, type(None)),
    "partition_size": (int, type(None)),
    "hygiene": (list,),
    "omitted": (list,),
}
"""Every key of format 1; a reader keeps further ones."""


def manifest_path(image: Path) -> Path:
    return image.with_name(image.name + SUFFIX)


def read_manifest(image: Path) -> dict[str, Any] | None:
    """The manifest of ``image``, None where it has none.

    Raises ClusterError where the file beside it cannot be read, is of another format or lacks a key.
    """
    path = manifest_path(image)
    try:
        if path.stat().st_size > LARGEST:
            raise ClusterError(
                f"{path} is larger than {LARGEST >> 20} MiB, so it is no manifest; move it away"
            )
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ClusterError(f"{path} is no manifest of an image: it is no JSON ({error})") from error
    check_manifest(manifest, str(path))
    return dict(manifest)


def check_manifest(manifest: Any, source: str) -> None:
    """Raise ClusterError naming ``source`` and the first key that is missing or of a wrong type."""
    if not isinstance(manifest, dict):
        raise ClusterError(f"{source} is no manifest of an image: it holds no object")
    if manifest.get("manifest") != FORMAT:
        raise ClusterError(
            f"{source}: format {manifest.get('manifest')!r} of the manifest is unknown, this version reads {FORMAT}"
        )
    for key, types in TYPES.items():
        if key not in manifest:
            raise ClusterError(f"{source}: the key {key} is missing; capture the image again")
        if not isinstance(manifest[key], types) or isinstance(manifest[key], bool):
            raise ClusterError(f"{source}: {key} is {type(manifest[key]).__name__}, not {types[0].__name__}")
    for key, allowed in (("kind", KINDS), ("compression", COMPRESSIONS)):
        if manifest[key] not in allowed:
            raise ClusterError(f"{source}: {key} is {manifest[key]!r}, not one of {', '.join(allowed)}")


def render(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest: the same for the same facts."""
    return (json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode()


def write_manifest(image: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest beside ``image`` in one rename; raises ClusterError for a manifest that nobody could read."""
    check_manifest(dict(manifest), str(manifest_path(image)))
    write_file(manifest_path(image), render(manifest))
