"""netboot_check as a process: reports, refuses, and never touches anything; stock Debian roots pass."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_task
from conftest import Run, snapshot
from netboot_case import Case

MODULE = "oneimage.cluster.netboot_check"
CORE = ("netboot_initrd", "nfsroot_builtin", "nfs_overlay", "serial_console", "uefi_boot", "systemd")


def options(case: Case, **others: Any) -> dict[str, Any]:
    question = case.question()
    paths = {"kernel": str(question.kernel), "initrd": str(question.initrd), "root": str(question.root)}
    return {
        **paths,
        "parameters": case.parameters,
        "hardware": case.hardware,
        "firmware": case.firmware,
        **others,
    }


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_it_only_reads_and_says_the_same_twice(module: Run, tmp_path: Path, check: bool) -> None:
    given = options(Case(tmp_path), rules={name: [] for name in CORE})
    before = snapshot(tmp_path)
    first, second = (module("netboot_check", given, check=check) for _run in range(2))
    assert first == second
    assert snapshot(tmp_path) == before
    assert (first["changed"], first["ok"], first["findings"]) == (False, True, [])
    assert (first["kernel_version"], first["root_mode"]) == ("6.1.0-56-amd64", "nfs_ro")


def test_what_would_not_boot_fails_the_task(tmp_path: Path) -> None:
    case = Case(tmp_path, options={"NFS_FS": ""})
    case.initrd_modules.remove("virtio_net")
    (case.root / "usr/sbin/sshd").unlink()
    result = run_task(MODULE, options(case), tmp_path)
    assert {finding["name"] for finding in result["findings"]} == {
        "kernel-nfs-fs",
        "initrd-module-missing",
        "root-sshd",
    }
    assert all(
        f"[{finding['name']}]" in result["msg"] and finding["remedy"] in result["msg"]
        for finding in result["findings"]
    )
    reported = run_task(MODULE, options(case, strict=False), tmp_path)
    assert (reported["changed"], reported["ok"], reported["findings"]) == (False, False, result["findings"])


def test_parameters_may_be_one_string_and_profiles_the_users_own(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "site.yml").write_text(
        "rules: [{options: NR_CPUS, values: '>=100000', why: a node has many cores}]"
    )
    given = options(
        case,
        parameters=" ".join(case.parameters),
        profiles=["site"],
        profile_paths=["site.yml"],
        strict=False,
    )
    assert [finding["name"] for finding in run_task(MODULE, given, tmp_path)["findings"]] == [
        "kernel-nr-cpus"
    ]


@pytest.mark.parametrize(
    "others, words",
    [
        ({"root": "/nowhere"}, "root /nowhere is no folder"),
        ({"kernel": "/dev/null"}, "/dev/null is no bootable x86 kernel (it is empty)"),
        ({"initrd": "/nowhere/initrd"}, "/nowhere/initrd: No such file"),
        ({"config": "/dev/null"}, "kernel configuration /dev/null is empty"),
        ({"parameters": {"root": "/dev/nfs"}}, "neither a string nor a list of strings"),
        (
            {"parameters": "root=/dev/nfs oneimage.root_mode=disk"},
            "oneimage.root_mode=disk is none of nfs_ro, nfs_rw",
        ),
        ({"root_mode": "disk"}, "value of root_mode must be one of: nfs_ro, nfs_rw, got: disk"),
        ({"rules": {}}, "profiles were not resolved"),
    ],
)
def test_bad_input_gives_one_clear_error(
    module: Run, tmp_path: Path, others: dict[str, Any], words: str
) -> None:
    given = {**options(Case(tmp_path), rules={name: [] for name in CORE}), **others}
    result = module("netboot_check", given)
    assert result["failed"] is True
    assert words in result["msg"]


def test_an_unknown_profile_fails_the_task(tmp_path: Path) -> None:
    result = run_task(MODULE, options(Case(tmp_path), profiles=["netboot"]), tmp_path)
    assert "unknown kernel profile 'netboot'; known: " in result["msg"]


BUILD = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d"',
    'echo BOOT=nfs > "$1/etc/initramfs-tools/conf.d/nfs"',
    'echo overlay >> "$1/etc/initramfs-tools/modules"',
    ': > "$1/etc/machine-id"',
    'rm -f "$1"/etc/ssh/ssh_host_*',
    'chroot "$1" update-initramfs -u -k all',
)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("kernel", ["linux-image-cloud-amd64"])
def test_real_debian_roots_give_no_false_alarm(tmp_path: Path, suite: str, kernel: str) -> None:
    """The stock kernel, an initrd by the real mkinitramfs, and what the same root lacks once its initrd has no NIC."""
    root = tmp_path / suite
    packages = f"{kernel},initramfs-tools,systemd-sysv,udev,openssh-server,nfs-common"
    subprocess.run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={packages}",
            "--dpkgopt=force-unsafe-io",
        ]
        + [f"--customize-hook={' && '.join(BUILD)}", suite, str(root)],
        check=True,
        timeout=900,
    )
    (vmlinuz,) = root.glob("boot/vmlinuz-*")
    release = vmlinuz.name.partition("-")[2]
    given = {
        "kernel": str(vmlinuz),
        "initrd": str(root / f"boot/initrd.img-{release}"),
        "root": str(root),
        "parameters": "root=/dev/nfs nfsroot=10.0.0.1:/srv/root,vers=3 ip=dhcp rw console=ttyS0,115200 panic=60",
        "hardware": [
            "virtio_net",
            "virtio:d00000001v00001AF4",
            "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00",
        ],
    }
    result = run_task(MODULE, given, tmp_path)
    assert (result["findings"], result["kernel_version"]) == ([], release)
    without = run_task(MODULE, {**given, "hardware": ["dummy"]}, tmp_path)
    assert [(finding["name"], finding["subject"]) for finding in without["findings"]] == [
        ("initrd-module-missing", "dummy")
    ]
