# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Where packages come from: the mirrors that a root declares, or those of this host's own apt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run, tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

APT_FOLDER = Path("/etc/apt")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CODENAMES = (
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
)
INHERITED = re.compile(
    r"Acquire::(https?::Proxy|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])\b", re.IGNORECASE
)
APT_HELPER = "/usr/lib/apt/apt-helper"
PROBE_OPTIONS = ('Acquire::Retries "0"', 'Acquire::http::Timeout "15"', 'Acquire::https::Timeout "15"')


@dataclass(frozen=True)
class Source:
    """One suite of one mirror."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self) -> str:
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


def host_sources(folder: Path = APT_FOLDER) -> list[Source]:
    """Everything that the apt of this host fetches binary packages from, in apt's own order."""
    found = []
    lists = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for path in lists:
        if path.suffix == ".list" and path.is_file():
            found += one_line_sources(path.read_text(encoding="utf-8", errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += stanza_sources(path.read_text(encoding="utf-8", errors="replace"))
    return found


def one_line_sources(text: str) -> list[Source]:
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)(?:#.*)?", line.strip())
        if match:
            options, uri, suite, components = match.groups()
            signed = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            found.append(Source(uri, suite, tuple(components.split()), signed.group(1) if signed else ""))
    return found


def stanza_sources(text: str) -> list[Source]:
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, _colon, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
            "0",
        ):
            continue
        signed = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(
                    Source(
                        uri,
                        suite,
                        tuple(fields.get("components", "").split()),
                        signed if signed.startswith("/") else "",
                    )
                )
    return found


def resolve_sources(declared: dict[str, Any], of_host: Iterable[Source]) -> list[Source]:
    """The suites that a root is made from: main first, then updates and security where the mirrors are known.

    Raises ClusterError where neither the declaration nor this host names a Debian mirror.
    """
    suite, components = declared["suite"], tuple(declared["components"])
    if declared["mirror"]:
        mirrors = {"": declared["mirror"], "-security": declared["security_mirror"]}
    else:
        mirrors = {}
        for source in of_host:
            part = distribution_part(source)
            if part is not None:
                mirrors.setdefault(part, source.uri)
        if "" not in mirrors:
            raise ClusterError(
                "mirror: the apt of this host knows no Debian mirror; set mirror to the address of one"
            )
    order = ("", "-updates", "-security")
    return [
        Source(mirrors[part].rstrip("/"), suite + part, components) for part in order if mirrors.get(part)
    ]


def distribution_part(source: Source) -> str | None:
    """``""``, ``-updates`` or ``-security`` for a suite of Debian's own archive, None for anybody else's."""
    codename, _dash, part = source.suite.replace("/", "-").partition("-")
    foreign = source.signed_by and "debian-archive" not in source.signed_by
    if codename not in CODENAMES or foreign or "main" not in source.components:
        return None
    if part not in ("", "updates", "security"):
        return None
    if part == "updates" and source.suite.endswith("/updates"):
        part = "security"
    return f"-{part}" if part else ""


def host_settings() -> list[str]:
    """The settings of this host's apt without which its mirrors do not answer, as lines of apt.conf."""
    dump = run(["apt-config", "dump", "Acquire"]).stdout.decode()
    return [
        line.rstrip(";") for line in dump.splitlines() if INHERITED.match(line) and not line.endswith('"";')
    ]


def serving(
    sources: Iterable[Source], settings: Iterable[str], scratch: Path
) -> tuple[list[Source], list[str]]:
    """The sources that answer, and a warning for each of updates and security that the mirror does not have.

    Raises ClusterError where the main suite, which comes first, does not answer.
    """
    answering, warnings = [], []
    options = [piece for setting in (*settings, *PROBE_OPTIONS) for piece in ("-o", assignment(setting))]
    for source in sources:
        address = f"{source.uri}/dists/{source.suite}/InRelease"
        probe = run(
            [APT_HELPER, *options, "download-file", address, str(scratch / "InRelease")],
            accept=range(256),
            timeout=120,
        )
        (scratch / "InRelease").unlink(missing_ok=True)
        if probe.returncode == 0:
            answering.append(source)
        elif answering and b"404" in probe.stderr + probe.stdout:
            warnings.append(f"{source.uri} has no {source.suite}: the root is made without it")
        else:
            raise ClusterError(
                f"mirror: {address} does not answer: {tail(probe.stderr or probe.stdout)}; "
                "check mirror, proxy and suite; the published root is untouched"
            )
    return answering, warnings


def assignment(setting: str) -> str:
    """A line of apt.conf as apt takes it after -o."""
    name, _space, value = setting.partition(" ")
    return f"{name}={value.strip().strip(chr(34))}"
