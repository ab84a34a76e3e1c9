# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One image on its way: the node's job, the pieces that it sends, and what became of them here."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import (
    DATA,
    FAILURE,
    READ,
    RESULT,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_channel import Channel, Refused, routes
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_program import command, program
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_receive import (
    Compression,
    Progress,
    Store,
)

ENTRY = "_image_fetch"
"""The file of module_utils whose ``main`` runs on the node."""


@dataclass(frozen=True)
class Way:
    """How a program gets to run on the node.

    ``wrap`` puts the play's become and shell around a command; ``become`` is the plugin for that, None without.
    """

    connection: Any
    become: Any
    wrap: Callable[[str], str]
    own_connection: bool
    patience: float


@dataclass(frozen=True)
class Job:
    """``work`` is what the node is told; ``compressor`` runs here, if at all; ``whole`` estimates the source's bytes."""

    work: dict[str, Any]
    python: str
    compressor: list[str]
    whole: int | None


@dataclass(frozen=True)
class Taken:
    """``told`` is the node's result, ``raw`` the number of bytes that it sent; the rest is about what was written."""

    told: dict[str, Any]
    raw: int
    size: int
    sha256: str
    md5: str


def transfer(way: Way, job: Job, write: Callable[[bytes], Any], progress: Progress) -> Taken:
    """Have the node do ``job`` and hand what it sends to ``write``.

    Raises ClusterError where the stream is refused, is cut off, or fails on either side.
    """
    token = f"oneimage-{secrets.token_hex(16)}"
    line = way.wrap(command(job.python, ENTRY, token))
    *others, last = routes(way.connection, line, own=way.own_connection)
    for argv in others:
        with contextlib.suppress(Refused):
            return take(way, argv, token, job, write, progress)
    return take(way, last, token, job, write, progress)


def take(
    way: Way, argv: list[str], token: str, job: Job, write: Callable[[bytes], Any], progress: Progress
) -> Taken:
    with contextlib.ExitStack() as ends:
        store = Store(write)
        sink: Store | Compression = store
        if job.compressor:
            sink = ends.enter_context(contextlib.closing(Compression(job.compressor, store.write)))
        count = Count(job.whole, bool(job.compressor))
        tick = functools.partial(count.show, progress)
        channel = Channel(argv, become=way.become, token=token, patience=way.patience, tick=tick)
        ends.enter_context(contextlib.closing(channel))
        told = b""
        for kind, body in channel.frames(program(ENTRY, job.work)):
            if kind == DATA:
                sink.write(body)
                count.raw += len(body)
            elif kind == READ:
                count.read = int(body)
            elif kind == FAILURE:
                raise ClusterError(body.decode("utf-8", "replace"))
            elif kind == RESULT:
                told = body
                break
        sink.finish()
        taken = Taken(json.loads(told), count.raw, store.size, store.sha256, store.md5)
    verify(taken, bool(job.compressor))
    return taken


def verify(taken: Taken, compressed_here: bool) -> None:
    """Raise ClusterError where something else arrived than was sent."""
    sent = taken.told["manifest"]
    if sent["size"] != taken.raw or not (compressed_here or sent["sha256"] == taken.sha256):
        raise ClusterError(
            f"what arrived is not what the node sent ({taken.raw} of {sent['size']} bytes, sha256 {taken.sha256},"
            f" not {sent['sha256']}): run the task again, and check the memory of both machines if that helps nothing"
        )


@dataclass
class Count:
    """How far a stream is: ``raw`` bytes came, for which ``read`` bytes of the archive of ``whole`` were read."""

    whole: int | None
    raw_is_read: bool
    raw: int = 0
    read: int | None = None

    def show(self, progress: Progress) -> None:
        progress.update(self.raw, self.raw if self.raw_is_read else self.read, self.whole)
