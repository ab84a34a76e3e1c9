# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Answer for an image: what it holds, whether its bytes are the ones that were promised, and who signed them."""

from __future__ import annotations

import stat
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_signature
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_dd import NO_FACTS
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import facts, version_in
from ansible_collections.oneimage.cluster.plugins.module_utils._image_filesystem import boot_sector
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import (
    manifest_path,
    read_manifest,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_publish import discard
from ansible_collections.oneimage.cluster.plugins.module_utils._image_read import (
    Content,
    TarContent,
    read_image,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Taken, take

FACTS = ("kind", "compression", "uncompressed_size", "partition_size", *NO_FACTS)


@dataclass
class Answer:
    """``problems`` is empty for an image that is what was promised."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def inspect(options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about one image; raises ClusterError only where it cannot be read or is corrupt.

    ``options``: ``path``; ``verify`` whether its checksums are computed; ``scan`` whether it is read in spite of a
    manifest that its checksum proves; ``kernel`` and ``initrd``, paths that must be inside; ``sha256``, ``md5`` and
    ``size``, what is promised elsewhere; ``keys``: tool -> file of the public key.
    """
    path = Path(options["path"])
    answer = Answer()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClusterError(f"{path} is no regular file")
        size = status.st_size
    except OSError as error:
        raise ClusterError(f"cannot read the image {path}: {error.strerror}") from error
    try:
        manifest = read_manifest(path)
    except ClusterError as error:
        manifest = None
        answer.problems.append(str(error))
    taken = checksums(path) if options["verify"] else None
    promises = {name: options[name] for name in ("size", "sha256", "md5") if options.get(name)}
    proven = manifest is not None and keeps(answer, size, taken, manifest, str(manifest_path(path)))
    kept = keeps(answer, size, taken, promises, "what is promised")
    content = None
    if options["scan"] or not proven or manifest is None or not listed(manifest, options):
        content = read_image(path)
    answer.facts = describe(content) if content else {name: (manifest or {}).get(name) for name in FACTS}
    if content and manifest and manifest["uncompressed_size"] != content.size:
        answer.problems.append(
            f"{content.size} bytes are in it, {manifest_path(path)} says {manifest['uncompressed_size']}"
        )
    if content and content.tar:
        answer.problems += [f"unsafe to unpack: {fault}" for fault in content.tar.unsafe]
    boot = {name: boot_file(answer, name, options.get(name), content) for name in ("kernel", "initrd")}
    known = {name: (manifest or {}).get(name) for name in ("sha256", "md5")}
    return {
        "path": str(path),
        "size": size,
        "sha256": taken.sha256 if taken else known["sha256"],
        "md5": taken.md5 if taken else known["md5"],
        "verified": taken is not None and kept and (proven or (manifest is None and bool(promises))),
        "manifest": manifest,
        **answer.facts,
        **boot,
        "signatures": signatures(answer, path, options.get("keys") or {}),
        "valid": not answer.problems,
        "problems": answer.problems,
    }


def checksums(path: Path) -> Taken:
    try:
        with path.open("rb", buffering=0) as file:
            return take(t.cast("t.IO[bytes]", file), discard)
    except OSError as error:
        raise ClusterError(f"cannot read the image {path}: {error.strerror}") from error


def keeps(answer: Answer, size: int, taken: Taken | None, promised: Mapping[str, Any], source: str) -> bool:
    """Whether size and, where they were computed, checksums are as promised; tells every one that is not."""
    found = {"size": size, **({"sha256": taken.sha256, "md5": taken.md5} if taken else {})}
    wrong = [
        name
        for name, value in found.items()
        if name in promised and str(promised[name]).lower() != str(value)
    ]
    answer.problems += [f"{name} is {found[name]}, {source} says {promised[name]}" for name in wrong]
    return not wrong


def listed(manifest: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether the manifest alone answers for the wanted kernel and initrd."""
    return all(
        not options.get(name) or any(one["path"] == options[name] for one in manifest[f"{name}s"])
        for name in ("kernel", "initrd")
    )


def describe(content: Content) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": content.kind,
        "compression": content.compression,
        "uncompressed_size": content.size,
        "partition_size": content.size if content.kind == "dd" else None,
        **(facts(content.reader) if content.reader else NO_FACTS),
    }
    if content.tar:
        return {**found, "members": content.tar.members, "devices": sorted(content.tar.devices)}
    filesystem = content.filesystem
    return {
        **found,
        "filesystem": filesystem.facts if filesystem else None,
        "boot_sector": boot_sector(content.head),
    }


def boot_file(answer: Answer, name: str, path: str | None, content: Content | None) -> dict[str, Any] | None:
    """``path``, ``found``, ``version`` of the wanted kernel or initrd; ``found`` None where nobody can tell."""
    if not path:
        return None
    for one in answer.facts[f"{name}s"]:
        if one["path"] == path:
            return {"path": path, "found": True, "version": one["version"]}
    reader = content.reader if content else None
    if reader is None:
        answer.problems.append(
            f"the files of the image cannot be read here, so the {name} {path} is not proven"
        )
        return {"path": path, "found": None, "version": None}
    found = reader.head(path) is not None
    if not found:
        others = ", ".join(one["path"] for one in answer.facts[f"{name}s"]) or "none"
        answer.problems.append(f"the {name} {path} is not in the image; it holds {others}")
    return {"path": path, "found": found, "version": version_in(path.rpartition("/")[2]) if found else None}


def signatures(answer: Answer, path: Path, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """The signatures beside the image; ``good`` None where no key was given to verify them."""
    found = []
    for tool, signature in _image_signature.found(path):
        fault = None
        if keys.get(tool):
            fault = _image_signature.verify(tool, Path(keys[tool]), path, signature)
            if fault:
                answer.problems.append(f"the signature {signature} is not good: {fault}")
        found.append({"tool": tool, "path": str(signature), "good": not fault if keys.get(tool) else None})
    for tool in keys:
        if keys[tool] and tool not in [one["tool"] for one in found]:
            answer.problems.append(f"there is no signature of {tool} beside {path}")
    return found


def tar_content(path: Path) -> TarContent:
    """The members of a tar image; raises ClusterError for any other image."""
    content = read_image(path, files=False)
    if content.tar is None:
        raise ClusterError(f"{path} is an image of kind dd, which is written to a device, not unpacked")
    return content.tar
