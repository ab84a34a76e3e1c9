# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One file that holds kernel, initrd and kernel parameters, for firmware and loaders that take no more than one."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _atomic,
    _command,
    _network_image_multiboot,
    _network_image_uki,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import ALIGNMENT, Content
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import read_initrd
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import (
    KernelImage,
    read_kernel_image,
)

READERS = {"uki": _network_image_uki.read_parts, "multiboot": _network_image_multiboot.read_parts}
FORMATS = tuple(READERS)
SHOWN_PARTS = ("os_release", "kernel", "initrd")
PLAIN = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class ImageRequest:
    """The options of the module, as they come."""

    path: Path
    format: str
    kernel: Path
    initrd: list[Path]
    parameters: list[str]
    os_release: Path | None
    stub: Path
    signing_key: Path | None
    signing_certificate: Path | None
    diff: bool = False


def ensure_image(request: ImageRequest, check: bool) -> dict[str, Any]:
    """Make ``request.path`` the image that the request describes; the keys are those of the module's RETURN.

    Raises ClusterError, with the old file untouched, where an input is missing, damaged or does not fit the others.
    """
    started = time.monotonic()
    check_options(request)
    kernel = read_kernel_image(request.kernel)
    check_kernel(request, kernel)
    parts = read_inputs(request)
    image = make(request, parts)
    old = read_old(request.path)
    reason = why(request, old, image)
    if reason:
        check_initrds(request, kernel)
        image = signed(request, image)
    elif old is not None:
        image = old
    shown = reason is not None and request.diff
    diff = {"before": listing(request, old), "after": listing(request, image)} if shown else None
    if reason and not check:
        with _atomic.partial_file(request.path) as temporary:
            temporary.write_bytes(image)
    return {
        "file": str(request.path),
        "format": request.format,
        # a signature holds the time: the one that a real run will make is another
        "sha256": None if reason and check and request.signing_key else digest(image),
        "image_size": len(image),
        "kernel_version": kernel.release,
        "parameters": " ".join(request.parameters),
        "signed": request.signing_key is not None,
        "reason": reason,
        "changed": reason is not None,
        "diff": diff,
        "seconds": round(time.monotonic() - started, 3),
    }


def check_options(request: ImageRequest) -> None:
    if not request.path.parent.is_dir():
        raise ClusterError(f"path: the folder {request.path.parent} does not exist; make it first")
    if request.path.is_dir():
        raise ClusterError(f"path: {request.path} is a folder; name the file in it")
    for parameter in request.parameters:
        if not PLAIN.fullmatch(parameter):
            raise ClusterError(
                f"parameters: {parameter!r} has characters that no kernel command line can hold"
            )
    for option in ("os_release", "signing_key"):
        if request.format != "uki" and getattr(request, option):
            raise ClusterError(f"{option}: the format {request.format} has no place for it; only uki has")


def check_kernel(request: ImageRequest, kernel: KernelImage) -> None:
    length = len(" ".join(request.parameters))
    if length > kernel.command_line_size:
        raise ClusterError(
            f"parameters: {length} characters are more than the {kernel.command_line_size} that the kernel"
            f" {kernel.path} reads; shorten them"
        )
    if request.format == "uki" and not kernel.efi_stub:
        raise ClusterError(
            f"kernel: UEFI firmware cannot start {kernel.path}; build it with CONFIG_EFI_STUB, or use format: multiboot"
        )


def check_initrds(request: ImageRequest, kernel: KernelImage) -> None:
    """Each must be whole, and together they must not be for other kernels alone."""
    versions = {version for path in request.initrd for version in read_initrd(path).kernel_versions}
    if versions and kernel.release not in versions:
        raise ClusterError(
            f"initrd: {', '.join(map(str, request.initrd))} has modules of {', '.join(sorted(versions))}, not of the"
            f" kernel {kernel.release}; build it for that one"
        )


def read_inputs(request: ImageRequest) -> dict[str, list[Content]]:
    """The parts in pieces; several initrds follow each other as the kernel takes them, each padded to 4 bytes."""
    parts: dict[str, list[Content]] = {
        "parameters": [" ".join(request.parameters).encode()],
        "kernel": [read("kernel", request.kernel)],
        "initrd": [],
    }
    for path in request.initrd:
        content = read("initrd", path)
        if not content:
            raise ClusterError(f"initrd: {path} is empty; build it again")
        parts["initrd"] += [content, bytes(-len(content) % ALIGNMENT)]
    if request.os_release:
        parts["os_release"] = [read("os_release", request.os_release)]
    return parts


def make(request: ImageRequest, parts: Mapping[str, list[Content]]) -> Content:
    """The image without a signature."""
    if request.format == "multiboot":
        kernel, parameters = parts["kernel"][0], parts["parameters"][0]
        return b"".join(_network_image_multiboot.build(kernel, parts["initrd"], bytes(parameters)))
    if not request.stub.is_file():
        raise ClusterError(
            f"stub: there is no {request.stub}; install the package systemd-boot-efi, or name one"
        )
    if request.signing_key:
        _command.require("sbsign", "sbverify", package="sbsigntool")
    given = {name: pieces for name, pieces in parts.items() if any(pieces)}
    try:
        return _network_image_uki.build(read("stub", request.stub), given)
    except ClusterError as error:
        raise ClusterError(f"stub: {request.stub}: {error}") from error


def why(request: ImageRequest, old: Content | None, image: Content) -> str | None:
    """None where the file is what the request makes. Signatures hold the time, so that they are verified instead."""
    if old is None:
        return f"{request.path} does not exist"
    differs = f"{request.path} is not what its inputs make"
    if request.signing_certificate is None:
        return None if memoryview(old) == memoryview(image) else differs
    if not _network_image_uki.same_program(old, image):
        return differs
    if not _network_image_uki.is_signed(old, request.signing_certificate):
        return f"{request.path} is not signed by {request.signing_certificate}"
    return None


def signed(request: ImageRequest, image: Content) -> Content:
    if request.signing_key is None or request.signing_certificate is None:
        return image
    return _network_image_uki.sign(image, request.signing_key, request.signing_certificate)


def read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClusterError(f"{option}: cannot read {path}: {error.strerror}") from error


def read_old(path: Path) -> bytes | None:
    return read("path", path) if os.path.lexists(path) else None


def listing(request: ImageRequest, image: Content | None) -> str:
    """The parts of an image for ``--diff``; what is there may also be anything else."""
    if image is None:
        return ""
    try:
        parts = READERS[request.format](image)
        lines = [f"parameters {bytes(parts.get('parameters', b'')).decode('ascii', 'replace')}"]
        for name in SHOWN_PARTS:
            if parts.get(name):
                lines.append(f"{name} {digest(parts[name])[:12]} {len(parts[name])}")
    except ClusterError as error:
        lines = [str(error)]
    return "".join(f"{line}\n" for line in [*lines, f"sha256 {digest(image)}"])


def digest(content: Content) -> str:
    return hashlib.sha256(content).hexdigest()
