# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

INSTALLED = [
    (name, one)
    for name, candidates in subject.COMPRESSORS.items()
    for one in candidates
    if shutil.which(one.program)
]


@pytest.mark.parametrize(("name", "one"), INSTALLED, ids=lambda value: getattr(value, "program", value))
def test_the_bytes_do_not_depend_on_the_number_of_cores(name: str, one: subject.Compressor) -> None:
    content = bytes(range(256)) * 40_000
    made = set()
    for threads in (1, 2, 4):
        words = {"level": one.default, "threads": threads, "more_threads": max(2, threads)}
        argv = [word.format(**words) for word in one.argv]
        made.add(subprocess.run(argv, input=content, stdout=subprocess.PIPE, check=True).stdout)
    assert len(made) == 1
    packed = made.pop()
    assert subject.recognise(packed) == name
    undone = subprocess.run(subject.decompressor(name), input=packed, stdout=subprocess.PIPE, check=True)
    assert undone.stdout == content


@pytest.mark.parametrize(
    ("name", "compression"),
    [
        ("a.tar.gz", "gzip"),
        ("a.tgz", "gzip"),
        ("a.dd.gz", "gzip"),
        ("a.tar.zst", "zstd"),
        ("a.txz", "xz"),
        ("a.tar.bz2", "bzip2"),
        ("a.img", None),
    ],
)
def test_names_promise_a_compression(name: str, compression: str | None) -> None:
    assert subject.by_name(name) == compression


def test_a_level_is_left_to_programs_with_usual_levels() -> None:
    one, argv = subject.choose("gzip", 9)
    assert one.program in ("pigz", "gzip") and "-9" in argv


@pytest.mark.parametrize(("compression", "level"), [("gzip", 10), ("gzip", 0), ("zstd", 20), ("bzip2", -1)])
def test_a_level_that_does_not_exist_is_an_error(compression: str, level: int) -> None:
    with pytest.raises(ClusterError, match=f"level: {level} is none of {compression}, which has"):
        subject.choose(compression, level)


def test_a_missing_program_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/does/not/exist")
    with pytest.raises(ClusterError, match="install the package isal or pigz or gzip"):
        subject.choose("gzip", None)
    with pytest.raises(ClusterError, match="install xz"):
        subject.decompressor("xz")
