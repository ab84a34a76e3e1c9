# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""How far each node's boot came, read from what the boot server's own services log.

Lines come from three logs: the journal of dnsmasq (``journalctl --output short-unix``), nginx's access log in its
``combined`` format, and the log of the reports that nodes send (``TIME MAC STAGE ADDRESS``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

ADVICE = {
    "": "no DHCP request of it was seen: is its MAC right, is it on this network, does it boot from the network first?",
    "dhcp": "it has an address but fetched no loader: does the answer fit its firmware, does UDP port 69 reach the server?",
    "loader": "its loader fetched no kernel: look at its boot entry and at the console",
    "kernel": "the kernel was fetched but no initrd reported: does the kernel start here, has the initrd the NIC's driver?",
    "initrd": "the initrd has the network but no root: is the root exported to this address, is its path the published one?",
    "deploy": "the deployment environment is up but its ssh does not answer: look at the console",
    "root": "the root is mounted but ssh does not answer: look at the console for failed units",
    "ssh": "",
}
"""What to look at when a boot ended at a stage; the keys are all the stages, in their order."""

STAGES = tuple(ADVICE)

FETCHED = (
    (re.compile(r"/vmlinuz$"), "kernel"),
    (re.compile(r"/initrd[^/]*$"), "kernel"),
    (re.compile(r"^(ipxe|pxelinux\.cfg|grub)/|\.(0|c32|kpxe|efi|efi\.signed|ipxe)$"), "loader"),
)
"""The stage that a file fetched from the boot tree proves."""

DNSMASQ_LEASE = re.compile(r"^(?P<at>[\d.]+) .*DHCPACK\(\S+\) (?P<address>[\d.]+) (?P<mac>[0-9a-f:]{17})")
DNSMASQ_SENT = re.compile(r"^(?P<at>[\d.]+) .*: sent (?P<path>\S+) to (?P<address>[\d.]+)")
NGINX = re.compile(r'^(?P<address>[\d.]+) \S+ \S+ \[(?P<time>[^\]]+)\] "GET /(?P<path>[^ ?"]*)[^"]*" 20\d')
REPORT = re.compile(r"^(?P<time>\S+) (?P<mac>[0-9A-Fa-f:-]{17}) (?P<stage>\S+) (?P<address>[\d.]+)")


class Event(NamedTuple):
    """A stage that the node with ``mac`` or ``address`` reached ``at`` (seconds since 1970), and the line that shows it."""

    at: float
    mac: str
    address: str
    stage: str
    evidence: str


def dnsmasq_events(lines: Iterable[str], tree: str) -> Iterable[Event]:
    """Leases and files sent by TFTP; ``tree`` is the boot tree, below which paths are looked at."""
    for line in lines:
        lease = DNSMASQ_LEASE.match(line)
        if lease:
            yield Event(float(lease["at"]), lease["mac"], lease["address"], "dhcp", line)
        sent = DNSMASQ_SENT.match(line)
        stage = (
            stage_of_file(sent["path"][len(tree) :].lstrip("/"))
            if sent and sent["path"].startswith(tree)
            else ""
        )
        if sent and stage:
            yield Event(float(sent["at"]), "", sent["address"], stage, line)


def nginx_events(lines: Iterable[str]) -> Iterable[Event]:
    """Files fetched by HTTP."""
    for line in lines:
        got = NGINX.match(line)
        stage = stage_of_file(got["path"]) if got else ""
        if got and stage:
            at = datetime.strptime(got["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
            yield Event(at, "", got["address"], stage, line)


def report_events(lines: Iterable[str]) -> Iterable[Event]:
    """What initrds said of themselves; a ``failed-STAGE`` is evidence of the stage before it."""
    for line in lines:
        said = REPORT.match(line)
        if said and said["stage"] in ("initrd", "deploy", "root"):
            at = datetime.fromisoformat(said["time"]).timestamp()
            yield Event(at, said["mac"].lower().replace("-", ":"), said["address"], said["stage"], line)


def stage_of_file(path: str) -> str:
    """The stage that fetching ``path`` of the boot tree proves, or nothing."""
    return next((stage for pattern, stage in FETCHED if pattern.search(path)), "")


def observe(
    nodes: Sequence[Mapping[str, Any]],
    events: Iterable[Event],
    answering: Mapping[str, str],
    since: float,
    now: float,
) -> dict[str, dict[str, Any]]:
    """Per node name: the last ``stage``, its ``seconds`` since ``since``, ``evidence``, ``advice`` and the ``timeline``.

    ``nodes`` have name, mac and address; ``answering`` maps the addresses whose ssh answers to what they said.
    Logs of whole seconds may lie up to one before ``since``.
    """
    firsts: dict[str, dict[str, Event]] = {node["name"]: {} for node in nodes}
    names = {node[field]: node["name"] for node in nodes for field in ("mac", "address") if node.get(field)}
    for event in sorted(event for event in events if event.at >= since - 1):
        name = names.get(event.mac) or names.get(event.address)
        if name:
            firsts[name].setdefault(event.stage, event)
    for node in nodes:
        if node["address"] in answering:
            firsts[node["name"]]["ssh"] = Event(now, "", node["address"], "ssh", answering[node["address"]])
    return {name: summary(found, since) for name, found in firsts.items()}


def summary(found: Mapping[str, Event], since: float) -> dict[str, Any]:
    """One node's boot: the furthest stage, and all the stages it passed in their order."""
    timeline = [
        {
            "stage": stage,
            "seconds": max(0.0, round(found[stage].at - since, 1)),
            "evidence": found[stage].evidence,
        }
        for stage in STAGES
        if stage in found
    ]
    last = timeline[-1] if timeline else {"stage": "", "seconds": None, "evidence": ""}
    return {**last, "advice": ADVICE[str(last["stage"])], "timeline": timeline}
