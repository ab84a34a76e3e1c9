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
    os.link(tmp_path / "usr/bin/true", tmp_path / "usr/bin/yes")
    return tmp_path


def test_folders_follow_their_neighbours(root: Path) -> None:
    assert walk(root).members == ["usr", "usr/bin", "usr/lib", "usr/bin/true", "usr/bin/yes"]


def other_target(root: Path) -> None:
    (root / "usr/lib").unlink()
    (root / "usr/lib").symlink_to("sbin")


def other_link(root: Path) -> None:
    """A copy in the place of a hard link."""
    (root / "usr/bin/yes").unlink()
    (root / "usr/bin/yes").write_text("true")


@pytest.mark.parametrize(
    "change",
    [
        other_target,
        other_link,
        lambda root: (root / "usr/bin/true").chmod(0o700),
        lambda root: (root / "usr/bin/true").write_text("talk"),
        lambda root: (root / "usr/bin/true").rename(root / "usr/bin/false"),
        lambda root: os.utime(root / "usr/bin", ns=(0, 0)),
    ],
    ids=["target", "hard link", "mode", "content", "name", "time of a folder"],
)
def test_another_state_has_another_fingerprint(root: Path, change: Callable[[Path], None]) -> None:
    before = walk(root).fingerprint
    assert walk(root).fingerprint == before
    change(root)
    assert walk(root).fingerprint != before


@pytest.mark.parametrize("name", ["usr/lib", "usr/bin/yes"])
def test_what_goes_while_it_is_read_is_left_out(root: Path, name: str) -> None:
    def own(path: str) -> bool:
        if path == name:
            (root / name).unlink()
        return False

    members = walk(root, own).members
    assert "usr/bin/true" in members
    # tar warns of a file that is gone; what a link led to cannot be told any more
    assert (name in members) == (name != "usr/lib")
