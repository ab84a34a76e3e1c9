# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The controller's side of image_fetch: is the image here the wanted one, and if not, take it and publish it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress, _image_signature
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_archive import (
    Capture,
    Plan,
    compare,
    compression_of,
    read_mode,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_fetch import G5K
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import FORMAT, render
from ansible_collections.oneimage.cluster.plugins.module_utils._image_publish import Draft, drafting, publish
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_transfer import Job, Taken

HEAD = 16
"""Bytes that tell how a file is compressed."""


def check(options: Mapping[str, Any], dest: Path) -> str:
    """Everything about the options that can be told without the node; returns the compression."""
    compression = compression_of(options["compression"], dest)
    if dest.is_dir():
        raise ClusterError(
            f"dest: {dest} is a folder; give the name of the file, such as {dest}/{{{{ inventory_hostname }}}}.tar.zst"
        )
    if not dest.parent.is_dir():
        raise ClusterError(f"dest: the folder {dest.parent} does not exist on the controller")
    if not os.access(dest.parent, os.W_OK):
        raise ClusterError(f"dest: the folder {dest.parent} is not writable on the controller")
    read_mode(options["mode"])
    for name, least in (("timeout", 1), ("progress", 0)):
        if options[name] < least:
            raise ClusterError(f"{name}: {options[name]} is no number of seconds from {least} on")
    if options["signature"]:
        tool = _image_signature.TOOLS[options["signature"]["tool"]]
        require(tool.signer[0], package=tool.package)
    return compression


class Same:
    """Stands for a fingerprint that only the stream can tell: equal to any, so that all but the content is compared."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def make_plan(seen: Mapping[str, Any], dest: Path, options: Mapping[str, Any]) -> Plan:
    """Compare what the node would send, as it has ``seen`` it, with what lies at ``dest``, without a write.

    A plan without a reason whose capture has no fingerprint is a question: only the stream tells whether it is unchanged.
    """
    capture = Capture(
        kind=seen["kind"],
        source=Path(seen["source"]),
        compressor=Stage([]),
        tools=seen["tools"],
        fingerprint=seen["fingerprint"],
        foreseen=seen["foreseen"],
        warnings=seen["warnings"],
    )
    known = replace(capture, fingerprint=capture.fingerprint or Same())  # type: ignore[arg-type]
    before, reason = compare(known, dest, options["signature"])
    return Plan(capture, dest, read_mode(options["mode"]), options["signature"], before, reason)


def make_job(seen: Mapping[str, Any], node_options: dict[str, Any], options: Mapping[str, Any]) -> Job:
    """Who compresses: the node if it has the best program for it, unless the task says who.

    Raises ClusterError where the one who should has no program for it.
    """
    compression, level = seen["foreseen"]["compression"], options["level"]
    argv: list[str] = []
    where = options["compress_on"]
    if options["method"] == G5K:
        if where == "controller":
            raise ClusterError(f"compress_on: {G5K} always compresses on the node")
        where = "node"
    names = [one.program for one in _image_compress.COMPRESSORS[compression]]
    if where == "node" and options["method"] != G5K and seen["compressor"] is None:
        raise ClusterError(
            f"compress_on: the node has no program for {compression}"
            f"{'' if level is None else f' at level {level}'}; say controller, or install {names[-1]} on the node"
        )
    if where != "node":
        try:
            mine, argv = _image_compress.choose(compression, level)
        except ClusterError as error:
            if where == "controller" or seen["compressor"] is None:
                raise ClusterError(f"on the controller: {error}") from error
        else:
            theirs = seen["compressor"]
            if where == "auto" and theirs and names.index(theirs) <= names.index(mine.program):
                argv = []
    return Job({**node_options, "compress": not argv}, seen["python"], argv, seen["whole"])


def carry_out(
    plan: Plan, job: Job, receive: Callable[[Callable[[bytes], Any]], Taken]
) -> dict[str, Any] | None:
    """Take the image and publish it; returns its manifest, None where it turned out to be the one that is there."""
    with alone(plan.dest), drafting(plan.dest, plan.mode) as draft:
        taken = receive(draft.write)
        if unchanged(plan, taken):
            return None
        plan.capture.warnings.extend(taken.told["warnings"])
        manifest = {**describe(plan, job, taken, draft), "file": plan.dest.name}
        signature = None
        if plan.signature:
            tool, key = plan.signature["tool"], plan.signature["key"]
            suffix = _image_signature.TOOLS[tool].suffixes[0]
            signature = (suffix, _image_signature.sign(tool, key, draft.path, plan.dest.name))
        publish(draft, render(manifest), signature, plan.mode)
    return manifest


def unchanged(plan: Plan, taken: Taken) -> bool:
    """Whether the stream, which alone could tell, is what lies at ``dest``."""
    return plan.reason is None and plan.before is not None and plan.before["sha256"] == taken.sha256


def describe(plan: Plan, job: Job, taken: Taken, draft: Draft) -> dict[str, Any]:
    """The manifest: what the node told of the source, and the file as it arrived here."""
    manifest = {
        **plan.capture.foreseen,
        "manifest": FORMAT,
        "tools": plan.capture.tools,
        **taken.told["manifest"],
    }
    manifest.update(size=taken.size, sha256=taken.sha256, md5=taken.md5)
    if job.compressor:
        program = job.compressor[0]
        tools = {**manifest["tools"], program: _image_compress.version(program)}
        manifest["tools"] = dict(sorted(tools.items()))
    if "uncompressed_size" not in manifest:
        manifest["uncompressed_size"] = length_within(draft, manifest["compression"])
    return manifest


def length_within(draft: Draft, compression: str) -> int:
    """Bytes in an image of which only the compressed stream is known; raises ClusterError where it is not whole."""
    found = _image_compress.recognise(os.pread(draft.descriptor, HEAD, 0))
    if found != compression:
        raise ClusterError(
            f"the node sent an image with compression {found}, not {compression}: its {G5K} may be of another"
            f" version; name dest so, or set compression to what it sends"
        )
    total = 0
    with (
        open(draft.path, "rb") as image,
        row([Stage(_image_compress.decompressor(compression))], stdin=image) as raw,
    ):
        while piece := raw.read(1 << 20):
            total += len(piece)
    return total


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Refuse a second capture into ``path`` on this host: an abstract socket, which no kill leaves behind."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0oneimage-image-{name}")
        except OSError as error:
            raise ClusterError(
                f"dest: another capture writes {path} now; give each host a file of its own, such as"
                f" {path.parent}/{{{{ inventory_hostname }}}}.tar.zst"
            ) from error
        yield
