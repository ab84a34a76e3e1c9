# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the kernel command line must say for a boot from the network."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ansible_collections.oneimage.cluster.plugins.module_utils._netboot_boot import (
    RAM_DISK_INIT,
    Boot,
    Finding,
    warning,
)

NFS_ROOT = "/dev/nfs"
RAM_DISK_ROOT = "root=/dev/ram0 rw"
SINGLE = ("root", "nfsroot", "ip", "init", "rdinit", "oneimage.root_mode", "oneimage.image")
"""Parameters of which only the last counts, so that two different ones are a mistake."""
DHCP_METHODS = ("dhcp", "on", "any", "both", "bootp", "rarp")
NO_METHODS = ("off", "none")
METHODS = ("", *DHCP_METHODS, *NO_METHODS)
IP_FIELDS = ("CLIENT", "SERVER", "GATEWAY", "MASK", "HOSTNAME", "DEVICE", "METHOD", "DNS", "DNS", "NTP")
IP_ADDRESSES = (0, 1, 2, 3, 7, 8, 9)
IP_METHOD = 6
NFS_VERSIONS = ("3", "4", "4.0", "4.1", "4.2")
SERIAL = re.compile(r"ttyS\d+(?:,\d+(?:[noe](?:[5-8]r?)?)?)?")
CONSOLE = re.compile(r"(?:tty\d*|tty[A-Z]{1,5}\d+|hvc\d+|netcon\d*|null|uart.*)(?:,.*)?|")
BOOTIF = re.compile(
    r"[0-9a-fA-F]{2}(?:[-:][0-9a-fA-F]{2}){6}|(?:[0-9a-fA-F]{2}[-:]){5}[0-9a-fA-F]{2}|.*\$\{.*"
)
OS_RELEASE = "/usr/lib/os-release"


def wrong(name: str, problem: str, remedy: str) -> Finding:
    return Finding(f"parameters-{name.rpartition('.')[2].replace('_', '-')}", f"{name}=", problem, remedy)


def parameters_single(boot: Boot) -> Iterator[Finding]:
    for name in SINGLE:
        values = boot.parameters.values(name)
        if len(set(values)) > 1:
            yield wrong(
                name, f"given {len(values)} times ({', '.join(values)}); only the last counts", "keep one"
            )


def parameters_root(boot: Boot) -> Iterator[Finding]:
    root = boot.parameters.value("root")
    if boot.initrd and boot.initrd.format == "ext2":
        if not boot.parameters.on_ram_disk or boot.parameters.value("init") != RAM_DISK_INIT:
            remedy = f"write {RAM_DISK_ROOT} init={RAM_DISK_INIT}; nfsroot= names the root on the server"
            yield wrong(
                "root",
                f"is {root or 'missing'}, but the initrd is a RAM disk, which is the root at first",
                remedy,
            )
    elif root != NFS_ROOT:
        yield wrong(
            "root",
            f"is {root}" if root else "is missing",
            f"write root={NFS_ROOT}, for the root is on a server",
        )


def parameters_nfsroot(boot: Boot) -> Iterator[Finding]:
    value = boot.parameters.value("nfsroot")
    remedy = "write nfsroot=ADDRESS:/PATH[,OPTIONS]"
    if not value:
        yield wrong("nfsroot", "is missing", remedy)
        return
    place, *options = value.split(",")
    server, colon, path = place.rpartition(":")
    if place != "auto" and not path.startswith("/"):
        yield wrong("nfsroot", f"{path!r} in {value!r} is no absolute path", remedy)
    if colon and not is_address(server):
        yield wrong(
            "nfsroot", f"{server!r} in {value!r} is no IPv4 address, and nothing resolves names yet", remedy
        )
    version = boot.parameters.nfs_version
    if version is not None and version not in NFS_VERSIONS:
        yield wrong("nfsroot", f"NFS version {version} is none of {', '.join(NFS_VERSIONS)}", "write vers=3")
    if boot.initrd is None and version is None:
        yield warning(
            "parameters-nfsroot",
            "nfsroot=",
            "without vers= the kernel asks for the version that it was built to prefer, in old kernels NFS 2 over UDP",
            "add vers=3,tcp (v3,tcp for kernels before 2.6.37)",
        )
    if "" in options:
        yield wrong("nfsroot", f"an option in {value!r} is empty", remedy)


