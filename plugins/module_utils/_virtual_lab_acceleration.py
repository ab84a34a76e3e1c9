# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""KVM or TCG: decided by running a guest, since /dev/kvm can exist on machines where no kernel gets through."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import Lab
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_node import ACCELERATORS, QEMU

KVM = Path("/dev/kvm")
KERNEL_PACKAGES = ("linux-image-cloud-amd64", "linux-image-amd64", "linux-image-virtual")
PROOF = b"Unable to mount root fs"
"""What a kernel without a root says last: it has then brought up processor, memory, timers and console."""
PROBE_TIMEOUT = 20
DOWNLOAD_TIMEOUT = 300


@dataclass(frozen=True)
class Acceleration:
    """How the lab's machines run, why, and on which boot of this machine that was found out."""

    name: str
    reason: str
    boot_id: str

    def facts(self) -> dict[str, str]:
        """As it is recorded with the lab."""
        return asdict(self)


def remembered(lab: Lab, record: dict[str, Any] | None) -> Acceleration | None:
    """The choice that is recorded, as long as it answers what is asked today."""
    if lab.acceleration != "auto":
        return Acceleration(lab.acceleration, "declared", boot_id())
    if record and record.get("boot_id") == boot_id() and record.get("reason") != "declared":
        return Acceleration(record["name"], record["reason"], record["boot_id"])
    return None


def choose(lab: Lab) -> Acceleration:
    """Try a guest under KVM; TCG with the reason if it does not get through."""
    try:
        os.close(os.open(KVM, os.O_RDWR))
    except OSError as error:
        return Acceleration("tcg", f"{KVM}: {error.strerror}", boot_id())
    try:
        kernel = lab.probe_kernel or fetch_kernel(lab.cache)
    except ClusterError as error:
        return Acceleration("tcg", f"no kernel to try KVM with: {error}", boot_id())
    if runs_under_kvm(kernel):
        return Acceleration("kvm", f"{kernel.name} ran under KVM", boot_id())
    return Acceleration(
        "tcg", f"{kernel.name} did not get through under KVM within {PROBE_TIMEOUT} s", boot_id()
    )


def runs_under_kvm(kernel: Path) -> bool:
    """Boot ``kernel`` with no root at all, as the lab's machines would run, and look for its last words."""
    with tempfile.TemporaryFile() as console:
        argv = [
            QEMU,
            "-machine",
            "pc",
            *ACCELERATORS["kvm"],
            "-m",
            "256",
            "-display",
            "none",
            "-nodefaults",
            "-no-user-config",
        ]
        argv += [
            "-no-reboot",
            "-serial",
            "stdio",
            "-kernel",
            str(kernel),
            "-append",
            "console=ttyS0 panic=-1 no_timer_check",
        ]
        with subprocess.Popen(  # pylint: disable=ansible-bad-function
            argv, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.DEVNULL
        ) as guest:
            try:
                guest.wait(PROBE_TIMEOUT)
            except subprocess.TimeoutExpired:
                guest.kill()
        console.seek(0)
        return PROOF in console.read()


def fetch_kernel(cache: Path) -> Path:
    """The distribution's kernel, taken out of its package once and kept in the cache."""
    kernel = cache / "probe-vmlinuz"
    if kernel.exists():
        return kernel
    work = cache / "probe"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run(
        ["apt-get", "download", "-o", "APT::Sandbox::User=root", kernel_package()],
        cwd=str(work),
        timeout=DOWNLOAD_TIMEOUT,
    )
    for package in work.glob("*.deb"):
        run(["dpkg-deb", "--extract", str(package), str(work / "root")], timeout=DOWNLOAD_TIMEOUT)
    for found in work.glob("root/boot/vmlinuz-*"):
        with partial_file(kernel) as temporary:
            shutil.copyfile(found, temporary)
    shutil.rmtree(work)
    if not kernel.exists():
        raise ClusterError("the kernel's package holds no /boot/vmlinuz")
    return kernel


def kernel_package() -> str:
    """The package that the distribution's meta package stands for today."""
    for meta in KERNEL_PACKAGES:
        listed = run(
            ["apt-cache", "depends", "--no-recommends", "--no-suggests", meta], timeout=60, accept=(0, 100)
        )
        for line in listed.stdout.decode().splitlines():
            name = line.partition("Depends:")[2].strip()
            if name.startswith("linux-image-"):
                return name
    raise ClusterError(f"this machine's apt knows none of {', '.join(KERNEL_PACKAGES)}")


def boot_id() -> str:
    """Changes at every boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
