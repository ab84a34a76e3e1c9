# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import struct

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._tftp_client import (
    Transfer,
    acknowledgement,
    read_request,
)


def data(number: int, content: bytes) -> bytes:
    return struct.pack("!HH", 3, number) + content


def test_request_asks_for_the_options_of_a_pxe_rom() -> None:
    assert read_request("a/b") == b"\0\x01a/b\0octet\0blksize\x001428\0tsize\x000\0"


def test_blocks_with_options_and_a_repeated_block() -> None:
    transfer = Transfer()
    assert transfer.take(b"\0\x06blksize\x004\0tsize\x006\0") == acknowledgement(0)
    assert transfer.take(data(1, b"abcd")) == acknowledgement(1)
    assert transfer.take(data(1, b"abcd")) == acknowledgement(1)
    assert not transfer.done
    assert transfer.take(data(2, b"ef")) == acknowledgement(2)
    assert (transfer.done, transfer.size, transfer.announced) == (True, 6, 6)
    assert transfer.digest.hexdigest() == hashlib.sha256(b"abcdef").hexdigest()


def test_server_without_options_sends_blocks_of_512() -> None:
    transfer = Transfer()
    transfer.take(data(1, bytes(512)))
    assert not transfer.done
    transfer.take(data(2, b""))
    assert (transfer.done, transfer.size) == (True, 512)


def test_block_numbers_wrap() -> None:
    transfer = Transfer()
    transfer.take(b"\0\x06blksize\x001\0")
    for number in range(1, 65538):
        transfer.take(data(number & 0xFFFF, b"x"))
    assert transfer.size == 65537


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"\0\x05\0\x01file not found\0", "error 1, file not found"),
        (b"\0\x05\0\x02", "error 2, without a reason"),
        (b"\0\x03", "torn packet of 2 bytes"),
        (b"\0\x09\0\0", "packet of kind 9"),
        (b"\0\x06blksize\0much\0", "no numbers"),
    ],
)
def test_what_a_server_must_not_send(packet: bytes, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        Transfer().take(packet)
