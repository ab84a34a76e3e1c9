# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_archive of roots, restored by plain tar and compared with the source."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible
import image_source
import pytest
from conftest import Run, snapshot, start_module

pytestmark = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir(mode=0o755)
    return image_source.make(root)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def options(source: Path, dest: Path, **more: Any) -> dict[str, Any]:
    return {"src": str(source), "dest": str(dest), **more}


def restore(image: Path, target: Path) -> Path:
    """As anybody would, without anything of ours."""
    target.mkdir()
    argv = ["tar", "-x", "-p", "-f", image, "-C", target, "--numeric-owner", "--acls", "--xattrs"]
    subprocess.run([*argv, "--xattrs-include=*"], check=True)
    return target


def manifest(image: Path) -> dict[str, Any]:
    return json.loads(image.with_name(image.name + ".manifest.json").read_text())  # type: ignore[no-any-return]


SUFFIXES = {"gzip": "tar.gz", "zstd": "tar.zst", "xz": "tar.xz", "bzip2": "tar.bz2"}


@pytest.mark.parametrize("compression", SUFFIXES)
def test_plain_tar_restores_an_equal_root(
    compression: str, module: Run, source: Path, out: Path, tmp_path: Path
) -> None:
    image = out / f"image.{SUFFIXES[compression]}"
    before = image_source.facts(source)
    made = module("image_archive", options(source, image))
    assert made.get("msg") is None and made["compression"] == compression
    changed = image_source.LEFT_OUT | image_source.REPLACED
    restored = restore(image, tmp_path / "restored")
    assert image_source.without(image_source.facts(restored), changed) == image_source.without(
        before, changed
    )
    assert not any(os.path.lexists(restored / path) for path in image_source.LEFT_OUT)
    assert (restored / "var/log/nginx").is_dir() and (restored / "var/log/journal").is_dir()
    assert (restored / "etc/machine-id").read_bytes() == b"" and os.readlink(
        restored / "etc/mtab"
    ) == "../proc/self/mounts"
    assert (restored / "etc/machine-id").stat().st_mode & 0o777 == 0o444
    assert (restored / "srv/sparse").stat().st_blocks * 512 < 1 << 20
    assert image_source.facts(source) == before


def test_the_manifest_tells_the_truth(module: Run, source: Path, out: Path) -> None:
    image = out / "image.tgz"
    made = module("image_archive", options(source, image, derived_from="debian12 1"))
    said, content = manifest(image), image.read_bytes()
    assert said["sha256"] == made["sha256"] == hashlib.sha256(content).hexdigest()
    assert said["md5"] == made["md5"] == hashlib.md5(content).hexdigest()
    assert said["size"] == made["size"] == len(content) and said["file"] == "image.tgz"
    assert said["uncompressed_size"] == len(gzip.decompress(content))
    kernel = {"version": image_source.VERSION}
    assert said["kernels"] == [
        {"path": f"/boot/vmlinuz-{image_source.VERSION}", **kernel},
        {"path": "/vmlinuz", **kernel},
    ]
    assert said["initrds"][0] == {"path": f"/boot/initrd.img-{image_source.VERSION}", **kernel}
    assert said["architecture"] == "x86_64" and said["distribution"]["id"] == "debian"
    assert said["derived_from"] == "debian12 1" and said["partition_size"] is None
    assert "tar" in said["tools"] and len(said["tools"]) == 2 and all(said["tools"].values())
    omitted = {one["path"][1:]: one["reason"] for one in said["omitted"]}
    assert set(omitted) == image_source.LEFT_OUT | image_source.REPLACED
    assert omitted["srv/socket"] == "socket" and omitted["etc/machine-id"] == "neutralised"
    assert {"machine_id", "logs", "mtab", "ssh_host_keys", "leases"} <= set(said["hygiene"])


