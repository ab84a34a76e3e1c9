# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import (
    exists,
    follow,
    inside,
    link_path,
    remove_path,
    write_path,
)

LINKS = {
    "/bin": "usr/bin",
    "/usr/bin/sh": "dash",
    "/absolute": "/usr/lib",
    "/up": "../../../etc",
    "/a": "b",
    "/b": "/a",
    "/vmlinuz": "boot/vmlinuz-6.1",
}


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/bin/sh", "/usr/bin/dash"),
        ("/absolute/x", "/usr/lib/x"),
        ("/up/passwd", "/etc/passwd"),
        ("/a", None),
        ("vmlinuz", "/boot/vmlinuz-6.1"),
        ("//usr/./bin/../lib//x", "/usr/lib/x"),
        ("/../..", "/"),
    ],
)
def test_links_never_lead_out_of_the_root(path: str, real: str | None) -> None:
    assert follow(path, LINKS.get) == real


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose links would lead out of it, were they followed from this host."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/sh").write_text("sh")
    (root / "run").mkdir()
    (root / "var").mkdir()
    for link, target in (
        ("bin", "usr/bin"),
        ("var/run", "/run"),
        ("var/up", "../../../run"),
        ("var/host", str(tmp_path)),
        ("usr/bin/init", "/bin/sh"),
        ("usr/bin/gone", "/nowhere"),
        ("loop", "loop"),
        ("resolv.conf", "/etc/resolv.conf"),
    ):
        (root / link).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", ""),
        ("/etc/motd", "etc/motd"),
        ("/bin/sh", "usr/bin/sh"),
        ("/var/run/x", "run/x"),
        ("/var/up/x", "run/x"),
        ("/var/../../../etc/x", "etc/x"),
        ("/resolv.conf", "resolv.conf"),
        ("/var/run", "var/run"),
    ],
)
def test_inside(root: Path, path: str, place: str) -> None:
    assert inside(root, path) == root / place


def test_inside_refuses_a_loop(root: Path) -> None:
    with pytest.raises(ClusterError, match="too many links"):
        inside(root, "/loop/x")


@pytest.mark.parametrize(
    ("path", "there"),
    [("/bin/init", True), ("/bin/gone", False), ("/loop", False), ("/bin/sh", True), ("/etc", False)],
)
def test_exists_as_the_root_sees_it(root: Path, path: str, there: bool) -> None:
    assert exists(root, path) is there


def test_write_stays_in_the_root(root: Path, tmp_path: Path) -> None:
    write_path(root, f"/var/host{tmp_path}/x", b"mine", 0o640, (os.getuid(), os.getgid()))
    assert not (tmp_path / "x").exists()
    write_path(root, "/resolv.conf", b"", 0o644, (os.getuid(), os.getgid()))
    assert not (root / "resolv.conf").is_symlink()
    write_path(root, "/var/run/x", b"mine", 0o640, (os.getuid(), os.getgid()))
    assert (root / "run/x").read_bytes() == b"mine" and (root / "run/x").stat().st_mode & 0o777 == 0o640


def test_write_refuses_a_folder_and_a_file_in_the_way(root: Path) -> None:
    with pytest.raises(ClusterError, match="/usr is a folder in the root"):
        write_path(root, "/usr", b"", 0o644)
    with pytest.raises(ClusterError, match="cannot make the folder of /bin/sh/x in the root"):
        write_path(root, "/bin/sh/x", b"", 0o644)


def test_link_and_remove(root: Path) -> None:
    link_path(root, "/resolv.conf", "elsewhere")
    assert os.readlink(root / "resolv.conf") == "elsewhere"
    remove_path(root / "bin")
    assert (root / "usr/bin/sh").exists() and not (root / "bin").is_symlink()
    remove_path(root / "usr")
    assert not (root / "usr").exists()
