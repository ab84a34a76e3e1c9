"""Each generator with a stock kernel: a root with what a node needs, built as a user builds one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Run

pytestmark = [pytest.mark.root, pytest.mark.slow]
PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "kmod", "udev"),
    *(
        "dracut-core",
        "dracut-network",
        "nfs-common",
        "isc-dhcp-client",
        "iputils-arping",
        "netbase",
        "procps",
    ),
)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    root = tmp_path_factory.mktemp("debian")
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm"]
    subprocess.run([*argv, str(root)], check=True, capture_output=True, timeout=1800)
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("generator", ["native", "initramfs_tools", "dracut"])
def test_a_stock_kernel(generator: str, module: Run, debian: Path, tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "initrd"), "root": str(debian), "generator": generator}
    built = module("initrd", {**options, "modules": ["virtio_net"]})
    assert built["changed"]
    assert {"virtio_net", "virtio_pci", "nfsv3", "nfsv4", "overlay"} <= set(built["modules"])
    assert "af_packet" in built["builtin"]
    found = module("initrd_info", {"path": built["path"]})
    assert set(built["modules"]) <= set(found["modules"])
    assert (found["sha256"], found["kernel_versions"]) == (built["sha256"], [built["kernel_version"]])
    assert not module("initrd", {**options, "modules": ["virtio_net"]})["changed"]
    assert str(debian) not in Path("/proc/mounts").read_text()
