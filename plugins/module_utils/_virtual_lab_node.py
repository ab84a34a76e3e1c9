# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Virtual nodes: a BMC that speaks real IPMI (ipmi_sim) and starts, stops and resets a QEMU machine."""

from __future__ import annotations

import contextlib
import functools
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_process as process
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import Lab, Node, Step
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_network import NAMESPACES, inside

QEMU = "qemu-system-x86_64"
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
VIRTUAL_MACHINE_PORT = 9002
MIB = 2**20

ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # The default translation buffer is a quarter of the guest's memory too much for several nodes at once.
    "tcg": ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"),
}

BMC_COMMANDS = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""


def node_steps(lab: Lab, accelerator: str) -> Iterator[Step]:
    """Nodes that are no longer declared go; the others get their files and a living BMC. None is powered on."""
    for name in undeclared(lab):
        yield from node_removal_steps(lab, name)
    for node in lab.nodes:
        directory = lab.node_directory(node.name)
        stale = {
            path: text for path, text in node_files(lab, node, accelerator).items() if read(path) != text
        }
        if stale:
            what = f"node {node.name}: write {', '.join(path.name for path in stale)}"
            yield Step(what, write_files, directory, stale)
        variables = directory / "vars.fd"
        if node.firmware == "uefi" and not variables.exists():
            yield Step(f"node {node.name}: copy the firmware's variables", copy_variables, variables)
        disk = directory / "disk.raw"
        if node.disk and disk_size(disk) != node.disk * MIB:
            yield Step(f"node {node.name}: give it a disk of {node.disk} MiB", make_disk, disk, node.disk)
        if stale or not bmc_alive(lab, node.name):
            yield Step(f"node {node.name}: start its BMC", start_bmc, lab, node.name)


def node_removal_steps(lab: Lab, name: str) -> Iterator[Step]:
    """End the BMC and the machine of one node, then remove its folder."""
    directory = lab.node_directory(name)
    if node_pids(directory):
        yield Step(f"node {name}: end its machine and its BMC", end_node, directory)
    yield Step(f"node {name}: remove {directory}", shutil.rmtree, directory)


def undeclared(lab: Lab) -> list[str]:
    """Nodes that have a folder but no declaration."""
    declared = {node.name for node in lab.nodes}
    return sorted(path.name for path in (lab.directory / "nodes").glob("*") if path.name not in declared)


def node_files(lab: Lab, node: Node, accelerator: str) -> dict[Path, str]:
    """Every file that follows from a node's declaration."""
    directory = lab.node_directory(node.name)
    return {
        directory / "lan.conf": bmc_configuration(node, directory),
        directory / "bmc.cmd": BMC_COMMANDS,
        directory / "power-on": power_on_script(node, directory, accelerator),
    }


def bmc_configuration(node: Node, directory: Path) -> str:
    """The lan.conf of ipmi_sim: one administrator, RMCP+ and MD5 only; power means the process of ``power-on``."""
    return f"""\
name "{node.name}"
set_working_mc 0x20
  startlan 1
    addr {node.bmc.address} {node.bmc.port}
    priv_limit admin
    allowed_auths_admin md5
    guid {node.mac.replace(":", "").rjust(32, "0")}
  endlan
  serial 15 {virtual_machine_address(node)} {VIRTUAL_MACHINE_PORT} codec VM
  startcmd "{directory}/power-on"
  startnow false
  poweroff_wait 2
  kill_wait 5
  user 2 true "{node.bmc.user}" "{node.bmc.password}" admin 10 md5
"""


def virtual_machine_address(node: Node) -> str:
    """A loopback address of its own, where the machine reports to its BMC: it mirrors the BMC's address."""
    return f"127.{node.bmc.address.partition('.')[2]}"


def power_on_script(node: Node, directory: Path, accelerator: str) -> str:
    """What the BMC runs at power on; it becomes the machine, so that ending the process is pulling the plug."""
    console = directory / "console.log"
    return f"""\
#!/bin/sh
# Run by this node's BMC at power on. The console log holds one power-on; the one before it is kept beside it.
[ ! -e {console} ] || mv -f {console} {directory}/console.previous.log
exec {shlex.join(qemu_command(node, directory, accelerator))} 2>>{directory}/qemu.log
"""


