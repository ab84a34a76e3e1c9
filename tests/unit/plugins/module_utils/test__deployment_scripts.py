# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell text of the micro-steps and of the deployment environment, and the texts that they write."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_bootloader as bootloader
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_disk_steps as disk
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_environment_init as init
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_identity as identity
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_install_steps as install
from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_init, _initrd_system

FILES = identity.INSIDE + bootloader.KERNEL_FILES
SCRIPTS = {
    "inspect": disk.INSPECT,
    "partition": disk.PARTITION,
    "make file system": disk.MAKE_FILE_SYSTEM,
    "open tmp": disk.OPEN_TO_ALL,
    "mount": disk.MOUNT,
    "umount": disk.UMOUNT,
    "add keys": disk.ADD_KEYS,
    "unshare": identity.INSIDE + identity.UNSHARE,
    "name": identity.INSIDE + identity.NAME,
    "host keys": identity.INSIDE + identity.HOST_KEYS,
    "find network": identity.INSIDE + identity.FIND_NETWORK,
    "write network": identity.INSIDE + identity.WRITE_NETWORK,
    "check": FILES + bootloader.CHECK,
    "find grub": identity.INSIDE + bootloader.FIND_GRUB,
    "own grub": identity.INSIDE + bootloader.MOUNT_EFI + bootloader.OWN_GRUB,
    "extlinux": FILES + bootloader.EXTLINUX,
    "grub for uefi": FILES + bootloader.MOUNT_EFI + bootloader.GRUB_EFI,
    "boot sector": bootloader.SECTOR,
    "unpack": install.UNPACK,
    "run": install.RUN,
    "send key": identity.INSIDE + install.SEND_KEY,
    "sync": install.SYNC,
}
PROGRAMS = {
    "init": init.INIT.replace(". /lib/oneimage/root.sh", _initrd_init.ROOT_FUNCTIONS).replace(
        ". /lib/oneimage/system.sh", _initrd_system.SYSTEM_FUNCTIONS
    )
    + ': "$ip_server"\n',  # only the native initrd reads this one
    "keep_ssh": init.KEEP_SSH,
}


@pytest.mark.parametrize("name", [*SCRIPTS, *PROGRAMS])
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    text = PROGRAMS.get(name) or disk.script(SCRIPTS[name], "a", "b", "c", "d", "e", "f")
    done = subprocess.run(
        ["shellcheck", "-s", "dash", "-"], input=text, text=True, capture_output=True, check=False
    )
    assert done.stdout == ""


def test_arguments_of_a_script_are_never_shell_text() -> None:
    words = ["a b", "$(echo no)", "'", ""]
    text = disk.script('for word; do printf "%s|" "$word"; done', *words)
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}|" for word in words)


DHCP = identity.Nic("52:54:00:00:00:01", "eth0")
STATIC = identity.Nic("52:54:00:00:00:01", "eth0", "10.0.0.5/24", "10.0.0.1", ("10.0.0.2", "10.0.0.3"))


@pytest.mark.parametrize(
    ("style", "dhcp", "static"),
    [
        ("networkd", ["DHCP=ipv4"], ["Address=10.0.0.5/24", "Gateway=10.0.0.1", "DNS=10.0.0.3"]),
        ("networkmanager", ["method=auto"], ["address1=10.0.0.5/24,10.0.0.1", "dns=10.0.0.2;10.0.0.3"]),
        ("netplan", ['"dhcp4": true'], ['"10.0.0.5/24"', '"via": "10.0.0.1"', '"10.0.0.3"']),
        (
            "ifupdown",
            ["iface eth0 inet dhcp"],
            ["address 10.0.0.5/24", "gateway 10.0.0.1", "10.0.0.2 10.0.0.3"],
        ),
        (
            "ifcfg",
            ["BOOTPROTO=dhcp"],
            ["IPADDR=10.0.0.5", "PREFIX=24", "GATEWAY=10.0.0.1", "DNS2=10.0.0.3"],
        ),
    ],
)
def test_network_texts(style: str, dhcp: list[str], static: list[str]) -> None:
    by_dhcp, by_hand = (identity.STYLES[style].text(nic) for nic in (DHCP, STATIC))
    assert all(line in by_dhcp for line in dhcp)
    assert all(line in by_hand for line in static)
    assert "10.0.0" not in by_dhcp and not any(line in by_hand for line in dhcp)
    if style != "ifupdown":
        assert DHCP.mac in by_dhcp and DHCP.mac in by_hand
    if style == "netplan":
        assert json.loads(by_hand)["network"]["version"] == 2


def test_what_a_shared_root_has_is_taken_back() -> None:
    lines = identity.unshared().splitlines()
    assert "f /etc/ssh/sshd_config.d/00-oneimage.conf" in lines
    assert "u systemd-networkd.service" in lines
    assert "u apt-daily.timer" not in lines
    assert lines[-1] == "f /etc/systemd/network/00-oneimage-boot.network"


@pytest.mark.parametrize(
    ("parameters", "command_line", "serial"),
    [
        ("quiet", "mine quiet", ""),
        ("""a="$b `c`" console=ttyS1,115200n8""", """mine a="$b `c`" console=ttyS1,115200n8""", "1 115200"),
        ("console=tty0 console=ttyS0", "mine console=tty0 console=ttyS0", "0 9600"),
    ],
)
def test_settings_of_an_images_own_grub_as_a_shell_reads_them(
    parameters: str, command_line: str, serial: str
) -> None:
    text = "GRUB_CMDLINE_LINUX=mine\nGRUB_SERIAL_COMMAND=\n" + bootloader.grub_settings(parameters)
    text += 'printf "%s\\n%s" "$GRUB_CMDLINE_LINUX" "$GRUB_SERIAL_COMMAND"'
    said = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout.split("\n")
    number, _space, speed = serial.partition(" ")
    assert said == [command_line, f"serial --unit={number} --speed={speed}" if serial else ""]
