"""The directory registry under fire: kills, readers, writers at once, users without rights, disks that take nothing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import MODULE, Run, snapshot, start_module
from environment_case import make_image, options, registered

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_directory import (
    DirectoryRegistry,
)

NOBODY = 65534
READERS = 200


class Readers:
    """Threads that look x up again and again, as a deployment does, and note every answer that is wrong."""

    def __init__(self, registry: Path) -> None:
        self.registry = registry
        self.wrong: list[str] = []
        self.seen: set[int] = set()
        self.reads = 0
        self.hashed: dict[tuple[str, int], str] = {}
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.loop) for _number in range(READERS)]

    def __enter__(self) -> Readers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def loop(self) -> None:
        while not self.over.wait(random.random()):
            try:
                self.read()
            except Exception as error:  # whatever it is, it is a wrong read
                self.wrong.append(repr(error))

    def read(self) -> None:
        listing = DirectoryRegistry(self.registry).listing("x", "root")
        self.wrong.extend(listing.faults)
        newest = max(listing.entries, key=lambda entry: entry.version)
        if sorted(entry.version for entry in listing.entries) != list(range(1, newest.version + 1)):
            self.wrong.append("a version is missing")
        image = Path(newest.description["image"]["file"][len("server://") :])
        promised = newest.description["oneimage"]
        key = (str(image), image.stat().st_ino)
        if image.stat().st_size != promised["size"]:
            self.wrong.append(f"version {newest.version}: wrong size")
        if key not in self.hashed:
            self.hashed[key] = hashlib.sha256(image.read_bytes()).hexdigest()
        if self.hashed[key] != promised["sha256"]:
            self.wrong.append(f"version {newest.version}: wrong bytes")
        self.seen.add(newest.version)
        self.reads += 1


@pytest.mark.slow
def test_ten_kills_and_two_hundred_readers(module: Run, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    image = make_image(tmp_path / "x.tgz", b"0")
    started = time.monotonic()
    module("environment", registered(registry, image))
    usual = time.monotonic() - started
    chance = random.Random(4)
    killed = 0
    with Readers(registry) as readers:
        for version in range(2, 12):
            make_image(image, chance.randbytes(8 << 20))
            process = start_module("environment", registered(registry, image))
            time.sleep(chance.uniform(0.3, 2) * usual)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            process.communicate()
            result = module("environment", registered(registry, image))
            assert result["version"] == version
            assert not module("environment", registered(registry, image))["changed"]
        deadline = time.monotonic() + 90
        while 11 not in readers.seen and time.monotonic() < deadline:
            time.sleep(0.1)
    assert killed and readers.reads > READERS and 11 in readers.seen
    assert readers.wrong == []
    left = [path.name for path in registry.rglob("*") if path.is_file()]
    assert len(left) == 11 + 11 + 1 and not [name for name in left if "partial" in name]
    assert all(
        entry["verified"]
        for entry in module("environment_info", options(registry, all_versions=True, verify=True))[
            "environments"
        ]
    )


def test_a_kill_between_image_and_description(module: Run, tmp_path: Path) -> None:
    """What such a kill leaves behind, made by hand: the image in its place, and torn copies."""
    registry, image = tmp_path / "registry", make_image(tmp_path / "x.tgz")
    first = module("environment", registered(registry, image))
    stored = Path(first["description"]["image"]["file"][9:])
    (stored.parent / f".oneimage-partial-{stored.name}-abc").write_bytes(b"torn")
    Path(first["file"]).with_name(".oneimage-partial-1.yml-abc").write_bytes(b"torn")
    other = stored.with_name("0" * 64 + ".tar.gz")
    other.write_bytes(b"unfinished business")
    foreign = stored.with_name("README")
    foreign.write_text("not ours")
    result = module("environment", registered(registry, image))
    assert result["action"] == "none" and result["changed"]
    assert result["collected"] == [str(stored.parent / f".oneimage-partial-{stored.name}-abc"), str(other)]
    assert foreign.exists() and stored.exists()
    assert not module("environment", registered(registry, image))["changed"]
    module("environment", options(registry, name="x", state="absent"))
    assert [path.name for path in registry.rglob("*") if path.is_file()] == [".lock", "README"]


def test_writers_at_once(module: Run, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    images = [make_image(tmp_path / f"{number}.tgz", str(number).encode()) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda image: module("environment", registered(registry, image)), images * 2))
    assert not [result["msg"] for result in results if result.get("failed")]
    found = module("environment_info", options(registry, all_versions=True, verify=True))["environments"]
    versions = [entry["version"] for entry in found]
    assert versions == list(range(1, len(found) + 1)) and len(found) >= 4
    assert all(entry["verified"] for entry in found)


AS_USER = """
import importlib, os, sys
name, uid = sys.argv.pop(), int(sys.argv.pop())
module = importlib.import_module(name)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
module.main()
"""
"""The module is loaded first, since the interpreter may lie where only root can read it."""


def as_user(uid: int, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run module ``name`` as the user ``uid``."""
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, str(uid), MODULE + name],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that other users may enter, which pytest's own are not."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    return tmp_path


