# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_manifest as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

GOOD: dict[str, Any] = {
    "manifest": 1,
    "file": "image.tgz",
    "kind": "tar",
    "compression": "gzip",
    "size": 10,
    "uncompressed_size": 100,
    "sha256": "0" * 64,
    "md5": "0" * 32,
    "architecture": None,
    "distribution": None,
    "kernels": [],
    "initrds": [],
    "tools": {},
    "derived_from": None,
    "partition_size": None,
    "hygiene": [],
    "omitted": [],
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    image = tmp_path / "image.tgz"
    assert subject.read_manifest(image) is None
    subject.write_manifest(image, {**GOOD, "later": "kept"})
    assert subject.read_manifest(image) == {**GOOD, "later": "kept"}
    assert [path.name for path in tmp_path.iterdir()] == ["image.tgz.manifest.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest": 2}, "format 2 of the manifest is unknown"),
        ({"size": "10"}, "size is str, not int"),
        ({"size": True}, "size is bool, not int"),
        ({"kernels": None}, "kernels is NoneType, not list"),
        ({"kind": "zip"}, "kind is 'zip', not one of tar, dd"),
        ({"compression": "lzma"}, "compression is 'lzma'"),
    ],
)
def test_what_nobody_could_read_is_never_written(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match=message):
        subject.write_manifest(tmp_path / "image.tgz", {**GOOD, **change})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [key for key in GOOD if key != "manifest"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    text = json.dumps({name: value for name, value in GOOD.items() if name != key})
    (tmp_path / "image.tgz.manifest.json").write_text(text)
    with pytest.raises(ClusterError, match=f"image.tgz.manifest.json: the key {key} is missing"):
        subject.read_manifest(tmp_path / "image.tgz")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_other_content_is_no_manifest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.tgz.manifest.json").write_bytes(content)
    with pytest.raises(ClusterError, match="is no manifest of an image"):
        subject.read_manifest(tmp_path / "image.tgz")
