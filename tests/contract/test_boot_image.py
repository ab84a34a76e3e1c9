# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""boot_image as Ansible runs it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module

LARGE = 48 << 20


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "bzImage").write_bytes(b"kernel")
    (tmp_path / "initrd").write_bytes(b"initrd")
    (tmp_path / "initrd").chmod(0o600)
    return {
        "directory": str(tmp_path / "boot"),
        "name": "small",
        "kernel": str(tmp_path / "bzImage"),
        "initrds": {"native": str(tmp_path / "initrd")},
    }


def test_an_image_appears_whole_and_once(module: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    predicted = module("boot_image", wanted, check=True)
    assert predicted["changed"] and not (tmp_path / "boot").exists()
    first = module("boot_image", wanted)
    assert first["changed"] and first["image_id"] == predicted["image_id"]
    assert first["diff"]["before"] == "" and "  vmlinuz\n" in first["diff"]["after"]
    assert first["kernel"] == f"images/{first['image_id']}/vmlinuz"
    folder = tmp_path / "boot" / first["folder"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "vmlinuz": b"kernel",
        "initrd-native": b"initrd",
    }
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755
    before = snapshot(tmp_path)
    again = module("boot_image", wanted)
    assert not again["changed"] and again["reason"] is None and again["image_id"] == first["image_id"]
    assert snapshot(tmp_path) == before


def test_other_content_is_another_version_and_the_old_one_stays(
    module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    first = module("boot_image", wanted)
    (tmp_path / "initrd").write_bytes(b"another")
    second = module("boot_image", wanted)
    assert second["changed"] and second["image_id"] != first["image_id"]
    assert (tmp_path / "boot" / first["initrds"]["native"]).read_bytes() == b"initrd"
    assert (tmp_path / "boot" / second["initrds"]["native"]).read_bytes() == b"another"


def test_an_image_that_somebody_spoiled_is_put_right(
    module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    first = module("boot_image", wanted)
    (tmp_path / "boot" / first["kernel"]).write_bytes(b"spoiled")
    (tmp_path / "boot" / first["folder"] / "more").mkdir()
    again = module("boot_image", wanted)
    assert again["changed"] and again["reason"].endswith("is not as it was published")
    assert (tmp_path / "boot" / first["kernel"]).read_bytes() == b"kernel"
    assert not (tmp_path / "boot" / first["folder"] / "more").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": "/nowhere"}, "vmlinuz: cannot read /nowhere: No such file or directory"),
        ({"initrds": {"native": "/nowhere"}}, "initrd-native: cannot read /nowhere"),
        ({"name": "../../etc"}, "name: '../../etc' cannot be part of a file name in a boot tree"),
        ({"initrds": {"a/b": "/dev/null"}}, "initrds: 'a/b' cannot be part"),
        ({"directory": "boot"}, "directory: boot is no absolute path"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    module: Run, wanted: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    before = snapshot(tmp_path)
    result = module("boot_image", {**wanted, **wrong})
    assert result["failed"] and message in result["msg"]
    assert snapshot(tmp_path) == before


def test_a_killed_run_leaves_no_half_image(module: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    Path(wanted["kernel"]).write_bytes(os.urandom(LARGE))
    images = tmp_path / "boot/images"
    seen = set()
    for wait in (0.0, 0.02, 0.04, 0.08):
        process = start_module("boot_image", wanted)
        deadline = time.monotonic() + 60
        while not list(images.glob(".small-*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for folder in images.glob("small-*"):
            assert (folder / "vmlinuz").stat().st_size == LARGE and (folder / "initrd-native").is_file()
        seen.add(bool(list(images.glob("small-*"))))
    assert False in seen, "no run was killed on its way"
    result = module("boot_image", wanted)
    assert (tmp_path / "boot" / result["kernel"]).stat().st_size == LARGE
    assert not list(images.glob(".small-*"))
