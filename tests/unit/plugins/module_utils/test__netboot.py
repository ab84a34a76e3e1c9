"""A boot that lacks one thing is refused with that thing's name; one that lacks nothing is not."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from netboot_case import CONFIGS, ELF_X86_64, Case

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio, _initrd_ext2, _netboot
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot import (
    PROFILES,
    Answer,
    answer,
    gather,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot_boot import Parameters

_profiles = pytest.importorskip(
    "ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles",
    reason="profiles are read on the controller",
)
RULES = {name: _profiles.resolve([name]) for name in PROFILES}
RELEASES = sorted(path.name[len("config-") : -len(".gz")] for path in CONFIGS.glob("config-*.gz"))
Change = Callable[[Case], object]


def ask(case: Case) -> Answer:
    return answer(gather(case.question(), RULES))


def found(case: Case, severity: str = "error") -> set[tuple[str, str]]:
    return {(finding.name, finding.subject) for finding in ask(case).findings if finding.severity == severity}


def off(*names: str) -> Change:
    return lambda case: case.options.update(dict.fromkeys(names, ""))


def without_module(name: str) -> Change:
    return lambda case: case.initrd_modules.remove(name)


def parameter(old: str, *new: str) -> Change:
    return lambda case: case.replace(old, *new)


def absent(name: str) -> Change:
    def remove(case: Case) -> None:
        path = case.root / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return remove


def write(name: str, content: bytes, mode: int = 0o644) -> Change:
    return lambda case: case.write(name, content, mode)


def assign(**fields: object) -> Change:
    return lambda case: case.__dict__.update(fields)


def both(*changes: Change) -> Change:
    return lambda case: [change(case) for change in changes]


NFSROOT = "nfsroot=10.0.0.1:/srv/root,vers=3"
VERSION_4 = parameter(NFSROOT, "nfsroot=10.0.0.1:/srv/root,vers=4.2")
LACKING: dict[str, tuple[Change, str, str]] = {
    # the kernel
    "no NFS": (off("NFS_FS"), "kernel-nfs-fs", "CONFIG_NFS_FS"),
    "no overlay": (off("OVERLAY_FS"), "kernel-overlay-fs", "CONFIG_OVERLAY_FS"),
    "no initrd support": (off("BLK_DEV_INITRD"), "kernel-blk-dev-initrd", "CONFIG_BLK_DEV_INITRD"),
    "no devtmpfs": (off("DEVTMPFS"), "kernel-devtmpfs", "CONFIG_DEVTMPFS"),
    "no tmpfs": (off("TMPFS"), "kernel-tmpfs", "CONFIG_TMPFS"),
    "no attributes on tmpfs": (off("TMPFS_XATTR"), "kernel-tmpfs-xattr", "CONFIG_TMPFS_XATTR"),
    "no ELF": (off("BINFMT_ELF"), "kernel-binfmt-elf", "CONFIG_BINFMT_ELF"),
    "no scripts": (off("BINFMT_SCRIPT"), "kernel-binfmt-script", "CONFIG_BINFMT_SCRIPT"),
    "no raw sockets": (off("PACKET"), "kernel-packet", "CONFIG_PACKET"),
    "no TCP/IP": (off("INET"), "kernel-inet", "CONFIG_INET"),
    "no local sockets": (off("UNIX"), "kernel-unix", "CONFIG_UNIX"),
    "no control groups": (off("CGROUPS"), "kernel-cgroups", "CONFIG_CGROUPS"),
    "no EFI": (off("EFI"), "kernel-efi", "CONFIG_EFI"),
    "no EFI stub in the file": (assign(efi=False), "kernel-efi-stub", "vmlinuz"),
    "no NFS 4.2": (
        both(VERSION_4, off("NFS_V4_2"), lambda case: case.initrd_modules.append("nfsv4")),
        "kernel-nfs-version",
        "CONFIG_NFS_V4_2",
    ),
    "no NFS 3": (off("NFS_V3"), "kernel-nfs-version", "CONFIG_NFS_V3"),
    "no driver for the NIC's name": (assign(hardware=["tulip"]), "hardware-driver", "tulip"),
    "no driver for the NIC's alias": (
        assign(hardware=["pci:v000014E4d00001657sv0sd0bc02sc00i00"]),
        "hardware-driver",
        "pci:v000014E4d00001657sv0sd0bc02sc00i00",
    ),
    # the initrd
    "no init in the initrd": (lambda case: case.initrd_files.pop("init"), "initrd-init", "/init"),
    "init not executable": (
        lambda case: case.initrd_files.update(init=(b"#!/bin/sh\n", 0o644)),
        "initrd-init",
        "/init",
    ),
    "no decompressor": (off("RD_GZIP"), "initrd-compression", "gzip"),
    "initrd of another kernel": (assign(initrd_release="6.1.0-1-amd64"), "initrd-kernel-version", "initrd"),
    "no nfs module": (without_module("nfs"), "initrd-module-missing", "nfs"),
    "no nfsv3 module": (without_module("nfsv3"), "initrd-module-missing", "nfsv3"),
    "no nfsv4 module": (VERSION_4, "initrd-module-missing", "nfsv4"),
    "no sunrpc, which nfs needs": (without_module("sunrpc"), "initrd-module-missing", "sunrpc"),
    "no overlay module": (without_module("overlay"), "initrd-module-missing", "overlay"),
    "no NIC driver": (without_module("virtio_net"), "initrd-module-missing", "virtio_net"),
    "no dependency of the NIC driver": (
        without_module("net_failover"),
        "initrd-module-missing",
        "net_failover",
    ),
    "no bus of the NIC": (without_module("virtio_pci"), "initrd-module-missing", "virtio_pci"),
    "no driver for an alias": (
        assign(hardware=["pci:v000010ECd00008168sv0sd0bc02sc00i00"]),
        "initrd-module-missing",
        "r8169",
    ),
    "no program for NFS": (
        lambda case: case.initrd_files.update({"sbin/dhclient": case.initrd_files.pop("bin/busybox")}),
        "initrd-nfs-client",
        "initrd",
    ),
    "no DHCP client": (
        lambda case: case.initrd_files.update({"sbin/mount.nfs": case.initrd_files.pop("bin/busybox")}),
        "initrd-dhcp-client",
        "initrd",
    ),
    "initrd for the other root mode": (
        lambda case: case.initrd_files.update(
            {"lib/oneimage/built.sh": (b"root_modes='nfs_rw'\nmodules=''\n", 0o644)}
        ),
        "initrd-root-mode",
        "nfs_ro",
    ),
    "initramfs-tools with NFS 4": (
        both(
            VERSION_4,
            lambda case: case.initrd_modules.append("nfsv4"),
            lambda case: case.initrd_files.update({"scripts/nfs": (b"nfsmount -o nolock\n", 0o644)}),
        ),
        "initrd-nfs-version",
        "nfsroot",
    ),
    # the root
    "no init": (absent("usr/sbin/init"), "root-init", "/sbin/init"),
    "init leads nowhere": (absent("usr/lib/systemd/systemd"), "root-init", "/sbin/init"),
    "init cannot run": (write("usr/lib/systemd/systemd", ELF_X86_64, 0o644), "root-init", "/sbin/init"),
    "another init is named": (
        lambda case: case.parameters.append("init=/opt/init"),
        "root-init",
        "/opt/init",
    ),
    "root of another processor": (
        write("usr/lib/systemd/systemd", ELF_X86_64[:18] + struct.pack("<H", 183) + bytes(40), 0o755),
        "root-architecture",
        "/sbin/init",
    ),
    "no sshd": (absent("usr/sbin/sshd"), "root-sshd", "/usr/sbin/sshd"),
    "no /proc": (absent("proc"), "root-mount-point", "/proc"),
    "no /run": (absent("run"), "root-mount-point", "/run"),
    "/dev is a file": (both(absent("dev"), write("dev", b"")), "root-mount-point", "/dev"),
    "a machine id for all": (
        write("etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        "root-machine-id",
        "/etc/machine-id",
    ),
    "a host key for all": (
        write("etc/ssh/ssh_host_ed25519_key", b"secret"),
        "root-host-keys",
        "/etc/ssh/ssh_host_ed25519_key",
    ),
    "one machine's NIC names": (
        write("etc/udev/rules.d/70-persistent-net.rules", b""),
        "root-persistent-net",
        "/etc/udev/rules.d/70-persistent-net.rules",
    ),
    "root on a disk": (
        write("etc/fstab", b"UUID=1234 / ext4 defaults 0 1\n"),
        "root-fstab",
        "UUID=1234 on /",
    ),
    "no NFS client": (
        write("etc/fstab", b"srv:/home /home nfs4 defaults 0 0\n"),
        "root-nfs-client",
        "srv:/home on /home",
    ),
    # the parameters
    "no root=": (parameter("root=/dev/nfs"), "parameters-root", "root="),
    "root on a disk in root=": (parameter("root=/dev/nfs", "root=/dev/sda1"), "parameters-root", "root="),
    "no nfsroot=": (parameter(NFSROOT), "parameters-nfsroot", "nfsroot="),
    "a relative path": (
        parameter(NFSROOT, "nfsroot=10.0.0.1:srv/root,vers=3"),
        "parameters-nfsroot",
        "nfsroot=",
    ),
    "a server's name": (
        parameter(NFSROOT, "nfsroot=boot:/srv/root,vers=3"),
        "parameters-nfsroot",
        "nfsroot=",
    ),
    "NFS 2": (parameter(NFSROOT, "nfsroot=10.0.0.1:/srv/root,vers=2"), "parameters-nfsroot", "nfsroot="),
    "an empty option": (
        parameter(NFSROOT, "nfsroot=10.0.0.1:/srv/root,vers=3,"),
        "parameters-nfsroot",
        "nfsroot=",
    ),
    "a wrong method": (parameter("ip=dhcp", "ip=dhpc"), "parameters-ip", "ip="),
    "no network": (parameter("ip=dhcp", "ip=off"), "parameters-ip", "ip="),
    "a torn address": (
        parameter("ip=dhcp", "ip=10.0.0::10.0.0.1:255.255.255.0:n1:eth0:off"),
        "parameters-ip",
        "ip=",
    ),
    "a torn mask": (
        parameter("ip=dhcp", "ip=10.0.0.2::10.0.0.1:255.0.255.0:n1:eth0:off"),
        "parameters-ip",
        "ip=",
    ),
    "no address": (parameter("ip=dhcp", "ip=::10.0.0.1:255.255.255.0:n1:eth0:off"), "parameters-ip", "ip="),
    "too many fields": (parameter("ip=dhcp", "ip=10.0.0.2:::::::::::"), "parameters-ip", "ip="),
    "read-write parameters": (parameter("ro", "rw"), "parameters-root-mode", "oneimage.root_mode="),
    "another root mode": (assign(root_mode="nfs_rw"), "parameters-root-mode", "oneimage.root_mode="),
    "another image": (
        both(
            write("etc/os-release", b'IMAGE_ID=compute\nIMAGE_VERSION="0123456789ab"\n'),
            lambda case: case.parameters.append("oneimage.image=compute-ba9876543210"),
        ),
        "parameters-image",
        "oneimage.image=",
    ),
    "a console like a path": (
        parameter("console=tty0", "console=/dev/ttyS1"),
        "parameters-console",
        "console=",
    ),
    "a torn serial console": (
        parameter("console=ttyS0,115200n8", "console=ttyS0:115200"),
        "parameters-console",
        "console=",
    ),
    "two roots": (lambda case: case.parameters.insert(0, "root=/dev/sda1"), "parameters-root", "root="),
    "a torn BOOTIF": (lambda case: case.parameters.append("BOOTIF=01-aa-bb"), "parameters-BOOTIF", "BOOTIF="),
    "too long": (assign(command_line_size=80), "parameters-length", "129 bytes"),
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    "hardware",
    [["virtio_net"], ["virtio-net", "virtio:d00000001v00001AF4"], ["pci:v00008086d0000100Esv0"], []],
)
def test_stock_kernels_give_no_false_alarm(tmp_path: Path, release: str, hardware: list[str]) -> None:
    result = ask(Case(tmp_path, release=release, hardware=hardware)).as_result()
    assert result["findings"] == []
    assert (result["ok"], result["kernel_version"], result["root_mode"]) == (True, release, "nfs_ro")


@pytest.mark.parametrize("what", LACKING)
def test_what_lacks_one_thing_is_refused_by_its_name(tmp_path: Path, what: str) -> None:
    case = Case(tmp_path)
    change, name, subject = LACKING[what]
    change(case)
    errors = {(name, subject.rpartition(f"{tmp_path}/")[2]) for name, subject in found(case)}
    assert errors == {(name, subject)}


def test_the_message_names_all_that_is_wrong(tmp_path: Path) -> None:
    case = Case(tmp_path)
    off("NFS_FS", "OVERLAY_FS")(case)
    absent("usr/sbin/sshd")(case)
    parameter("panic=60")(case)
    message = ask(case).message()
    assert all(
        f"[{name}]" in message
        for name in ("kernel-nfs-fs", "kernel-overlay-fs", "root-sshd", "parameters-panic")
    )
    assert "would not boot from the network" in message


def test_modules_of_another_kernel_are_named(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write("usr/lib/modules/6.1.0-1-amd64/modules.dep", b"")
    (problem,) = (finding.problem for finding in ask(case).findings if finding.name == "root-modules")
    assert "only modules of 6.1.0-1-amd64" in problem


def test_a_root_without_lists_of_modules_wants_depmod(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write(f"usr/lib/modules/{case.release}/kernel/nothing", b"")
    (remedy,) = (finding.remedy for finding in ask(case).findings if finding.name == "root-modules")
    assert remedy == f"run depmod {case.release} in the root"


WARNINGS: dict[str, tuple[Change, str]] = {
    "no panic=": (parameter("panic=60"), "parameters-panic"),
    "no ip=": (parameter("ip=dhcp"), "parameters-ip"),
    "one console twice": (lambda case: case.parameters.append("console=tty0"), "parameters-console"),
    "no machine id": (absent("etc/machine-id"), "root-machine-id"),
    "a kernel that does not tell what is built in": (
        both(
            assign(hardware=["pci:v000014E4d00001657sv0sd0bc02sc00i00"], builtin_facts=b""),
            lambda case: case.builtin.append("virtio_pci"),
        ),
        "hardware-driver",
    ),
    "no overlay in the initrd": (
        lambda case: case.initrd_files.pop("lib/oneimage/built.sh"),
        "initrd-root-mode",
    ),
    "no firmware": (assign(firmware_of_nic="bnx2/bnx2-rv2p.fw"), "initrd-firmware-missing"),
    "a key in a root of its own": (
        both(
            write("etc/ssh/ssh_host_ed25519_key", b"secret"),
            assign(root_mode="nfs_rw"),
            parameter("ro", "rw"),
            parameter("oneimage.root_mode=nfs_ro"),
        ),
        "root-host-keys",
    ),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_what_boots_all_the_same_is_a_warning(tmp_path: Path, what: str) -> None:
    case = Case(tmp_path)
    change, name = WARNINGS[what]
    change(case)
    assert found(case) == set()
    assert {finding for finding, _subject in found(case, "warning")} == {name}
    assert "but: " in ask(case).message()


OWN_KERNEL = dict.fromkeys(
    ("IP_PNP", "IP_PNP_DHCP", "NFS_FS", "NFS_V3", "ROOT_NFS", "DEVTMPFS_MOUNT", "VIRTIO_NET"), "y"
)


def without_initrd(tmp_path: Path) -> Case:
    case = Case(tmp_path, with_initrd=False, options=dict(OWN_KERNEL))
    case.replace("ro", "rw")
    case.replace("oneimage.root_mode=nfs_ro")
    return case


def test_a_kernel_with_all_built_in_needs_no_initrd(tmp_path: Path) -> None:
    assert ask(without_initrd(tmp_path)).findings == []


@pytest.mark.parametrize(
    "change, name",
    [
        *[
            (off(option), f"kernel-{option.lower().replace('_', '-')}")
            for option in ("IP_PNP", "IP_PNP_DHCP", "NFS_FS", "ROOT_NFS")
        ],
        (lambda case: case.options.update(VIRTIO_NET="m"), "kernel-driver-modular"),
        (both(parameter("rw", "ro"), assign(root_mode="nfs_ro")), "initrd-needed"),
    ],
)
def test_without_an_initrd_all_must_be_built_in(tmp_path: Path, change: Change, name: str) -> None:
    case = without_initrd(tmp_path)
    change(case)
    assert {finding for finding, _subject in found(case)} == {name}


def test_a_stock_kernel_cannot_do_without_an_initrd(tmp_path: Path) -> None:
    case = without_initrd(tmp_path)
    case.options.clear()
    assert {"kernel-ip-pnp", "kernel-nfs-fs", "kernel-root-nfs", "kernel-driver-modular"} <= {
        name for name, _subject in found(case)
    }


def test_what_is_built_in_need_not_be_in_the_initrd(tmp_path: Path) -> None:
    case = Case(
        tmp_path,
        builtin=["af_packet", "nfs", "nfsv3", "sunrpc", "lockd", "overlay"],
        initrd_modules=["virtio_net", "net_failover"],
    )
    case.options["VIRTIO_PCI"] = "y"
    assert ask(case).findings == []


def test_the_bus_of_a_virtual_nic_is_often_built_in(tmp_path: Path) -> None:
    case = Case(
        tmp_path, hardware=["pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"], builtin_facts=b""
    )
    case.builtin.append("virtio_pci")
    assert ask(case).findings == []


@pytest.mark.parametrize(
    "ip",
    [
        "dhcp",
        "10.0.0.2::10.0.0.1:255.255.255.0:n1:eth0:off",
        "10.0.0.2",
        ":::::eth0:dhcp",
        "eth0:dhcp",
        "any",
    ],
)
def test_every_way_to_an_address(tmp_path: Path, ip: str) -> None:
    case = Case(tmp_path)
    case.replace("ip=dhcp", f"ip={ip}")
    assert ask(case).findings == []


@pytest.mark.parametrize(
    "value", ["10.0.0.1:/srv/root", "/srv/root,v3,tcp", "auto", "10.0.0.1:/srv/root,nfsvers=3,rsize=4096"]
)
def test_every_way_to_a_root(tmp_path: Path, value: str) -> None:
    case = Case(tmp_path)
    case.replace(NFSROOT, f"nfsroot={value}")
    assert ask(case).findings == []


ON_RAM_DISK = ("root=/dev/ram0", "rw", "init=/linuxrc")
WITH_RAM_DISK = {"BLK_DEV_RAM": "y", "BLK_DEV_RAM_SIZE": "4096", "EXT2_FS": "y"}


@pytest.mark.skipif(shutil.which("mke2fs") is None, reason="needs e2fsprogs")
@pytest.mark.parametrize(
    ("options", "parameters", "files", "findings"),
    [
        (WITH_RAM_DISK, ON_RAM_DISK, {}, {}),
        ({**WITH_RAM_DISK, "BLK_DEV_RAM": "m"}, ON_RAM_DISK, {}, {"initrd-format": "no RAM disk built in"}),
        ({**WITH_RAM_DISK, "EXT2_FS": "m"}, ON_RAM_DISK, {}, {"initrd-format": "no ext2 built in"}),
        (
            {**WITH_RAM_DISK, "EXT2_FS": "m", "EXT4_FS": "y", "EXT4_USE_FOR_EXT2": "y"},
            ON_RAM_DISK,
            {},
            {},
        ),
        (
            WITH_RAM_DISK,
            ("root=/dev/nfs", "ro"),
            {},
            {"parameters-root": "write root=/dev/ram0 rw init=/linuxrc"},
        ),
        (
            {**WITH_RAM_DISK, "BLK_DEV_RAM_SIZE": "64"},
            ON_RAM_DISK,
            {},
            {"initrd-ram-disk-size": "add ramdisk_size="},
        ),
        ({**WITH_RAM_DISK, "BLK_DEV_RAM_SIZE": "64"}, (*ON_RAM_DISK, "ramdisk_size=4096"), {}, {}),
        (WITH_RAM_DISK, ON_RAM_DISK, {"linuxrc": None}, {"initrd-init": "/linuxrc: is missing"}),
        (
            WITH_RAM_DISK,
            ON_RAM_DISK,
            {"bin/busybox": None},
            {"initrd-nfs-client": "", "initrd-dhcp-client": ""},
        ),
    ],
)
def test_an_initrd_that_is_a_ram_disk(
    options: dict[str, str],
    parameters: tuple[str, ...],
    files: dict[str, None],
    findings: dict[str, str],
    tmp_path: Path,
) -> None:
    case = Case(tmp_path, options=options)
    case.replace("root=/dev/nfs", *parameters)
    case.parameters.remove("ro")
    case.initrd_files["linuxrc"] = case.initrd_files["init"]
    case.initrd_files = {name: file for name, file in case.initrd_files.items() if name not in files}
    question = case.question()
    members, _end = _cpio.unpack(memoryview(gzip.decompress((tmp_path / "initrd").read_bytes())))
    disk = _initrd_ext2.build(members, None, None)
    (tmp_path / "initrd").write_bytes(gzip.compress(disk.content))
    sentences = {one.name: one.sentence() for one in answer(gather(question, RULES)).findings}
    assert sentences.keys() == findings.keys()
    assert all(text in sentences[name] for name, text in findings.items())


def test_profiles_of_the_user_hold_too(tmp_path: Path) -> None:
    rules = {**RULES, "named": _profiles.resolve(["kadeploy_multisite"])}
    names = {finding.name for finding in answer(gather(Case(tmp_path).question(), rules)).findings}
    assert names == {"kernel-blk-dev-ram", "kernel-blk-dev-ram-size", "kernel-cramfs"}


def test_the_configuration_may_lie_elsewhere(tmp_path: Path) -> None:
    case = Case(tmp_path)
    question = case.question()
    beside = case.root / "boot" / f"config-{case.release}"
    beside.rename(tmp_path / "config")
    with pytest.raises(
        ClusterError, match=f"no configuration of the kernel {case.release}: there is no {beside}"
    ):
        gather(question, RULES)
    assert answer(gather(replace(question, config=tmp_path / "config"), RULES)).findings == []


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda folder: (folder / "vmlinuz").write_bytes(b"\x89PNG\r\n\x1a\n"),
            "vmlinuz is no bootable x86 kernel .it begins 89 50 4e 47",
        ),
        (
            lambda folder: (folder / "vmlinuz").write_bytes((folder / "vmlinuz").read_bytes()[:1024]),
            "vmlinuz is truncated",
        ),
        (lambda folder: (folder / "vmlinuz").unlink(), "cannot read the kernel .*No such file"),
        (
            lambda folder: (folder / "initrd").write_bytes((folder / "initrd").read_bytes()[:-30]),
            "initrd .*damaged",
        ),
        (lambda folder: (folder / "initrd").write_bytes(b"\x89PNG\r\n\x1a\n"), "initrd .*is no initrd"),
        (lambda folder: shutil.rmtree(folder / "root"), "root .* is no folder"),
    ],
)
def test_what_cannot_be_read_gives_one_clear_error(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    question = Case(tmp_path).question()
    spoil(tmp_path)
    with pytest.raises(ClusterError, match=words):
        gather(question, RULES)


def test_links_in_the_root_do_not_lead_out_of_it(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (case.root / "usr/sbin/sshd").unlink()
    (case.root / "usr/sbin/sshd").symlink_to(os.path.abspath(__file__))
    assert found(case) == {("root-sshd", "/usr/sbin/sshd")}


@pytest.mark.parametrize(
    "given, root_mode, version",
    [
        ("ro root=/dev/nfs rw", "nfs_rw", None),
        ("rw ro", "nfs_ro", None),
        ("", "nfs_ro", None),
        ('rw oneimage.root_mode=nfs_ro dyndbg="file a +p" nfsroot=/x,v4.1', "nfs_ro", "4.1"),
        (["rw", "nfsroot=1.2.3.4:/x,nfsvers=4"], "nfs_rw", "4"),
    ],
)
def test_parameters(given: str | list[str], root_mode: str, version: str | None) -> None:
    parameters = Parameters(given)
    assert (parameters.root_mode, parameters.nfs_version) == (root_mode, version)


def test_an_open_quotation_is_refused() -> None:
    with pytest.raises(ClusterError, match="quotation mark"):
        Parameters('dyndbg="file a +p')


def test_every_check_is_found_by_some_test() -> None:
    tested = {name for _change, name, _subject in LACKING.values()} | {
        name for _change, name in WARNINGS.values()
    }
    assert len(LACKING) >= 20
    for prefix in ("kernel-", "initrd-", "root-", "parameters-", "hardware-"):
        assert any(name.startswith(prefix) for name in tested)
    assert len(_netboot.CHECKS) == len(set(_netboot.CHECKS))
