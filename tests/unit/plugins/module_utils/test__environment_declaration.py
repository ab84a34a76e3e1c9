# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_declaration import (
    declare,
    differences,
    merge,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SHA256 = "a" * 64
BASE = Entry(
    "deploy",
    "min",
    7,
    complete(
        {
            "name": "min",
            "alias": "debian-min",
            "version": 7,
            "visibility": "public",
            "os": "linux",
            "image": {"file": f"server:///images/{SHA256}.tar.gz", "kind": "tar", "compression": "gzip"},
            "postinstalls": [{"archive": "/p.tgz", "compression": "gzip"}],
            "boot": {"kernel": "/vmlinuz", "kernel_params": "quiet"},
            "filesystem": "ext4",
            "oneimage": {"sha256": SHA256, "size": 5, "note": "kept", "owner": "deploy"},
        }
    ),
)


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": None}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge(below: dict[str, Any], above: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merge(below, above) == expected


def test_derived_by_somebody_else() -> None:
    declared = declare([{"name": "mine", "boot": {"kernel_params": None}}], BASE, None, "alice")
    found = declared.description
    assert (declared.name, declared.owner, declared.version) == ("mine", "alice", None)
    assert found["visibility"] == "private" and "alias" not in found
    assert (
        found["boot"] == {"kernel": "/vmlinuz"} and found["postinstalls"] == BASE.description["postinstalls"]
    )
    assert found["oneimage"] == {
        "sha256": SHA256, "size": 5, "note": "kept", "owner": "alice", "base": "min@deploy:7",
    }  # fmt: skip


def test_a_further_version_of_itself_keeps_alias_and_visibility() -> None:
    found = declare([{"description": "again"}], BASE, None, "deploy").description
    assert (found["alias"], found["visibility"]) == ("debian-min", "public")
    assert differences(BASE.description, found) == ["description"]


def test_another_image_does_not_keep_the_checksums() -> None:
    elsewhere = declare([{"image": {"file": "http://h/y.tgz"}}], BASE, None, "deploy").description
    assert elsewhere["oneimage"] == {"note": "kept", "owner": "deploy", "base": "min@deploy:7"}
    promised = {"image": {"file": "http://h/y.tgz"}, "oneimage": {"sha256": "b" * 64}}
    assert declare([promised], BASE, None, "deploy").description["oneimage"]["sha256"] == "b" * 64
    facts = {"image": {"kind": "dd", "compression": "zstd"}, "oneimage": {"sha256": "c" * 64, "size": 9}}
    captured = declare([{"image": {"file": "/y"}}], BASE, facts, "deploy").description
    assert captured["image"] == {"file": "/y", "kind": "dd", "compression": "zstd"}
    assert captured["oneimage"]["size"] == 9


def test_every_fault_at_once() -> None:
    with pytest.raises(ClusterError) as caught:
        declare([{"name": "x", "os": "hurd", "version": "1"}], None, None, "alice")
    assert str(caught.value).startswith("environment x: version is '1'") and "os is 'hurd'" in str(
        caught.value
    )


def test_where_an_image_lies_makes_no_difference() -> None:
    moved = {**BASE.description, "image": {**BASE.description["image"], "file": f"http://h/{SHA256}.tar.gz"}}
    assert differences(BASE.description, moved) == []
    assert differences(BASE.description, {**moved, "version": 9}) == []
    other = {**moved, "oneimage": {**moved["oneimage"], "sha256": "b" * 64}}
    assert "oneimage/sha256" in differences(BASE.description, other)
    renamed = {**moved, "image": {**moved["image"], "file": "http://h/x.tar.gz"}}
    assert differences(BASE.description, renamed) == ["image/file"]
