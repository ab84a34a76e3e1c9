"""The modules boot_entry and boot_entry_info as processes of their own, on trees in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module

UUID = "00112233-4455-6677-8899-aabbccddeeff"
PER_LOADER = ("pxelinux.cfg", "ipxe", "grub")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    images = tmp_path / "boot" / "images"
    images.mkdir(parents=True)
    for name in ("vmlinuz", "initrd"):
        (images / name).write_text(name)
    return tmp_path / "boot"


def entry(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kernel": "images/vmlinuz",
        "initrd": ["images/initrd"],
        "parameters": ["ip=dhcp", f"me={name}"],
    }


def nodes(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": f"n{n}",
            "mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}",
            "address": f"10.77.{n >> 8}.{n & 255}",
            **fields,
        }
        for n in range(1, count + 1)
    ]


def options(tree: Path, **more: Any) -> dict[str, Any]:
    return {
        "directory": str(tree),
        "base_url": "http://10.77.0.254/",
        "entries": [entry("deb"), entry("new"), {"name": "disk", "local": True}],
        "nodes": nodes(2, entry="deb"),
        "default": {"entry": "disk"},
        **more,
    }


def owned(tree: Path) -> list[str]:
    return sorted(
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and path.parent.name != "images"
    )


def test_first_run_second_run_and_check(module: Run, tree: Path) -> None:
    before = snapshot(tree)
    predicted = module("boot_entry", options(tree), check=True)
    assert snapshot(tree) == before
    first = module("boot_entry", options(tree))
    written = snapshot(tree)
    second = module("boot_entry", options(tree))
    assert snapshot(tree) == written
    assert (predicted["changed"], first["changed"], second["changed"]) == (True, True, False)
    assert predicted == first
    assert sorted(first["added"]) == owned(tree)
    assert second["nodes"] == {} and second["diff"] == []
    assert first["nodes"]["n1"]["added"] == [
        "pxelinux.cfg/01-52-54-00-00-00-01",
        "ipxe/mac-52-54-00-00-00-01.ipxe",
        "grub/grub.cfg-01-52-54-00-00-00-01",
    ]


def test_one_node_changes_its_own_files_only(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree))
    before = snapshot(tree)
    changed = nodes(2, entry="deb")
    changed[0]["entry"] = "new"
    predicted = module("boot_entry", options(tree, nodes=changed), check=True)
    assert snapshot(tree) == before
    result = module("boot_entry", options(tree, nodes=changed))
    assert predicted == result
    assert list(result["nodes"]) == ["n1"] and list(result["nodes"]["n1"]) == ["changed"]
    after = snapshot(tree)
    assert {path for path in after if before[path] != after[path] and path not in PER_LOADER} == set(
        result["changed_files"]
    )
    shown = next(diff for diff in result["diff"] if "pxelinux.cfg" in diff["before_header"])
    assert "me=deb" in shown["before"] and "me=new" in shown["after"]


def test_a_node_that_is_gone_loses_its_files(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree))
    result = module("boot_entry", options(tree, nodes=nodes(1, entry="deb")))
    assert list(result["nodes"]) == ["n2"]
    assert result["removed"] == result["nodes"]["n2"]["removed"] and len(result["removed"]) == 3
    assert not [path for path in owned(tree) if "00-02" in path]


def test_a_loader_that_is_no_longer_wanted(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree))
    module("boot_entry", options(tree, loaders=["pxelinux"], base_url=None))
    assert {path.split("/")[0] for path in owned(tree)} == {"pxelinux.cfg"}


def test_absent_leaves_what_is_not_ours(module: Run, tree: Path) -> None:
    (tree / "pxelinux.cfg").mkdir()
    (tree / "pxelinux.cfg" / "0A4D0099").write_text("DEFAULT x\n")
    module("boot_entry", options(tree))
    module("boot_entry", options(tree, owner="other", nodes=nodes(3, entry="deb")[2:], default=None))
    result = module("boot_entry", {"directory": str(tree), "state": "absent"})
    assert result["changed"]
    left = owned(tree)
    assert "pxelinux.cfg/0A4D0099" in left and "ipxe/boot.ipxe" in left and "grub/grub.cfg" in left
    assert len([path for path in left if "00-03" in path]) == 3
    assert not [path for path in left if "00-01" in path or "default" in path]
    assert not module("boot_entry", {"directory": str(tree), "state": "absent"})["changed"]
    module("boot_entry", {"directory": str(tree), "state": "absent", "owner": "other"})
    assert owned(tree) == ["pxelinux.cfg/0A4D0099"]


def test_foreign_files_stop_everything_unless_told_otherwise(module: Run, tree: Path) -> None:
    (tree / "pxelinux.cfg").mkdir()
    (tree / "pxelinux.cfg" / "default").write_text("DEFAULT theirs\n")
    before = snapshot(tree)
    refused = module("boot_entry", options(tree))
    assert refused["failed"] and "pxelinux.cfg/default was not written by this module" in refused["msg"]
    assert snapshot(tree) == before
    assert module("boot_entry", options(tree, replace_foreign=True))["changed"]
    assert "DEFAULT disk" in (tree / "pxelinux.cfg" / "default").read_text()


def test_two_owners_do_not_fight_over_a_file(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree))
    before = snapshot(tree)
    refused = module("boot_entry", options(tree, owner="other", replace_foreign=True))
    assert refused["failed"] and 'belongs to the owner "oneimage"' in refused["msg"]
    assert snapshot(tree) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"nodes": [*nodes(1, entry="deb"), {"name": "x", "mac": "52:54:00:00:00:01", "entry": "deb"}]},
            "nodes n1 and x",
        ),
        (
            {"nodes": [*nodes(1, entry="deb"), {"name": "n1", "mac": "52:54:00:00:00:09"}]},
            "two nodes are named n1",
        ),
        ({"nodes": [{"name": "n1", "mac": "52:54", "entry": "deb"}]}, "is no MAC address"),
        ({"nodes": nodes(1, entry="none")}, 'node n1 wants the entry "none"'),
        ({"nodes": nodes(1), "default": None}, "node n1 has no entry"),
        ({"nodes": nodes(1, entry="disk", once="deb")}, "evidence names no log"),
        (
            {"entries": [{"name": "deb", "kernel": "images/gone"}, {"name": "disk", "local": True}]},
            "images/gone cannot be served",
        ),
        ({"entries": [{"name": "e", "kernel": "../../etc/passwd"}]}, "must be a path below the boot tree"),
        ({"base_url": None}, "is no URL of the boot tree"),
        ({"owner": "a b"}, 'owner "a b"'),
        ({"directory": "/nonexistent/boot"}, "directory /nonexistent/boot is no folder"),
        ({"clusters": [{"name": "c", "subnet": "10.77.0.1/24", "entry": "deb"}]}, "has host bits set"),
    ],
)
def test_bad_input_is_one_clear_error_and_touches_nothing(
    module: Run, tree: Path, wrong: dict[str, Any], said: str
) -> None:
    module("boot_entry", options(tree))
    before = snapshot(tree)
    result = module("boot_entry", options(tree, **wrong))
    assert result["failed"] and said in result["msg"] and "\n" not in result["msg"]
    assert snapshot(tree) == before


def test_files_of_the_future_are_not_checked_on_demand(module: Run, tmp_path: Path) -> None:
    fresh = tmp_path / "not" / "yet"
    assert module("boot_entry", options(fresh, check_files=False), check=True)["changed"]
    assert not fresh.exists()
    assert module("boot_entry", options(fresh, check_files=False))["changed"]
    assert (fresh / "ipxe" / "boot.ipxe").stat().st_mode & 0o777 == 0o644
    assert fresh.stat().st_mode & 0o777 == 0o755


def test_once(module: Run, tree: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    once = options(tree, nodes=nodes(1, entry="disk", once="deb"), evidence=[str(log)])
    module("boot_entry", once)
    armed = (tree / "ipxe" / "mac-52-54-00-00-00-01.ipxe").read_text()
    (token,) = (path.stem for path in (tree / "once").iterdir())
    assert f"oneimage.once={token}" in armed and f"http://10.77.0.254/once/{token}.cpio" in armed
    again = module("boot_entry", once)
    assert (again["changed"], again["once_spent"]) == (False, [])
    log.write_text(f'10.77.0.1 - - [21/Nov/2026:11:00:00 +0000] "GET /once/{token}.cpio HTTP/1.1" 200 512\n')
    spent = module("boot_entry", once)
    assert spent["once_spent"] == ["n1"] and spent["removed"] == [f"once/{token}.cpio"]
    assert "sanboot" in (tree / "ipxe" / "mac-52-54-00-00-00-01.ipxe").read_text()
    log.unlink()  # rotated away: the tree itself remembers
    again = module("boot_entry", once)
    assert not again["changed"] and again["once_spent"] == ["n1"]
    rearmed = module(
        "boot_entry",
        options(tree, nodes=nodes(1, entry="disk", once="deb", once_id="2"), evidence=[str(log)]),
    )
    assert (
        rearmed["once_spent"] == []
        and "oneimage.once=" in (tree / "pxelinux.cfg" / "01-52-54-00-00-00-01").read_text()
    )


def test_a_kill_leaves_each_file_old_or_new(module: Run, tree: Path, tmp_path: Path) -> None:
    old, new = options(tree, nodes=nodes(300, entry="deb")), options(tree, nodes=nodes(280, entry="new"))
    states = []
    for wanted in (new, old):
        module("boot_entry", wanted, diff=False)
        states.append({path: (tree / path).read_bytes() for path in owned(tree)})
    interrupted = 0
    for delay in (0.1, 0.14, 0.18, 0.22, 0.26, 0.3, 0.35, 0.4, 0.5):
        process = start_module("boot_entry", new, diff=False)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        interrupted += process.wait() == -signal.SIGKILL
        process.communicate()
        for path in owned(tree):
            if not Path(path).name.startswith(".oneimage-partial-"):
                assert (tree / path).read_bytes() in [state.get(path) for state in states], path
        repaired = module("boot_entry", old, diff=False)
        assert not repaired.get("failed"), repaired
        assert {path: (tree / path).read_bytes() for path in owned(tree)} == states[1]
    assert interrupted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], check=False)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.root
def test_a_full_disk_changes_nothing(module: Run, small_disk: Path) -> None:
    (small_disk / "images").mkdir()
    for name in ("vmlinuz", "initrd"):
        (small_disk / "images" / name).write_text(name)
    module("boot_entry", options(small_disk, nodes=nodes(5, entry="deb")))
    before = {path: (small_disk / path).read_bytes() for path in owned(small_disk)}
    result = module("boot_entry", options(small_disk, nodes=nodes(200, entry="new")))
    assert (
        result["failed"] and "No space left on device" in result["msg"] and str(small_disk) in result["msg"]
    )
    assert {path: (small_disk / path).read_bytes() for path in owned(small_disk)} == before


@pytest.mark.skipif(
    shutil.which("grub-script-check") is None, reason="grub-script-check (grub-common) is not installed"
)
def test_grub_reads_every_file(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree, clusters=[{"name": "c", "subnet": "10.77.0.0/23", "entry": "deb"}]))
    files = list((tree / "grub").iterdir())
    assert len(files) == 6
    for file in files:
        subprocess.run(["grub-script-check", str(file)], check=True)


def test_info_follows_the_loaders(module: Run, tree: Path) -> None:
    clusters = [{"name": "c", "subnet": "10.77.0.0/23", "entry": "new"}]
    module(
        "boot_entry",
        options(
            tree,
            clusters=clusters,
            nodes=[*nodes(1, entry="deb"), {"name": "u", "uuid": UUID, "entry": "deb"}],
        ),
    )
    asked = [
        {"name": "known", "mac": "52:54:00:00:00:01", "address": "10.77.0.1"},
        {"name": "by-uuid", "uuid": UUID},
        {"name": "member", "mac": "52:54:00:00:00:77", "address": "10.77.1.7"},
        {"name": "stranger", "mac": "52:54:00:00:00:78", "address": "10.78.0.1"},
    ]
    before = snapshot(tree)
    info = module("boot_entry_info", {"directory": str(tree), "nodes": asked})
    assert snapshot(tree) == before and not info["changed"]
    for loader in ("pxelinux", "ipxe", "grub"):
        found = {
            name: (node[loader]["entry"], node[loader]["subject"]) for name, node in info["nodes"].items()
        }
        assert found == {
            "known": ("deb", "node n1"),
            "by-uuid": ("deb", "node u"),
            "member": ("new", "cluster c"),
            "stranger": ("disk", "default"),
        }
    assert sorted(file["path"] for file in info["files"]) == owned(tree)


def test_info_sees_what_others_wrote(module: Run, tree: Path) -> None:
    module("boot_entry", options(tree))
    (tree / "pxelinux.cfg" / UUID).write_text("DEFAULT theirs\n")
    (tree / "ipxe" / "boot.ipxe").write_text("#!ipxe\nshell\n")
    (tree / "grub" / "grub.cfg").unlink()
    asked = [{"name": "n1", "mac": "52:54:00:00:00:01", "uuid": UUID}]
    found = module("boot_entry_info", {"directory": str(tree), "nodes": asked})["nodes"]["n1"]
    assert (found["pxelinux"]["file"], found["pxelinux"]["owner"], found["pxelinux"]["entry"]) == (
        f"pxelinux.cfg/{UUID}",
        None,
        None,
    )
    assert (found["ipxe"]["file"], found["ipxe"]["entry"]) == ("ipxe/boot.ipxe", None)
    assert found["grub"]["file"] is None


def test_info_of_no_tree(module: Run, tmp_path: Path) -> None:
    result = module("boot_entry_info", {"directory": str(tmp_path / "none")})
    assert result["failed"] and f"directory {tmp_path}/none is no folder" in result["msg"]