def test_members_are_named_as_deployers_want_them(module: Run, source: Path, out: Path) -> None:
    module("image_archive", options(source, out / "image.tgz"))
    names = subprocess.run(
        ["tar", "-tf", out / "image.tgz"], stdout=subprocess.PIPE, check=True
    ).stdout.split(b"\n")
    assert b"etc/" in names and b"srv/.hidden" in names
    assert not any(name.startswith((b"./", b"/")) for name in names)


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_the_same_tree_gives_the_same_bytes(
    suffix: str, module: Run, source: Path, out: Path, tmp_path: Path
) -> None:
    first = module("image_archive", options(source, out / f"a.{suffix}"))
    copy = image_source.shuffled_copy(source, tmp_path / "copy")
    assert copy.joinpath("etc").stat().st_ino != source.joinpath("etc").stat().st_ino
    again = module("image_archive", options(source, out / f"b.{suffix}"))
    other = module("image_archive", options(copy, out / f"c.{suffix}"))
    assert first["sha256"] == again["sha256"] == other["sha256"]


def test_later_times_are_clamped(module: Run, source: Path, out: Path) -> None:
    wanted = {"clamp_mtime": 1_600_000_000}
    first = module("image_archive", options(source, out / "a.tgz", **wanted))
    os.utime(source / "srv/owned")
    os.utime(source / "srv")
    assert module("image_archive", options(source, out / "b.tgz", **wanted))["sha256"] == first["sha256"]
    listed = subprocess.run(
        ["tar", "--utc", "-tvf", out / "a.tgz", "srv/owned", "srv/labelled"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    assert "2020-09-13 12:26" in listed and "2017-07-14 02:40" in listed


def test_second_run_changes_nothing(module: Run, source: Path, out: Path) -> None:
    wanted = options(source, out / "image.tgz")
    assert module("image_archive", wanted)["changed"]
    before = snapshot(out)
    (source / "var/log/dpkg.log").write_text("a log goes on")
    (source / "tmp/other").write_text("")
    (source / "etc/machine-id").chmod(0o644)
    (source / "etc/machine-id").write_text("another")
    (source / "etc/machine-id").chmod(0o444)
    again = module("image_archive", wanted)
    assert not again["changed"] and again["reason"] is None and snapshot(out) == before
    assert again["sha256"] == manifest(out / "image.tgz")["sha256"] and "diff" not in again


CHANGES: dict[str, Callable[[Path], object]] = {
    "content of the same size and time": lambda root: rewrite(root / "srv/labelled"),
    "mode": lambda root: (root / "srv/owned").chmod(0o700),
    "owner": lambda root: os.chown(root / "srv/shared", 7, 7),
    "attribute": lambda root: os.setxattr(root / "srv/labelled", "user.note", b"other"),
    "link": lambda root: ((root / "srv/dangling").unlink(), (root / "srv/dangling").symlink_to("/elsewhere")),
    "removed": lambda root: (root / "srv/fifo").unlink(),
    "added": lambda root: (root / "srv/new").touch(),
}


def rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"LABELLED")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_check_mode_touches_nothing_and_predicts(change: str, module: Run, source: Path, out: Path) -> None:
    wanted = options(source, out / "image.tgz")
    foreseen = module("image_archive", wanted, check=True)
    assert foreseen["changed"] and foreseen["sha256"] is None and snapshot(out) == {}
    module("image_archive", wanted)
    before = snapshot(out)
    assert not module("image_archive", wanted, check=True)["changed"]
    CHANGES[change](source)
    foreseen = module("image_archive", wanted, check=True)
    assert foreseen["changed"] and "changed since" in foreseen["reason"] and snapshot(out) == before
    assert json.loads(foreseen["diff"]["before"])["source"] != json.loads(foreseen["diff"]["after"])["source"]
    made = module("image_archive", wanted)
    assert made["changed"] and not module("image_archive", wanted)["changed"]


@pytest.mark.parametrize("harm", ["truncated", "flipped", "no manifest", "broken manifest"])
def test_a_damaged_image_is_made_again(harm: str, module: Run, source: Path, out: Path) -> None:
    wanted, image = options(source, out / "image.tgz"), out / "image.tgz"
    good = module("image_archive", wanted)["sha256"]
    beside = out / "image.tgz.manifest.json"
    content = bytearray(image.read_bytes())
    content[100] ^= 1
    time.sleep(0.01)
    {
        "truncated": lambda: image.write_bytes(bytes(content[:-5])),
        "flipped": lambda: image.write_bytes(bytes(content)),
        "no manifest": beside.unlink,
        "broken manifest": lambda: beside.write_text("{"),
    }[harm]()
    assert module("image_archive", wanted, check=True)["changed"]
    assert module("image_archive", wanted)["changed"]
    assert hashlib.sha256(image.read_bytes()).hexdigest() == good == manifest(image)["sha256"]


def test_a_hygiene_rule_can_be_switched_off(module: Run, source: Path, out: Path, tmp_path: Path) -> None:
    skip = ["machine_id", "logs", "mtab"]
    made = module(
        "image_archive",
        options(source, out / "image.tgz", skip_hygiene=skip, exclude=["/srv/sp*", "srv/shared/**"]),
    )
    assert not set(skip) & set(made["hygiene"]) and "exclude" in made["hygiene"]
    restored = restore(out / "image.tgz", tmp_path / "restored")
    assert (restored / "etc/machine-id").read_text().startswith("0123") and (
        restored / "var/log/dpkg.log"
    ).exists()
    assert not (restored / "srv/sparse").exists() and (restored / "srv/shared").is_dir()
    assert not (restored / "etc/ssh/ssh_host_ed25519_key").exists()


SECRETS = {
    "shadow_hash": ("etc/shadow", "root:$y$j9T$abc$def:1:0:99999:7:::\n"),
    "ssh_private_key": ("home/alice/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nHIDDEN\n"),
    "aws_credentials": ("root/.aws/credentials", "aws_secret_access_key = HIDDEN\n"),
    "tls_private_key": ("etc/ssl/private/deep/server.key", "-----BEGIN RSA PRIVATE KEY-----\nHIDDEN\n"),
}


@pytest.mark.parametrize("rule", SECRETS)
@pytest.mark.parametrize("check", [False, True])
def test_a_secret_fails_the_capture_unless_allowed(
    rule: str, check: bool, module: Run, source: Path, out: Path
) -> None:
    path, content = SECRETS[rule]
    image_source.write(source / path, content)
    failed = module("image_archive", options(source, out / "image.tgz"), check=check)
    assert (
        failed["failed"]
        and f"/{path}: {rule}" in failed["msg"]
        and f"allow_secrets: [{rule}]" in failed["msg"]
    )
    assert "HIDDEN" not in str(failed) and "$y$" not in str(failed) and snapshot(out) == {}
    for allowed in (rule, f"/{path}"):
        wanted = options(source, out / "image.tgz", allow_secrets=[allowed])
        assert "failed" not in module("image_archive", wanted, check=check)
    wanted = options(source, out / "image.tgz", exclude=[path])
    assert "failed" not in module("image_archive", wanted, check=check)


def test_host_keys_are_secrets_once_hygiene_keeps_them(module: Run, source: Path, out: Path) -> None:
    failed = module("image_archive", options(source, out / "image.tgz", skip_hygiene=["ssh_host_keys"]))
    assert failed["failed"] and "ssh_host_key" in failed["msg"]


@pytest.fixture
def mounted(source: Path) -> Iterator[Path]:
    """Something is mounted on top, over a static /dev."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "dev"], check=True)
    (source / "dev/of-the-mount").touch()
    yield source
    subprocess.run(["umount", source / "dev"], check=True)


def test_a_disk_that_is_mounted_on_top_is_a_warning(
    module: Run, source: Path, out: Path, tmp_path: Path
) -> None:
    with (tmp_path / "disk").open("wb") as disk:
        disk.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", tmp_path / "disk"], check=True)
    done = subprocess.run(
        ["mount", "-o", "loop", tmp_path / "disk", source / "boot"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no loop devices on this kernel: {done.stderr.strip()}")
    try:
        made = module("image_archive", options(source, out / "image.tgz"))
    finally:
        subprocess.run(["umount", source / "boot"], check=True)
    assert f"mounted on top of the root: {source}/boot (/dev/loop" in str(made["warnings"])
    assert made["kernels"][0]["path"] == f"/boot/vmlinuz-{image_source.VERSION}"  # from below the mount


def mounts(folder: Path) -> list[str]:
    """What this host has mounted below ``folder`` and where the module has its scratch; others mount meanwhile."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return [place for place in places if place.startswith((f"{folder}/", "/sys/kernel/root"))] + [
        place for place in places if place in ("/sys", "/sys/kernel")
    ]


