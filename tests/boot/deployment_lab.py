"""Deployments on the lab: capture, deploy, and what nodes and the boot server say of it."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import declared
from playbook_run import play, stats
from testinfra.host import Host

NAME = "deployed"
SMALLEST_DISK = 1024
"""MiB of a disk that holds the image."""
MARKED = """
import os, struct
with open("/etc/marked", "w") as stream:
    stream.write("marked")
entries = [(1, 6, -1), (2, 4, 2345), (4, 4, -1), (16, 4, -1), (32, 0, -1)]  # acl(5) as the kernel keeps it
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr("/etc/marked", "system.posix_acl_access", acl)
"""
ATTRIBUTES = """
for path, name in ("/usr/bin/marked", "security.capability"), ("/etc/marked", "system.posix_acl_access"):
    print(__import__("os").getxattr(path, name).hex())
"""
FACTS = """
echo "state=$(systemctl is-system-running --wait)"
echo "failed=$(systemctl --failed --plain --no-legend)"
echo "name=$(cat /proc/sys/kernel/hostname)"
echo "generation=$(cat /etc/generation)"
echo "filesystem=$(findmnt --noheadings --output FSTYPE /)"
echo "device=$(findmnt --noheadings --output SOURCE /)"
echo "table=$(blkid -o value -s PTTYPE /dev/vda)"
echo "firmware=$(test -d /sys/firmware/efi && echo uefi || echo bios)"
echo "swap=$(grep --count ^/dev/vda /proc/swaps)"
echo "machine_id=$(cat /etc/machine-id)"
echo "host_key=$(ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | cut -d' ' -f3)"
"""
MODULES = [
    *(
        f"/usr/lib/modules/*/kernel/{folder}/**"
        for folder in ("arch", "crypto", "lib", "mm", "sound", "virt")
    ),
    *(
        f"/usr/lib/modules/*/kernel/fs/{name}/**"
        for name in ("btrfs", "ceph", "ext4", "nfs", "nfsd", "smb", "xfs")
    ),
    *(
        f"/usr/lib/modules/*/kernel/net/{name}/**"
        for name in ("bridge", "netfilter", "sched", "sctp", "sunrpc")
    ),
    *(
        f"/usr/lib/modules/*/kernel/drivers/{name}/**"
        for name in ("hid", "infiniband", "md", "scsi", "target")
    ),
    *(f"/usr/lib/modules/*/kernel/drivers/net/{name}/**" for name in ("ethernet", "wireless")),
]
"""Drivers that a virtual node does not need once it runs, half of them; the initrd mounts its disk by its own."""


def named(host: dict[str, Any]) -> str:
    return str(host["inventory_hostname"])


def of_firmware(firmware: str) -> dict[str, Any]:
    """The node of that firmware whose disk is large enough for the image."""
    for host in declared():
        if (host.get("node_disk") or 0) >= SMALLEST_DISK and host.get("node_firmware") == firmware:
            return host
    pytest.skip(
        f"no node of this inventory has the firmware {firmware} and a disk of {SMALLEST_DISK} MiB or more"
    )


def extra(**variables: Any) -> list[str]:
    return ["--extra-vars", json.dumps(variables)]


def capture(storage: Path, version: str, *words: str, **more: Any) -> dict[str, Any]:
    """Register what capture.yml captures; its row."""
    known = {
        "environment_name": NAME,
        "environment_owner": "root",
        "environment_registry": {"path": str(storage / "registry")},
        "environment_image_folder": str(storage / f"captured-{version}"),
        "environment_compression": "zstd",
    }
    (row,) = stats(play("capture.yml", *words, *extra(**known, **more)))["environments"]
    return dict(row)


def deploy(names: list[str], *words: str, **variables: Any) -> dict[str, Any]:
    """What deploy.yml handed on, which must succeed; the rows by node."""
    limit = ["--limit", ",".join(["builder", *names])]
    told = stats(play("deploy.yml", *limit, *words, *extra(deployment_overwrite="any", **variables)))
    return {**told, "rows": {row["node"]: row for row in told["deployment_nodes"]}}


def outcomes(told: dict[str, Any]) -> dict[str, str]:
    return {name: row["outcome"] for name, row in told["rows"].items()}


def facts(node: Host) -> dict[str, str]:
    """What a running system says of itself, asked by one login, after it has started whatever it starts."""
    return dict(line.partition("=")[::2] for line in node.check_output(FACTS).splitlines())


def attributes(node: Host) -> str:
    """The capability and the ACL that the captured node was given, as its kernel keeps them."""
    return str(node.check_output(f"python3 -c {shlex.quote(ATTRIBUTES)}"))


def assert_runs_from_its_disk(node: Host, name: str, generation: str) -> dict[str, str]:
    """Its facts, of a system in which nothing failed."""
    found = facts(node)
    assert (found["state"], found["failed"]) == ("running", ""), found
    assert (found["name"], found["generation"], found["filesystem"]) == (name, generation, "ext4")
    assert found["device"].startswith("/dev/vda")
    return found


def command_line(node: Host, patience: float) -> str:
    """The kernel's, as soon as the node takes a login."""
    over = time.monotonic() + patience
    while time.monotonic() < over:
        with contextlib.suppress(RuntimeError):  # testinfra's, where ssh cannot connect
            return str(node.check_output("cat /proc/cmdline"))
        time.sleep(3)
    pytest.fail(f"it took no login within {patience:g} s")


@dataclass(frozen=True)
class Boots:
    """How a node's boots look from the boot server."""

    node: dict[str, Any]
    server: Host

    def power(self, word: str) -> list[str]:
        """The command for its BMC, which the boot server reaches."""
        bmc = self.node["node_bmc"]
        login = ["-H", bmc["address"], "-U", bmc["user"], "-P", bmc["password"]]
        suite = str(bmc["cipher_suite"])
        # a BMC of a busy machine needs more than the second that it is given, and what comes twice confuses both
        return ["ipmitool", "-I", "lanplus", "-N", "5", "-C", suite, *login, "power", word]

    def fetched(self) -> int:
        """How often its loader has fetched the deployment environment's kernel so far, by TFTP or HTTP."""
        address = self.node["node_address"].replace(".", r"\.")
        kernel = "/images/deployment-[^ ]*/vmlinuz"
        asked = f"sent .*{kernel} to {address}$|^{address} .*GET {kernel} .* 200 "
        logs = "{ journalctl --unit=dnsmasq --output=cat --no-pager; cat /var/log/nginx/access.log; }"
        return int(self.server.run(f"{logs} | grep --count --extended-regexp {shlex.quote(asked)}").stdout)

    def reset_until_fetched(self, patience: float) -> None:
        """Pull its reset; it has decided what to boot when it has fetched a kernel."""
        before = self.fetched()
        self.server.check_output(shlex.join(self.power("reset")))
        over = time.monotonic() + patience
        while self.fetched() == before:
            assert time.monotonic() < over, f"it did not come to the deployment environment in {patience:g} s"
            time.sleep(1)
