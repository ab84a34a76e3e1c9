"""A captured node becomes the system on the disks of others: MBR and GPT, tar and dd, by the firmware and by kexec.

The environment is captured from a diskless node and deployed to the two nodes with disks, one BIOS, one UEFI. Each then runs
from its own disk with its own name, machine id and host key, and what NFS could not carry has come along. Another version is
stopped at a breakpoint, looked at, and started by kexec. Three nodes fail in three ways, and the fourth does not. At last,
all at once: what failed is tried again, the first version comes back by way of a system that does not boot, and a node that
failed is reset ten times.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import deployment_lab as lab
import pytest
from conftest import NEEDLESS, declared
from deployment_lab import NAME, Boots, assert_runs_from_its_disk, capture, deploy, extra, outcomes
from playbook_run import play, start
from testinfra.host import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]
UNPACK = ["tar", "-x", "-p", "--same-owner", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*"]
DD_BYTES = 300 * 2**20
FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,extra_isize"
"""Of the ext4 in the dd image: extlinux, and GRUB before 2.12, read none with those that mke2fs adds today."""
GHOST = {"node_mac": "52:54:00:77:99:99", "node_address": "10.77.0.99", "node_firmware": "bios"}
RESETS = 10
PATIENCE = 300
"""Seconds in which an emulated node comes up on a busy machine."""
Told = dict[str, Any]


@pytest.fixture(scope="module")
def targets() -> dict[str, str]:
    """By firmware. First of all it must be known where to."""
    return {firmware: lab.named(lab.of_firmware(firmware)) for firmware in ("bios", "uefi")}


@pytest.fixture(scope="module")
def both(targets: dict[str, str]) -> list[str]:
    return list(targets.values())


@pytest.fixture(scope="module")
def source(targets: dict[str, str]) -> dict[str, Any]:
    """A diskless node that only reads its root."""
    return next(
        host for host in declared() if host.get("node_root_mode") == "nfs_ro" and not host.get("node_disk")
    )


@pytest.fixture(scope="module")
def storage() -> Path:
    return Path(declared()[0]["oneimage_storage"])


@pytest.fixture(scope="module")
def pool(targets: dict[str, str]) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture(scope="module")
def root(pool: ThreadPoolExecutor) -> Future[str]:
    """What the deployment environment is made from, built while the node is captured."""
    return pool.submit(play, "deploy.yml", "--limit", "builder")


@pytest.fixture(scope="module")
def first(
    root: Future[str],
    source: dict[str, Any],
    nodes: dict[str, Host],
    storage: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Version 1, from the running node."""
    initrd = tmp_path_factory.mktemp("initrd") / "initrd"
    play("../tests/boot/disk_initrd.yml", *extra(initrd_path=str(initrd)))
    node = nodes[lab.named(source)]
    mark = f"cp /usr/bin/env /usr/bin/marked && setcap cap_net_raw+ep /usr/bin/marked && python3 -c {shlex.quote(lab.MARKED)}"
    kernel = node.check_output(f"{mark} && uname -r")
    files = [
        {"path": f"/boot/initrd.img-{kernel}", "src": str(initrd)},
        {"path": "/etc/generation", "content": "one\n"},
    ]
    limit = ["--limit", lab.named(source)]
    return capture(
        storage, "one", *limit, environment_files=files, environment_exclude=[*NEEDLESS, *lab.MODULES]
    )


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
def deployed(
    root: Future[str], first: dict[str, Any], both: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Told:
    lists = tmp_path_factory.mktemp("lists")
    files = {"deployment_ok_file": str(lists / "ok"), "deployment_ko_file": str(lists / "ko")}
    root.result()
    told = deploy(both, deployment_environment=f"{NAME}@root:1", **files)
    return {**told, "ok_file": (lists / "ok").read_text(), "ko_file": (lists / "ko").read_text()}


@pytest.fixture(scope="module")
def running(deployed: Told, targets: dict[str, str], nodes: dict[str, Host]) -> dict[str, dict[str, str]]:
    """What the deployed nodes say of themselves, by firmware."""
    return {
        firmware: assert_runs_from_its_disk(nodes[name], name, "one") for firmware, name in targets.items()
    }


def test_both_nodes_are_ok_and_listed(deployed: Told, both: list[str]) -> None:
    assert outcomes(deployed) == dict.fromkeys(both, "ok")
    assert deployed["ok_file"].split() == sorted(both)
    assert deployed["ko_file"] == ""
    for row in deployed["rows"].values():
        assert set(row["times"]) == {"SetDeploymentEnv", "BroadcastEnv", "BootNewEnv"}


@pytest.mark.parametrize(("firmware", "table"), [("bios", "dos"), ("uefi", "gpt")])
def test_each_runs_from_its_own_disk(running: dict[str, dict[str, str]], firmware: str, table: str) -> None:
    found = running[firmware]
    assert (found["firmware"], found["table"], found["swap"]) == (firmware, table, "1")


def test_what_nfs_could_not_carry_came_along(
    deployed: Told, source: dict[str, Any], both: list[str], nodes: dict[str, Host]
) -> None:
    given = lab.attributes(nodes[lab.named(source)])
    assert {name: lab.attributes(nodes[name]) for name in both} == dict.fromkeys(both, given)


def test_no_two_share_what_must_be_their_own(
    running: dict[str, dict[str, str]], source: dict[str, Any], nodes: dict[str, Host]
) -> None:
    found = [lab.facts(nodes[lab.named(source)]), *running.values()]
    for item in ("machine_id", "host_key", "name"):
        assert len({one[item] for one in found} - {""}) == 3, found


def test_what_the_consoles_showed_is_kept(deployed: Told, both: list[str]) -> None:
    for name in both:
        shown = Path(deployed["rows"][name]["console"]).read_text(errors="replace")
        assert shown.count("Linux version") >= 2, f"{name}: the deployment environment, and its own system"


def test_its_journal_becomes_a_page(deployed: Told, both: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    play("timeline.yml", *extra(timeline_deployment=deployed["deployment_id"], timeline_page=str(page)))
    text = page.read_text()
    assert all(word in text for word in (*both, deployed["deployment_id"], "send_environment"))


@pytest.fixture(scope="module")
def stopped(running: dict[str, dict[str, str]], second: dict[str, Any], both: list[str]) -> Told:
    """Version 2, up to the boot of the new system."""
    options = {"deployment_breakpoint": "BootNewEnv", "deployment_kexec": True}
    return deploy(both, deployment_environment=NAME, deployment_id="second", **options)


def test_a_breakpoint_leaves_nodes_that_can_be_looked_at(
    stopped: Told, both: list[str], nodes: dict[str, Host]
) -> None:
    assert outcomes(stopped) == dict.fromkeys(both, "brk")
    for name in both:
        assert nodes[name].check_output("cat /mnt/dest/etc/generation") == "two"


@pytest.fixture(scope="module")
def resumed(stopped: Told, both: list[str]) -> Told:
    options = {"deployment_resume": True, "deployment_kexec": True}
    return deploy(both, deployment_environment=NAME, deployment_id="second", **options)


def test_it_goes_on_from_there_by_kexec(resumed: Told, both: list[str], nodes: dict[str, Host]) -> None:
    assert outcomes(resumed) == dict.fromkeys(both, "ok")
    for name in both:
        assert_runs_from_its_disk(nodes[name], name, "two")
        shown = Path(resumed["rows"][name]["console"]).read_text(errors="replace")
        assert "kexec_core: Starting new kernel" in shown


@pytest.fixture(scope="module")
def raw_image(resumed: Told, tree: Path, storage: Path) -> dict[str, Any]:
    """A description that is registered nowhere, of a dd image: a file system with generation three."""
    (tree / "etc/generation").write_text("three\n")
    image = storage / "captured-three.dd"
    with image.open("wb") as stream:
        stream.truncate(DD_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", FEATURES, "-d", tree, image], check=True)
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
    source: dict[str, Any],
    targets: dict[str, str],
    boot_server: Host,
    tmp_path_factory: pytest.TempPathFactory,
) -> Told:
    """The dd image for four nodes: one has no disk, the BMC of one refuses, one loses its power while it receives."""
    inventory = tmp_path_factory.mktemp("ghost") / "ghost.yml"
    switch = {"status": ["echo", "on"], "on": ["false"], "off": ["false"], "reset": ["false"]}
    ghost = {**GHOST, "node_bmc": {"driver": "command", "commands": switch}}
    inventory.write_text(json.dumps({"nodes": {"hosts": {"ghost": ghost}}}))
    off = shlex.join(Boots(lab.of_firmware("uefi"), boot_server).power("off"))
    cut = f'{{ test "$1" != {targets["uefi"]} || {{ sleep 3; {off}; }}; }} >/dev/null 2>&1 &'
    return deploy(
        ["ghost", lab.named(source), *targets.values()], "-i", str(inventory),
        deployment_description=raw_image, deployment_min_ok="1", deployment_id="raw",
        deployment_hooks={"before_send_environment": ["sh", "-c", cut, "sh", "{node}"]},
        deployment_steps={
            "SetDeploymentEnv": [{"implementation": "Untrusted", "timeout": 900, "retries": 0}],
            "BroadcastEnv": [{"implementation": "Http", "timeout": 900, "retries": 0}],
        },
    )  # fmt: skip


def test_three_faults_are_named_at_their_steps(
    faulty: Told, source: dict[str, Any], targets: dict[str, str]
) -> None:
    steps = {
        "ghost": "SetDeploymentEnv:reboot",
        lab.named(source): "SetDeploymentEnv:create_partition_table",
        targets["uefi"]: "BroadcastEnv:send_environment",
    }
    rows = {name: faulty["rows"][name] for name in steps}
    assert {name: row["step"] for name, row in rows.items()} == steps
    assert all(row["outcome"] == "ko" and row["advice"] for row in rows.values()), rows
    assert set(faulty["deployment_ko"]) == set(steps)
    assert "no way to reboot it" in rows["ghost"]["message"]
    assert "it has no disk" in rows[lab.named(source)]["message"]
    assert any(line.startswith("console: ") for line in rows[lab.named(source)]["evidence"])


def test_the_fourth_node_runs_the_raw_image(
    faulty: Told, targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    assert faulty["deployment_ok"] == [targets["bios"]]
    assert_runs_from_its_disk(nodes[targets["bios"]], targets["bios"], "three")


@pytest.fixture(scope="module")
def retried(
    faulty: Told, pool: ThreadPoolExecutor, raw_image: dict[str, Any], targets: dict[str, str]
) -> Future[Told]:
    """The dd image once more, for the node that lost its power."""
    options = {"deployment_description": raw_image, "deployment_id": "raw"}
    return pool.submit(deploy, [targets["uefi"]], **options)


def roll_back(name: str, node: Host) -> tuple[Told, str, Told]:
    """Version 1 with a kernel parameter that no system survives, then without; where the node was in between."""
    options = {"deployment_environment": f"{NAME}@root:1", "deployment_id": "back"}
    short = {"BootNewEnv": [{"implementation": "Classical", "timeout": 60}]}
    # a kernel that cannot start init panics, and the node starts over: the loop that must not be
    failed = deploy(
        [name], **options, deployment_steps=short, deployment_min_ok="0",
        deployment_parameters=["console=ttyS0,115200", "panic=5", "init=/none"],
    )  # fmt: skip
    between = lab.command_line(node, PATIENCE)
    again = {
        "SetDeploymentEnv": [{"implementation": "Prod"}],
        "BroadcastEnv": [{"implementation": "Http", "timeout": 900}],
        "BootNewEnv": [{"implementation": "Classical", "timeout": 900}],
    }
    return failed, between, deploy([name], **options, deployment_steps=again)


@pytest.fixture(scope="module")
def back(
    faulty: Told, pool: ThreadPoolExecutor, targets: dict[str, str], nodes: dict[str, Host]
) -> Future[tuple[Told, str, Told]]:
    return pool.submit(roll_back, targets["bios"], nodes[targets["bios"]])


@pytest.mark.usefixtures("retried", "back")
def test_ten_resets_lead_a_failed_node_back_each_time(
    faulty: Told, source: dict[str, Any], nodes: dict[str, Host], boot_server: Host
) -> None:
    """Nine are cut as soon as the loader has fetched the deployment environment's kernel, the last one boots it."""
    boots = Boots(source, boot_server)
    for _number in range(RESETS):
        boots.reset_until_fetched(PATIENCE)
    assert "oneimage.deploy=" in lab.command_line(nodes[lab.named(source)], PATIENCE)


def test_a_node_that_cannot_boot_its_disk_comes_back_too(
    back: Future[tuple[Told, str, Told]], targets: dict[str, str]
) -> None:
    failed, between, _again = back.result()
    row = failed["rows"][targets["bios"]]
    assert (row["outcome"], row["step"]) == ("ko", "BootNewEnv:wait_reboot")
    assert "it did not come into its deployed system" in row["message"]
    assert "oneimage.deploy=" in between


def test_the_first_version_comes_back(
    back: Future[tuple[Told, str, Told]], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    _failed, _between, again = back.result()
    assert outcomes(again) == {targets["bios"]: "ok"}
    assert_runs_from_its_disk(nodes[targets["bios"]], targets["bios"], "one")


def test_the_raw_image_boots_by_uefi_too(
    retried: Future[Told], targets: dict[str, str], nodes: dict[str, Host]
) -> None:
    assert outcomes(retried.result()) == {targets["uefi"]: "ok"}
    found = assert_runs_from_its_disk(nodes[targets["uefi"]], targets["uefi"], "three")
    assert (found["firmware"], found["table"]) == ("uefi", "gpt")


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