def test_what_is_mounted_on_top_is_not_archived(
    module: Run, mounted: Path, out: Path, tmp_path: Path
) -> None:
    before = mounts(tmp_path)
    module("image_archive", options(mounted, out / "image.tgz"))
    restored = restore(out / "image.tgz", tmp_path / "restored")
    assert os.listdir(restored / "dev") == ["console"] and (restored / "dev/console").is_char_device()
    assert mounts(tmp_path) == before


def test_the_image_may_lie_in_its_own_source(module: Run, source: Path, tmp_path: Path) -> None:
    (source / "srv/images").mkdir()
    image = source / "srv/images/self.tgz"
    wanted = options(source, image)
    assert module("image_archive", wanted)["changed"] and not module("image_archive", wanted)["changed"]
    restored = restore(image, tmp_path / "restored")
    assert os.listdir(restored / "srv/images") == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no source": ({"src": "/does/not/exist"}, "/does/not/exist"),
    "no folder": ({"dest": "/does/not/exist/image.tgz"}, "/does/not/exist"),
    "dest is a folder": ({"dest": "/"}, "dest"),
    "suffix": ({"compression": "zstd"}, "compression: zstd does not fit dest image.tgz"),
    "level": ({"level": 77}, "level: 77"),
    "mode": ({"mode": "rw"}, "mode: 'rw'"),
    "rule": ({"skip_hygiene": ["machineid"]}, "skip_hygiene: 'machineid' is not one of"),
    "secret": ({"allow_secrets": ["everything"]}, "allow_secrets: 'everything' is not one of"),
    "exclude": ({"exclude": ["../x"]}, "exclude: '../x'"),
    "deep": ({"exclude": ["a/**/b"]}, "exclude: 'a/**/b'"),
    "dd of a folder": ({"kind": "dd"}, "neither a block device nor a file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_before_anything_is_written(
    case: str, module: Run, source: Path, out: Path
) -> None:
    wrong, message = BAD[case]
    failed = module("image_archive", {**options(source, out / "image.tgz"), **wrong})
    assert failed["failed"] and message in failed["msg"] and "\n" not in failed["msg"]
    assert snapshot(out) == {}


