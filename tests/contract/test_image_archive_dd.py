# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_archive of file systems, restored by ``zcat | dd`` and compared."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import image_source
import pytest
from conftest import Run, snapshot

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_filesystem

MENU = """
set root=(hd0,1)
linux /boot/vmlinuz-6.1.0-9-test root=/dev/sda3
initrd /boot/initrd.img-missing
"""
DELETED = b"what was deleted must not be in the image" * 50_000


def quiet(*argv: Any) -> bytes:
    return subprocess.run(argv, check=True, capture_output=True).stdout


def tree(folder: Path) -> Path:
    """A root that needs no privilege to make."""
    image_source.write(folder / "usr/bin/dash", image_source.ELF, 0o755)
    (folder / "usr/bin/sh").symlink_to("dash")
    (folder / "bin").symlink_to("usr/bin")
    image_source.write(folder / "etc/os-release", "ID=debian\n")
    image_source.write(folder / f"boot/vmlinuz-{image_source.VERSION}", image_source.kernel())
    image_source.write(folder / f"boot/initrd.img-{image_source.VERSION}", b"initrd")
    (folder / "vmlinuz").symlink_to(f"boot/vmlinuz-{image_source.VERSION}")
    (folder / ("long" * 50)).symlink_to("/" + "x" * 80)
    image_source.write(folder / "boot/grub/grub.cfg", MENU)
    image_source.write(folder / "deleted", DELETED)
    return folder


def make_ext(path: Path, folder: Path, kind: str = "ext4", block: int = 4096, size: str = "64M") -> Path:
    """A partition with deleted data, a boot loader in its boot sector and room behind the file system."""
    quiet("truncate", "-s", size, path)
    quiet(f"mkfs.{kind}", "-q", "-F", "-b", str(block), "-L", "root", "-d", folder, path)
    quiet("debugfs", "-w", "-R", "rm /deleted", path)
    with path.open("r+b") as device:
        device.write(b"\xeb\x63GRUB here" + bytes(100))
        device.seek(510)
        device.write(b"\x55\xaa")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def restore(image: Path, target: Path) -> Path:
    """As the guides do."""
    subprocess.run(["sh", "-c", 'zcat "$1" | dd of="$2" bs=1M status=none', "sh", image, target], check=True)
    return target


@pytest.mark.parametrize(("kind", "block"), [("ext2", 1024), ("ext3", 1024), ("ext4", 1024), ("ext4", 4096)])
def test_zcat_and_dd_restore_a_file_system(
    kind: str, block: int, module: Run, folder: Path, out: Path, tmp_path: Path
) -> None:
    device = make_ext(tmp_path / "device", folder, kind, block)
    quiet("truncate", "-s", "+300K", device)
    made = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    assert made.get("msg") is None and made["kind"] == "dd"
    restored = restore(out / "image.dd.gz", tmp_path / "restored")
    quiet("e2fsck", "-fn", restored)
    assert restored.read_bytes()[:1024] == device.read_bytes()[:1024]
    assert DELETED[:1000] in device.read_bytes() and DELETED[:1000] not in restored.read_bytes()
    for path in ("/boot/grub/grub.cfg", f"/boot/vmlinuz-{image_source.VERSION}", "/usr/bin/dash"):
        request = f"cat {path}"
        assert quiet("debugfs", "-R", request, restored) == (folder / path[1:]).read_bytes()
    assert made["uncompressed_size"] == restored.stat().st_size == made["filesystem"]["size"] == 64 << 20
    assert made["partition_size"] == device.stat().st_size and made["filesystem"]["type"] == kind
    assert made["filesystem"]["label"] == "root" and "e2image" in made["tools"]


def test_the_manifest_tells_what_would_boot(module: Run, folder: Path, out: Path, tmp_path: Path) -> None:
    device = make_ext(tmp_path / "device", folder)
    made = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    assert made["kernels"][0] == {
        "path": f"/boot/vmlinuz-{image_source.VERSION}",
        "version": image_source.VERSION,
    }
    assert made["kernels"][1]["path"] == "/vmlinuz" and made["architecture"] == "x86_64"
    assert made["distribution"]["id"] == "debian"
    assert made["bootloader"] == {
        "signature": True,
        "loader": "grub",
        "configuration": "/boot/grub/grub.cfg",
        "missing": ["/boot/initrd.img-missing"],
    }
    assert "/boot/grub/grub.cfg names what is not there: /boot/initrd.img-missing" in str(made["warnings"])


def test_a_missing_boot_loader_is_a_warning(module: Run, folder: Path, out: Path, tmp_path: Path) -> None:
    device = make_ext(tmp_path / "device", folder)
    with device.open("r+b") as stream:
        stream.write(bytes(512))
    made = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    assert "grub-install" in str(made["warnings"]) and made["bootloader"]["loader"] is None


