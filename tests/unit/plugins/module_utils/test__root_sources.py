# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import (
    Source,
    assignment,
    distribution_part,
    host_sources,
    resolve_sources,
)

ONE_LINE = """\
# a comment
deb http://a.example.org/debian bookworm main contrib # trailing
deb-src http://a.example.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/other.gpg] https://other.example.org/apt bookworm main
 deb http://a.example.org/debian-security bookworm-security main
"""

STANZAS = """\
Types: deb deb-src
# a comment
URIs: http://b.example.org/debian/
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example.org/debian
Suites: bookworm
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/b.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d/c.list.save").write_text(ONE_LINE)
    return tmp_path


def test_host_sources_reads_both_formats(apt: Path) -> None:
    debian = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert host_sources(apt) == [
        Source("http://a.example.org/debian", "bookworm", ("main", "contrib")),
        Source("https://other.example.org/apt", "bookworm", ("main",), "/usr/share/keyrings/other.gpg"),
        Source("http://a.example.org/debian-security", "bookworm-security", ("main",)),
        Source("http://b.example.org/debian/", "bookworm", ("main", "contrib"), debian),
        Source("http://b.example.org/debian/", "bookworm-updates", ("main", "contrib"), debian),
    ]


def test_host_without_sources(tmp_path: Path) -> None:
    assert host_sources(tmp_path) == []


def declared(**more: Any) -> dict[str, Any]:
    return {"suite": "trixie", "components": ["main"], "mirror": None, "security_mirror": None, **more}


def test_mirrors_of_the_host_serve_another_suite(apt: Path) -> None:
    assert [source.line() for source in resolve_sources(declared(), host_sources(apt))] == [
        "deb http://a.example.org/debian trixie main",
        "deb http://b.example.org/debian trixie-updates main",
        "deb http://a.example.org/debian-security trixie-security main",
    ]


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ({}, ["deb http://m/debian trixie main"]),
        (
            {"security_mirror": "http://s/x/"},
            ["deb http://m/debian trixie main", "deb http://s/x trixie-security main"],
        ),
        ({"components": ["main", "contrib"]}, ["deb http://m/debian trixie main contrib"]),
    ],
)
def test_declared_mirrors_are_the_only_ones(apt: Path, more: dict[str, Any], lines: list[str]) -> None:
    found = resolve_sources(declared(mirror="http://m/debian/", **more), host_sources(apt))
    assert [source.line() for source in found] == lines


def test_no_mirror_is_an_error() -> None:
    ubuntu = Source("http://archive.example.org/ubuntu", "jammy", ("main",))
    with pytest.raises(ClusterError, match="knows no Debian mirror; set mirror"):
        resolve_sources(declared(), [ubuntu])


@pytest.mark.parametrize(
    ("suite", "components", "signed_by", "part"),
    [
        ("bookworm", ("main",), "", ""),
        ("stable", ("main", "contrib"), "", ""),
        ("bookworm-updates", ("main",), "", "-updates"),
        ("bookworm-security", ("main",), "/x/debian-archive-keyring.gpg", "-security"),
        ("buster/updates", ("main",), "", "-security"),
        ("bookworm-backports", ("main",), "", None),
        ("bookworm", ("stable",), "", None),
        ("bookworm", ("main",), "/usr/share/keyrings/other.gpg", None),
        ("nodistro", ("main",), "", None),
    ],
)
def test_distribution_part(suite: str, components: tuple[str, ...], signed_by: str, part: str | None) -> None:
    assert distribution_part(Source("http://x", suite, components, signed_by)) == part


def test_assignment_is_apts_option() -> None:
    assert assignment('Acquire::http::Proxy "http://p:1/"') == "Acquire::http::Proxy=http://p:1/"
