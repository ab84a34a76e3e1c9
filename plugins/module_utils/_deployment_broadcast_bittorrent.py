# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Broadcast by BitTorrent: opentracker and a first seed on the server, aria2 on the nodes, each of which keeps a whole copy.

A node needs room for the image: the folder that ``ONEIMAGE_STORE`` names, else its memory. aria2 checks every piece.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_server import (
    Served,
    free_port,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Order, Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NAME = "image"
PIECES = 1000
"""About how many pieces a torrent has: few enough for small announcements, many enough for every peer to have some."""
SMALLEST_PIECE, LARGEST_PIECE = 256 << 10, 16 << 20
SETTINGS = (
    *("--no-conf=true", "--quiet=true", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false"),
    *(
        "--enable-peer-exchange=true",
        "--file-allocation=none",
        "--follow-torrent=mem",
        "--allow-overwrite=true",
    ),
    *("--bt-max-peers=60", "--bt-request-peer-speed-limit=1024M", "--seed-ratio=0.0", "--disable-ipv6=true"),
    *("--bt-tracker-interval=10", "--bt-tracker-timeout=10", "--bt-tracker-connect-timeout=10"),
)
STALLED = 60
"""Seconds without a byte after which a node gives up."""

RECEIVE = r"""
swarm() (
    folder=${ONEIMAGE_STORE:-/run/oneimage}/torrent-$token
    rm -rf "$folder"
    mkdir -p "$folder" || exit
    trap 'kill "$seed" 2>/dev/null; rm -rf "$folder"' EXIT
    trap 'exit 143' INT TERM
    free=$(df -kP "$folder" | awk 'END { print $4 }')
    if [ "$free" -lt $((size / 1024 + 1)) ]; then
        echo "no room for the image in $folder: $free KiB are free, $((size / 1024 + 1)) are needed" >&2
        exit 1
    fi
    printf '#!/bin/sh\n: >"%s/whole"\n' "$folder" >"$folder/complete"
    chmod 755 "$folder/complete"
    no_proxy='*' aria2c "$@" --dir="$folder" --on-bt-download-complete="$folder/complete" "$torrent" >"$folder/said" 2>&1 &
    seed=$!
    until [ -e "$folder/whole" ]; do
        if ! kill -0 "$seed" 2>/dev/null && [ ! -e "$folder/whole" ]; then
            echo "aria2c ended without the image: $(tail -n 4 "$folder/said" | tr '\n' ' ')" >&2
            exit 1
        fi
        sleep 0.1
    done
    cat "$folder/image"
)
"""

Bencoded = Union[int, bytes, "dict[bytes, Any]"]


class BittorrentBroadcast:
    """The tracker knows this one torrent; both programs listen at the server's address alone."""

    def __init__(self, order: Order, nodes: Sequence[Target]) -> None:
        self.order = order
        self.token = order.base_url.rstrip("/").rpartition("/")[2]
        self._folder: Path | None = None
        self._served: list[Served] = []
        self._torrent: Path | None = None

    def start(self) -> None:
        require("opentracker", package="opentracker")
        require("aria2c", package="aria2")
        info = torrent_info(self.order.image.path)
        port = free_port(self.order.server, (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        announce = f"http://{self.order.server}:{port}/announce".encode()
        # another group of the same deployment has a torrent, and a tracker, of its own
        self._torrent = Path(self.order.folder) / f"image-{port}.torrent"
        self._folder = Path(self.order.folder) / f".tracker-{port}"
        write_file(self._torrent, bencode({b"announce": announce, b"info": info}), mode=0o644)
        self._folder.mkdir(exist_ok=True)
        # opentracker gives up its rights before it reads its list
        self._folder.chmod(0o755)
        digest = hashlib.sha1(bencode(info)).hexdigest()
        write_file(self._folder / "allowed", f"{digest}\n".encode(), mode=0o644)
        self._serve_tracker(str(port))
        self._serve_seed(self._torrent)

    def _serve_tracker(self, port: str) -> None:
        server = self.order.server
        argv = ["opentracker", "-i", server, "-p", port, "-P", port, "-d", str(self._folder), "-w", "allowed"]
        tracker = Served("opentracker", argv, cwd=str(self._folder))
        self._served.append(tracker)
        tracker.wait_until(lambda: listens(server, int(port)))

    def _serve_seed(self, torrent: Path) -> None:
        server, image = self.order.server, Path(self.order.image.path)
        port = free_port(server, (socket.SOCK_STREAM,))
        seed = Served(
            "aria2c",
            [
                *("aria2c", *SETTINGS, f"--interface={server}", f"--listen-port={port}"),
                *("--bt-seed-unverified=true", f"--dir={image.parent}", f"--index-out=1={image.name}"),
                str(torrent),
            ],
        )
        self._served.append(seed)
        seed.wait_until(lambda: listens(server, port))

    def stop(self) -> None:
        while self._served:
            self._served.pop().end()
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None
        if self._torrent:
            self._torrent.unlink(missing_ok=True)
            self._torrent = None

    def receive_script(self, node: str) -> str:
        if self._torrent is None:
            raise ClusterError("bittorrent: the tracker was not started")
        torrent = f"{self.order.base_url.rstrip('/')}/{self._torrent.name}"
        values = {"token": self.token, "size": self.order.image.size, "torrent": torrent}
        lines = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
        call = shlex.join(["swarm", *SETTINGS, f"--bt-stop-timeout={STALLED}"])
        return "\n".join([*lines, RECEIVE, call])


def listens(address: str, port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((address, port)) == 0


def torrent_info(path: str) -> dict[bytes, Any]:
    """The info of a torrent of one file, as BEP 3 describes it; private, so that peers are the tracker's alone."""
    length = SMALLEST_PIECE
    digests = []
    try:
        with open(path, "rb") as image:
            size = os.fstat(image.fileno()).st_size
            while length < LARGEST_PIECE and size > length * PIECES:
                length *= 2
            while piece := image.read(length):
                digests.append(hashlib.sha1(piece).digest())
    except OSError as error:
        raise ClusterError(f"image: cannot read {path}: {error.strerror}") from error
    return {
        b"length": size,
        b"name": NAME.encode(),
        b"piece length": length,
        b"pieces": b"".join(digests),
        b"private": 1,
    }


def bencode(value: Bencoded) -> bytes:
    """``value`` as BEP 3 writes it, keys sorted."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
