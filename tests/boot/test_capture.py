"""A node becomes an image and the image a node: customised, captured, restored, compared, booted.

What the archives leave out is what their manifests declare; everything else must come back as it was. The running system
is captured as tar.zst. Attributes that NFS cannot carry are on the node's disk, which is captured as tar.gz and as dd.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import package_archive
import pytest
import tree_compare
from conftest import NEEDLESS, declared
from playbook_run import changes, play, stats
from testinfra.host import Host

pytestmark = [pytest.mark.root, pytest.mark.slow]
PORT = 3128
USER = {"name": "captured", "uid": 2345, "group": "captors", "gid": 2346}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB0000000000000000000000000000000000000000000 captured"
MOTD = {"path": "/etc/captured/motd", "content": "captured on the lab\n", "mode": "0640"}
ON_DISK = "etc home root boot usr/bin usr/sbin"
DISK = f"""
set -e
mkfs.ext4 -q -F /dev/vda
mount /dev/vda /mnt
tar -C / --one-file-system -cf - {ON_DISK} | tar -C /mnt -xpf -
rmdir /mnt/lost+found
cd /mnt/usr/bin
setcap cap_net_raw+ep env
ln env env-again
"""
ATTRIBUTES = """
import os, struct
os.setxattr("/mnt/etc/captured", "user.note", b"kept \\0 as it is")
entries = [(1, 7, -1), (2, 5, 2345), (4, 5, -1), (16, 7, -1), (32, 0, -1)]  # acl(5) as the kernel keeps it
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr("/mnt/home/captured", "system.posix_acl_access", acl)
"""


def chosen() -> dict[str, Any]:
    """The node that writes into a root of its own and has a disk."""
    for host in declared():
        if host.get("node_disk") and host.get("node_root_mode") == "nfs_rw":
            return host
    pytest.skip("no node of this inventory has node_disk and node_root_mode nfs_rw")


@pytest.fixture(scope="module")
def source(nodes: dict[str, Host]) -> Host:
    return nodes[chosen()["inventory_hostname"]]


@pytest.fixture(scope="module")
def lab() -> Path:
    return Path(chosen()["lab_directory"])


@pytest.fixture(scope="module")
def proxy(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A proxy in the lab's network; its address, and the file that names what it was asked for."""
    folder = tmp_path_factory.mktemp("packages")
    archive, asked = package_archive.make(folder), folder / "asked"
    network = ["ip", "netns", "exec", f"oneimage-{lab.name}"]
    address = chosen()["oneimage_server"].rpartition(".")[0] + ".254"
    program = [sys.executable, Path(package_archive.__file__).with_name("package_proxy.py")]
    with asked.open("w") as out:
        running = subprocess.Popen([*network, *program, archive, address, str(PORT)], stdout=out)
    yield f"http://{address}:{PORT}", asked
    running.terminate()
    running.wait(timeout=10)


@pytest.fixture(scope="module")
def words(lab: Path, proxy: tuple[str, Path]) -> list[str]:
    """The command line of capture.yml for the running system."""
    variables = {
        "name": "captured",
        "owner": "root",
        "registry": {"path": str(lab / "registry")},
        "image_folder": str(lab / "images"),
        "compression": "zstd",
        "proxy": proxy[0],
        "package_sources": ["deb [trusted=yes] http://packages.invalid/ ./"],
        "packages": [package_archive.NAME],
        "users": [{**USER, "authorized_keys": [KEY]}],
        "files": [MOTD],
        "exclude": NEEDLESS,
    }
    extra = {f"environment_{name}": value for name, value in variables.items()}
    return ["--limit", chosen()["inventory_hostname"], "--extra-vars", json.dumps(extra)]


@pytest.fixture(scope="module")
def environment(source: Host, words: list[str]) -> dict[str, Any]:
    """What capture.yml handed on of the running system."""
    source.run_expect([0], "truncate --size 0 /etc/apt/sources.list")  # mirrors that no proxy leads to
    (told,) = stats(play("capture.yml", *words))["environments"] or [{}]
    return told


@pytest.fixture(scope="module")
def reader(nodes: dict[str, Host]) -> str:
    """The node that boots the image."""
    return next(host["inventory_hostname"] for host in declared() if host.get("node_root_mode") == "nfs_ro")


@pytest.fixture(scope="module")
def booting(environment: dict[str, Any], reader: str, nodes: dict[str, Host]) -> Iterator[Future[str]]:
    """The cluster's image becomes the captured one: diskless.yml, booting one node, while the other is captured further."""
    extra = {"nfs_chroot_image": environment["image"]}
    limit = ":".join(["all", *(f"!{name}" for name in nodes if name != reader)])
    with ThreadPoolExecutor() as pool:
        yield pool.submit(play, "diskless.yml", "--limit", limit, "--extra-vars", json.dumps(extra))


def facts_on(node: Host, root: str) -> dict[str, Any]:
    program = Path(tree_compare.__file__).read_text()
    return json.loads(node.check_output(f"python3 -c {shlex.quote(program)} {root}"))


def omitted(image: Path) -> list[str]:
    manifest = json.loads(Path(f"{image}.manifest.json").read_text())
    return [one["path"].strip("/") for one in manifest["omitted"]]


def restored(image: Path, folder: Path) -> dict[str, Any]:
    """As anybody restores it: by the compressor and plain tar."""
    folder.mkdir()
    reader = {".gz": "gzip", ".zst": "zstd"}[image.suffix]
    unpack = [
        "tar",
        "-x",
        "-p",
        "--same-owner",
        "--numeric-owner",
        "--acls",
        "--xattrs",
        "--xattrs-include=*",
    ]
    with subprocess.Popen([reader, "-d", "-c", image], stdout=subprocess.PIPE) as raw:
        subprocess.run([*unpack, "-C", folder], stdin=raw.stdout, check=True)
    assert raw.returncode == 0
    try:
        return tree_compare.tree(str(folder))
    finally:
        shutil.rmtree(folder)


