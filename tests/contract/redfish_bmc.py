"""A BMC that speaks Redfish: sushy-tools' emulator, whose machine is a QEMU process.

Run as a program with a folder that holds ``settings.py`` for the emulator. ``qemu.pid`` there is the machine while it is on;
``told`` gets a line per order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver

FOLDER = Path(sys.argv[1])
MACHINE = [
    "qemu-system-x86_64",
    "-machine",
    "pc",
    "-accel",
    "tcg",
    "-m",
    "32",
    "-nodefaults",
    "-display",
    "none",
]


class Machine(fakedriver.FakeDriver):
    """Its firmware finds nothing to boot, so that it never obeys a polite request."""

    def get_power_state(self, identity: str) -> str:
        return "On" if alive() else "Off"

    def set_power_state(self, identity: str, state: str) -> None:
        tell(f"power {state}")
        if state in ("ForceOff", "ForceRestart"):
            end()
        if state in ("On", "ForceRestart") and not alive():
            process = subprocess.Popen(MACHINE, stdin=subprocess.DEVNULL)
            (FOLDER / "qemu.pid").write_text(str(process.pid))

    def set_boot_device(self, identity: str, boot_source: str) -> None:
        tell(f"boot {boot_source}")
        super().set_boot_device(identity, boot_source)

    def set_boot_mode(self, identity: str, boot_mode: str) -> None:
        tell(f"mode {boot_mode}")
        super().set_boot_mode(identity, boot_mode)


def tell(line: str) -> None:
    with (FOLDER / "told").open("a") as told:
        told.write(line + "\n")


def alive() -> bool:
    try:
        os.kill(int((FOLDER / "qemu.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def end(*_signal: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((FOLDER / "qemu.pid").read_text()), signal.SIGKILL)
    (FOLDER / "qemu.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    fakedriver.FakeDriver = Machine
    sys.argv[1:] = ["--fake", "--config", str(FOLDER / "settings.py")]
    emulator.main()
