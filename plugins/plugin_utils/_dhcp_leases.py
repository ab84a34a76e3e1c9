# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Machines that nobody declared, as dnsmasq recorded them when it gave them an address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import parse_address, parse_mac
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_sources import (
    CHECKS,
    TIMEOUT,
    Absent,
    Place,
    Reading,
    absolute,
    from_command,
    from_file,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import read_text

KINDS = ("file", "command")
FIELDS = (*KINDS, "range", "optional", "timeout")


@dataclass(frozen=True)
class Lease:
    """``name`` is what the initrd calls a machine that DHCP gives no name: by its address."""

    name: str
    mac: str
    address: str


def read_leases(declarations: Sequence[Mapping[str, Any]], place: Place, now: float) -> list[Lease]:
    """The machines that hold an address at ``now`` (Unix seconds), in the order of their addresses.

    ``declarations``: the inventory's option ``leases``. Raises ClusterError for one that is wrong, or absent and not
    optional.
    """
    found: dict[str, Lease] = {}
    for number, declaration in enumerate(declarations, 1):
        where = f"leases {number}"
        first, last = check(declaration, where)
        try:
            reading = read(declaration, place)
        except Absent as absence:
            if not declaration.get("optional"):
                raise
            place.report(f"{absence}; left out, it is optional")
            continue
        leases = list(parse_leases(reading.text, reading.origin, now))
        joined = [lease for lease in leases if first <= ipaddress.IPv4Address(lease.address) <= last]
        place.report(f"{reading.origin}: {len(leases)} leases, {len(joined)} of them of the range")
        found |= {lease.address: lease for lease in joined}
    return [found[address] for address in sorted(found, key=ipaddress.IPv4Address)]


def check(declaration: Any, where: str) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """The two ends of its range; raises ClusterError unless all of it is right."""
    if not isinstance(declaration, Mapping):
        raise ClusterError(f"{where} is no mapping; give {' or '.join(KINDS)}, and range")
    foreign = sorted(set(map(str, declaration)) - set(FIELDS))
    if foreign:
        raise ClusterError(f"{where}: unknown key {foreign[0]!r}; known: {', '.join(FIELDS)}")
    if len([kind for kind in KINDS if kind in declaration]) != 1:
        raise ClusterError(f"{where}: give exactly one of {', '.join(KINDS)}")
    for field in declaration:
        fault = CHECKS[field](declaration[field]) if field in CHECKS else None
        if fault:
            raise ClusterError(f"{where}: {field} {fault}")
    ends = str(declaration.get("range", "")).split("-")
    try:
        first, last = (ipaddress.IPv4Address(parse_address(end)) for end in ends)
    except (ClusterError, ValueError) as error:
        raise ClusterError(
            f"{where}: range {declaration.get('range')!r} is none; write the addresses of those whom nobody declared, "
            "10.77.0.100-10.77.0.199"
        ) from error
    return first, last


def read(declaration: Mapping[str, Any], place: Place) -> Reading:
    if "file" in declaration:
        return from_file(absolute(declaration["file"], place))
    argv = [str(word) for word in declaration["command"]]
    return from_command(argv, float(declaration.get("timeout", TIMEOUT)), place)


def parse_leases(text: str | bytes, source: str, now: float) -> Iterator[Lease]:
    """The leases that last beyond ``now``.

    A line of dnsmasq's lease file is ``EXPIRES MAC ADDRESS NAME CLIENT-ID`` (lease_update_file in its src/lease.c), where
    0 never expires; leases of IPv6 come after a line ``duid``. An empty file has none.
    """
    read_out = read_text(text, source)
    for number, line in enumerate(read_out.text.split("\n"), 1):
        words = line.split()
        if words[:1] == ["duid"]:
            return
        if not words:
            continue
        if len(words) != 5 or not (words[0].isascii() and words[0].isdigit()):
            raise read_out.fault(f"{quoted(line)} is no line of dnsmasq's leases", line=number)
        try:
            address, mac = parse_address(words[2]), parse_mac(words[1])
        except ClusterError as error:
            raise read_out.fault(error, line=number) from error
        if int(words[0]) == 0 or int(words[0]) > now:
            yield Lease(f"node-{address.replace('.', '-')}", mac, address)
