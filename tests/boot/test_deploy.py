"""A captured node becomes the system on the disks of others: MBR and GPT, tar and dd, by the firmware and by kexec.

The environment is captured from a diskless node and deployed to the two nodes with disks, one BIOS, one UEFI. Each then runs
from its own disk with its own name, machine id and host key, and what NFS could not carry has come along. Another version is
stopped at a breakpoint, looked at, and started by kexec. At last three nodes fail in three ways, and the fourth does not.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import declared
from playbook_run import play, start, stats
from testinfra.host import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]
NAME = "deployed"
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
UNPACK = ["tar", "-x", "-p", "--same-owner", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*"]
DD_BYTES = 700 * 2**20
GHOST = {"node_mac": "52:54:00:77:99:99", "node_address": "10.77.0.99", "node_firmware": "bios"}


def named(host: dict[str, Any]) -> str:
    return str(host["inventory_hostname"])


def of_firmware(firmware: str) -> dict[str, Any]:
    """The node of that firmware whose disk is large enough for the image."""
    for host in declared():
        if (host.get("node_disk") or 0) >= 1024 and host.get("node_firmware") == firmware:
            return host
    pytest.skip(f"no node of this inventory has the firmware {firmware} and a disk of 1024 MiB or more")


@pytest.fixture(scope="module")
def targets() -> dict[str, str]:
    return {firmware: named(of_firmware(firmware)) for firmware in ("bios", "uefi")}


@pytest.fixture(scope="module")
def source(targets: dict[str, str]) -> str:  # first of all it must be known where to
    """A diskless node that only reads its root."""
    return next(
        named(host)
        for host in declared()
        if host.get("node_root_mode") == "nfs_ro" and not host.get("node_disk")
    )


@pytest.fixture(scope="module")
def storage() -> Path:
    return Path(declared()[0]["oneimage_storage"])


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


@pytest.fixture(scope="module")
def first(
    source: str, nodes: dict[str, Host], storage: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Version 1, from the running node."""
    initrd = tmp_path_factory.mktemp("initrd") / "initrd"
    play("../tests/boot/disk_initrd.yml", *extra(initrd_path=str(initrd)))
    node = nodes[source]
    kernel = node.check_output("uname -r")
    node.run_expect([0], "cp /usr/bin/env /usr/bin/marked && setcap cap_net_raw+ep /usr/bin/marked")
    node.run_expect([0], f"python3 -c {shlex.quote(MARKED)}")
    files = [
        {"path": f"/boot/initrd.img-{kernel}", "src": str(initrd)},
        {"path": "/etc/generation", "content": "one\n"},
    ]
    return capture(storage, "one", "--limit", source, environment_files=files)