@pytest.mark.root
def test_files_enforce_visibility(module: Run, open_folder: Path) -> None:
    registry, image = open_folder / "registry", make_image(open_folder / "x.tgz")
    for visibility in ("public", "shared", "private"):
        module(
            "environment", registered(registry, image, name=visibility, visibility=visibility, owner="daemon")
        )
    for place, mode in (
        ("environments/daemon/public/1.yml", 0o644),
        ("environments/daemon/shared/1.yml", 0o644),
        ("environments/daemon/private/1.yml", 0o600),
        ("images/private/daemon", 0o700),
    ):
        path = registry / place
        assert (path.stat().st_mode & 0o777, path.owner()) == (mode, "daemon"), place

    def names(uid: int, **more: Any) -> list[str]:
        found = as_user(uid, "environment_info", options(registry, **more))
        return [entry["name"] for entry in found["environments"]]

    assert names(NOBODY) == ["public"]
    assert names(NOBODY, owner="daemon", user="nobody") == ["public", "shared"]
    # saying that one is somebody else does not help against the file system
    assert names(NOBODY, user="daemon", owner="daemon") == ["public", "shared"]
    assert names(1) == ["public", "private", "shared"]
    assert names(NOBODY, name="private") == []
    refused = as_user(NOBODY, "environment", options(registry, base="private@daemon", name="mine"))
    assert "there is no environment 'private' of daemon that nobody can see" in refused["msg"]


@pytest.mark.root
def test_who_may_not_write(module: Run, open_folder: Path) -> None:
    registry, image = open_folder / "registry", make_image(open_folder / "x.tgz")
    image.chmod(0o644)
    module("environment", registered(registry, image, visibility="public"))
    before = snapshot(registry)
    for more, fault in (
        ({"name": "mine"}, "cannot write"),
        (
            {"name": "x", "owner": "root", "visibility": "public", "version": 7},
            "nobody cannot publish for root",
        ),
    ):
        refused = as_user(NOBODY, "environment", registered(registry, image, **more))
        assert fault in refused["msg"]
    absent = as_user(NOBODY, "environment", options(registry, name="x", owner="root", state="absent"))
    assert f"registry {registry}: cannot write" in absent["msg"] and "Permission denied" in absent["msg"]
    assert snapshot(registry) == before


@pytest.mark.root
@pytest.mark.parametrize(
    ("mount", "fault"), [("size=1m", "No space left on device"), ("ro,size=1m", "Read-only file system")]
)
def test_a_disk_that_takes_nothing(tmp_path: Path, mount: str, fault: str) -> None:
    """In mount namespaces of their own, so that nothing of it is ever seen outside."""
    disk = tmp_path / "disk"
    disk.mkdir()
    image = make_image(tmp_path / "x.tgz", random.Random(1).randbytes(4 << 20))
    script = f"mount -t tmpfs -o {mount} none {disk} && {sys.executable} -m {MODULE}environment; find {disk} -type f"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": registered(disk / "registry", image)}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    result, _end, left = done.stdout.strip().partition("\n")
    message = json.loads(result)["msg"]
    assert fault in message and str(disk / "registry") in message
    assert [name for name in left.split() if not name.endswith("/.lock")] == []


def test_a_file_that_somebody_broke(module: Run, tmp_path: Path) -> None:
    registry, image = tmp_path / "registry", make_image(tmp_path / "x.tgz")
    first = module("environment", registered(registry, image, visibility="public"))
    module("environment", registered(registry, image, name="y"))
    Path(first["file"]).write_text("name: x\n\tversion: 1\n")
    found = module("environment_info", options(registry))
    assert [entry["name"] for entry in found["environments"]] == ["y"]
    assert f"{first['file']}, line 2: a tab" in str(found["warnings"])
    refused = module("environment", registered(registry, image))
    assert f"cannot count the versions of x: {first['file']}, line 2" in refused["msg"]
    # its image may be wanted, so nothing is collected
    stored = Path(first["description"]["image"]["file"][9:])
    module("environment", options(registry, name="y", state="absent"))
    assert stored.exists()
    moved = Path(first["file"]).with_name("7.yml")
    Path(first["file"]).rename(moved)
    moved.write_text("name: x\nversion: 1\nos: other\nimage: {file: /x, kind: dd, compression: gzip}\n")
    assert "does not describe version 7 of 'x'" in module("environment", registered(registry, image))["msg"]


def test_the_lookup_of_kadeploy(module: Run, tmp_path: Path) -> None:
    registry, image = tmp_path / "registry", make_image(tmp_path / "x.tgz")

    def publish(owner: str, visibility: str, **more: Any) -> None:
        module("environment", registered(registry, image, owner=owner, visibility=visibility, **more))

    publish(
        "deploy",
        "public",
        description={
            "os": "other",
            "boot": {"kernel": "/boot/vmlinuz"},
            "filesystem": "ext4",
            "arch": "x86_64",
        },
    )
    publish("bob", "shared")
    publish("carol", "private")

    def base_of(owner: str, base: str) -> str:
        result = module("environment", options(registry, owner=owner, base=base, name="derived"), check=True)
        return result.get("msg") or result["description"]["oneimage"]["base"]

    assert base_of("alice", "x") == "x@deploy:1"
    assert base_of("bob", "x") == "x@bob:1"
    assert base_of("alice", "x@bob") == "x@bob:1"
    assert base_of("alice", "x%x86_64") == "x@deploy:1"
    assert "there is no environment 'x' of carol that alice can see" in base_of("alice", "x@carol")
    assert "carol" not in base_of("alice", "x:9")
    assert "'x', version 9, for x86_64" in base_of("alice", "x:9%x86_64")

    def shown(**more: Any) -> list[tuple[str, str]]:
        found = module("environment_info", options(registry, **more))["environments"]
        return [(entry["visibility"], entry["owner"]) for entry in found]

    assert shown(user="carol") == [("public", "deploy"), ("private", "carol")]
    assert shown(user="carol", name="x") == [("private", "carol")]
    assert shown(user="alice", name="x", arch="aarch64") == []
    assert shown(user="alice", owner="bob") == [("shared", "bob")]
    assert shown(user="alice", owner="carol") == []
    assert shown(owner="carol") == [("private", "carol")]
