from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.kernel_tree import VERSION, make_root

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_modules as modules
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@pytest.fixture
def tree(tmp_path: Path) -> modules.ModuleTree:
    return modules.read_tree(make_root(tmp_path), None)


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        (["nfsv3"], ["sunrpc", "lockd", "nfs", "nfsv3"]),
        (["virtio_net"], ["virtio", "virtio_ring", "virtio_net", "virtio_pci"]),  # its bus goes along
        (["my-nic"], ["my_bus", "my_phy", "my_nic", "my_ib"]),  # soft dependencies before and after
        (["crc_user"], ["crc_user", "crc_fast"]),  # a soft dependency by alias
        (["af_packet"], []),  # built in
        (["overlay", "nfs", "overlay"], ["overlay", "sunrpc", "lockd", "nfs"]),
    ],
)
def test_closure(tree: modules.ModuleTree, wanted: list[str], order: list[str]) -> None:
    assert modules.closure(tree, wanted) == order


def test_modprobe_is_told_in_the_order_of_depmod(tree: modules.ModuleTree) -> None:
    """What is loaded first stands last; soft dependencies are like others for a modprobe that knows none."""
    assert modules.load_line(tree, "nfsv3") == (
        "kernel/fs/nfsv3.ko: kernel/fs/nfs.ko kernel/fs/lockd.ko kernel/net/sunrpc.ko"
    )
    assert modules.load_line(tree, "my_nic") == (
        "kernel/drivers/net/my-nic.ko: kernel/drivers/net/my_phy.ko kernel/drivers/net/my_bus.ko"
    )


def test_what_follows_a_module_answers_to_its_aliases(tree: modules.ModuleTree) -> None:
    lines = list(modules.alias_lines(tree, {"my_nic", "my_ib", "crc_fast"}))
    assert lines == [
        "alias pci:v0000CAFEd* my_nic",
        "alias pci:v0000CAFEd* my_ib",
        "alias crypto-crc crc_fast",
    ]


def test_the_usual_nics_that_the_kernel_has_and_the_root_modes_modules(tree: modules.ModuleTree) -> None:
    usual = modules.choose(tree, None, ["nfs_rw"])
    assert usual == ["virtio_net", "af_packet", "nfs", "nfsv3", "nfsv4"]
    assert modules.choose(tree, ["my-nic"], ["nfs_ro"])[-1] == "overlay"


def test_a_root_on_a_disk_needs_no_network(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    folder = root / "lib/modules" / VERSION
    disks = ["drivers/scsi/sd_mod", "drivers/block/virtio_blk", "fs/ext4", "fs/btrfs"]
    with (folder / "modules.dep").open("a") as file:
        file.write("".join(f"kernel/{path}.ko:\n" for path in disks))
    tree = modules.read_tree(root, None)
    on_disk = modules.choose(tree, None, ["disk"])
    assert on_disk == ["virtio_blk", "sd_mod", "ext4", "btrfs"]
    assert "virtio_pci" in modules.closure(tree, on_disk)
    assert modules.loaded_by_name(tree, on_disk) == ["virtio_blk", "sd_mod"]
    both = modules.choose(tree, None, ["nfs_rw", "disk"])
    assert set(both) >= {"virtio_net", "virtio_blk", "nfs", "ext4"}
    assert modules.choose(tree, ["my-nic"], ["disk"]) == ["my_nic", "sd_mod", "ext4", "btrfs"]


def test_init_loads_by_name_what_no_hardware_asks_for(tree: modules.ModuleTree) -> None:
    assert modules.loaded_by_name(tree, ["my_nic", "virtio_net", "bonding", "nfs", "af_packet"]) == [
        "bonding",
        "nfs",
    ]


def test_a_missing_module_is_named_with_its_kernel(tree: modules.ModuleTree) -> None:
    with pytest.raises(ClusterError, match=rf"kernel {VERSION} .* has no module i40e, my_other, neither"):
        modules.choose(tree, ["i40e", "virtio_net", "my-other"], [])


@pytest.mark.parametrize("version", [None, "5.10.0-gone"])
def test_an_unclear_kernel_version_names_those_that_are_there(version: str | None, tmp_path: Path) -> None:
    make_root(tmp_path, "6.1.0-a")
    make_root(tmp_path, "6.1.0-b")
    with pytest.raises(ClusterError, match=r"6\.1\.0-a, 6\.1\.0-b"):
        modules.read_tree(tmp_path, version)


def test_a_root_without_modules_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="only of: none"):
        modules.read_tree(tmp_path, VERSION)


def test_a_kernel_without_depmod_s_lists_says_so(tmp_path: Path) -> None:
    (make_root(tmp_path) / "lib/modules" / VERSION / "modules.dep").unlink()
    with pytest.raises(ClusterError, match=r"modules\.dep: No such file.*run depmod"):
        modules.read_tree(tmp_path, VERSION)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_modules_come_out_decompressed_with_their_firmware(suffix: str, tmp_path: Path) -> None:
    tree = modules.read_tree(make_root(tmp_path, suffix=suffix), VERSION)
    module = modules.read_module(tree, "my_nic")
    assert module.content[:4] == b"\x7fELF"
    assert module.firmware == ("my/nic.fw", "my/lost.fw")
    assert modules.plain_path(tree, "my_nic") == "kernel/drivers/net/my-nic.ko"
    assert modules.find_firmware(tree, "my/nic.fw") == tmp_path / "lib/firmware/my/nic.fw"
    assert modules.find_firmware(tree, "my/lost.fw") is None


@pytest.mark.parametrize("name", ["../../etc/shadow", "/etc/passwd", "my/*"])
def test_firmware_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    assert modules.find_firmware(modules.read_tree(make_root(tmp_path), VERSION), name) is None


def test_a_module_of_another_kernel_is_refused(tmp_path: Path) -> None:
    tree = modules.read_tree(make_root(tmp_path, made_for="5.10.0-9-amd64"), VERSION)
    with pytest.raises(
        ClusterError, match=rf"nfs\.ko was built for the kernel 5\.10\.0-9-amd64, not for {VERSION}"
    ):
        modules.read_module(tree, "nfs")


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(70)])
def test_a_damaged_module_is_one_clear_error(content: bytes, tree: modules.ModuleTree) -> None:
    (tree.folder / tree.paths["nfs"]).write_bytes(content)
    with pytest.raises(ClusterError, match=r"nfs\.ko is damaged.*install its package again"):
        modules.read_module(tree, "nfs")