def qemu_command(node: Node, directory: Path, accelerator: str) -> list[str]:
    """The machine: it boots from the network, its console is a socket and a log, its power a BMC's.

    ``graphics=off`` makes SeaBIOS, and with it iPXE and PXELINUX, speak on the serial line.
    """
    bmc = f"socket,id=bmc,host={virtual_machine_address(node)},port={VIRTUAL_MACHINE_PORT},reconnect=2"
    console = (
        f"socket,id=console,path={directory}/console.sock,server=on,wait=off,logfile={directory}/console.log"
    )
    return [
        QEMU,
        *(
            "-name",
            node.name,
            "-machine",
            "pc,graphics=off",
            *ACCELERATORS[accelerator],
            "-smp",
            "1",
            "-m",
            str(node.memory),
        ),
        *("-display", "none", "-nodefaults", "-no-user-config"),
        *firmware_arguments(node, directory),
        *disk_arguments(node, directory),
        *("-netdev", f"tap,id=net0,ifname={node.tap},script=no,downscript=no"),
        *("-device", "virtio-rng-pci"),
        *("-chardev", console, "-serial", "chardev:console"),
        *(
            "-chardev",
            bmc,
            "-device",
            "ipmi-bmc-extern,id=bmc0,chardev=bmc",
            "-device",
            "isa-ipmi-bt,bmc=bmc0,irq=5",
        ),
        *("-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off"),
        *("-pidfile", f"{directory}/qemu.pid"),
    ]


def firmware_arguments(node: Node, directory: Path) -> list[str]:
    """Firmware and the NIC that it boots from."""
    nic = f"virtio-net-pci,netdev=net0,mac={node.mac},bootindex=1"
    if node.firmware == "bios":
        # SeaBIOS would stop for ever at "No bootable device": let it start over instead.
        return ["-boot", "reboot-timeout=5000", "-device", nic]
    code = f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"
    variables = f"if=pflash,format=raw,unit=1,file={directory}/vars.fd"
    # The lab has no IPv6: OVMF would look for it for a minute and a half whenever a node shall boot its disk.
    only = ["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]
    # No option ROM: OVMF boots with its own PXE as real UEFI machines do, not with QEMU's iPXE.
    return ["-drive", code, "-drive", variables, *only, "-device", f"{nic},romfile="]


def disk_arguments(node: Node, directory: Path) -> list[str]:
    """The disk, which the firmware tries after the network."""
    if not node.disk:
        return []
    disk = f"if=none,id=disk0,format=raw,discard=unmap,file={directory}/disk.raw"
    return ["-drive", disk, "-device", "virtio-blk-pci,drive=disk0,bootindex=2"]


def write_files(directory: Path, files: dict[Path, str]) -> None:
    """Write a node's files; they hold the BMC's password."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    for path, text in files.items():
        write_file(path, text.encode(), 0o700 if path.name == "power-on" else 0o600)


def copy_variables(path: Path) -> None:
    """Give a UEFI machine its own variable store."""
    try:
        write_file(path, OVMF_VARS.read_bytes(), 0o600)
    except OSError as error:
        raise ClusterError(f"cannot read {OVMF_VARS}: {error.strerror}; install the package ovmf") from error


def disk_size(path: Path) -> int | None:
    """The size of a node's disk in bytes, None where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def check_disks(lab: Lab) -> None:
    """Raise ClusterError where a disk would have to shrink: what is on it would be cut off."""
    for node in lab.nodes:
        path = lab.node_directory(node.name) / "disk.raw"
        size = disk_size(path)
        if node.disk and size is not None and size > node.disk * MIB:
            raise ClusterError(
                f"node {node.name}: disk: {path} has {size // MIB} MiB and would shrink to {node.disk}; remove it first"
            )


def make_disk(path: Path, mebibytes: int) -> None:
    """Make a sparse disk, or let one grow."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with path.open("ab") as disk:
        disk.truncate(mebibytes * MIB)
    path.chmod(0o600)


def start_bmc(lab: Lab, name: str) -> None:
    """End whatever is left of the node, then start its BMC."""
    directory = lab.node_directory(name)
    end_node(directory)
    argv = ["ipmi_sim", "-n", "-p", "-c", str(directory / "lan.conf"), "-f", str(directory / "bmc.cmd")]
    process.start(inside(lab.namespace, *argv, "-s", str(directory)), directory / "bmc.log")


def end_node(directory: Path) -> None:
    """End the BMC first, since it would start the machine again on request, then the machine."""
    for mark in (bmc_mark(directory), machine_mark(directory)):
        process.end(process.find(mark), functools.partial(process.has_argument, mark))
    with contextlib.suppress(FileNotFoundError):
        (directory / "qemu.pid").unlink()


def bmc_mark(directory: Path) -> str:
    """The argument that only this node's BMC has."""
    return str(directory / "lan.conf")


def machine_mark(directory: Path) -> str:
    """The argument that only this node's machine has."""
    return str(directory / "qemu.pid")


def node_pids(directory: Path) -> list[int]:
    """The living processes of a node."""
    return process.find(bmc_mark(directory)) + process.find(machine_mark(directory))


def bmc_alive(lab: Lab, name: str) -> bool:
    """Whether one BMC runs, in today's namespace and not in one that has lost its name."""
    pids = process.find(bmc_mark(lab.node_directory(name)))
    return len(pids) == 1 and process.network_of(pids[0]) == process.identity(NAMESPACES / lab.namespace)


def read(path: Path) -> str | None:
    """The text of a file, None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
