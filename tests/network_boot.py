"""Boot one file from the network in QEMU, without root, a bridge or a loader's configuration."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

OVMF = Path("/usr/share/OVMF")
"""Of the Debian package ovmf."""
KERNEL_PARAMETERS = ["console=ttyS0", "no_timer_check", "panic=5"]
"""What emulated machines need: a console that can be read, and no death by a late timer."""
FIRST_MESSAGE = b"oneimage: stage initrd"
MACHINE = (
    *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512", "-no-reboot"),
    *("-nodefaults", "-no-user-config", "-display", "none", "-device", "virtio-rng-pci"),
)
FIRMWARE = {
    # QEMU's own ROM of the NIC, which is iPXE, loads by BIOS; OVMF has a driver and a PXE client of its own
    "bios": ("-machine", "pc", "-boot", "n", "-device", "virtio-net-pci,netdev=lan"),
    "uefi": (
        *("-machine", "q35", "-device", "virtio-net-pci,netdev=lan,romfile="),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"),
        *("-drive", f"if=pflash,format=raw,snapshot=on,file={OVMF}/OVMF_VARS_4M.fd"),
    ),
}


def from_network(firmware: str, image: Path) -> list[str]:
    """The machine that gets ``image`` by DHCP and TFTP, from QEMU itself."""
    lan = f"user,id=lan,restrict=on,tftp={image.parent},bootfile={image.name}"
    return [*MACHINE, "-netdev", lan, *FIRMWARE[firmware]]


def console_until(argv: list[str], words: bytes, console: Path, timeout: float) -> bytes:
    """What the machine says on its serial line until it says ``words``, ends, or ``timeout`` s are over."""
    machine = subprocess.Popen([*argv, "-serial", f"file:{console}"])
    deadline = time.monotonic() + timeout
    try:
        while True:
            said = console.read_bytes() if console.exists() else b""
            if words in said or machine.poll() is not None or time.monotonic() > deadline:
                return said
            time.sleep(0.5)
    finally:
        machine.kill()
        machine.wait()
