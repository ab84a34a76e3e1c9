"""A machine boots from an ext2 RAM disk, where a kernel that can is at hand: those of the distributions cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Run
from fixtures.kernel_tree import make_root
from network_boot import FIRST_MESSAGE, KERNEL_PARAMETERS, MACHINE, console_until

from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import read_kernel_image

BUILDS = Path("/var/cache/oneimage/kernels")
"""Where the role kernel builds."""
NEEDED = {
    "CONFIG_BLK_DEV_RAM=y",
    "CONFIG_BLK_DEV_INITRD=y",
    "CONFIG_RD_GZIP=y",
    "CONFIG_SERIAL_8250_CONSOLE=y",
}
FILE_SYSTEMS = {"CONFIG_EXT2_FS=y", "CONFIG_EXT4_USE_FOR_EXT2=y"}


def fitting_kernels() -> list[Path]:
    """Those built here that have a RAM disk and ext2 in them."""
    found = []
    for config in BUILDS.glob("*/build/.config"):
        lines = set(config.read_text(encoding="utf-8").splitlines())
        kernel = config.parent / "arch/x86/boot/bzImage"
        if lines >= NEEDED and lines & FILE_SYSTEMS and "CONFIG_EXT4_FS=m" not in lines and kernel.exists():
            found.append(kernel)
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86")
def test_a_machine_boots_from_a_ram_disk(module: Run, tmp_path: Path) -> None:
    kernels = fitting_kernels()
    if not kernels:
        pytest.skip(f"no kernel in {BUILDS} has CONFIG_BLK_DEV_RAM and ext2 built in")
    release = read_kernel_image(kernels[0]).release
    options = {"path": str(tmp_path / "initrd"), "root": str(make_root(tmp_path / "root", version=release))}
    ram_disk = module("initrd", {**options, "format": "ext2", "compression": "gzip"})
    words = " ".join([*ram_disk["parameters"], *KERNEL_PARAMETERS, "oneimage.image=ram-disk-1"])
    files = ["-machine", "pc", "-kernel", str(kernels[0]), "-initrd", options["path"], "-append", words]
    said = console_until([*MACHINE, *files], FIRST_MESSAGE, tmp_path / "console", timeout=180)
    expected = FIRST_MESSAGE + f": kernel {release}, image ram-disk-1, root mode nfs_ro".encode()
    assert expected in said, said[-2000:].decode("utf-8", "replace")
