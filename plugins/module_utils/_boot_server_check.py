# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Test a boot server from a client's side: every answer, every file and every export, compared with what was declared."""

from __future__ import annotations

import hashlib
import http.client
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._dhcp_client import (
    DhcpClient,
    interface_towards,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nfs_client import Source, choose_client
from ansible_collections.oneimage.cluster.plugins.module_utils._node import parse_address, parse_mac
from ansible_collections.oneimage.cluster.plugins.module_utils._tftp_client import tftp_sha256

SHOWN_PROBLEMS = 10
CHUNK = 1 << 20
EXPORT_PATIENCE = 4
"""A mount is many calls: how many times longer than one answer it may take."""


@dataclass
class Report:
    """What was tried, by protocol, and a sentence for each piece that is missing or wrong."""

    tried: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def attempt(self, protocol: str, subject: str, check: Callable[[], str | None]) -> None:
        """Run ``check``, which returns or raises what is wrong."""
        self.tried[protocol] = self.tried.get(protocol, 0) + 1
        try:
            problem = check()
        except ClusterError as error:
            problem = str(error)
        if problem:
            self.problems.append(f"{protocol.upper()} {subject}: {problem}")

    def summary(self, server: str) -> str:
        shown = self.problems[:SHOWN_PROBLEMS]
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} more")
        return (
            f"boot server {server} fails {len(self.problems)} of {sum(self.tried.values())} checks: "
            + "; ".join(shown)
        )


def check_boot_server(options: dict[str, Any]) -> Report:
    """Try everything that ``options`` (those of the module boot_server_check) declare; problems are gathered, not raised."""
    parse_address(options["server"])
    if not 0 <= options["http_port"] <= 65535:
        raise ClusterError(f"http_port: {options['http_port']} is no port")
    report = Report()
    check_answers(report, options)
    for file in options["files"]:
        for protocol, fetch in fetchers(file, options):
            report.attempt(protocol, file["path"], partial(compare, fetch, file["sha256"]))
    check_exports(report, options)
    return report


def check_answers(report: Report, options: dict[str, Any]) -> None:
    """Ask DHCP for every declared answer."""
    if not options["answers"]:
        return
    with DhcpClient(options["interface"] or interface_towards(options["server"])) as client:
        for answer in options["answers"]:
            answer = {**answer, "mac": parse_mac(answer["mac"])}
            who = f"architecture {answer['architecture']}{', iPXE' if answer['ipxe'] else ''}"
            report.attempt(
                "dhcp", f"{answer['mac']} ({who})", partial(ask, client, answer, options["timeout"])
            )


def ask(client: DhcpClient, answer: dict[str, Any], timeout: float) -> str | None:
    offer = client.discover(answer["mac"], answer["architecture"], answer["ipxe"], timeout=timeout)
    if offer is None:
        return f"no offer on {client.interface}"
    wrong = [
        f"{name.replace('_', ' ')} {getattr(offer, name) or 'none'} where {wanted or 'none'} was declared"
        for name, wanted in answer["expect"].items()
        if wanted is not None and getattr(offer, name) != wanted
    ]
    return f"{', '.join(wrong)} (offer of {offer.server})" if wrong else None


def fetchers(file: dict[str, Any], options: dict[str, Any]) -> Iterator[tuple[str, Callable[[], str]]]:
    """The protocols that one file of the boot tree is fetched by."""
    server, path, timeout = options["server"], file["path"], options["timeout"]
    if options["tftp"] and file["size"] <= options["tftp_max_size"]:
        yield "tftp", partial(tftp_sha256, server, path, timeout=timeout)
    if options["http_port"]:
        yield "http", partial(http_sha256, server, options["http_port"], path, timeout=timeout)


def http_sha256(server: str, port: int, path: str, *, timeout: float) -> str:
    """The sha256 of ``http://server:port/path``, past any proxy; raises ClusterError with what the server answered."""
    connection = http.client.HTTPConnection(server, port, timeout=timeout)
    digest = hashlib.sha256()
    try:
        connection.request("GET", "/" + urllib.parse.quote(path))
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise ClusterError(f"the server answered {response.status} {response.reason}")
        while chunk := response.read(CHUNK):
            digest.update(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"cannot fetch from port {port}: {error}") from error
    finally:
        connection.close()
    return digest.hexdigest()


def check_exports(report: Report, options: dict[str, Any]) -> None:
    """Mount every export by every NFS version; read the file that is known to be in it, or else list it."""
    if not options["exports"]:
        return
    read = choose_client(options["nfs_client"])
    for export in options["exports"]:
        for version in options["nfs_versions"]:
            source = Source(
                options["server"],
                export["path"],
                export["file"],
                version,
                EXPORT_PATIENCE * options["timeout"],
            )
            subject = f"version {version} {export['path']} {export['file'] or ''}".rstrip()
            report.attempt("nfs", subject, partial(compare, partial(read, source), export["sha256"]))


def compare(fetch: Callable[[], str], declared: str | None) -> str | None:
    """What is wrong with the sha256 that ``fetch`` returns; where none is declared it is enough that it comes back."""
    found = fetch()
    if declared is None or found == declared:
        return None
    return f"what arrives has the sha256 {found[:12]}…, the boot server's file has {declared[:12]}…"
