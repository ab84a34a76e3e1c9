# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook kernel.yml and its role kernel as a user runs them, on a small tree that is built as a kernel is."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kernel_role_tree
import kernel_trees
import pytest
from adhoc import CHECKOUT, run_playbook
from conftest import snapshot

EXAMPLE = CHECKOUT / "inventories/grid5000/kernel_builder.yml"
BUILDER = "builder:\n  hosts:\n    localhost:\n      ansible_connection: local\n"
NFSROOT = "10.0.0.1:/srv/root,vers=3"
HARDWARE = [
    {"site": "nancy", "drivers": ["igb", "sd_mod"]},
    {"site": "rennes", "drivers": ["e1000e"], "as": "builtin"},
]


class Play:
    """Runs the playbook; ``changed`` and ``output`` say what the last run did, ``kernel`` what it handed on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "linux-6.1.90.tar"
        kernel_trees.pack(kernel_role_tree.make_tree(folder / "linux-6.1.90"), self.archive)
        self.inventory = folder / "builder.yml"
        self.inventory.write_text(BUILDER)
        self.changed = -1
        self.output = ""
        self.kernel: dict[str, Any] = {}

    @property
    def boot_tree(self) -> Path:
        return self.folder / "srv/boot"

    @property
    def cache(self) -> Path:
        return self.folder / "cache/small"

    def run(
        self, *arguments: str, succeeds: bool = True, inventory: Path | None = None, **variables: Any
    ) -> None:
        own = {
            "name": "small",
            "source": {"archive": str(self.archive)},
            "cache": str(self.folder / "cache"),
            "install_tools": False,
            "options": {"NFS_FS": "y"},
            "progress": 0,
            **variables,
        }
        extra = {
            **{f"kernel_{name}": value for name, value in own.items()},
            "oneimage_storage": str(self.folder / "srv"),
            "ansible_python_interpreter": sys.executable,
        }
        done = run_playbook("playbooks/kernel.yml", str(inventory or self.inventory), extra, *arguments)
        self.output = done.stdout
        assert (done.returncode == 0) == succeeds, self.output
        self.changed = sum(int(count) for count in re.findall(r"changed=(\d+)", self.output))
        _play, told, text = self.output.partition("\tRUN: ")
        kernels = json.JSONDecoder().raw_decode(text)[0]["kernels"] if told else {}
        self.kernel = next(iter(kernels.values()), {})


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_a_first_run_publishes_and_a_second_changes_nothing(play: Play) -> None:
    play.run("--check", hardware=HARDWARE)
    assert play.changed > 0 and not (play.folder / "cache").exists() and not (play.folder / "srv").exists()
    wanted = {
        "hardware": HARDWARE,
        "nfsroot": NFSROOT,
        "parameters": ["console=tty0"],
        "firmware": ["bios", "uefi"],
    }
    play.run(**wanted)
    kernel = play.kernel
    assert kernel["version"] == "6.1.90-small" and re.fullmatch("small-[0-9a-f]{12}", kernel["image_id"])
    assert kernel["kernel"] == f"images/{kernel['image_id']}/vmlinuz"
    assert kernel["initrds"] == {"native": f"images/{kernel['image_id']}/initrd-native"}
    for path in (kernel["kernel"], kernel["initrds"]["native"]):
        assert (play.boot_tree / path).stat().st_mode & 0o777 == 0o644
    assert Path(kernel["modules_root"], "lib/modules/6.1.90-small/modules.dep").is_file()
    assert kernel["parameters"] == [
        *("root=/dev/nfs", f"nfsroot={NFSROOT}", "ip=dhcp", "ro", "oneimage.root_mode=nfs_ro"),
        *("oneimage.report=http://10.0.0.1/report", "console=tty0"),
    ]
    before = snapshot(play.folder / "srv")
    play.run(**wanted)
    assert play.changed == 0 and play.kernel == kernel and snapshot(play.folder / "srv") == before
    everything = snapshot(play.folder)
    play.run("--check", **{**wanted, "options": {"NFS_FS": "y", "NR_CPUS": 16}})
    assert play.changed == 1 and snapshot(play.folder) == everything


def test_another_kernel_gets_a_folder_of_its_own(play: Play) -> None:
    play.run(hardware=HARDWARE)
    first = play.kernel
    killed = play.boot_tree / "images/.small-0123456789ab.partial"
    killed.mkdir()
    play.run(hardware=HARDWARE[:1], localversion="-again", initrds=[{"compression": "gzip"}])
    assert play.kernel["version"] == "6.1.90-again" and play.kernel["image_id"] != first["image_id"]
    assert {"lib/modules/6.1.90-small", "lib/modules/6.1.90-again"} <= {
        str(path.relative_to(first["modules_root"]))
        for path in Path(first["modules_root"]).glob("lib/modules/*")
    }
    assert not killed.exists()
    for kernel in (first, play.kernel):
        names = {path.name for path in (play.boot_tree / kernel["kernel"]).parent.iterdir()}
        assert names == {"vmlinuz", "initrd-native"}


def test_the_report_says_where_each_driver_of_each_site_ended_up(play: Play) -> None:
    hardware = [*HARDWARE, {"site": "rennes", "drivers": ["ahci", "myri10ge", "fancy"]}]
    options = {"NFS_FS": "y", "ROOT_NFS": "y"}
    play.run(hardware=hardware, options=options, strict=False, initrds=[{"modules": ["igb", "e1000e"]}])
    places = {(row["site"], row["driver"]): row["place"] for row in play.kernel["drivers"]}
    assert places == {
        ("nancy", "igb"): "in the initrd",
        ("nancy", "sd_mod"): "module",
        ("rennes", "e1000e"): "built in",
        ("rennes", "ahci"): "module",
        ("rennes", "myri10ge"): "unknown",
        ("rennes", "fancy"): "dropped",
    }
    assert re.search(r"nancy +igb +CONFIG_IGB +m +in the initrd", play.output)
    (dropped,) = [one for one in play.kernel["dropped"] if one["option"] == "CONFIG_ROOT_NFS"]
    assert "depends on" in dropped["reason"] and "IP_PNP" in dropped["reason"]
    assert re.search(r"CONFIG_ROOT_NFS +y +n +options +depends on", play.output)


def test_the_example_of_two_sites_plays(play: Play) -> None:
    play.run(inventory=EXAMPLE, strict=False, base="defconfig", profiles=[], parameters=[])
    rows = {(row["site"], row["driver"], row["place"]) for row in play.kernel["drivers"]}
    assert rows == {
        ("all", "sd_mod", "in the initrd"),
        ("nancy", "ahci", "in the initrd"),
        ("nancy", "igb", "in the initrd"),
        ("nancy", "mlx4_core", "unknown"),
        ("rennes", "bnxt_en", "unknown"),
        ("rennes", "ixgbe", "unknown"),
        ("rennes", "megaraid_sas", "unknown"),
        ("rennes", "nvme", "unknown"),
    }
    assert play.kernel["image_id"] in play.output


def test_a_kernel_without_initrd_is_checked_for_what_it_needs_then(play: Play) -> None:
    play.run(succeeds=False, initrds=[], nfsroot=NFSROOT)
    assert "CONFIG_IP_PNP_DHCP" in play.output and not (play.cache / "build").exists()
    play.run(succeeds=False, initrds=[], nfsroot=NFSROOT, strict=False)
    assert "small would not boot from the network: [kernel-ip-pnp-dhcp]" in play.output
    assert not (play.folder / "srv").exists()


def test_a_root_gets_the_kernel_and_becomes_an_environment(play: Play) -> None:
    root = play.folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=small\n")
    registry = {"kind": "directory", "path": str(play.folder / "registry")}
    words = json.dumps(
        {"environment_owner": "root", "environment_image_folder": str(play.folder / "environments")}
    )
    wanted = {"root": str(root), "environment": {"name": "with-kernel", "registry": registry}}
    play.run("-e", words, **wanted)
    assert {path.name for path in (root / "boot").iterdir()} == {
        f"{name}-6.1.90-small" for name in ("vmlinuz", "initrd.img", "config", "System.map")
    }
    assert (root / "lib/modules/6.1.90-small/modules.dep").is_file()
    said = (play.folder / "registry/environments/root/with-kernel/1.yml").read_text()
    assert "kernel: /boot/vmlinuz-6.1.90-small" in said and "initrd: /boot/initrd.img-6.1.90-small" in said
    play.run("-e", words, **wanted)
    assert play.changed == 0


def test_a_root_that_nodes_mount_is_looked_into(play: Play) -> None:
    root = play.folder / "root"
    root.mkdir()
    play.run(succeeds=False, root=str(root), nfsroot=NFSROOT)
    assert "[root-init]" in play.output and not (play.folder / "srv").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": {"archive": "ARCHIVE", "sha256": "0" * 64}}, "archive: the sha256 of ARCHIVE is"),
        ({"options": {"NO_SUCH": "y"}}, "CONFIG_NO_SUCH"),
        ({"target": {"cc": "gcc-99"}}, "gcc-99"),
        ({"initrds": [{"modules": ["absent"]}]}, "has no module absent, neither in"),
        (
            {"environment": {"name": "a", "registry": {}}},
            "kernel_environment: an environment is made of a root",
        ),
    ],
)
def test_bad_input_is_one_error_before_anything_is_published(
    play: Play, wrong: dict[str, Any], message: str
) -> None:
    given = json.loads(json.dumps(wrong).replace("ARCHIVE", str(play.archive)))
    play.run(succeeds=False, **given)
    assert message.replace("ARCHIVE", str(play.archive)) in play.output, play.output
    assert len(re.findall(r"^(?:fatal|failed): ", play.output, re.MULTILINE)) == 1
    assert not (play.folder / "srv").exists()