def test_the_environment_is_registered(environment: dict[str, Any], lab: Path) -> None:
    assert (environment["name"], environment["version"], environment["action"]) == ("captured", 1, "created")
    assert environment["description"]["boot"]["kernel"] == "/vmlinuz"
    assert environment["size"] == Path(environment["image"]).stat().st_size
    assert (lab / "registry/environments/root/captured/1.yml").is_file()


def test_the_package_came_through_the_proxy(
    environment: dict[str, Any], proxy: tuple[str, Path], source: Host
) -> None:
    assert f"{package_archive.NAME}.deb" in proxy[1].read_text()
    assert source.check_output(package_archive.PROGRAM) == "probed"
    assert source.run("grep --recursive 3128 /etc").rc == 1  # the proxy did not stay


def test_the_restored_root_equals_the_node(environment: dict[str, Any], source: Host, tmp_path: Path) -> None:
    root = source.check_output("findmnt --noheadings --output SOURCE /").partition(":")[2]
    image = Path(environment["image"])
    found = tree_compare.differences(
        tree_compare.tree(root), restored(image, tmp_path / "restored"), omitted(image)
    )
    assert found == []


@pytest.mark.usefixtures("booting")
def test_a_second_run_changes_nothing(environment: dict[str, Any], words: list[str]) -> None:
    out = play("capture.yml", *words)
    assert set(changes(out).values()) == {0}
    assert stats(out)["environments"][0]["action"] == "none"


@pytest.fixture(scope="module")
def disk(environment: dict[str, Any], source: Host) -> dict[str, Any]:
    """A root on the node's disk, with what NFS cannot carry; mounted at /mnt."""
    source.run_expect([0], DISK)
    source.run_expect([0], f"python3 -c {shlex.quote(ATTRIBUTES)}")
    return facts_on(source, "/mnt")


def capture(lab: Path, src: str, name: str, *more: str) -> Path:
    variables = {
        "name": name,
        "owner": "root",
        "src": src,
        "registry": {"path": str(lab / "registry")},
        "image_folder": str(lab / "images"),
    }
    extra = {f"environment_{key}": value for key, value in variables.items()}
    limit = ["--limit", chosen()["inventory_hostname"]]
    out = play("capture.yml", *limit, "--extra-vars", json.dumps(extra), *more)
    return Path(stats(out)["environments"][0]["image"])


def test_a_tar_of_the_disk_brings_back_every_attribute(
    disk: dict[str, Any], source: Host, lab: Path, tmp_path: Path
) -> None:
    image = capture(lab, "/mnt", "captured-tree")
    found = restored(image, tmp_path / "restored")
    assert tree_compare.differences(disk, found, omitted(image)) == []
    assert "security.capability" in found["usr/bin/env"]["attributes"]
    assert found["usr/bin/env"]["links"] == ["usr/bin/env", "usr/bin/env-again"]
    assert "system.posix_acl_access" in found["home/captured"]["attributes"]
    assert "user.note" in found["etc/captured"]["attributes"]


def test_a_raw_image_of_the_disk_is_the_disk(
    disk: dict[str, Any], source: Host, lab: Path, tmp_path: Path
) -> None:
    source.run_expect([0], "umount /mnt")
    image = capture(lab, "/dev/vda", "captured-disk", "--extra-vars", "environment_compress_on=node")
    raw, mounted = tmp_path / "disk", tmp_path / "mounted"
    with subprocess.Popen(["zcat", image], stdout=subprocess.PIPE) as stream:
        subprocess.run(["dd", f"of={raw}", "bs=1M", "status=none"], stdin=stream.stdout, check=True)
    subprocess.run(["e2fsck", "-f", "-n", raw], check=True, capture_output=True)
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-o", "loop,ro", raw, mounted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop devices on this kernel: {done.stderr.strip()}")
    try:
        found = tree_compare.tree(str(mounted))
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert tree_compare.differences(disk, found, []) == []


def test_the_image_boots_diskless(booting: Future[str], reader: str, nodes: dict[str, Host]) -> None:
    (told,) = stats(booting.result())["node_boot_nodes"]
    assert (told["node"], told["state"]) == (reader, "ok")
    node = nodes[reader]
    cmdline = node.file("/proc/cmdline").content_string
    assert f"oneimage.image={told['image']}" in cmdline
    assert node.check_output("findmnt --noheadings --output FSTYPE /") == "overlay"
    assert node.file(f"/lib/modules/{node.check_output('uname -r')}/modules.dep").exists
    assert node.check_output(package_archive.PROGRAM) == "probed"
    user = node.user(USER["name"])
    assert (user.uid, user.gid, user.group) == (USER["uid"], USER["gid"], USER["group"])
    assert node.file("/home/captured/.ssh/authorized_keys").content_string.strip() == KEY
    assert node.file(MOTD["path"]).content_string == MOTD["content"]
    assert node.file(MOTD["path"]).mode == 0o640
    assert node.check_output("systemctl --failed --plain --no-legend") == ""


def test_its_root_outlives_a_run_for_another_image(
    booting: Future[str], reader: str, nodes: dict[str, Host]
) -> None:
    booting.result()
    play("diskless.yml", "--tags", "server")  # of the lab's usual image, which this node does not run
    nodes[reader].check_output("sysctl --quiet --write vm.drop_caches=3")
    assert nodes[reader].run("cat /usr/bin/perl > /dev/null").rc == 0
