# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_image
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("kernel", "one", "other")}
    for name, path in found.items():
        path.write_text(name)
    return found


def test_the_version_is_that_of_the_content_alone(tmp_path: Path, files: dict[str, Path]) -> None:
    def version(kernel: str, **initrds: str) -> str:
        named = {name: str(files[file]) for name, file in initrds.items()}
        return _boot_image.make_plan(tmp_path / "boot", "a", files[kernel], named).image_id

    assert version("kernel", native="one", dracut="other") == version("kernel", dracut="other", native="one")
    others = [
        version("kernel"),
        version("one"),
        version("kernel", native="one"),
        version("kernel", native="other"),
        version("kernel", dracut="one"),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "ä", "a\n"])
def test_names_that_would_leave_the_folder_are_refused(
    tmp_path: Path, files: dict[str, Path], name: str
) -> None:
    with pytest.raises(ClusterError, match="cannot be part of a file name"):
        _boot_image.make_plan(tmp_path, name, files["kernel"], {})
    with pytest.raises(ClusterError, match="initrds: .*cannot be part of a file name"):
        _boot_image.make_plan(tmp_path, "a", files["kernel"], {name: files["one"]})


def test_a_link_or_a_file_in_its_place_is_replaced(tmp_path: Path, files: dict[str, Path]) -> None:
    plan = _boot_image.make_plan(tmp_path / "boot", "a", files["kernel"], {})
    plan.place.parent.mkdir(parents=True)
    plan.place.symlink_to(tmp_path)
    assert plan.reason() == f"{plan.place} is no folder"
    _boot_image.publish(plan)
    assert plan.reason() is None and (plan.place / "vmlinuz").read_text() == "kernel"
    assert files["one"].exists()


def test_files_that_change_on_the_way_are_not_published(tmp_path: Path, files: dict[str, Path]) -> None:
    plan = _boot_image.make_plan(tmp_path / "boot", "a", files["kernel"], {})
    files["kernel"].write_text("another")
    with pytest.raises(ClusterError, match="changed while they were copied"):
        _boot_image.publish(plan)
    assert not list((tmp_path / "boot/images").glob("*a-*"))