@pytest.fixture(scope="module")
def tree(first: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Version 1, unpacked on this machine."""
    folder = tmp_path_factory.mktemp("tree")
    with subprocess.Popen(["zstd", "-d", "-c", first["image"]], stdout=subprocess.PIPE) as raw:
        subprocess.run([*UNPACK, "-C", folder], stdin=raw.stdout, check=True)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def second(tree: Path, storage: Path) -> dict[str, Any]:
    """Version 2, from a root on the builder."""
    (tree / "etc/generation").write_text("two\n")
    more = {"capture_hosts": "builder", "environment_src": str(tree), "environment_fetch": False}
    return capture(storage, "two", **more)


@pytest.fixture(scope="module")
def attributes(first: dict[str, Any], source: str, nodes: dict[str, Host]) -> str:
    """Capability and ACL as they were when the node was captured."""
    return str(nodes[source].check_output(f"python3 -c {shlex.quote(ATTRIBUTES)}"))


def deploy(targets: dict[str, str], *words: str, **variables: Any) -> dict[str, Any]:
    """What deploy.yml handed on, which must succeed; the rows by node."""
    limit = ["--limit", ",".join(targets.values())]
    told = stats(play("deploy.yml", *limit, *words, *extra(deployment_overwrite="any", **variables)))
    return {**told, "rows": {row["node"]: row for row in told["deployment_nodes"]}}


def outcomes(told: dict[str, Any]) -> dict[str, str]:
    return {name: row["outcome"] for name, row in told["rows"].items()}


@pytest.fixture(scope="module")
def deployed(
    first: dict[str, Any], targets: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    lists = tmp_path_factory.mktemp("lists")
    files = {"deployment_ok_file": str(lists / "ok"), "deployment_ko_file": str(lists / "ko")}
    told = deploy(targets, deployment_environment=f"{NAME}@root:1", **files)
    return {**told, "ok_file": (lists / "ok").read_text(), "ko_file": (lists / "ko").read_text()}


def assert_runs_from_its_disk(node: Host, name: str, generation: str) -> None:
    assert node.check_output("cat /etc/generation") == generation
    assert node.check_output("findmnt --noheadings --output FSTYPE /") == "ext4"
    assert node.check_output("findmnt --noheadings --output SOURCE /").startswith("/dev/vda")
    assert node.check_output("cat /proc/sys/kernel/hostname") == name
    assert node.check_output("systemctl --failed --plain --no-legend") == ""


def identity(node: Host) -> dict[str, str]:
    return {
        "machine_id": node.check_output("cat /etc/machine-id"),
        "host_key": node.check_output("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"),
    }


def test_both_nodes_are_ok_and_listed(deployed: dict[str, Any], targets: dict[str, str]) -> None:
    assert outcomes(deployed) == dict.fromkeys(targets.values(), "ok")
    assert deployed["ok_file"].split() == sorted(targets.values())
    assert deployed["ko_file"] == ""
    for row in deployed["rows"].values():
        assert set(row["times"]) == {"SetDeploymentEnv", "BroadcastEnv", "BootNewEnv"}


@pytest.mark.parametrize(("firmware", "table"), [("bios", "dos"), ("uefi", "gpt")])
def test_each_runs_from_its_own_disk(
    deployed: dict[str, Any], targets: dict[str, str], nodes: dict[str, Host], firmware: str, table: str
) -> None:
    node = nodes[targets[firmware]]
    assert_runs_from_its_disk(node, targets[firmware], "one")
    assert node.file("/sys/firmware/efi").exists == (firmware == "uefi")
    assert node.check_output("blkid -o value -s PTTYPE /dev/vda") == table
    assert "/dev/vda" in node.check_output("cat /proc/swaps")


def test_what_nfs_could_not_carry_came_along(
    deployed: dict[str, Any], attributes: str, targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    for name in targets.values():
        assert nodes[name].check_output(f"python3 -c {shlex.quote(ATTRIBUTES)}") == attributes


def test_no_two_share_what_must_be_their_own(
    deployed: dict[str, Any], source: str, targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    found = [identity(nodes[name]) for name in (source, *targets.values())]
    for item in ("machine_id", "host_key"):
        assert len({one[item] for one in found}) == 3, found


@pytest.fixture(scope="module")
def stopped(deployed: dict[str, Any], second: dict[str, Any], targets: dict[str, str]) -> dict[str, Any]:
    """Version 2, up to the boot of the new system."""
    return deploy(
        targets, deployment_environment=NAME, deployment_id="second", deployment_breakpoint="BootNewEnv",
        deployment_kexec=True,
    )  # fmt: skip


def test_a_breakpoint_leaves_nodes_that_can_be_looked_at(
    stopped: dict[str, Any], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    assert outcomes(stopped) == dict.fromkeys(targets.values(), "brk")
    for name in targets.values():
        assert nodes[name].check_output("cat /mnt/dest/etc/generation") == "two"


@pytest.fixture(scope="module")
def resumed(stopped: dict[str, Any], targets: dict[str, str]) -> dict[str, Any]:
    return deploy(
        targets,
        deployment_environment=NAME,
        deployment_id="second",
        deployment_resume=True,
        deployment_kexec=True,
    )


def test_it_goes_on_from_there_by_kexec(
    resumed: dict[str, Any], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    assert outcomes(resumed) == dict.fromkeys(targets.values(), "ok")
    for name in targets.values():
        assert_runs_from_its_disk(nodes[name], name, "two")


def test_the_next_boot_is_the_disk_again(
    resumed: dict[str, Any], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    boots = {
        name: nodes[name].check_output("cat /proc/sys/kernel/random/boot_id") for name in targets.values()
    }
    for name in boots:
        nodes[name].run("systemctl reboot")
    for name, before in boots.items():
        wait_for_another_boot(nodes[name], before)
        assert_runs_from_its_disk(nodes[name], name, "two")


def wait_for_another_boot(node: Host, before: str) -> None:
    over = time.monotonic() + 300
    while time.monotonic() < over:
        found = node.run("cat /proc/sys/kernel/random/boot_id")
        if found.rc == 0 and found.stdout.strip() != before:
            return
        time.sleep(3)
    pytest.fail("it did not come back within 300 s")


@pytest.fixture(scope="module")
def raw_image(resumed: dict[str, Any], tree: Path, storage: Path) -> dict[str, Any]:
    """A description that is registered nowhere, of a dd image: a file system with generation three."""
    (tree / "etc/generation").write_text("three\n")
    image = storage / "captured-three.dd"
    with image.open("wb") as stream:
        stream.truncate(DD_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image], check=True)
    subprocess.run(["zstd", "-q", "-f", "-T0", "--rm", image], check=True)
    packed, initrd = Path(f"{image}.zst"), next((tree / "boot").glob("initrd*")).name
    return {
        "name": "raw", "version": 1, "os": "linux", "filesystem": "ext4", "partition_type": 131,
        "image": {"file": f"server://{packed}", "kind": "dd", "compression": "zstd"},
        "boot": {"kernel": "/vmlinuz", "initrd": f"/boot/{initrd}"},
        "oneimage": {"sha256": hashlib.sha256(packed.read_bytes()).hexdigest(), "size": packed.stat().st_size},
    }  # fmt: skip


@pytest.fixture(scope="module")
def faulty(
    raw_image: dict[str, Any],
    source: str,
    targets: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The dd image for four nodes: one has no disk, one never answers, one loses its power in the broadcast."""
    inventory = tmp_path_factory.mktemp("ghost") / "ghost.yml"
    switch = {"status": ["echo", "on"], "on": ["true"], "off": ["true"], "reset": ["true"]}
    ghost = {**GHOST, "node_bmc": {"driver": "command", "commands": switch}}
    inventory.write_text(json.dumps({"nodes": {"hosts": {"ghost": ghost}}}))
    password, bmc = declared_bmc(targets["uefi"])
    cut = f'test "$1" != {targets["uefi"]} || exec ipmitool -I lanplus -C 3 -H {bmc} -U admin -P {password} power off'
    all_nodes = {"ghost": "ghost", "source": source, **targets}
    return deploy(
        all_nodes, "-i", str(inventory),
        deployment_description=raw_image, deployment_min_ok="1",
        deployment_hooks={"before_send_environment": ["sh", "-c", cut, "sh", "{node}"]},
        deployment_steps={
            "SetDeploymentEnv": [{"implementation": "Untrusted", "timeout": 300, "retries": 0}],
            "BroadcastEnv": [{"implementation": "Http", "timeout": 900, "retries": 0}],
        },
    )  # fmt: skip


def declared_bmc(name: str) -> tuple[str, str]:
    host = next(host for host in declared() if named(host) == name)
    return host["node_bmc"]["password"], host["node_bmc"]["address"]


def test_three_faults_are_named_at_their_steps(
    faulty: dict[str, Any], source: str, targets: dict[str, str]
) -> None:
    rows = faulty["rows"]
    assert rows["ghost"]["step"] == "SetDeploymentEnv:wait_reboot"
    assert "nothing was seen of its boot" in rows["ghost"]["message"]
    assert rows[source]["step"] == "SetDeploymentEnv:create_partition_table"
    assert rows[targets["uefi"]]["step"].partition(":")[0] == "BroadcastEnv"
    for name in ("ghost", source, targets["uefi"]):
        assert rows[name]["outcome"] == "ko"
        assert rows[name]["advice"], rows[name]
        assert name in faulty["deployment_ko"]


def test_the_fourth_node_runs_the_raw_image(
    faulty: dict[str, Any], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    assert faulty["deployment_ok"] == [targets["bios"]]
    assert_runs_from_its_disk(nodes[targets["bios"]], targets["bios"], "three")


def test_a_wrong_checksum_is_refused_before_any_node_is_touched(
    raw_image: dict[str, Any], targets: dict[str, str]
) -> None:
    wrong = {**raw_image, "oneimage": {**raw_image["oneimage"], "sha256": "0" * 64}}
    process = start(
        "deploy.yml", "--limit", targets["bios"], *extra(deployment_description=wrong, deployment_id="wrong")
    )
    out, _nothing = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "0" * 64 in out
    assert "switch_pxe" not in out
