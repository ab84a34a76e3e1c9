# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees, patches and origins of kernel sources: what is read out of files and of what programs say."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _kernel_source_origin,
    _kernel_source_swap,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_origin import (
    ADDRESS,
    COMMIT,
    only_archive,
    resolve,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_patch import explain
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_tree import (
    MARK,
    check_members,
    read_tree,
)

MAKEFILES = {
    "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 90\nEXTRAVERSION =\nNAME = Curry Ramen\n": (
        (6, 1, 90),
        "6.1.90",
    ),
    "VERSION = 2\nPATCHLEVEL = 4\nSUBLEVEL = 22\nEXTRAVERSION = -ltsp-2\n": ((2, 4, 22), "2.4.22-ltsp-2"),
    "# SPDX\nVERSION=6\nPATCHLEVEL=12\nSUBLEVEL=0\nEXTRAVERSION=-rc1 # first\n": ((6, 12, 0), "6.12.0-rc1"),
    "VERSION = 3\nPATCHLEVEL = 0\nEXTRAVERSION = \n": ((3, 0, 0), "3.0"),
}


@pytest.mark.parametrize("text", MAKEFILES)
def test_version(text: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(text)
    tree = read_tree(tmp_path)
    assert (tree.number, tree.version) == MAKEFILES[text] and tree.mark is None


@pytest.mark.parametrize("text", ["", "all:\n", "VERSION = x\nPATCHLEVEL = 1\n", "VERSION = 6\n"])
def test_no_kernel(text: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(text)
    with pytest.raises(ClusterError, match="does not set VERSION and PATCHLEVEL"):
        read_tree(tmp_path)


@pytest.mark.parametrize("mark", ["", "[]", '{"fingerprint": 7}', '{"other": "x"}', "\x00"])
def test_a_mark_that_is_none(mark: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")
    (tmp_path / MARK).write_text(mark)
    assert read_tree(tmp_path).mark is None
    (tmp_path / MARK).write_text(json.dumps({"fingerprint": "ab"}))
    assert read_tree(tmp_path).mark == {"fingerprint": "ab"}


LINKS = {
    "arch/arm/dts": ("../arm64/boot", True),
    "link": ("no/such/file", True),
    "top": (".", True),
    "arch/up": ("../..", False),
    "out": ("../other", False),
    "etc": ("/etc", False),
}


@pytest.mark.parametrize("path", LINKS)
def test_links(path: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / path).parent.mkdir(parents=True)
    target, fine = LINKS[path]
    (tree / path).symlink_to(target)
    if fine:
        check_members(tree)
    else:
        with pytest.raises(ClusterError, match=f"unsafe: {path} is a link to {target}"):
            check_members(tree)


PATCH = b"""\
--- a/kernel/sched.c
+++ b/kernel/sched.c
@@ -1,4 +1,4 @@ int schedule(void)
-x
+y
@@ -120,6 +120,7 @@
+z
--- a/fs/exec.c
+++ b/fs/exec.c
@@ -7 +7 @@
-x
+y
"""
SAID = {
    "checking file a\npatching file kernel/sched.c\nHunk #1 succeeded at 3 (offset 2 lines).\n"
    "Hunk #2 FAILED at 120.\n1 out of 2 hunks FAILED": (
        "hunk #2 of kernel/sched.c at line 120 (@@ -120,6 +120,7 @@) does not fit"
    ),
    "patching file fs/exec.c\nHunk #1 FAILED at 7.\n": (
        "hunk #1 of fs/exec.c at line 7 (@@ -7 +7 @@) does not fit"
    ),
    "patching file 'fs/a name.c'\nReversed (or previously applied) patch detected!  Skipping patch.\n": (
        "fs/a name.c is already in the source"
    ),
    "can't find file to patch at input line 3\nPerhaps you used the wrong -p or --strip option?\n"
    "The text leading up to this was:\n----\n|--- a/new.c\n|+++ b/new.c\n----\nNo file to patch.": (
        "b/new.c names a file that is not there"
    ),
    "patch: **** malformed patch at line 5:  \n": "malformed patch at line 5:  ",
    "Ignoring potentially dangerous file name ../../evil\ncan't find file to patch at input line 3": (
        "../../evil leads out of the tree"
    ),
    "File x.bin: git binary diffs are not supported.\n": "x.bin is a binary difference",
    "": "it printed nothing",
}


@pytest.mark.parametrize("said", SAID)
def test_the_first_fault_of_a_patch(said: str) -> None:
    assert explain(said, PATCH) == SAID[said]


REFERENCES = (
    "1111111111111111111111111111111111111111\trefs/heads/v6.1\n"
    "2222222222222222222222222222222222222222\trefs/tags/v6.1\n"
    "3333333333333333333333333333333333333333\trefs/tags/v6.1^{}\n"
    "4444444444444444444444444444444444444444\trefs/heads/main\n"
    "5555555555555555555555555555555555555555\tHEAD\n"
)


@pytest.mark.parametrize(
    ("ref", "digit"), [("v6.1", "3"), ("main", "4"), ("HEAD", "5"), ("refs/heads/v6.1", "1")]
)
def test_references(ref: str, digit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag comes before a branch, and leads to its commit."""
    monkeypatch.setattr(_kernel_source_origin, "git", lambda *_words: REFERENCES)
    assert resolve("file:///x", ref) == digit * 40


def test_what_is_an_address_and_a_commit() -> None:
    assert ADDRESS.match("https://x/y.tar.xz") and not ADDRESS.match("/srv/http://x")
    assert COMMIT.fullmatch("0" * 40) and COMMIT.fullmatch("a" * 64) and not COMMIT.fullmatch("v6.1")


def test_the_archive_of_a_package() -> None:
    there = [Path("/usr/share/doc/x.tar.gz"), Path("/usr/src"), Path("/usr/src/linux-source-6.1.tar.xz")]
    assert only_archive(there, "linux-source-6.1") == there[2]
    for listed in ([], there[:2], [*there, Path("/usr/src/other.tar.xz")]):
        with pytest.raises(ClusterError, match="archives in /usr/src instead of one"):
            only_archive(listed, "linux-source-6.1")


def folders(tmp_path: Path) -> tuple[Path, Path]:
    new, place = tmp_path / ".tree.new", tmp_path / "tree"
    for folder in (new, place):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    return new, place


@pytest.mark.parametrize("number", [0, errno.EINVAL, errno.ENOSYS])
def test_a_folder_takes_the_place_of_another(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a file system that cannot exchange names, here played by the answer alone."""
    new, place = folders(tmp_path)
    if number:
        monkeypatch.setattr(_kernel_source_swap, "exchange", lambda *_paths: False)
    _kernel_source_swap.replace_folder(new, place)
    assert os.listdir(tmp_path) == ["tree"] and (place / "file").read_text() == ".tree.new"


def test_a_first_folder_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    _kernel_source_swap.replace_folder(tmp_path / "new", tmp_path / "tree")
    assert os.listdir(tmp_path) == ["tree"]
    with pytest.raises(OSError, match="No such file"):
        _kernel_source_swap.replace_folder(tmp_path / "new", tmp_path / "tree")
    assert os.listdir(tmp_path) == ["tree"]
