# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read a file over TFTP (RFC 1350) with the block size and transfer size options that PXE ROMs use."""

from __future__ import annotations

import hashlib
import socket
import struct

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PORT = 69
READ, DATA, ACKNOWLEDGE, ERROR, OPTIONS = 1, 3, 4, 5, 6
PLAIN_BLOCK, WANTED_BLOCK = 512, 1428
"""1428 bytes of data fill an Ethernet frame and leave room for a tunnel's header."""


class Transfer:
    """One file on its way: takes the server's packets, says what to answer."""

    def __init__(self) -> None:
        self.block_size = PLAIN_BLOCK
        self.announced: int | None = None
        self.blocks = 0
        self.size = 0
        self.done = False
        self.digest = hashlib.sha256()

    def take(self, packet: bytes) -> bytes:
        """The acknowledgement of ``packet``; raises ClusterError where the server refuses or talks nonsense."""
        if len(packet) < 4:
            raise ClusterError(f"a torn packet of {len(packet)} bytes")
        kind, number = struct.unpack_from("!HH", packet)
        if kind == ERROR:
            reason = packet[4:].split(b"\0", 1)[0].decode("utf-8", "replace")
            raise ClusterError(f"the server answered error {number}, {reason or 'without a reason'}")
        if kind == OPTIONS and self.blocks == 0:
            words = packet[2:].decode("ascii", "replace").lower().split("\0")
            options = dict(zip(words[::2], words[1::2]))
            try:
                self.block_size = int(options.get("blksize", PLAIN_BLOCK))
                self.announced = int(options["tsize"]) if "tsize" in options else None
            except ValueError as error:
                raise ClusterError(
                    f"the server answered with options that are no numbers: {options}"
                ) from error
            return acknowledgement(0)
        if kind != DATA:
            raise ClusterError(f"the server answered with a packet of kind {kind}")
        if number == (self.blocks + 1) & 0xFFFF:  # the number wraps, a repeated block is not taken twice
            data = packet[4:]
            self.blocks += 1
            self.size += len(data)
            self.digest.update(data)
            self.done = len(data) < self.block_size
        return acknowledgement(self.blocks)


def acknowledgement(blocks: int) -> bytes:
    return struct.pack("!HH", ACKNOWLEDGE, blocks & 0xFFFF)


def read_request(path: str) -> bytes:
    words = [path, "octet", "blksize", str(WANTED_BLOCK), "tsize", "0"]
    return struct.pack("!H", READ) + b"".join(word.encode() + b"\0" for word in words)


def tftp_sha256(server: str, path: str, *, timeout: float, tries: int = 3, port: int = PORT) -> str:
    """The sha256 of what ``server`` sends for ``path``; raises ClusterError with what the server answered."""
    transfer = Transfer()
    packet, target = read_request(path), (server, port)
    silences = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        while not transfer.done:
            try:
                client.sendto(packet, target)
                answer, sender = client.recvfrom(65536)
            except socket.timeout as error:
                silences += 1
                if silences == tries:
                    raise ClusterError(
                        f"no answer within {tries} times {timeout:g} s, after {transfer.size} bytes"
                    ) from error
                continue
            except OSError as error:
                raise ClusterError(error.strerror or str(error)) from error
            # The server answers from a port of its own, which stays the same for the whole transfer.
            if sender[0] == server and target[1] in (port, sender[1]):
                silences, target, packet = 0, sender, transfer.take(answer)
        client.sendto(packet, target)
    if transfer.announced not in (None, transfer.size):
        raise ClusterError(f"the server announced {transfer.announced} bytes and sent {transfer.size}")
    return transfer.digest.hexdigest()