def test_other_content_is_taken_whole(module: Run, out: Path, tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.write_bytes(os.urandom(3_000_001))
    made = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    assert made["filesystem"] is None and made["uncompressed_size"] == 3_000_001
    assert restore(out / "image.dd.gz", tmp_path / "restored").read_bytes() == device.read_bytes()


def test_second_run_changes_nothing_and_check_mode_predicts(
    module: Run, folder: Path, out: Path, tmp_path: Path
) -> None:
    device = make_ext(tmp_path / "device", folder)
    wanted = {"src": str(device), "dest": str(out / "image.dd.zst")}
    foreseen = module("image_archive", wanted, check=True)
    assert foreseen["changed"] and snapshot(out) == {}
    first = module("image_archive", wanted)
    before = snapshot(out)
    assert not module("image_archive", wanted)["changed"] and snapshot(out) == before
    quiet("debugfs", "-w", "-R", "rm /boot/grub/grub.cfg", device)
    assert module("image_archive", wanted, check=True)["changed"] and snapshot(out) == before
    second = module("image_archive", wanted)
    assert second["changed"] and second["sha256"] != first["sha256"]


def test_the_same_device_gives_the_same_bytes(module: Run, folder: Path, out: Path, tmp_path: Path) -> None:
    device = make_ext(tmp_path / "device", folder)
    quiet("cp", "--sparse=never", device, tmp_path / "copy")
    made = [
        module("image_archive", {"src": str(tmp_path / name), "dest": str(out / f"{name}.dd.gz")})["sha256"]
        for name in ("device", "copy")
    ]
    assert made[0] == made[1]


@pytest.fixture
def loop(folder: Path, tmp_path: Path) -> Iterator[Path]:
    made = subprocess.run(
        ["losetup", "--find", "--show", make_ext(tmp_path / "device", folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no loop devices on this kernel: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    (tmp_path / "mounted").mkdir()
    yield device
    subprocess.run(["umount", tmp_path / "mounted"], check=False, capture_output=True)
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.root
def test_a_file_system_mounted_read_write_is_refused(
    module: Run, loop: Path, out: Path, tmp_path: Path
) -> None:
    quiet("mount", loop, tmp_path / "mounted")
    for source in (loop, tmp_path / "device"):
        failed = module("image_archive", {"src": str(source), "dest": str(out / "image.dd.gz")})
        assert failed["failed"] and f"mounted read-write on {tmp_path}/mounted" in failed["msg"]
        assert "allow_mounted" in failed["msg"] and snapshot(out) == {}
    allowed = {"src": str(loop), "dest": str(out / "image.dd.gz"), "allow_mounted": True}
    assert module("image_archive", allowed)["changed"]


@pytest.mark.root
def test_a_file_system_mounted_read_only_is_captured(
    module: Run, loop: Path, out: Path, tmp_path: Path
) -> None:
    quiet("mount", "-o", "ro", loop, tmp_path / "mounted")
    wanted = {"src": str(loop), "dest": str(out / "quiet.dd.gz")}
    assert module("image_archive", wanted)["changed"] and not module("image_archive", wanted)["changed"]
    quiet("e2fsck", "-fn", restore(out / "quiet.dd.gz", tmp_path / "restored"))


@pytest.mark.root
def test_a_device_without_a_telling_superblock_is_compared_in_whole(
    module: Run, loop: Path, out: Path
) -> None:
    quiet("mkswap", "-U", "clear", loop)
    wanted = {"src": str(loop), "dest": str(out / "image.dd.gz")}
    assert module("image_archive", wanted)["changed"]
    before = snapshot(out)
    assert not module("image_archive", wanted)["changed"] and snapshot(out) == before
    with loop.open("r+b") as device:
        device.seek(32 << 20)
        device.write(b"other")
    assert module("image_archive", wanted, check=True)["changed"] and snapshot(out) == before
    assert module("image_archive", wanted)["changed"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"exclude": ["tmp"]}, "exclude: only for kind tar"),
        ({"kind": "tar"}, "is no folder"),
        ({"src": "/dev/null"}, "neither a block device nor a file"),
    ],
)
def test_bad_input_is_one_error(
    wrong: dict[str, Any], message: str, module: Run, folder: Path, out: Path, tmp_path: Path
) -> None:
    device = make_ext(tmp_path / "device", folder)
    failed = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz"), **wrong})
    assert failed["failed"] and message in failed["msg"] and snapshot(out) == {}


def test_a_file_system_larger_than_its_device_is_refused(
    module: Run, folder: Path, out: Path, tmp_path: Path
) -> None:
    device = make_ext(tmp_path / "device", folder)
    quiet("truncate", "-s", "32M", device)
    failed = module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    assert failed["failed"] and "e2fsck" in failed["msg"] and snapshot(out) == {}


OTHERS = {
    "xfs": ("mkfs.xfs", ["-q", "-L", "data"], "320M"),
    "btrfs": ("mkfs.btrfs", ["-q", "-L", "data"], "128M"),
    "vfat": ("mkfs.vfat", ["-n", "DATA"], "64M"),
    "swap": ("mkswap", ["-L", "data"], "8M"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_file_systems_are_told_as_their_own_tools_made_them(kind: str, tmp_path: Path) -> None:
    program, arguments, size = OTHERS[kind]
    device = tmp_path / "device"
    quiet("truncate", "-s", size, device)
    try:
        quiet(program, *arguments, device)
    except FileNotFoundError:
        pytest.skip(f"{program} is not on this machine")
    found = _image_filesystem.recognise(device.read_bytes()[: _image_filesystem.HEAD])
    told = quiet("blkid", "-p", "-o", "export", device).decode()
    facts = dict(line.split("=", 1) for line in told.splitlines())
    assert found and (found.type, found.label, found.uuid) == (facts["TYPE"], facts["LABEL"], facts["UUID"])


def test_the_manifest_is_json_with_sorted_keys(module: Run, folder: Path, out: Path, tmp_path: Path) -> None:
    device = make_ext(tmp_path / "device", folder)
    module("image_archive", {"src": str(device), "dest": str(out / "image.dd.gz")})
    text = (out / "image.dd.gz.manifest.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
