"""A kernel that is built here from the distribution's source boots: with no initrd at all, with the native one, and as the
EFI program that UEFI firmware starts. All at once, on the nodes that the inventory has for it.

`make kernel` compiled it before; the run here finds it in the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import declared
from playbook_run import changes, play, stats
from testinfra.host import Host

SKIPPED = "ONEIMAGE_SKIP_KERNEL says that no kernel is to be compiled"
pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(bool(os.environ.get("ONEIMAGE_SKIP_KERNEL")), reason=SKIPPED),
]
WAYS = {
    "no_initrd": ("bios", "nfs_rw"),
    "native_initrd": ("bios", "nfs_ro"),
    "efi_stub": ("uefi", "nfs_ro"),
}
"""What is proven, each by a node of its own: its firmware, and how it gets its root."""
NFS_OPTIONS = "vers=3,rsize=131072,wsize=131072"
"""The kernel itself reads and writes 4096 bytes at a time unless it is told otherwise."""
FORGET = ": >/etc/machine-id"
"""Without an initrd, systemd writes the machine-id into the root, which is not this node's alone."""


@dataclass(frozen=True)
class Boot:
    """What ``host``, as it is declared, shall boot: ``root`` by ``root_mode``."""

    way: str
    host: dict[str, Any]
    root_mode: str
    root: Path

    @property
    def name(self) -> str:
        return str(self.host["inventory_hostname"])

    @property
    def image_id(self) -> str:
        return f"{self.root.parent.name}-{self.root.name}"

    @property
    def place(self) -> str:
        return f"{self.host['oneimage_server']}:{self.root}"

    def parameters(self, kernel: dict[str, Any]) -> list[str]:
        return [
            "root=/dev/nfs",
            f"nfsroot={self.place},{NFS_OPTIONS}",
            "ip=dhcp",
            "rw" if self.root_mode == "nfs_rw" else "ro",
            f"oneimage.root_mode={self.root_mode}",
            f"oneimage.image={self.image_id}",
            f"oneimage.report=http://{self.host['oneimage_server']}/report",
            *kernel["parameters"],
        ]

    def entry(self, kernel: dict[str, Any]) -> dict[str, Any]:
        initrds = [] if self.way == "no_initrd" else [kernel["initrds"]["native"]]
        return {
            "name": self.way,
            "kernel": kernel["kernel"],
            "initrd": initrds,
            "parameters": self.parameters(kernel),
        }

    def node(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mac": self.host["node_mac"],
            "address": self.host["node_address"],
            "entry": self.way,
        }

    def proof(self, kernel: dict[str, Any]) -> dict[str, Any]:
        """As node_boot takes it."""
        return {
            "image_id": self.image_id,
            "kernel": kernel["version"],
            "root_mode": self.root_mode,
            "root": self.place,
            "parameters": self.parameters(kernel),
        }


def chosen() -> dict[str, Boot]:
    """By way; a way is left out where no node has its firmware, or no node of the inventory its root mode."""
    free = [host for host in declared() if "nodes" in host["group_names"]]
    found = {}
    for way, (firmware, root_mode) in WAYS.items():
        host = next((host for host in reversed(free) if host["node_firmware"] == firmware), None)
        if host is None:
            continue
        image = host["oneimage_image"] if root_mode == "nfs_ro" else f"{host['oneimage_image']}-rw"
        published = Path(host["oneimage_storage"], "roots", image, "current")
        if published.exists():
            found[way] = Boot(way, host, root_mode, published.resolve())
            free.remove(host)
    return found


@pytest.fixture(scope="module")
def kernel() -> dict[str, Any]:
    """What kernel.yml handed on."""
    (built,) = stats(play("kernel.yml"))["kernels"].values()
    return dict(built)


@pytest.fixture(scope="module")
def rows(kernel: dict[str, Any], nodes: dict[str, Host]) -> Iterator[dict[str, dict[str, Any]]]:
    """What node_boot told of each node, by way; it fails unless all of them run what was declared."""
    boots = chosen()
    extra = {
        "trial_entries": [boot.entry(kernel) for boot in boots.values()],
        "trial_nodes": [boot.node() for boot in boots.values()],
        "trial_declared": {boot.name: boot.proof(kernel) for boot in boots.values()},
    }
    limit = ":".join(["boot_server", *(boot.name for boot in boots.values())])
    try:
        out = play("../tests/boot/kernel_boot.yml", "--limit", limit, "--extra-vars", json.dumps(extra))
        told = {row["node"]: row for row in stats(out)["node_boot_nodes"]}
        yield {way: told[boot.name] for way, boot in boots.items()}
    finally:
        if "no_initrd" in boots:
            nodes[boots["no_initrd"].name].run(FORGET)
        play("diskless.yml", "--tags", "server")
        for boot in boots.values():
            nodes[boot.name].run("systemctl --no-block reboot")


@pytest.fixture
def node(way: str, rows: dict[str, dict[str, Any]], nodes: dict[str, Host]) -> Host:
    """The node that proves ``way``."""
    if way not in rows:
        firmware, root_mode = WAYS[way]
        pytest.skip(
            f"no node of this inventory is left for {way} ({firmware}), or none has a root for {root_mode}"
        )
    return nodes[rows[way]["node"]]


def test_a_second_run_builds_nothing(kernel: dict[str, Any]) -> None:
    out = play("kernel.yml")
    assert set(changes(out).values()) == {0}
    assert stats(out)["kernels"] == {"virtual": kernel}


@pytest.mark.parametrize("way", WAYS)
def test_the_kernel_boots(node: Host, way: str, kernel: dict[str, Any]) -> None:
    assert node.check_output("uname -r") == kernel["version"]
    assert (
        node.check_output("zcat /proc/config.gz | grep --word-regexp CONFIG_ROOT_NFS") == "CONFIG_ROOT_NFS=y"
    )
    assert node.check_output("systemctl is-system-running --wait") == "running"
    assert node.check_output("systemctl --failed --plain --no-legend") == ""


@pytest.mark.parametrize("way", ["no_initrd"])
def test_the_kernel_itself_mounted_the_root(node: Host, way: str) -> None:
    assert "VFS: Mounted root (nfs filesystem)" in node.check_output("dmesg")
    assert not node.file("/run/oneimage/image_id").exists  # the native init would have written it
    assert "initrd=" not in node.file("/proc/cmdline").content_string


@pytest.mark.parametrize("way", ["native_initrd", "efi_stub"])
def test_the_native_initrd_brought_the_modules_of_this_kernel(node: Host, way: str) -> None:
    assert node.file("/run/oneimage/root_mode").content_string.strip() == "nfs_ro"
    assert "overlay" in node.check_output("lsmod").split()


@pytest.mark.parametrize("way", ["efi_stub"])
def test_the_firmware_started_the_kernel_as_a_program(node: Host, way: str) -> None:
    assert node.file("/sys/firmware/efi/runtime").exists
    console = Path(chosen()[way].host["lab_directory"], "nodes", chosen()[way].name, "console.log")
    assert "EFI stub: Loaded initrd" in console.read_text(errors="replace")
