# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What must be true of an image before its environment is registered: Kadeploy itself would tell only on the nodes."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import (
    TARGETS,
    get,
    guess_image,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import bare_path
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Registry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_info import checksums, inspect
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import read_manifest

TIMEOUT = 30
"""Seconds in which a server must begin to answer."""

KEPT = (
    "sha256",
    "md5",
    "size",
    "uncompressed_size",
    "partition_size",
    "architecture",
    "distribution",
    "derived_from",
)
"""What a description's ``oneimage`` tells of its image; the manifest beside the image has the rest."""


def image_facts(path: Path) -> dict[str, Any]:
    """``image`` (kind and compression) and ``oneimage`` (KEPT) of a file: from its manifest, else read from it.

    The checksums of a manifest are believed here, and proven when the image is copied. Raises ClusterError where the
    file cannot be read or its manifest is that of another file.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ClusterError(f"cannot read the image {path}: {error.strerror}") from error
    manifest = read_manifest(path)
    if manifest is None:
        taken = checksums(path)
        guess = guess_image(path.name)
        image = dict(zip(("kind", "compression"), guess)) if guess else {}
        return {"image": image, "oneimage": {"sha256": taken.sha256, "md5": taken.md5, "size": taken.size}}
    if manifest["size"] != size:
        raise ClusterError(
            f"image {path} has {size} bytes, its manifest says {manifest['size']}; capture it again"
        )
    image = {name: manifest[name] for name in ("kind", "compression")}
    kept = {name: manifest[name] for name in KEPT if manifest.get(name) not in (None, {}, "")}
    return {"image": image, "oneimage": kept}


def preflight(
    registry: Registry,
    description: Mapping[str, Any],
    owner: str,
    path: Path | None,
    options: Mapping[str, Any],
) -> list[str]:
    """Check the image of ``description`` before it is published; returns warnings of what could not be checked.

    ``path`` is its file, if the task gave one; ``options``: ``check_image``, ``check_url``, ``check_url_content``.
    Raises ClusterError with every fault.
    """
    uri = description["image"]["file"]
    remote = uri.startswith(("http://", "https://"))
    faults = list(target_faults(description, registry.target))
    warnings = []
    if options["check_image"]:
        file = path or registry.local_image(description, owner) or (None if remote else Path(bare_path(uri)))
        if file and os.path.exists(file):
            faults += content_faults(file, description)
        elif description["image"]["kind"] != "fsa":
            warnings.append(f"image {uri} is not on this host, so it was not looked into")
    kept_here = registry.local_image(description, owner) or (
        path and options["store_image"] and registry.embedded
    )
    if remote and options["check_url"] and not kept_here:
        faults += url_faults(uri, description.get("oneimage") or {}, options["check_url_content"])
    if faults:
        raise ClusterError(f"environment {description['name']}: {'; '.join(faults)}")
    return warnings


def target_faults(description: Mapping[str, Any], target: str) -> Iterator[str]:
    """An image that the target cannot unpack."""
    known = TARGETS[target].kinds.get(description["image"]["kind"])
    compression = description["image"]["compression"]
    if known is not None and compression not in known:
        yield f"{TARGETS[target].title} unpacks {', '.join(known)}, not {compression}"


def content_faults(path: Path, description: Mapping[str, Any]) -> Iterator[str]:
    """What the image at ``path`` lacks of what ``description`` says of it: kind, compression, kernel, initrd.

    Raises ClusterError for an image that is corrupt.
    """
    looked = {"path": str(path), "verify": False, "scan": False}
    answer = inspect({**looked, **{name: get(description, f"boot/{name}") for name in ("kernel", "initrd")}})
    yield from answer["problems"]
    hypervisor = get(description, "boot/hypervisor")
    if hypervisor:
        # a multiboot kernel, for which the same holds
        problems = inspect({**looked, "kernel": hypervisor})["problems"]
        yield from (f"hypervisor: {problem}" for problem in problems if problem not in answer["problems"])
    for name in ("kind", "compression"):
        if answer[name] != description["image"][name]:
            yield f"the description says {name} {description['image'][name]}, but it is {answer[name]}"
    said = description.get("arch")
    if said and answer.get("architecture") and said != answer["architecture"]:
        yield f"the description says arch {said}, but it holds programs for {answer['architecture']}"


def url_faults(url: str, promised: Mapping[str, Any], download: bool) -> Iterator[str]:
    """Whether the image answers at ``url`` with the promised size; with its checksums if ``download``."""
    try:
        with open_url(url, method="GET" if download else "HEAD", timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length")
            size = int(length) if length and length.isdigit() else None
            digests = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", "md5")}
            if download:
                size = receive(answer, list(digests.values()))
    except urllib.error.HTTPError as error:
        yield f"{url} answers {error.code} {error.reason}"
        return
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield f"{url} does not answer: {getattr(error, 'reason', error)}"
        return
    if promised.get("size") not in (None, size) and size is not None:
        yield f"{url} has {size} bytes, promised are {promised['size']}"
    for name, digest in digests.items():
        if download and promised.get(name) not in (None, digest.hexdigest()):
            yield f"{url} has {name} {digest.hexdigest()}, promised is {promised[name]}"


def receive(stream: Any, digests: list[Any]) -> int:
    """Bytes of ``stream``, all of which went into ``digests``."""
    size = 0
    while piece := stream.read(1 << 20):
        size += len(piece)
        for digest in digests:
            digest.update(piece)
    return size
