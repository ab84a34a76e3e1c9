# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tree from a captured image instead of a distribution's packages."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import tiny_base
from conftest import Run, snapshot

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def options(archive: Path, tmp_path: Path) -> dict[str, Any]:
    image = tmp_path / "captured.tar.zst"
    shutil.copyfile(archive, image)
    return {"name": "captured", "storage": str(tmp_path / "srv"), "image": str(image)}


def test_an_image_becomes_a_root_that_is_safe_to_share(module: Run, options: dict[str, Any]) -> None:
    made = module("root_tree", options)
    assert made["changed"] and made["kernel"]["version"] == tiny_base.KERNEL, made
    root = Path(made["path"])
    assert f"IMAGE_ID=captured\nIMAGE_VERSION={made['version']}" in (root / "etc/os-release").read_text()
    assert (root / "etc/machine-id").read_text() == ""
    assert not list((root / "etc/ssh").glob("ssh_host_*"))
    before = snapshot(Path(options["storage"]))
    # what chooses packages says nothing
    ignored = {"packages": ["other"], "suite": "trixie", "kernel_package": "linux-image-rt", "slim": False}
    for again in (options, {**options, **ignored}):
        assert module("root_tree", again)["changed"] is False
    assert snapshot(Path(options["storage"])) == before


def test_another_image_is_another_version_beside_it(module: Run, options: dict[str, Any]) -> None:
    first = module("root_tree", options)
    tree = Path(options["image"]).with_name("tree")
    tree.mkdir()
    subprocess.run(["tar", "-I", "zstd", "-xf", options["image"], "-C", tree], check=True)
    (tree / "etc/motd").write_text("another")
    subprocess.run(["tar", "-I", "zstd", "-cf", options["image"], "-C", tree, "."], check=True)
    foreseen = module("root_tree", options, check=True)
    second = module("root_tree", options)
    assert foreseen["version"] == second["version"] != first["version"]
    assert "image_sha256" in second["diff"]["after"]
    assert Path(first["path"]).is_dir() and (Path(second["path"]) / "etc/motd").read_text() == "another"


def test_check_touches_nothing(module: Run, options: dict[str, Any]) -> None:
    assert module("root_tree", options, check=True)["changed"]
    assert not Path(options["storage"]).exists()


def tar_of(path: Path, *names: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["etc/passwd"], "has no /sbin/init"),
        (["sbin/init"], "has no kernel /boot/vmlinuz-VERSION"),
        (["sbin/init", "boot/vmlinuz-1"], "has kernel 1 without /lib/modules/1/modules.dep"),
        (["../outside"], "unsafe to unpack"),
        (["cut off", None], "corrupt"),
    ],
)
def test_an_image_that_is_no_root_is_refused(
    module: Run, options: dict[str, Any], names: list[str], message: str
) -> None:
    image = Path(options["image"])
    tar_of(image, *[name for name in names if name])
    if None in names:
        image.write_bytes(image.read_bytes()[:-20])
    failed = module("root_tree", options)
    assert failed["failed"] and "image" in failed["msg"], failed
    if message != "corrupt":
        assert message in failed["msg"]
    assert not list(Path(options["storage"]).glob("roots/captured/[0-9a-f]*"))
    assert not list(Path(options["storage"]).glob("roots/captured/.*partial*"))


def test_a_missing_image_is_named(module: Run, options: dict[str, Any]) -> None:
    failed = module("root_tree", {**options, "image": "/nowhere.tar"})
    assert failed["failed"] and "/nowhere.tar" in failed["msg"]
    assert not Path(options["storage"]).exists()
