from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module
from fixtures.kernel_tree import VERSION, make_root, set_config

pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_root(tmp_path / "root")
    set_config(tmp_path / "root", "BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD")
    return tmp_path / "root"


@pytest.fixture
def options(tmp_path: Path, root: Path) -> dict[str, Any]:
    (tmp_path / "boot").mkdir()
    return {"path": str(tmp_path / "boot/initrd"), "root": str(root)}


def test_it_is_built_once_and_the_same_everywhere(module: Run, options: dict[str, Any]) -> None:
    first = module("initrd", options)
    assert first["changed"] and first["reason"].endswith("does not exist")
    assert first["modules"][:4] == ["virtio", "virtio_ring", "virtio_net", "virtio_pci"]
    assert first["builtin"] == ["af_packet"]
    assert first["compression"] == "zstd"
    assert first["kernel_version"] == VERSION
    before = snapshot(Path(options["path"]).parent)
    second = module("initrd", options)
    assert (second["changed"], second["reason"], second["sha256"]) == (False, None, first["sha256"])
    assert snapshot(Path(options["path"]).parent) == before
    elsewhere = module("initrd", {**options, "path": options["path"] + "-too"})
    assert elsewhere["sha256"] == first["sha256"]


def test_what_is_inside(module: Run, options: dict[str, Any]) -> None:
    built = module("initrd", {**options, "modules": ["my-nic", "bonding"], "compression": "gzip"})
    assert built["missing_firmware"] == ["my/lost.fw"]
    found = module("initrd_info", {"path": options["path"]})
    assert found["compression"] == "gzip"
    assert found["kernel_versions"] == [VERSION]
    assert set(found["modules"]) == set(built["modules"]) >= {"my_nic", "my_phy", "my_ib", "overlay", "nfsv4"}
    names = {file["name"]: file["mode"] for file in found["files"]}
    assert names["init"] == "0100755"
    assert {"bin/busybox", "lib/firmware/my/nic.fw", f"lib/modules/{VERSION}/modules.dep"} <= set(names)