def parameters_ip(boot: Boot) -> Iterator[Finding]:
    value = boot.parameters.value("ip")
    remedy = "write ip=dhcp or ip=CLIENT::GATEWAY:MASK:HOSTNAME:DEVICE:off"
    if value is None:
        yield warning("parameters-ip", "ip=", "is missing; what happens then depends on the initrd", remedy)
        return
    fields = value.split(":")
    if len(fields) == 1:
        if value in NO_METHODS:
            yield wrong("ip", f"{value} leaves the node without a network", remedy)
        elif value not in DHCP_METHODS and not is_address(value):
            yield wrong(
                "ip", f"{value!r} is neither a method ({', '.join(DHCP_METHODS)}) nor an address", remedy
            )
        return
    if len(fields) == 2 and fields[1] in DHCP_METHODS:
        return  # DEVICE:METHOD, as dracut has it
    if len(fields) > len(IP_FIELDS):
        yield wrong("ip", f"{value!r} has {len(fields)} fields, at most {len(IP_FIELDS)} are known", remedy)
    for at, field in enumerate(fields[: len(IP_FIELDS)]):
        if at in IP_ADDRESSES and field and not is_address(field):
            yield wrong("ip", f"{IP_FIELDS[at]} {field!r} in {value!r} is no IPv4 address", remedy)
    mask = fields[3] if len(fields) > 3 else ""
    if is_address(mask) and not is_mask(mask):
        yield wrong("ip", f"MASK {mask!r} in {value!r} is no netmask", remedy)
    method = fields[IP_METHOD] if len(fields) > IP_METHOD else ""
    if method not in METHODS:
        yield wrong("ip", f"METHOD {method!r} in {value!r} is none of {', '.join(METHODS[1:])}", remedy)
    if method in NO_METHODS and not fields[0]:
        yield wrong("ip", f"{value!r} has neither an address nor a method to get one", remedy)


def is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_mask(text: str) -> bool:
    try:
        ipaddress.IPv4Network(f"0.0.0.0/{text}")
    except ValueError:
        return False
    return True


def parameters_root_mode(boot: Boot) -> Iterator[Finding]:
    access, named = boot.parameters.access, boot.parameters.value("oneimage.root_mode")
    if named and named != boot.root_mode:
        yield wrong(
            "oneimage.root_mode", f"is {named}, the node's root mode is {boot.root_mode}", "make them agree"
        )
    wanted = "rw" if boot.root_mode == "nfs_rw" else "ro"
    if (access or "ro") != wanted and not boot.parameters.on_ram_disk:
        said = access or "neither ro nor rw, which means ro"
        yield wrong(
            "oneimage.root_mode",
            f"{boot.root_mode} needs {wanted}, the command line says {said}",
            f"write {wanted}",
        )


def parameters_image(boot: Boot) -> Iterator[Finding]:
    image = boot.parameters.value("oneimage.image")
    path = boot.in_root("/etc/os-release") or boot.in_root(OS_RELEASE)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    facts = {name: value.strip("\"'") for name, _equals, value in (line.partition("=") for line in lines)}
    held = (
        f"{facts['IMAGE_ID']}-{facts['IMAGE_VERSION']}"
        if {"IMAGE_ID", "IMAGE_VERSION"} <= set(facts)
        else None
    )
    if image and held is None:  # a root that was not made here, such as that of an old distribution
        problem = (
            f"is {image}, the root {boot.root} does not say which image it is (IMAGE_ID in /etc/os-release)"
        )
        yield warning("parameters-image", "oneimage.image=", problem, "see to it that no other root is meant")
    elif image and image != held:
        problem = f"is {image}, the root {boot.root} says that it is {held}"
        yield wrong("oneimage.image", problem, "name the image that the root is of")


def parameters_consoles(boot: Boot) -> Iterator[Finding]:
    values = boot.parameters.values("console")
    for value in values:
        pattern = SERIAL if value.startswith("ttyS") else CONSOLE
        if not pattern.fullmatch(value):
            yield wrong("console", f"{value!r} is no console", "write console=ttyS0,115200 or console=tty0")
    devices = [value.partition(",")[0] for value in values]
    for device in sorted({device for device in devices if devices.count(device) > 1}):
        yield warning("parameters-console", f"console={device}", "is given more than once", "keep one")


def parameters_bootif(boot: Boot) -> Iterator[Finding]:
    value = boot.parameters.value("BOOTIF")
    if value is not None and not BOOTIF.fullmatch(value):
        yield wrong("BOOTIF", f"{value!r} is no hardware address", "write BOOTIF=01-aa-bb-cc-dd-ee-ff")


def parameters_panic(boot: Boot) -> Iterator[Finding]:
    if boot.parameters.value("panic") in (None, "0"):
        yield warning(
            "parameters-panic",
            "panic=",
            "is missing: a node whose kernel panics stays dead until somebody cycles its power",
            "write panic=60 (seconds until it boots again)",
        )


def parameters_length(boot: Boot) -> Iterator[Finding]:
    length = len(boot.parameters.line.encode())
    if length > boot.kernel.command_line_size:
        yield Finding(
            "parameters-length",
            f"{length} bytes",
            f"the kernel takes {boot.kernel.command_line_size} and cuts the rest off",
            "shorten the parameters",
        )


CHECKS = (
    parameters_single,
    parameters_root,
    parameters_nfsroot,
    parameters_ip,
    parameters_root_mode,
    parameters_image,
    parameters_consoles,
    parameters_bootif,
    parameters_panic,
    parameters_length,
)
