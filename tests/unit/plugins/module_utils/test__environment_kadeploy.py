# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import FIELDS
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_kadeploy import (
    KadeployRegistry,
    known_fields,
    target_of,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_client import (
    EnvironmentClient,
    Record,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_kaenv import LEAST_NAME, ROW
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_notes import (
    Notes,
    differs,
    files,
    fingerprint,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_rest import Access, checked_url

DESCRIPTION: dict[str, Any] = {
    "name": "x",
    "os": "linux",
    "image": {"file": "server:///i.tgz", "kind": "tar", "compression": "gzip"},
    "boot": {"kernel": "/k"},
    "filesystem": "ext4",
}


class Asked(EnvironmentClient):
    """A client that knows one version number and nothing else."""

    title, user = "Kadeploy", "alice"

    def __init__(self, version: str = "3.3.11.stable", exports_files: bool = False) -> None:
        self.version, self.exports_files = version, exports_files

    def server_version(self) -> str:
        return self.version

    def records(self, name: str | None, owner: str | None, version: int | None = None) -> list[Record]:
        return []

    def owners(self, name: str | None, version: int | None = None) -> list[str]:
        return []

    def add(self, description: Mapping[str, Any], text: str) -> None: ...

    def delete(self, name: str, owner: str, version: int) -> None: ...

    def set_visibility(self, name: str, owner: str, version: int, visibility: str) -> None: ...

    def toggle_destructive(self, name: str, owner: str, version: int) -> None: ...

    def update_checksum(self, name: str, owner: str, version: int, kind: str) -> None: ...


def registry(target: str = "3.3", **more: Any) -> KadeployRegistry:
    return KadeployRegistry(Asked(**more), target, Notes(None))


def settle(target: str, **more: Any) -> tuple[dict[str, Any], list[str]]:
    found = registry(target)
    return found.settle(complete({**DESCRIPTION, **more}), "alice", None), found.remarks()


@pytest.mark.parametrize(
    ("version", "target"),
    [
        ("3.3.11.stable", "3.3"),
        ("3.1.7", "3.3"),
        ("3.9.1", "current"),
        ("3.11", "current"),
        ("4.0-rc1", "current"),
    ],
)
def test_the_version_tells_the_target(version: str, target: str) -> None:
    assert target_of(version, "k") == target
    assert registry("auto", version=version).target == target


def test_no_version_is_an_error() -> None:
    with pytest.raises(ClusterError, match="set registry.target"):
        target_of("<html>", "Kadeploy at http://x")


@pytest.mark.parametrize(
    ("more", "lost"),
    [
        ({"alias": "a"}, "alias"),
        ({"arch": "x86_64"}, "arch"),
        ({"custom_variables": {"A": "1"}}, "custom_variables"),
        ({"options": {"kexec": True}}, "options/kexec"),
        ({"of_ours": 1}, "of_ours"),
    ],
)
def test_what_3_3_cannot_hold_is_left_out_and_told(more: dict[str, Any], lost: str) -> None:
    settled, remarks = settle("3.3", **more)
    assert settled == settle("3.3")[0]
    assert any(f"{lost} is lost" in remark for remark in remarks)


@pytest.mark.parametrize("more", [{"arch": "x86_64", "alias": "a"}, {"custom_variables": {"A": "1"}}])
def test_the_current_one_holds_it(more: dict[str, Any]) -> None:
    settled, remarks = settle("current", **more)
    assert {name: settled[name] for name in more} == more
    assert remarks == []


@pytest.mark.parametrize("target", ["3.3", "current"])
def test_oneimage_is_ours_alone(target: str) -> None:
    assert settle(target, oneimage={"sha256": "0" * 64}) == settle(target)


@pytest.mark.parametrize("path", ["of_ours", "boot/of_ours", "image/of_ours"])
def test_unknown_fields_are_told_from_known_ones(path: str) -> None:
    group, _slash, name = path.rpartition("/")
    values = {**DESCRIPTION, **({group: {**DESCRIPTION[group], name: 1}} if group else {name: 1})}
    assert known_fields(FIELDS, values) == (DESCRIPTION, [path])


def test_long_texts_are_cut_where_the_database_cuts_them() -> None:
    settled, remarks = settle("3.3", author="a" * 60)
    assert settled["author"] == "a" * 56 and "author" in remarks[0]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"image": {**DESCRIPTION["image"], "compression": "zstd"}}, "zstd"),
        ({"image": {**DESCRIPTION["image"], "file": "/home/x.tgz"}}, "a file of this host"),
        (
            {"postinstalls": [{"archive": "server:///p.tgz", "compression": "gzip", "script": "run a,b"}]},
            "postinstalls",
        ),
    ],
)
def test_what_would_be_refused_or_corrupted_is_refused_before(more: dict[str, Any], fault: str) -> None:
    with pytest.raises(ClusterError, match=fault):
        settle("3.3", **more)