@pytest.fixture
def small(out: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", out], check=True)
    yield out
    subprocess.run(["umount", out], check=True)


def test_a_full_disk_is_one_error_and_keeps_the_old_image(module: Run, source: Path, small: Path) -> None:
    wanted = options(source, small / "image.tgz")
    assert module("image_archive", wanted)["changed"]
    before = snapshot(small)
    (source / "srv/noise").write_bytes(os.urandom(2 << 20))
    failed = module("image_archive", wanted)
    assert failed["failed"] and "No space left" in failed["msg"] and "untouched" in failed["msg"]
    assert snapshot(small) == before


def test_a_source_that_changes_meanwhile_is_refused(source: Path, out: Path) -> None:
    (source / "srv/large").write_bytes(os.urandom(64 << 20))
    process = start_module("image_archive", options(source, out / "image.tgz", level=9))
    wait_for(lambda: sizes(process.pid) > 1 << 20, process)
    with (source / "srv/large").open("ab") as large:
        large.write(b"more")
    answer = json.loads(process.communicate()[0])
    assert answer["failed"] and "srv/large" in answer["msg"] and "changed while it was read" in answer["msg"]
    assert snapshot(out) == {}


def sizes(pid: int) -> int:
    """Bytes in the files without a name that the process holds open."""
    total = 0
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            if "#" in os.readlink(link) and "/out/" in os.readlink(link):
                total += link.stat().st_size
        except OSError:
            continue
    return total


def wait_for(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not true() and process.poll() is None:
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.002)


@pytest.mark.parametrize("moment", [0, 1, 1 << 20, 4 << 20, 12 << 20, "late", "later"])
def test_kill_leaves_an_old_pair_or_a_new_one_and_no_trace(
    moment: int | str, module: Run, source: Path, out: Path
) -> None:
    wanted, image = options(source, out / "image.tgz"), out / "image.tgz"
    old = module("image_archive", wanted)["sha256"]
    (source / "srv/large").write_bytes(os.urandom(16 << 20))
    table = mounts(out.parent)
    process = start_module("image_archive", wanted)
    if isinstance(moment, int):
        wait_for(lambda: sizes(process.pid) >= moment, process)
    else:
        wait_for(
            lambda: not (out / "image.tgz.manifest.json").exists() or sizes(process.pid) > 16 << 20, process
        )
        time.sleep(0.0 if moment == "late" else 0.01)
    children = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 90
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a child outlived the module"
        time.sleep(0.01)
    assert mounts(out.parent) == table
    found = hashlib.sha256(image.read_bytes()).hexdigest()
    if (out / "image.tgz.manifest.json").exists():
        assert manifest(image)["sha256"] == found
    if moment in (0, 1, 1 << 20):
        assert found == old and sorted(os.listdir(out)) == ["image.tgz", "image.tgz.manifest.json"]
    last = module("image_archive", wanted)
    assert last["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest() != old
    assert sorted(os.listdir(out)) == ["image.tgz", "image.tgz.manifest.json"]


def descendants(pid: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*found, *(deeper for child in found for deeper in descendants(child))]


def test_the_image_is_signed(module: Run, source: Path, out: Path, tmp_path: Path) -> None:
    secret, public = tmp_path / "key", tmp_path / "key.pub"
    subprocess.run(
        ["minisign", "-G", "-W", "-p", public, "-s", secret], check=True, stdout=subprocess.DEVNULL
    )
    wanted = options(source, out / "image.tgz", signature={"tool": "minisign", "key": str(secret)})
    assert module("image_archive", wanted)["changed"] and not module("image_archive", wanted)["changed"]
    subprocess.run(["minisign", "-V", "-q", "-p", public, "-m", out / "image.tgz"], check=True)
    (out / "image.tgz.minisig").unlink()
    assert module("image_archive", wanted, check=True)["changed"]
    module("image_archive", {**wanted, "signature": None, "derived_from": "unsigned"})
    assert not (out / "image.tgz.minisig").exists()
    failed = module("image_archive", {**wanted, "signature": {"tool": "minisign", "key": "/does/not/exist"}})
    assert failed["failed"] and "signature: cannot sign" in failed["msg"] and (out / "image.tgz").exists()


LIVE = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount --bind /usr usr; mount --bind "$2" opt/ansible; mount --bind "$3" opt/collections/ansible_collections/oneimage/cluster
mount -t proc proc proc; mount -t sysfs sys sys; mount -t tmpfs tmpfs dev; mount -t tmpfs tmpfs run
touch dev/of-the-mount run/of-the-mount dev/null
exec chroot . /usr/bin/env PYTHONPATH=/opt/ansible:/opt/collections PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m "$4"
"""


def test_the_live_root_is_archived_without_what_is_mounted_on_it(source: Path, tmp_path: Path) -> None:
    """/ of a machine that is a chroot here, since the real one is too large: the module runs in it as on a node."""
    ansible_folder = Path(ansible.__file__).parents[1]
    collection = Path(__file__).parents[2]
    for folder in (
        "opt/ansible",
        "opt/collections/ansible_collections/oneimage/cluster",
        "proc",
        "sys",
        "run",
    ):
        (source / folder).mkdir(parents=True)
    for name in ("lib", "lib64", "sbin"):
        (source / name).symlink_to(f"usr/{name}")
    before = image_source.facts(source)
    wanted = json.dumps({"ANSIBLE_MODULE_ARGS": options(Path("/"), Path("/srv/self.tar.zst"))})
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", LIVE, "live"]
    module = "ansible_collections.oneimage.cluster.plugins.modules.image_archive"
    for changed in (True, False):
        done = subprocess.run(
            [*argv, source, ansible_folder, collection, module],
            input=wanted.encode(),
            capture_output=True,
            check=False,
        )
        answer = json.loads(done.stdout or b"{}")
        assert answer.get("changed") is changed, (answer, done.stderr)
    restored = restore(source / "srv/self.tar.zst", tmp_path / "restored")
    own = {"srv/self.tar.zst", "srv/self.tar.zst.manifest.json"}
    changed_paths = image_source.LEFT_OUT | image_source.REPLACED | own
    assert image_source.without(image_source.facts(restored), changed_paths) == image_source.without(
        before, changed_paths
    )
    assert os.listdir(restored / "dev") == ["console"] and os.listdir(restored / "proc") == []
    assert set(image_source.facts(source)) - set(before) == own
