# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The node's side of image_fetch: what a capture would take, and the capture itself as a stream."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress, _image_dd
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_archive import (
    SETTINGS,
    Capture,
    own_files,
    prepare,
    stream,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import (
    DATA,
    FAILURE,
    READ,
    RESULT,
    FrameWriter,
    serve,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row, take
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import isolated

G5K = "tgz-g5k"
G5K_FLAGS: dict[str, tuple[str, ...]] = {"gzip": (), "zstd": ("-z",)}
"""What it can compress with, and the flag that says so; without a destination it writes to standard output."""
G5K_FOREIGN = ("exclude", "skip_hygiene", "clamp_mtime", "level")
"""Options that it knows nothing of: it has rules of its own."""
EVERYWHERE = {"compression": "gzip", "level": None}
"""A compression that every host has, for the capture whose compressor is chosen later."""


def look(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the controller has to know before: the manifest as foreseen, sizes, and the node's means.

    ``options`` are those of the module, with ``compression`` given. Raises ClusterError for everything that stands
    against the capture.
    """
    capture = plan(options)
    program = None
    with contextlib.suppress(ClusterError):  # without one, the controller has to compress
        program = _image_compress.choose(options["compression"], options["level"])[0].program
    return {
        "kind": capture.kind,
        "source": str(capture.source),
        "tools": capture.tools,
        "fingerprint": capture.fingerprint,
        "foreseen": capture.foreseen,
        "warnings": capture.warnings,
        "whole": size_of(capture),
        "compressor": program,
        "python": sys.executable,
    }


def plan(options: Mapping[str, Any]) -> Capture:
    """The capture without a compressor; all else is what image_archive would make of ``options``."""
    if options["method"] == G5K:
        check_g5k(options)
    own: Callable[[str], bool] = lambda _path: False  # noqa: E731
    if options["dest"]:  # only where the controller is the node
        own = own_files(Path(options["src"]), Path(options["dest"]))
    try:
        capture = prepare({**options, **EVERYWHERE}, own)
    except PermissionError as error:
        raise ClusterError(f"cannot read {error.filename}: {error.strerror}; use become") from error
    del capture.tools[capture.compressor.argv[0]]
    capture.compressor = Stage(["cat"])
    content = (
        capture.tree.fingerprint if capture.tree else capture.device and _image_dd.fingerprint(capture.device)
    )
    if content is not None:
        settings = {name: options[name] for name in SETTINGS}
        state = [capture.kind, settings, content] + ([G5K] if options["method"] == G5K else [])
        capture.fingerprint = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    capture.foreseen["compression"] = options["compression"]
    capture.foreseen["source"]["fingerprint"] = capture.fingerprint
    if options["method"] == G5K:
        capture.foreseen.update(hygiene=[], omitted=[])
        capture.tools = {G5K: ""}
    return capture


def check_g5k(options: Mapping[str, Any]) -> None:
    require(G5K, package=f"{G5K} of Grid'5000")
    if options["src"] != "/" or options["kind"] == "dd":
        raise ClusterError(f"method: {G5K} only captures the running system as a tar image: src must be /")
    if options["compression"] not in G5K_FLAGS:
        raise ClusterError(f"compression: {G5K} has {' and '.join(G5K_FLAGS)}, not {options['compression']}")
    for name in G5K_FOREIGN:
        if options[name]:
            raise ClusterError(
                f"{name}: {G5K} has rules of its own; leave the option out, or use method native"
            )


def size_of(capture: Capture) -> int | None:
    """About how many bytes the uncompressed image has: what progress is measured by."""
    if capture.device:
        return capture.device.length
    if capture.tree is None or capture.view is None:
        return None
    total = 0
    for name in capture.tree.members:
        try:
            status = os.lstat(capture.view.root / name)
        except OSError:
            continue
        # a header and whole blocks of what is allocated, for holes are not stored
        total += 1024 + min(status.st_size, status.st_blocks * 512)
    return total


def main(job: str, token: str) -> None:
    """The program that the controller sends to the node: does ``job``, one line of JSON, and sends its image."""

    def work(frames: FrameWriter) -> None:
        try:
            told = send(json.loads(job), frames)
        except ClusterError as error:
            frames.send(FAILURE, str(error).encode())
        else:
            frames.send(RESULT, json.dumps(told).encode())

    serve(work, token)


def send(options: Mapping[str, Any], frames: FrameWriter) -> dict[str, Any]:
    """Stream the image, compressed here if ``compress``; returns what was sent, for the manifest."""
    if options["method"] == G5K:
        argv = [G5K, *G5K_FLAGS[options["compression"]]]
        # it mounts / elsewhere: in a namespace of its own that goes with it
        with row([Stage(isolated(argv))]) as output:
            taken = take(output, lambda piece: frames.send(DATA, piece))
        return {"manifest": {"size": taken.size, "sha256": taken.sha256}, "warnings": []}
    capture = plan(options)
    if options["compress"]:
        compressor, argv = _image_compress.choose(options["compression"], options["level"])
        capture.compressor = Stage(argv)
        capture.tools[compressor.program] = _image_compress.version(compressor.program)
    manifest = stream(capture, Meter(capture.compressor, frames))
    return {"manifest": manifest, "warnings": capture.warnings}


class Meter:
    """Sends each piece, and once a second how much the compressor has read for it."""

    def __init__(self, compressor: Stage, frames: FrameWriter) -> None:
        self._compressor, self._frames = compressor, frames
        self._told = 0.0

    def __call__(self, piece: memoryview) -> None:
        self._frames.send(DATA, piece)
        now = time.monotonic()
        if now - self._told >= 1.0 and self._compressor.process:
            self._told = now
            try:
                # its first line is "rchar: BYTES", see proc_pid_io(5)
                counters = Path(f"/proc/{self._compressor.process.pid}/io").read_bytes().split()
            except OSError:
                return  # it has ended: the last piece is on its way
            self._frames.send(READ, counters[1])
