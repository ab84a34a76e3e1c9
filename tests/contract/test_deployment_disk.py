# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The micro-steps on disk and deployed system, run by the deployment environment's own programs on loop devices."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deployment_case
import pytest
from deployment_case import Namespace, loop_disk, make_work
from fixtures.kernel_tree import make_root

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _deployment_disk_steps,
    _deployment_environment,
    _deployment_install_steps,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Layout,
    Partition,
    StepFailed,
    Work,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not deployment_case.is_root(), reason="loop devices and mounts need root"),
    pytest.mark.skipif(
        bool(deployment_case.MISSING), reason=f"not installed: {', '.join(deployment_case.MISSING)}"
    ),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="this kernel has no loop devices"),
]
STEPS = {**_deployment_disk_steps.MICRO_STEPS, **_deployment_install_steps.MICRO_STEPS}
LAYOUT = Layout(
    (Partition("swap", 16, "swap"), Partition("prod", 8), Partition("deploy", 120), Partition("tmp", 0))
)
GPT = Layout(LAYOUT.partitions, table="gpt")
SIZE = 200
VERSION = "6.1.0-test"
KERNEL = f"/boot/vmlinuz-{VERSION}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    make_root(folder / "root")
    request = _deployment_environment.EnvironmentRequest(
        path=folder / "initrd",
        root=folder / "root",
        programs_root=Path("/"),
        kernel_version=None,
        modules=None,
        programs=[],
        compression="gzip",
        firmware=False,
        busybox=None,
    )
    _deployment_environment.ensure_environment(request, check=False)
    deployment_case.unpack(folder / "initrd", folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    with loop_disk(tmp_path / "disk", SIZE) as device:
        yield device


@pytest.fixture
def channel(environment: Path, disk: str) -> Iterator[Namespace]:
    with deployment_case.namespace(environment) as namespace:
        yield namespace


@pytest.fixture
def said() -> list[str]:
    return []


def do(work: Work, *names: str) -> None:
    for name in names:
        STEPS[name](work)


def written(device: str) -> dict[str, Any]:
    done = subprocess.run(["sfdisk", "--json", device], capture_output=True, check=True)
    table: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
    return table


@pytest.mark.parametrize(("layout", "label"), [(LAYOUT, "dos"), (GPT, "gpt")])
def test_a_disk_is_prepared_and_again(
    layout: Layout, label: str, channel: Namespace, disk: str, said: list[str]
) -> None:
    work = make_work(channel, layout, disk, said, reformat_tmp=True)
    do(work, "create_partition_table", "format_deploy_part", "mount_deploy_part", "format_swap_part")
    do(work, "format_tmp_part", "mount_tmp_part")
    assert written(disk)["label"] == label
    assert work.notes["deploy_device"] == f"{disk}p3"
    assert work.notes["partitions"]["tmp"]["number"] == 4
    mounts = channel.ask("cat /proc/mounts")
    assert f"{disk}p3 /mnt/dest ext4" in mounts and f"{disk}p4 /mnt/tmp ext4" in mounts
    assert channel.ask("ls -ld /mnt/tmp").startswith("drwxrwxrwt")
    assert channel.ask(f"blkid -o value -s LABEL {disk}p1") == "swap"
    features = channel.ask(f"tune2fs -l {disk}p3 | grep features")
    assert "64bit" not in features and "metadata_csum" not in features
    first = written(disk)
    channel.ask(f"mkfs.ext4 -q -F -L precious {disk}p2")
    again = make_work(channel, layout, disk, said)
    do(again, "create_partition_table", "format_deploy_part", "mount_deploy_part", "umount_deploy_part")
    assert written(disk) == first
    assert said[-2] == f"{disk} has its {'mbr' if label == 'dos' else 'gpt'} table already"
    assert channel.ask(f"blkid -o value -s LABEL {disk}p2") == "precious"
    assert "/mnt/dest" not in channel.ask("cat /proc/mounts")


def test_our_own_table_may_become_another(channel: Namespace, disk: str, said: list[str]) -> None:
    do(make_work(channel, LAYOUT, disk, said), "create_partition_table", "format_deploy_part")
    do(make_work(channel, GPT, disk, said), "create_partition_table")
    assert written(disk)["label"] == "gpt"
    do(make_work(channel, LAYOUT, disk, said), "create_partition_table")
    assert written(disk)["label"] == "dos"


FOREIGN_TABLE = "label: gpt\nstart=2048, size=20480, name=Windows\n"


@pytest.mark.parametrize("what", ["table", "file system"])
def test_other_peoples_data_are_refused_unless_allowed(
    what: str, channel: Namespace, disk: str, said: list[str]
) -> None:
    if what == "table":
        subprocess.run(["sfdisk", "--quiet", disk], input=FOREIGN_TABLE, text=True, check=True)
    else:
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    before = Path(disk).read_bytes()
    with pytest.raises(StepFailed, match="holds other people's data: .*(Windows|ext4)") as caught:
        do(make_work(channel, LAYOUT, disk, said), "create_partition_table")
    assert "overwrite: any" in caught.value.advice
    whole = make_work(channel, Layout(()), disk, said)
    with pytest.raises(StepFailed, match="other people's data"):
        do(whole, "create_partition_table")
    assert Path(disk).read_bytes() == before
    allowed = Layout(LAYOUT.partitions, overwrite="any")
    do(make_work(channel, allowed, disk, said), "create_partition_table")
    assert written(disk)["label"] == "dos"


def test_a_whole_disk_needs_no_table(channel: Namespace, disk: str, said: list[str]) -> None:
    work = make_work(channel, Layout(()), disk, said)
    do(work, "create_partition_table")
    assert (work.notes["deploy_device"], work.notes["partitions"]) == (disk, {})


@pytest.mark.parametrize(
    ("partitions", "name", "says"),
    [
        ((Partition("deploy", 500),), "", "needs 501 MiB, it has 200 MiB"),
        (LAYOUT.partitions, "/dev/sdzz", "it has no disk /dev/sdzz"),
    ],
)
def test_a_disk_that_is_not_what_the_layout_needs(
    partitions: tuple[Partition, ...],
    name: str,
    says: str,
    channel: Namespace,
    disk: str,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_deployment_disk_steps, "DISK_SECONDS", 1)
    before = Path(disk).read_bytes()
    with pytest.raises(StepFailed, match=says):
        do(make_work(channel, Layout(partitions), name or disk, said), "create_partition_table")
    assert Path(disk).read_bytes() == before


def test_a_resumed_deployment_finds_its_partitions(channel: Namespace, disk: str, said: list[str]) -> None:
    do(make_work(channel, LAYOUT, disk, said), "create_partition_table")
    resumed = make_work(channel, LAYOUT, disk, said)
    do(resumed, "format_deploy_part")
    assert resumed.notes["deploy_device"] == f"{disk}p3"
    with pytest.raises(StepFailed, match="is not that of the layout"):
        do(make_work(channel, GPT, disk, said), "format_deploy_part")


def deployed(channel: Namespace, disk: str, said: list[str], layout: Layout = LAYOUT, **order: Any) -> Work:
    """A small system as it lies on the disk when the image has been unpacked."""
    work = make_work(channel, layout, disk, said, **order)
    do(work, "create_partition_table", "format_deploy_part", "mount_deploy_part", "format_swap_part")
    put = {
        KERNEL: "a kernel",
        "/boot/initrd": "an initrd",
        "/etc/fstab": "server:/home /home nfs defaults 0 0\nUUID=old / ext4 defaults 0 1\n/dev/sda9 none swap sw 0 0\n",
        "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 origin\n",
        "/etc/machine-id": "0" * 32,
        "/etc/ssh/ssh_host_rsa_key": "everybody's",
        "/etc/ssh/sshd_config.d/00-oneimage.conf": "HostKey /run/x\n",
        "/etc/systemd/network/00-oneimage-boot.network": "[Match]\n",
        "/etc/network/interfaces": "auto lo\niface lo inet loopback\n",
        "/usr/sbin/ifup": "#!/bin/sh\n",
        "/root/.ssh/authorized_keys": "ssh-ed25519 AAAA mine\n",
        f"/lib/modules/{VERSION}/modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/block/loop.ko\n",
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in put.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(text), 0o755 if "bin/" in path else 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
        for path, target in (
            ("vmlinuz", KERNEL.lstrip("/")),
            ("etc/systemd/system/systemd-networkd.service", "/dev/null"),
        ):
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    channel.run("tar -x -C /mnt/dest", timeout=60, stdin=archive.getvalue())
    return work


def file(channel: Namespace, path: str) -> str:
    return channel.ask(f"cat /mnt/dest{path}")


def test_a_deployed_system_is_its_nodes_own(channel: Namespace, disk: str, said: list[str]) -> None:
    work = deployed(channel, disk, said, keys=("ssh-ed25519 BBBB user", "ssh-ed25519 AAAA mine"))
    do(work, "manage_admin_post_install", "send_key", "manage_admin_post_install", "send_key")
    assert file(channel, "/etc/hostname") == "node-1"
    assert file(channel, "/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 node-1.lab.example node-1"
    # what `printf 52:54:00:ab:00:01 | md5sum` says, as on a diskless node
    assert file(channel, "/etc/machine-id") == channel.ask("printf 52:54:00:ab:00:01 | md5sum | cut -c 1-32")
    assert file(channel, "/etc/resolv.conf") == "nameserver 10.0.0.2"
    uuid = channel.ask(f"blkid -o value -s UUID {disk}p3")
    swap = channel.ask(f"blkid -o value -s UUID {disk}p1")
    assert file(channel, "/etc/fstab").splitlines() == [
        "server:/home /home nfs defaults 0 0",
        f"UUID={uuid} / ext4 defaults 0 1",
        f"UUID={swap} none swap sw,nofail 0 0",
    ]
    assert file(channel, "/etc/network/interfaces.d/oneimage") == "auto eth0\niface eth0 inet dhcp"
    assert file(channel, "/etc/network/interfaces").count("source") == 1
    assert said.count("network by ifupdown: DHCP") == 2
    assert file(channel, "/root/.ssh/authorized_keys") == "ssh-ed25519 AAAA mine\nssh-ed25519 BBBB user"
    assert json.loads(file(channel, "/etc/oneimage/deployment.json"))["version"] == 3
    gone = ("etc/ssh/ssh_host_rsa_key", "etc/ssh/sshd_config.d/00-oneimage.conf")
    gone += ("etc/systemd/network/00-oneimage-boot.network", "etc/systemd/system/systemd-networkd.service")
    for path in gone:
        assert channel.ask(f"[ -e /mnt/dest/{path} ] || [ -L /mnt/dest/{path} ] || echo gone") == "gone", path
    do(work, "umount_deploy_part")
    assert "/mnt/dest" not in channel.ask("cat /proc/mounts")


def test_an_image_keeps_the_network_that_it_brings(channel: Namespace, disk: str, said: list[str]) -> None:
    work = deployed(channel, disk, said)
    channel.ask("echo 'iface ens3 inet dhcp' >>/mnt/dest/etc/network/interfaces")
    do(work, "manage_admin_post_install")
    assert said[-1] == "the image brings its own network"
    assert "source" not in file(channel, "/etc/network/interfaces")


def archive(folder: Path, script: str, packing: str = "gz") -> str:
    path = folder / f"post.tar.{packing}"
    with tarfile.open(path, f"w:{packing}") as tar:
        member = tarfile.TarInfo("run.sh")
        member.size, member.mode = len(script), 0o755
        tar.addfile(member, io.BytesIO(script.encode()))
    return f"server://{path}"


VARIABLES_SCRIPT = """#!/bin/sh
env | sort >/mnt/dest/variables
printf '%s|' "$@" >/mnt/dest/arguments
echo "the last line"
"""


def test_a_post_install_gets_kadeploys_variables(
    channel: Namespace, disk: str, said: list[str], tmp_path: Path
) -> None:
    uri = archive(tmp_path, VARIABLES_SCRIPT, "bz2")
    post = {"archive": uri, "compression": "bzip2", "script": "run.sh /rambin 'x y' '$HOME'"}
    description = {"postinstalls": [post], "custom_variables": {"SITE": "a 'b' $c"}}
    work = deployed(channel, disk, said, description=description)
    do(work, "manage_user_post_install")
    assert said[-1] == "the last line"
    assert file(channel, "/arguments") == "/rambin|x y|$HOME|"
    variables = dict(line.split("=", 1) for line in file(channel, "/variables").splitlines())
    assert variables["SITE"] == "a 'b' $c"
    assert variables["KADEPLOY_DEPLOY_PART"] == f"{disk}p3"
    assert variables["KADEPLOY_DEPLOY_PART_NUM"] == "3"
    assert variables["KADEPLOY_TMP_PART_NUM"] == "4"
    assert variables["KADEPLOY_PART_TYPE"] == "83"
    assert variables["KADEPLOY_PREPOST_EXTRACTION_DIR"] == "/rambin"
    assert variables["KADEPLOY_ENV_EXTRACTION_DIR"] == "/mnt/dest"
    assert json.loads(variables["ONEIMAGE_FACTS"]) == {"room": "a 1"}
    assert "/rambin" not in channel.ask("cat /proc/mounts")
    assert file(channel, "/etc/hostname") == "node-1"


def test_a_post_install_that_fails_is_told_with_its_last_words(
    channel: Namespace, disk: str, said: list[str], tmp_path: Path
) -> None:
    uri = archive(tmp_path, "#!/bin/sh\necho the licence server is away >&2\nexit 3\n")
    post = {"archive": uri, "compression": "gzip", "script": "run.sh"}
    work = deployed(channel, disk, said, admin_post_installs=(post,))
    with pytest.raises(StepFailed, match="script 'run.sh' of server:.*the licence server is away"):
        do(work, "manage_admin_post_install")
    for uri, says in (
        ("server:///nowhere", "cannot read the post-install server:///nowhere"),
        ("http://127.0.0.1:9/post.tgz", "cannot fetch the post-install http://127.0.0.1:9/post.tgz"),
    ):
        lost = make_work(channel, LAYOUT, disk, said, admin_post_installs=({**post, "archive": uri},))
        with pytest.raises(StepFailed, match=says):
            do(lost, "manage_admin_post_install")


@pytest.mark.parametrize(
    ("boot", "says"),
    [
        ({"kernel": "/vmlinuz", "initrd": "/boot/initrd"}, ""),
        ({"kernel": "/boot/bzImage"}, "no file /boot/bzImage; its /boot holds: initrd vmlinuz-6.1.0-test"),
        ({"kernel": "/vmlinuz", "initrd": "/boot/absent"}, "no file /boot/absent"),
        ({"kernel": "/vmlinuz"}, ""),
    ],
)
def test_the_kernel_files_are_there(
    boot: dict[str, str], says: str, channel: Namespace, disk: str, said: list[str]
) -> None:
    work = deployed(channel, disk, said, description={"boot": boot})
    if not says:
        do(work, "check_kernel_files")
        return
    with pytest.raises(StepFailed, match=says) as caught:
        do(work, "check_kernel_files")
    assert "boot.initrd" in caught.value.advice


def test_a_kernel_that_needs_an_initrd_is_told(channel: Namespace, disk: str, said: list[str]) -> None:
    work = deployed(channel, disk, said, description={"boot": {"kernel": "/vmlinuz"}})
    channel.ask(f"echo kernel/drivers/block/loop.ko >/mnt/dest/lib/modules/{VERSION}/modules.builtin")
    with pytest.raises(StepFailed, match=f"its kernel {VERSION} has ext4 as a module"):
        do(work, "check_kernel_files")


@pytest.mark.parametrize(
    ("modes", "packing", "fits"),
    [("nfs_ro nfs_rw", "gzip", False), ("nfs_ro disk", "gzip", True), ("nfs_rw", "zstd", False)],
)
def test_an_initrd_for_the_network_alone_is_told(
    modes: str, packing: str, fits: bool, channel: Namespace, disk: str, said: list[str]
) -> None:
    work = deployed(channel, disk, said)
    channel.ask(
        "rm -rf /tmp/tree && mkdir -p /tmp/tree/lib/oneimage && cd /tmp/tree\n"
        f"echo \"root_modes='{modes}'\" >lib/oneimage/built.sh\n"
        f"find . | cut -c 3- | sort | cpio -o -H newc 2>/dev/null | {packing} -c >/mnt/dest/boot/initrd"
    )
    if fits:
        do(work, "check_kernel_files")
        return
    with pytest.raises(StepFailed, match=f"boots from the network alone: root_modes='{modes}'"):
        do(work, "check_kernel_files")


@pytest.mark.parametrize(("layout", "boot"), [(LAYOUT, "mbr.bin"), (GPT, "gptmbr.bin")])
def test_a_bios_finds_its_bootloader(
    layout: Layout, boot: str, channel: Namespace, disk: str, said: list[str]
) -> None:
    work = deployed(channel, disk, said, layout, parameters=("console=ttyS0",))
    channel.ask(f"dd of=/mnt/dest{KERNEL} bs=1M seek=1 count=0")
    do(work, "manage_admin_post_install", "install_bootloader", "install_bootloader", "sync")
    size, blocks = map(int, channel.ask(f"stat -c '%s %b' /mnt/dest{KERNEL}").split())
    assert size == 2**20 <= blocks * 512, "extlinux cannot read a hole"
    text = file(channel, "/boot/extlinux/extlinux.conf")
    uuid = channel.ask(f"blkid -o value -s UUID {disk}p3")
    assert f"LINUX {KERNEL}\n" in text and "INITRD /boot/initrd\n" in text
    assert f"APPEND root=UUID={uuid} ro quiet console=ttyS0" in text
    assert channel.ask("ls /mnt/dest/boot/extlinux").split() == [
        "extlinux.conf",
        "ldlinux.c32",
        "ldlinux.sys",
    ]
    sector = (channel.root / "lib/oneimage/boot" / boot).read_bytes()
    with open(disk, "rb") as device:
        assert device.read(len(sector)) == sector
    assert len(written(disk)["partitions"]) == len(work.notes["partitions"])


def test_xen_without_grub_is_told(channel: Namespace, disk: str, said: list[str]) -> None:
    xen = deployed(channel, disk, said, description={"os": "xen"})
    with pytest.raises(StepFailed, match="Xen is started by the image's own GRUB"):
        do(xen, "install_bootloader")


def test_what_is_mounted_below_the_root_goes_too(channel: Namespace, disk: str, said: list[str]) -> None:
    work = deployed(channel, disk, said)
    channel.ask(
        "mkdir -p /mnt/dest/dev /mnt/dest/sys && mount -o bind /dev /mnt/dest/dev && mount -t sysfs s /mnt/dest/sys"
    )
    do(work, "umount_deploy_part", "umount_deploy_part")
    assert "/mnt/dest" not in channel.ask("cat /proc/mounts")


def test_keys_open_the_environment_once(channel: Namespace, disk: str, said: list[str]) -> None:
    channel.ask("mkdir -p /root/.ssh; echo 'ssh-ed25519 CCCC engine' >/root/.ssh/authorized_keys")
    work = make_work(channel, LAYOUT, disk, said, keys=("ssh-ed25519 BBBB user",))
    do(work, "send_key_in_deploy_env", "send_key_in_deploy_env")
    lines = channel.ask("cat /root/.ssh/authorized_keys").splitlines()
    assert lines == ["ssh-ed25519 CCCC engine", "ssh-ed25519 BBBB user"]
