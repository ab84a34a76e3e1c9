# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_unpack: what was captured comes back, what is hostile does not come in."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import image_source
import pytest
from conftest import Run, snapshot, start_module
from test_image_info import HOSTILE, archive, member

pytestmark = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir(mode=0o755)
    return image_source.make(root)


@pytest.fixture
def image(module: Run, source: Path, tmp_path: Path) -> Path:
    made = module("image_archive", {"src": str(source), "dest": str(tmp_path / "image.tar.zst")})
    assert "failed" not in made, made
    return tmp_path / "image.tar.zst"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "roots").mkdir()
    return tmp_path / "roots"


def options(image: Path, shelf: Path, **more: Any) -> dict[str, Any]:
    return {"src": str(image), "dest": str(shelf / "root"), **more}


def test_the_root_comes_back(module: Run, source: Path, image: Path, shelf: Path) -> None:
    wanted = options(image, shelf)
    foreseen = module("image_unpack", wanted, check=True)
    assert foreseen["changed"] and str(image) in foreseen["diff"]["after"] and snapshot(shelf) == {}
    assert module("image_unpack", wanted)["changed"]
    changed = image_source.LEFT_OUT | image_source.REPLACED
    restored, original = image_source.facts(shelf / "root"), image_source.facts(source)
    assert image_source.without(restored, changed) == image_source.without(original, changed)
    assert (shelf / "root").stat().st_mode & 0o7777 == 0o755
    before = snapshot(shelf)
    for check in (False, True):
        again = module("image_unpack", wanted, check=check)
        assert not again["changed"] and "diff" not in again
    assert snapshot(shelf) == before


def test_another_image_never_replaces_a_root(module: Run, source: Path, image: Path, shelf: Path) -> None:
    module("image_unpack", options(image, shelf))
    (source / "srv/more").touch()
    module("image_archive", {"src": str(source), "dest": str(image)})
    before = snapshot(shelf)
    failed = module("image_unpack", options(image, shelf))
    assert failed["failed"] and "give another dest" in failed["msg"] and snapshot(shelf) == before


@pytest.mark.parametrize("copied", [False, True])
def test_a_folder_of_somebody_is_never_taken(copied: bool, module: Run, image: Path, shelf: Path) -> None:
    """Also not where it took the place of one that was unpacked here."""
    if copied:
        module("image_unpack", options(image, shelf))
        (shelf / "root").rename(shelf / "moved")
    (shelf / "root").mkdir()
    failed = module("image_unpack", options(image, shelf))
    assert failed["failed"] and "was not unpacked from" in failed["msg"] and os.listdir(shelf / "root") == []


@pytest.mark.parametrize("case", HOSTILE)
def test_what_leads_out_is_refused_before_anything_is_written(
    case: str, module: Run, shelf: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.tgz"
    image.write_bytes(gzip.compress(archive((member("etc/hostname"), b"x"), *HOSTILE[case])))
    for check in (True, False):
        failed = module("image_unpack", options(image, shelf), check=check)
        assert failed["failed"] and "unsafe to unpack" in failed["msg"] and snapshot(shelf) == {}


def test_devices_belong_into_dev(module: Run, shelf: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.tgz"
    device = member("home/alice/disk", tarfile.BLKTYPE)
    device.devmajor, device.devminor = 8, 0
    image.write_bytes(gzip.compress(archive((device, b""))))
    failed = module("image_unpack", options(image, shelf))
    assert failed["failed"] and "home/alice/disk" in failed["msg"] and snapshot(shelf) == {}
    assert module("image_unpack", options(image, shelf, devices="any"))["changed"]
    assert (shelf / "root/home/alice/disk").is_block_device()


def test_links_inside_are_followed_inside(module: Run, shelf: Path, tmp_path: Path) -> None:
    """A merged /usr, to which a later member was added by its old name."""
    image = tmp_path / "image.tgz"
    members = ((member("lib", tarfile.SYMTYPE, "usr/lib"), b""), (member("lib/added"), b"added"))
    folder = member("usr/lib", tarfile.DIRTYPE)
    folder.mode = 0o755
    image.write_bytes(gzip.compress(archive((folder, b""), *members)))
    assert module("image_unpack", options(image, shelf))["changed"]
    assert (shelf / "root/usr/lib/added").read_bytes() == b"added"


@pytest.mark.parametrize("harm", ["cut", "sha256", "manifest", "dd", "signature", "missing"])
def test_what_is_not_the_promised_image_is_refused(harm: str, module: Run, image: Path, shelf: Path) -> None:
    more: dict[str, Any] = {}
    if harm == "cut":
        image.write_bytes(image.read_bytes()[:-200])
        image.with_name(image.name + ".manifest.json").unlink()
    elif harm == "sha256":
        more["sha256"] = "0" * 64
    elif harm == "manifest":
        with image.open("ab") as file:
            file.write(b"\0")
    elif harm == "dd":
        image.write_bytes(gzip.compress(os.urandom(100_000)))
        image.with_name(image.name + ".manifest.json").unlink()
    elif harm == "signature":
        more["signature"] = {"tool": "minisign", "key": "/does/not/exist"}
    else:
        image.unlink()
    failed = module("image_unpack", options(image, shelf, **more))
    assert failed["failed"] and str(image) in failed["msg"] and snapshot(shelf) == {}


def test_a_signature_is_verified(module: Run, image: Path, shelf: Path, tmp_path: Path) -> None:
    for name in ("good", "other"):
        keys = ["-p", tmp_path / f"{name}.pub", "-s", tmp_path / f"{name}.key"]
        subprocess.run(["minisign", "-G", "-W", *keys], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["minisign", "-S", "-s", tmp_path / "good.key", "-m", image], check=True, capture_output=True
    )
    signed = {name: {"tool": "minisign", "key": str(tmp_path / f"{name}.pub")} for name in ("good", "other")}
    failed = module("image_unpack", options(image, shelf, signature=signed["other"]))
    assert failed["failed"] and "is not good" in failed["msg"] and snapshot(shelf) == {}
    assert module("image_unpack", options(image, shelf, signature=signed["good"]))["changed"]


@pytest.mark.parametrize("moment", ["partial", "half", "mark"])
def test_kill_leaves_nothing_at_dest_or_all_of_it(
    moment: str, module: Run, source: Path, shelf: Path
) -> None:
    (source / "srv/large").write_bytes(os.urandom(32 << 20))
    image = shelf.parent / "large.tar.zst"
    assert module("image_archive", {"src": str(source), "dest": str(image)})["changed"]
    wanted = options(image, shelf)
    places = {"partial": ".root.partial", "half": ".root.partial/srv/large", "mark": ".root.image.json"}
    process = start_module("image_unpack", wanted)
    deadline = time.monotonic() + 60
    while not (shelf / places[moment]).exists() and process.poll() is None:
        assert time.monotonic() < deadline, f"never came to {moment}"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if (shelf / "root").exists():
        assert image_source.facts(shelf / "root")["srv/large"] == image_source.facts(source)["srv/large"]
    again = module("image_unpack", wanted)
    assert again.get("msg") is None and not module("image_unpack", wanted)["changed"]
    assert (shelf / "root/srv/large").read_bytes() == (source / "srv/large").read_bytes()
    assert sorted(os.listdir(shelf)) == [".lock", ".root.image.json", "root"]