def test_check_mode_predicts_and_touches_nothing(
    module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    before = snapshot(tmp_path)
    predicted = module("initrd", options, check=True)
    assert predicted["changed"]
    assert snapshot(tmp_path) == before
    assert module("initrd", options)["sha256"] == predicted["sha256"]
    assert not module("initrd", options, check=True)["changed"]
    before = snapshot(tmp_path)
    assert module("initrd", {**options, "root_modes": ["nfs_rw"]}, check=True)["changed"]
    assert snapshot(tmp_path) == before


def test_diff_shows_what_goes_and_what_comes(module: Run, options: dict[str, Any]) -> None:
    module("initrd", {**options, "modules": ["virtio_net"]})
    change = module("initrd", {**options, "modules": ["my-nic"]})["diff"]
    assert "virtio_net.ko" in change["before"] and "virtio_net.ko" not in change["after"]
    assert "my-nic.ko" in change["after"] and "my-nic.ko" not in change["before"]
    assert "diff" not in module("initrd", {**options, "modules": ["my-nic"]})


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
def test_compressed_modules_make_the_same_initrd(suffix: str, module: Run, options: dict[str, Any]) -> None:
    plain = module("initrd", options)
    shutil.rmtree(Path(options["root"], "lib"))
    make_root(Path(options["root"]), suffix=suffix)
    assert module("initrd", options)["sha256"] == plain["sha256"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modules": ["virtio_net", "i40e"]}, f"the kernel {VERSION} in .* has no module i40e"),
        ({"kernel_version": "5.10.0-9"}, f"kernel_version 5.10.0-9: .* only of: {VERSION}"),
        ({"root": "/no/such/root"}, "root: the folder /no/such/root does not exist"),
        ({"path": "/no/such/folder/initrd"}, "the folder /no/such/folder does not exist"),
        ({"path": "/tmp"}, "path: /tmp is a folder"),
        (
            {"busybox": "/bin/ls"},
            "busybox: /bin/ls needs shared libraries; install the package busybox-static",
        ),
        ({"busybox": "/no/busybox"}, "busybox: there is no /no/busybox"),
        (
            {"generator": "initramfs_tools"},
            "holds no /usr/sbin/mkinitramfs; install the package initramfs-tools",
        ),
        ({"generator": "dracut"}, "install the package dracut"),
        ({"root_modes": ["tape"]}, "root_modes"),
    ],
)
def test_bad_input_is_one_clear_error_and_nothing_is_written(
    change: dict[str, Any], message: str, module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    module("initrd", options)
    before = snapshot(tmp_path)
    failed = module("initrd", {**options, **change})
    assert failed["failed"]
    assert re.search(message, failed["msg"]), failed["msg"]
    assert snapshot(tmp_path) == before


def test_a_compression_that_the_kernel_cannot_undo_is_refused(module: Run, options: dict[str, Any]) -> None:
    set_config(Path(options["root"]), "BLK_DEV_INITRD", "RD_GZIP")
    assert "CONFIG_RD_ZSTD" in module("initrd", {**options, "compression": "zstd"})["msg"]
    assert module("initrd", options)["compression"] == "gzip"


def test_modules_of_another_kernel_are_refused(module: Run, options: dict[str, Any]) -> None:
    make_root(Path(options["root"]), made_for="5.10.0-9-amd64")
    assert "was built for the kernel 5.10.0-9-amd64" in module("initrd", options)["msg"]


def test_what_is_no_initrd_is_replaced(module: Run, options: dict[str, Any]) -> None:
    Path(options["path"]).write_bytes(b"\x89PNG\r\n\x1a\n")
    built = module("initrd", options)
    assert built["reason"].endswith("is not what its inputs make")
    assert "is no initrd" in built["diff"]["before"]
    assert not module("initrd", options)["changed"]


def test_mode_is_set_and_kept(module: Run, options: dict[str, Any]) -> None:
    strict = {**options, "mode": "0600"}
    assert module("initrd", strict)["mode"] == "0600"
    assert not module("initrd", strict)["changed"]
    assert module("initrd", {**strict, "modules": ["my-nic"]})["mode"] == "0600"


def kill(process: subprocess.Popen[str], after: float) -> None:
    """With all that it started, as a power cut would."""
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_kill_leaves_the_old_or_the_new_initrd(module: Run, options: dict[str, Any]) -> None:
    one, two = {**options, "modules": ["virtio_net"]}, {**options, "modules": ["my-nic"]}
    whole = {module("initrd", one)["sha256"], module("initrd", two, check=True)["sha256"]}
    for step in range(12):
        kill(start_module("initrd", two if step % 2 else one), after=0.1 + step * 0.05)
        assert module("initrd_info", {"path": options["path"]})["sha256"] in whole
    module("initrd", one)
    assert os.listdir(Path(options["path"]).parent) == ["initrd"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tiny", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_keeps_the_old_file(module: Run, options: dict[str, Any], tiny_disk: Path) -> None:
    (tiny_disk / "initrd").write_bytes(b"old")
    failed = module("initrd", {**options, "path": str(tiny_disk / "initrd")})
    assert "No space left on device" in failed["msg"]
    assert "the previous file is untouched" in failed["msg"]
    assert os.listdir(tiny_disk) == ["initrd"]
    assert (tiny_disk / "initrd").read_bytes() == b"old"


@pytest.fixture
def distribution(root: Path) -> Path:
    """A root with just what a distribution's generator needs to start; tests put the generator there."""
    (root / "bin").mkdir()
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "sleep", "cat", "find", "cpio", "mkdir", "touch", "cp", "grep"):
        (root / "bin" / name).symlink_to("busybox")
    for name in ("dev", "proc", "sys", "tmp", "usr/sbin", "etc/initramfs-tools/hooks"):
        (root / name).mkdir(parents=True)
    return root


def generator(root: Path, script: str) -> None:
    program = root / "usr/sbin/mkinitramfs"
    program.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    program.chmod(0o755)


BUILD = f"""
mkdir -p /tmp/tree/lib/modules/{VERSION}
cp -a /lib/modules/{VERSION}/kernel /tmp/tree/lib/modules/{VERSION}/
cp /etc/initramfs-tools/hooks/oneimage /tmp/tree/init
cd /tmp/tree
find . | cpio -o -H newc >/tmp/initrd
"""


def mounts_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


@pytest.mark.root
def test_a_distribution_s_generator_runs_only_when_its_inputs_changed(
    module: Run, options: dict[str, Any], distribution: Path, tmp_path: Path
) -> None:
    generator(distribution, BUILD)
    foreign = {**options, "generator": "initramfs_tools", "modules": ["virtio_net"]}
    before = snapshot(distribution)
    assert module("initrd", foreign, check=True)["changed"]
    assert module("initrd", foreign)["reason"].endswith("does not exist")
    assert snapshot(distribution) == before, "the root was changed"
    whole = snapshot(tmp_path)
    assert module("initrd", foreign)["reason"] is None
    assert module("initrd", foreign, check=True)["changed"] is False
    assert snapshot(tmp_path) == whole
    assert module("initrd", {**foreign, "modules": ["my-nic"]}, check=True)["reason"] == (
        "changed: scripts and options, modules"
    )
    (distribution / "etc/initramfs-tools/modules").write_text("dummy\n")
    assert module("initrd", foreign)["reason"] == "changed: settings"
    Path(options["path"]).write_bytes(b"touched by hand")
    assert module("initrd", foreign)["reason"].endswith("is not the file that was built")
    assert mounts_below(distribution) == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no such hook >&2; exit 7", "generator initramfs_tools in .* exit code 7: no such hook"),
        ("echo picture >/tmp/initrd", "is no initrd"),
        (f"{BUILD.replace('find . |', 'find . | grep -v virtio_net |')}", "lacks the modules virtio_net"),
        ("touch /etc/changed", "Read-only file system"),
    ],
)
def test_what_a_generator_does_wrong_is_not_published(
    script: str, message: str, module: Run, options: dict[str, Any], distribution: Path, tmp_path: Path
) -> None:
    Path(options["path"]).write_bytes(b"old")
    generator(distribution, script)
    before = [snapshot(tmp_path / "boot"), snapshot(distribution)]
    failed = module("initrd", {**options, "generator": "initramfs_tools", "modules": ["virtio_net"]})
    assert re.search(message, failed["msg"]), failed["msg"]
    assert [snapshot(tmp_path / "boot"), snapshot(distribution)] == before
    assert mounts_below(distribution) == []


@pytest.mark.root
def test_a_killed_generator_leaves_no_mount_and_no_process(
    options: dict[str, Any], distribution: Path
) -> None:
    generator(distribution, "sleep 4242")
    Path(options["path"]).write_bytes(b"old")
    process = start_module("initrd", {**options, "generator": "initramfs_tools"})
    wait_for(lambda: running("sleep 4242"), "the generator never started")
    os.kill(process.pid, signal.SIGKILL)  # the module alone: what it started has to notice by itself
    process.wait()
    wait_for(lambda: not running("sleep 4242"), "the generator outlived the module")
    assert mounts_below(distribution) == []
    assert Path(options["path"]).read_bytes() == b"old"


def running(command: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes().replace(b"\0", b" ").strip() == command.encode():
                return True
        except OSError:
            continue
    return False


def wait_for(condition: Any, message: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
