# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import struct

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._dhcp_client import (
    HEADER,
    MAGIC,
    Offer,
    discover_packet,
    parse_offer,
    parse_options,
)

MAC = "52:54:00:77:00:11"


def offer_packet(options: bytes, *, file: bytes = b"", transaction: int = 7, operation: int = 2) -> bytes:
    inet = socket.inet_aton
    header = HEADER.pack(
        operation,
        1,
        6,
        0,
        transaction,
        0,
        0,
        bytes(4),
        inet("10.77.0.11"),
        inet("10.77.0.1"),
        bytes(4),
        bytes(16),
        b"",
        file,
    )
    return header + MAGIC + options


OFFER = b"\x35\x01\x02\x36\x04\x0a\x4d\x00\x02"


def test_discover_says_who_asks() -> None:
    packet = discover_packet(MAC, 7, True, 0x01020304)
    fields = HEADER.unpack_from(packet)
    assert (fields[0], fields[4], fields[6]) == (1, 0x01020304, 0x8000)
    assert fields[11][:6] == bytes.fromhex("525400770011")
    options = parse_options(packet[HEADER.size + 4 :])
    assert options[93] == struct.pack("!H", 7)
    assert options[77] == b"iPXE"
    assert options[60].startswith(b"PXEClient:Arch:00007")


def test_http_firmware_asks_as_http_client_and_without_ipxe() -> None:
    options = parse_options(discover_packet(MAC, 16, False, 1)[HEADER.size + 4 :])
    assert options[60].startswith(b"HTTPClient:Arch:00016")
    assert 77 not in options


@pytest.mark.parametrize(
    ("packet", "file"),
    [
        (offer_packet(OFFER + b"\xff", file=b"pxelinux.0"), "pxelinux.0"),
        (offer_packet(OFFER + b"\x43\x0bpxelinux.0\0\xff"), "pxelinux.0"),
        (offer_packet(OFFER + b"\x34\x01\x01\xff", file=b"\x43\x03abc\xff"), "abc"),
        (offer_packet(OFFER + b"\0\0\xff"), ""),
        (offer_packet(OFFER + b"\x43"), ""),
    ],
    ids=["field", "option 67", "overload", "padding", "torn at the end"],
)
def test_parse_offer(packet: bytes, file: str) -> None:
    assert parse_offer(packet, 7) == Offer("10.77.0.11", "10.77.0.1", file, "10.77.0.2")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        offer_packet(OFFER)[:239],
        offer_packet(OFFER + b"\xff", transaction=8),
        offer_packet(OFFER + b"\xff", operation=1),
        offer_packet(b"\x35\x01\x05\xff"),
        offer_packet(b""),
    ],
    ids=["empty", "short", "another's", "a request", "an ACK", "no type"],
)
def test_other_packets_are_no_offer(packet: bytes) -> None:
    assert parse_offer(packet, 7) is None
