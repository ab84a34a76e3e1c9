"""The contract of the whole playbook, held against the running cluster: a check touches nothing and foresees what would
change, a diff shows it, and a kill at any moment leaves every node with a complete old or new boot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import playbook_run
import pytest
from conftest import declared
from playbook_run import changes, start

pytestmark = [pytest.mark.root, pytest.mark.slow]
OTHER = ["-e", "nfs_chroot_timezone=Etc/GMT+1"]


def play(*words: str) -> subprocess.Popen[str]:
    return start("diskless.yml", *words)


def played(*words: str) -> str:
    return playbook_run.play("diskless.yml", *words)


@pytest.fixture(scope="module")
def storage() -> Path:
    return Path(declared()[0]["oneimage_storage"])


def touched(storage: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and change time of what nodes get; below a root its top is enough, since a root is never edited."""
    paths = [storage, *(storage / "boot").rglob("*"), *(storage / "roots").glob("*/*")]
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_size, path.lstat().st_ctime_ns) for path in paths
    }


def boots(storage: Path) -> dict[str, tuple[str, list[str]]]:
    """By boot entry file: the root that it names, and the files of the boot tree that it loads."""
    tree = storage / "boot"
    found = {}
    for path in [
        *(tree / "pxelinux.cfg").iterdir(),
        *(tree / "ipxe").glob("mac-*"),
        *(tree / "grub").glob("grub.cfg-*"),
    ]:
        text = path.read_text()
        roots = re.findall(r"nfsroot=[\d.]+:(\S+)", text)
        if roots:
            found[str(path)] = (roots[0], sorted(set(re.findall(r"images/[\w.-]+/[\w-]+", text))))
    return found


def assert_every_node_has_a_whole_boot(storage: Path) -> None:
    found = boots(storage)
    assert found
    for path, (root, files) in found.items():
        assert (Path(root) / "etc" / "oneimage" / "image.json").is_file(), f"{path} names {root}"
        assert len(files) == 2, f"{path} loads {files}"
        versions = {Path(file).parent.name.rpartition("-")[2] for file in files}
        assert versions == {Path(root).name}, f"{path} mixes images: {files} of {root}"
        for file in files:
            assert (storage / "boot" / file).stat().st_size > 1_000_000, f"{path} loads {file}"


def test_a_check_of_the_running_cluster_touches_nothing(storage: Path) -> None:
    before = touched(storage)
    assert set(changes(played("--check")).values()) == {0}
    assert touched(storage) == before


def test_a_check_foresees_a_change_and_a_diff_shows_it(storage: Path) -> None:
    before = touched(storage)
    out = played("--check", "--diff", *OTHER)
    found = changes(out)
    assert found["localhost"] > 0
    assert found["boot"] > 0
    assert re.search(r'^-.*"timezone": "Etc/UTC"', out, re.MULTILINE), out
    assert re.search(r'^\+.*"timezone": "Etc/GMT\+1"', out, re.MULTILINE), out
    assert touched(storage) == before


@pytest.mark.parametrize(("seconds", "timezone"), [(6, "Etc/GMT+2"), (12, "Etc/GMT+3"), (20, "Etc/GMT+4")])
def test_a_killed_run_leaves_whole_boots_and_the_next_run_ends_it(
    storage: Path, seconds: int, timezone: str
) -> None:
    # The moments fall into different tasks on different machines: what holds must hold at any of them.
    old = boots(storage)
    words = ["--tags", "server", "-e", f"nfs_chroot_timezone={timezone}"]
    process = play(*words)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert_every_node_has_a_whole_boot(storage)
    played(*words)
    assert_every_node_has_a_whole_boot(storage)
    assert boots(storage) != old


def test_the_declared_state_comes_back(storage: Path) -> None:
    played("--tags", "server")
    assert_every_node_has_a_whole_boot(storage)
    assert set(changes(played("--tags", "server")).values()) == {0}


def test_one_mac_for_two_nodes_is_refused_before_anything_is_written(storage: Path) -> None:
    before = touched(storage)
    nodes: list[dict[str, Any]] = [host for host in declared() if "nodes" in host["group_names"]]
    process = play("--tags", "server", "-e", f"node_mac={nodes[0]['node_mac']}")
    out, _nothing = process.communicate(timeout=120)
    assert process.returncode != 0
    assert nodes[0]["node_mac"] in out
    assert all(node["inventory_hostname"] in out for node in nodes[:2])
    assert touched(storage) == before
