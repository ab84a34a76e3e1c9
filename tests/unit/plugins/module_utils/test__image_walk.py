# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The walk over a root: its order, its digest, and what goes while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._image_hygiene import Hygiene, Scan
from ansible_collections.oneimage.cluster.plugins.module_utils._image_walk import Tree, Walk


def walk(root: Path, own: Callable[[str], bool] = lambda _path: False) -> Tree:
    return Walk(root, Hygiene([], []), Scan([]), own).run()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/true").write_text("true")
    (tmp_path / "usr/lib").symlink_to("bin")
    settle(tmp_path)
    return tmp_path


def settle(root: Path) -> None:
    """One time for all but regular files, so that a fingerprint has no other reason to differ than what a test changes."""
    for path in root.rglob("*"):
        if path.is_symlink() or path.is_dir():
            os.utime(path, ns=(0, 0), follow_symlinks=False)


def test_folders_follow_their_neighbours(root: Path) -> None:
    assert walk(root).members == ["usr", "usr/bin", "usr/lib", "usr/bin/true"]


def other_target(root: Path) -> None:
    (root / "usr/lib").unlink()
    (root / "usr/lib").symlink_to("sbin")


def other_content(root: Path) -> None:
    """Of the same size, under the old time."""
    file = root / "usr/bin/true"
    old = file.stat().st_mtime_ns
    file.write_text("talk")
    os.utime(file, ns=(old, old))


@pytest.mark.parametrize(
    "change",
    [
        other_target,
        other_content,
        lambda root: (root / "usr/bin").chmod(0o700),
        lambda root: (root / "usr/lib").rename(root / "usr/lib64"),
    ],
    ids=["target", "content", "mode", "name"],
)
def test_another_state_has_another_fingerprint(root: Path, change: Callable[[Path], None]) -> None:
    before = walk(root).fingerprint
    settle(root)
    assert walk(root).fingerprint == before
    change(root)
    settle(root)
    assert walk(root).fingerprint != before


def test_the_time_of_a_folder_counts(root: Path) -> None:
    before = walk(root).fingerprint
    os.utime(root / "usr/bin", ns=(1, 1))
    assert walk(root).fingerprint != before


def test_a_link_that_goes_while_it_is_read_is_left_out(root: Path) -> None:
    """A file that goes stays in the list, for tar to tell of."""

    def own(path: str) -> bool:
        if path in ("usr/lib", "usr/bin/true"):
            (root / path).unlink()
        return False

    assert walk(root, own).members == ["usr", "usr/bin", "usr/bin/true"]
