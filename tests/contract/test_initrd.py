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
from adhoc import run_task
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


SITES = [
    {"site": "nancy", "drivers": ["my_nic", "af_packet"]},
    {"site": "rennes", "drivers": ["virtio_net"], "devices": ["pci:v0000CAFEd00000001sv0sd0bc02sc00i00"]},
]


def test_one_initrd_holds_the_drivers_of_all_sites(module: Run, options: dict[str, Any]) -> None:
    built = module("initrd", {**options, "hardware": SITES})
    assert built["coverage"] == {
        "nancy": {"initrd": ["my_nic"], "builtin": ["af_packet"], "missing": [], "unknown": []},
        "rennes": {"initrd": ["virtio_net", "my_nic"], "builtin": [], "missing": [], "unknown": []},
    }
    found = module("initrd_info", {"path": options["path"]})
    assert {"my_nic", "my_bus", "my_phy", "virtio_net", "virtio_pci"} <= set(found["modules"])
    assert "bonding" not in found["modules"]
    assert not module("initrd", {**options, "hardware": SITES})["changed"]


def test_a_driver_that_the_kernel_lacks_is_refused_or_told(module: Run, options: dict[str, Any]) -> None:
    lacking = {**options, "hardware": [*SITES, {"site": "lyon", "drivers": ["i40e"], "as": "builtin"}]}
    failed = module("initrd", lacking)
    assert "has no module, nor anything built in, for: driver i40e (lyon);" in failed["msg"]
    assert not Path(options["path"]).exists()
    built = module("initrd", {**lacking, "strict": False})
    assert (built["changed"], built["coverage"]["lyon"]["missing"]) == (True, ["i40e"])


NODE = """
{"uid": "griffon-1", "links": [{"href": "/3.0/sites/nancy/clusters/griffon/nodes/griffon-1"}],
 "network_adapters": [{"driver": "my_nic"}], "storage_devices": []}
"""


def test_a_file_of_hardware_is_read_on_the_controller(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "nancy.json").write_text(NODE)
    task = {**options, "hardware": [{"file": "nancy.json"}]}
    result = run_task("oneimage.cluster.initrd", task, tmp_path)
    assert result["coverage"] == {
        "nancy": {"initrd": ["my_nic"], "builtin": [], "missing": [], "unknown": []}
    }
    (tmp_path / "nancy.json").write_text("{")
    assert "nancy.json is no JSON" in run_task("oneimage.cluster.initrd", task, tmp_path)["msg"]


@pytest.fixture
def ram_disk(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "modules": ["virtio_net"], "format": "ext2", "size_kb": 2500, "inodes": 300}


def test_a_ram_disk_is_built_without_root_and_keeps_the_contract(
    module: Run, ram_disk: dict[str, Any]
) -> None:
    predicted = module("initrd", ram_disk, check=True)
    assert predicted["changed"] and not Path(ram_disk["path"]).exists()
    built = module("initrd", ram_disk)
    assert (built["format"], built["sha256"]) == ("ext2", predicted["sha256"])
    assert built["parameters"] == ["root=/dev/ram0", "rw", "init=/linuxrc", "ramdisk_size=2500"]
    assert built["ram_disk"]["size_kb"] == 2500 and built["ram_disk"]["inodes"] >= 300
    before = snapshot(Path(ram_disk["path"]).parent)
    assert not module("initrd", ram_disk)["changed"]
    assert snapshot(Path(ram_disk["path"]).parent) == before
    change = module("initrd", {**ram_disk, "format": "cpio", "size_kb": None, "inodes": None})["diff"]
    assert "linuxrc" in change["before"] and "linuxrc" not in change["after"]


def test_what_is_in_a_ram_disk(module: Run, ram_disk: dict[str, Any]) -> None:
    built = module("initrd", {**ram_disk, "compression": "gzip"})
    found = module("initrd_info", {"path": ram_disk["path"]})
    assert (found["format"], found["compression"]) == ("ext2", "gzip")
    assert set(found["modules"]) == set(built["modules"])
    modes = {file["name"]: file["mode"] for file in found["files"]}
    assert (modes["linuxrc"], modes["init"], modes["dev/console"]) == ("0120777", "0100755", "0020600")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_kb": 1000}, r"size_kb is 1000, needed are \d{4}; .*\(largest: bin/busybox \d+ KB"),
        ({"inodes": 20}, r"inodes is 20, needed are \d+"),
        ({"inodes": 0}, "inodes: 0 is too small"),
        ({"generator": "dracut"}, "install the package dracut"),
        ({"root_modes": ["disk"]}, "root_modes: with format ext2 root= is the RAM disk"),
        ({"format": "cpio"}, "size_kb: only a RAM disk has a size of its own"),
    ],
)
def test_what_does_not_fit_in_a_ram_disk_is_refused(
    change: dict[str, Any], message: str, module: Run, ram_disk: dict[str, Any], tmp_path: Path
) -> None:
    module("initrd", ram_disk)
    before = snapshot(tmp_path)
    failed = module("initrd", {**ram_disk, **change})
    assert re.search(message, failed["msg"]), failed["msg"]
    assert snapshot(tmp_path) == before


LEAVE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs disk "$1" && mount -t tmpfs root "$1.new"
cp -a "$2/." "$1/"
mkdir "$1.new/bin" "$1.new/run" "$1.new/proc" && cp "$2/bin/busybox" "$1.new/bin/busybox"
mkdir -p "$1/newroot" && mount -o move "$1.new" "$1/newroot"
mount -t tmpfs run "$1/newroot/run" && mount -t proc proc "$1/newroot/proc"
sed -n '/^leave_ram_disk()/,/^}/p' "$2/init" >"$1/leave"
printf '%s\n' 'NEWROOT=/newroot init=/bin/busybox PATH=/bin' '. /leave' \
    'leave_ram_disk sh -c "echo /: * of \$(wc -l </proc/mounts) mounts; busybox ls /run/oneimage/ram_disk"' >"$1/try"
cd "$1" && mkdir -p old && pivot_root . old && exec /bin/busybox chroot . /bin/sh -c '/bin/busybox umount -l /old; . /try'
"""


@pytest.mark.root
def test_its_init_leaves_a_ram_disk_for_the_root(
    module: Run, ram_disk: dict[str, Any], tmp_path: Path
) -> None:
    """In a namespace, with the tree of the RAM disk on a tmpfs: what it was before must be gone for the new init."""
    module("initrd", {**ram_disk, "compression": "none"})
    tree = tmp_path / "tree"
    for folder in (tree, tmp_path / "disk", tmp_path / "disk.new"):
        folder.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {tree}", ram_disk["path"]], check=True, capture_output=True)
    argv = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "sh",
        "-c",
        LEAVE,
        "leave",
        str(tmp_path / "disk"),
        str(tree),
    ]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "/: bin proc run of 3 mounts\n", done.stderr


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
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
