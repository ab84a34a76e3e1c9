# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import marker
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_boot_entry import (
    DISK,
    deployment_entry,
    switch,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    DeploymentBoot,
    Layout,
    Order,
    StepFailed,
    Target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NODE = Target("n1", "52:54:00:00:00:01", "10.77.0.11")
FILES = {
    "pxelinux.cfg/01-52-54-00-00-00-01",
    "ipxe/mac-52-54-00-00-00-01.ipxe",
    "grub/grub.cfg-01-52-54-00-00-00-01",
}
SHARED = {"ipxe/boot.ipxe", "grub/grub.cfg"}


def order_in(tree: Path, *parameters: str) -> Order:
    boot = DeploymentBoot(str(tree), "http://10.77.0.1", "images/d/vmlinuz", ("images/d/initrd",), parameters)
    image = None
    return Order("d1", {}, image, Layout(()), "", "http://10.77.0.1/deployments/x", "10.77.0.1", boot=boot)  # type: ignore[arg-type]


def texts(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}


def test_the_deployment_environment_is_booted_by_every_loader(tmp_path: Path) -> None:
    order = order_in(tmp_path, "ip=dhcp", "panic=5")
    assert set(switch(order, NODE, deployment_entry(order))) == FILES | SHARED
    found = texts(tmp_path)
    for path in FILES:
        assert "images/d/vmlinuz" in found[path]
        assert "ip=dhcp panic=5 oneimage.deploy=http://10.77.0.1/deployments/x" in found[path]
        assert "# node n1" in found[path]


def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    order = order_in(tmp_path)
    switch(order, NODE, deployment_entry(order))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert switch(order, NODE, deployment_entry(order)) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_disk_is_booted_by_every_loader(tmp_path: Path) -> None:
    order = order_in(tmp_path)
    switch(order, NODE, deployment_entry(order))
    assert set(switch(order, NODE, DISK)) == FILES
    found = texts(tmp_path)
    assert "LOCALBOOT 0" in found["pxelinux.cfg/01-52-54-00-00-00-01"]
    assert "sanboot --no-describe --drive 0x80" in found["ipxe/mac-52-54-00-00-00-01.ipxe"]
    assert "iseq ${platform} efi && exit 1" in found["ipxe/mac-52-54-00-00-00-01.ipxe"]
    assert found["grub/grub.cfg-01-52-54-00-00-00-01"].endswith("exit\n")
    assert not any("images/d" in found[path] for path in FILES)


def test_a_file_keeps_its_owner_and_other_nodes_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "ipxe").mkdir()
    own, other = tmp_path / "ipxe/mac-52-54-00-00-00-01.ipxe", tmp_path / "ipxe/mac-52-54-00-00-00-02.ipxe"
    for path in (own, other):
        path.write_text(f"#!ipxe\n{marker('rack')}\n# node n\n# entry compute\n")
    kept = other.read_text()
    switch(order_in(tmp_path), NODE, DISK)
    assert marker("rack") in own.read_text()
    assert "# entry disk" in own.read_text()
    assert marker("oneimage") in (tmp_path / "pxelinux.cfg/01-52-54-00-00-00-01").read_text()
    assert other.read_text() == kept


def test_a_loaders_first_file_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "ipxe").mkdir()
    (tmp_path / "ipxe/boot.ipxe").write_text("#!ipxe\nthe site's own\n")
    switch(order_in(tmp_path), NODE, DISK)
    assert (tmp_path / "ipxe/boot.ipxe").read_text() == "#!ipxe\nthe site's own\n"


@pytest.mark.parametrize("as_link", [False, True])
def test_somebody_elses_file_is_refused_before_anything_is_written(tmp_path: Path, as_link: bool) -> None:
    (tmp_path / "grub").mkdir()
    foreign = tmp_path / "grub/grub.cfg-01-52-54-00-00-00-01"
    if as_link:
        foreign.symlink_to("elsewhere")
    else:
        foreign.write_text("set default=0\n")
    with pytest.raises(StepFailed, match="was not written by this collection") as caught:
        switch(order_in(tmp_path), NODE, DISK)
    assert caught.value.advice == f"remove {foreign}"
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [foreign]


def test_a_node_with_a_uuid_has_files_by_it_too(tmp_path: Path) -> None:
    uuid = "4c4c4544-0031-4410-8052-b9c04f4e4e31"
    switch(order_in(tmp_path), Target("n1", NODE.mac, NODE.address, facts={"uuid": uuid}), DISK)
    assert f"ipxe/uuid-{uuid}.ipxe" in texts(tmp_path)


def test_a_parameter_that_no_loader_hands_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot pass all loaders"):
        deployment_entry(order_in(tmp_path, "console='a b'"))


def test_a_tree_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=f"{tmp_path}/none is no folder"):
        switch(order_in(tmp_path / "none"), NODE, DISK)
