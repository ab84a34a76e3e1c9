# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Ask for an address as a booting node does, and take none: DISCOVER and OFFER of RFC 2131 in pure Python."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
import time
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_architecture import HTTP_CODES
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SERVER_PORT, CLIENT_PORT = 67, 68
MAGIC = b"\x63\x82\x53\x63"
HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
BROADCAST_FLAG = 0x8000
SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B

MESSAGE_TYPE, SERVER_IDENTIFIER, REQUESTED_OPTIONS = 53, 54, 55
VENDOR_CLASS, USER_CLASS, CLIENT_ARCHITECTURE, NETWORK_INTERFACE = 60, 77, 93, 94
TFTP_SERVER_NAME, BOOT_FILE = 66, 67
OVERLOAD, PAD, END = 52, 0, 255
DISCOVER, OFFER = 1, 2

ASKED_FOR = bytes([1, 3, 6, 12, 15, 17, 42, 43, VENDOR_CLASS, TFTP_SERVER_NAME, BOOT_FILE])
"""What a PXE ROM asks for; it makes servers move the file's name from its field into option 67."""


@dataclass(frozen=True)
class Offer:
    """The part of an OFFER that decides what a node boots."""

    address: str
    next_server: str
    file: str
    server: str

    def __str__(self) -> str:
        return f"address {self.address}, next server {self.next_server}, file {self.file!r} from server {self.server}"


def discover_packet(mac: str, architecture: int, ipxe: bool, transaction: int) -> bytes:
    """A broadcast DISCOVER as firmware of ``architecture`` (option 93), or iPXE started by it, sends it."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = HEADER.pack(
        1, 1, 6, 0, transaction, 0, BROADCAST_FLAG, bytes(4), bytes(4), bytes(4), bytes(4), hardware.ljust(16, b"\0"), b"", b""
    )  # fmt: skip
    vendor = "HTTPClient" if architecture in HTTP_CODES else "PXEClient"
    options = [
        (MESSAGE_TYPE, bytes([DISCOVER])),
        (REQUESTED_OPTIONS, ASKED_FOR),
        (VENDOR_CLASS, f"{vendor}:Arch:{architecture:05d}:UNDI:003016".encode()),
        (CLIENT_ARCHITECTURE, struct.pack("!H", architecture)),
        (NETWORK_INTERFACE, bytes([1, 3, 16])),
    ]
    if ipxe:
        options.append((USER_CLASS, b"iPXE"))
    return (
        header + MAGIC + b"".join(bytes([code, len(value)]) + value for code, value in options) + bytes([END])
    )


def parse_offer(packet: bytes, transaction: int) -> Offer | None:
    """The OFFER that answers ``transaction``; None for any other packet, however torn it is."""
    if len(packet) < HEADER.size + len(MAGIC) or packet[HEADER.size :][:4] != MAGIC:
        return None
    fields = HEADER.unpack_from(packet)
    if fields[0] != 2 or fields[4] != transaction:
        return None
    file_field = fields[13]
    options = parse_options(packet[HEADER.size + len(MAGIC) :])
    if options.get(OVERLOAD, b"\0")[0] & 1:
        options = {**parse_options(file_field), **options}
        file_field = b""
    if options.get(MESSAGE_TYPE) != bytes([OFFER]):
        return None
    boot_file = options.get(BOOT_FILE) or file_field
    return Offer(
        address=socket.inet_ntoa(fields[8]),
        next_server=socket.inet_ntoa(fields[9]),
        file=boot_file.split(b"\0", 1)[0].decode("ascii", "backslashreplace"),
        server=socket.inet_ntoa(options.get(SERVER_IDENTIFIER, bytes(4)).ljust(4, b"\0")[:4]),
    )


def parse_options(data: bytes) -> dict[int, bytes]:
    """Option code to value; ends silently where the data is torn."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != END:
        if data[at] == PAD:
            at += 1
            continue
        if at + 1 >= len(data):
            break
        length = data[at + 1]
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : at + 2 + length]
        at += 2 + length
    return {code: value for code, value in options.items() if value}


def interface_towards(address: str) -> str:
    """The interface whose network holds ``address``, which may also be this host's own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                own = fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24]
                mask = fcntl.ioctl(probe, SIOCGIFNETMASK, request)[20:24]
            except OSError:  # an interface with no address
                continue
            network = ipaddress.IPv4Network((own, socket.inet_ntoa(mask)), strict=False)
            if network.prefixlen < 32 and ipaddress.IPv4Address(address) in network:
                return name
    raise ClusterError(
        f"no interface of this host is in the network of {address}: the self-test must run on a host there"
    )


class DhcpClient:
    """A socket on the client's port of one interface; a context manager."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self.socket.bind(("", CLIENT_PORT))
        except OSError as error:
            self.socket.close()
            raise ClusterError(
                f"cannot listen as a DHCP client on {interface}, UDP port {CLIENT_PORT}: {error.strerror}; "
                "the self-test needs root and a port that no other DHCP client holds"
            ) from error

    def __enter__(self) -> DhcpClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.socket.close()

    def discover(
        self, mac: str, architecture: int, ipxe: bool, *, timeout: float, tries: int = 3
    ) -> Offer | None:
        """The first OFFER for this client, or None when nobody answered any of the ``tries`` within ``timeout`` s each."""
        for _attempt in range(tries):
            transaction = int.from_bytes(os.urandom(4), "big")
            packet = discover_packet(mac, architecture, ipxe, transaction)
            try:
                self.socket.sendto(packet, ("255.255.255.255", SERVER_PORT))
            except OSError as error:
                raise ClusterError(
                    f"cannot send a DHCP request on {self.interface}: {error.strerror}"
                ) from error
            offer = self._await_offer(transaction, time.monotonic() + timeout)
            if offer is not None:
                return offer
        return None

    def _await_offer(self, transaction: int, deadline: float) -> Offer | None:
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                offer = parse_offer(self.socket.recv(4096), transaction)
            except socket.timeout:
                break
            if offer is not None:
                return offer
        return None