def test_a_client_that_serves_files_takes_those_of_its_host() -> None:
    image = {**DESCRIPTION["image"], "file": "/home/x.tgz"}
    settled = registry(exports_files=True).settle(complete({**DESCRIPTION, "image": image}), "alice", None)
    assert settled["image"]["file"] == "/home/x.tgz"


@pytest.mark.parametrize(
    ("row", "owner"),
    [
        ("centosstream9-nfs     2024090216 alice       modern", "alice"),
        ("squeeze-mine          1       alice       My squeeze", "alice"),
        ("a name with 12 blanks 3       bob         text 4 carol here", "bob"),
        ("a-name-that-is-longer-than-its-column 7 deploy      min", "deploy"),
        ("x                     1       alice       ", "alice"),
    ],
)
def test_rows_of_kaenv3_tell_the_owner(row: str, owner: str) -> None:
    match = ROW.search(row, LEAST_NAME)
    assert match and match["owner"] == owner


@pytest.mark.parametrize(
    ("url", "password", "right"),
    [
        ("https://kadeploy.example:25300/", None, True),
        ("http://kadeploy:25300", None, True),
        ("http://127.0.0.1:25300", "p", True),
        ("http://kadeploy:25300", "p", False),
        ("file:///etc/passwd", None, False),
        ("https://user:p@kadeploy", None, False),
        ("https://", None, False),
        ("https://[::1", None, False),
        ("https://k?x=1", None, False),
    ],
)
def test_urls(url: str, password: str | None, right: bool) -> None:
    access = Access(url, "alice", password)
    if right:
        assert checked_url(access) == url.rstrip("/")
    else:
        with pytest.raises(ClusterError, match="registry.url"):
            checked_url(access)


def entry(uri: str) -> Entry:
    description = complete({**DESCRIPTION, "image": {**DESCRIPTION["image"], "file": uri}})
    return Entry("alice", "na/me", 3, description)


def test_notes_tell_a_changed_file(tmp_path: Path) -> None:
    image = tmp_path / "i.tgz"
    image.write_bytes(b"one")
    notes, one = Notes(tmp_path / "notes"), entry(f"server://{image}")
    assert notes.stale(one) == {"image": None}
    notes.remember(one)
    assert [path.name for path in (tmp_path / "notes" / "alice").iterdir()] == ["na%2Fme"]
    assert notes.stale(one) == {"image": False}
    os.utime(image, (1, 1))
    assert notes.stale(one) == {"image": False}
    image.write_bytes(b"two")
    assert notes.stale(one) == {"image": True}
    image.unlink()
    assert notes.stale(one) == {"image": None}
    notes.forget(one)
    notes.forget(one)
    assert notes.read(one) == {}


def test_a_torn_note_says_nothing(tmp_path: Path) -> None:
    notes, one = Notes(tmp_path), entry("server:///none")
    for text in ("{", "[]", '{"server:///none": 3}'):
        file = notes.place(tmp_path, one)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        assert notes.stale(one) == {"image": None}


def test_fingerprints(tmp_path: Path) -> None:
    image = tmp_path / "i"
    image.write_bytes(b"x" * (3 << 20))
    found = fingerprint(str(image))
    assert found and found["size"] == 3 << 20
    assert found["md5"] == hashlib.md5(image.read_bytes(), usedforsecurity=False).hexdigest()
    assert fingerprint("server:///none") is None
    assert differs("http://127.0.0.1:9/x", {"etag": "1"}) is None


def test_files_by_kind() -> None:
    post = {"archive": "server:///p", "compression": "gzip"}
    assert files({**DESCRIPTION, "preinstall": post, "postinstalls": [post, post]}) == {
        "image": ["server:///i.tgz"],
        "preinstall": ["server:///p"],
        "postinstalls": ["server:///p", "server:///p"],
    }
