# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tree as Ansible runs it, on a tiny base of the cache; the slow tests make real ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_base
from conftest import Run, snapshot, start_module

pytestmark = pytest.mark.root

HASH = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJ6sxhnoY4rGJ1bNq0tG0OaBIzqKQ0h7pUwn0pFQmGd someone"


def mounts_below(*folders: Path) -> list[str]:
    """What the mount table of this host has below ``folders``: nothing, whatever happened to a run."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return [place for place in places if any(place.startswith(f"{folder}/") for folder in folders)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path, archive: Path) -> Path:
    """A folder whose cache holds the tiny base."""
    tiny_base.fill_cache(tmp_path, archive)
    return tmp_path


def shelf(folder: Path) -> Path:
    return folder / "srv/roots/tiny"


def current(folder: Path) -> str:
    return os.readlink(shelf(folder) / "current")


def published(folder: Path) -> list[str]:
    return sorted(path.name for path in shelf(folder).iterdir() if re.fullmatch("[0-9a-f]{12}", path.name))


def test_second_run_changes_nothing(module: Run, folder: Path) -> None:
    first = module("root_tree", tiny_base.options(folder))
    assert first["changed"] and first["image_id"] == f"tiny-{first['version']}"
    assert first["kernel"]["version"] == tiny_base.KERNEL
    assert Path(first["kernel"]["vmlinuz"]).read_text() == "kernel\n"
    assert first["package_count"] == 1 and first["kept_paths"] == [first["path"]]
    before = snapshot(folder)
    second = module("root_tree", tiny_base.options(folder))
    assert not second["changed"] and second["reason"] is None and second["seconds"] == {}
    assert second["kernel"] == first["kernel"]
    assert snapshot(folder) == before
    assert mounts_below(folder) == []


def test_check_mode_touches_nothing_and_predicts(module: Run, folder: Path) -> None:
    before = snapshot(folder)
    predicted = module("root_tree", tiny_base.options(folder), check=True)
    assert predicted["changed"] and predicted["kernel"] is None
    assert snapshot(folder) == before
    made = module("root_tree", tiny_base.options(folder))
    assert (made["version"], made["path"]) == (predicted["version"], predicted["path"])
    assert not module("root_tree", tiny_base.options(folder), check=True)["changed"]


def test_diff_shows_the_declaration_without_secrets(module: Run, folder: Path) -> None:
    module("root_tree", tiny_base.options(folder))
    wanted = {"root_password_hash": HASH, "files": [{"path": "/etc/secret", "content": "hidden words"}]}
    shown = module("root_tree", tiny_base.options(folder, **wanted), check=True)["diff"]
    before, after = json.loads(shown["before"]), json.loads(shown["after"])
    assert before["declared"]["files"] == [] and before["declared"]["root_password_hash"] is None
    assert after["declared"]["files"][0]["path"] == "/etc/secret"
    assert after["declared"]["root_password_hash"] == "(set)"
    assert HASH not in str(shown) and "hidden words" not in str(shown)


def test_the_root_holds_what_was_declared(module: Run, folder: Path) -> None:
    source = folder / "source.bin"
    source.write_bytes(b"\x00\xff")
    user = {"name": "alice", "uid": 1500, "group": "physics", "gid": 2000, "groups": ["sudo", "cluster"]}
    made = module(
        "root_tree",
        tiny_base.options(
            folder,
            users=[{**user, "password_hash": HASH, "authorized_keys": [KEY]}],
            root_authorized_keys=[KEY],
            files=[
                {
                    "path": "/usr/local/bin/x",
                    "content": "x\n",
                    "mode": "0750",
                    "owner": "alice",
                    "group": "physics",
                },
                {"path": "/var/lib/y", "src": str(source)},
            ],
            hosts=[{"address": "10.78.0.1", "names": ["server.lab", "server"]}],
            mounts=[{"path": "/home", "source": "10.78.0.1:/home", "type": "nfs", "options": "rw"}],
            services={"enabled": ["ssh", "fstrim.timer"], "masked": ["getty@tty1"]},
        ),
    )
    root = Path(made["path"])
    assert "alice:x:1500:2000::/home/alice:/bin/bash" in (root / "etc/passwd").read_text()
    assert "cluster:x:2001:alice" in (root / "etc/group").read_text().replace("1000", "2001")
    assert f"alice:{HASH}:" in (root / "etc/shadow").read_text()
    assert "root:*:" in (root / "etc/shadow").read_text()
    for home, owner in (("home/alice", 1500), ("root", 0)):
        keys = root / home / ".ssh/authorized_keys"
        assert keys.read_text() == f"{KEY}\n"
        assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (owner, 0o600)
        assert (keys.parent.stat().st_uid, keys.parent.stat().st_mode & 0o777) == (owner, 0o700)
    program = (root / "usr/local/bin/x").stat()
    assert (program.st_uid, program.st_gid, program.st_mode & 0o7777) == (1500, 2000, 0o750)
    assert (root / "var/lib/y").read_bytes() == b"\x00\xff"
    assert "10.78.0.1 server.lab server\n" in (root / "etc/hosts").read_text()
    assert (root / "etc/fstab").read_text() == "10.78.0.1:/home /home nfs rw 0 0\n"
    units = root / "etc/systemd/system"
    assert (units / "multi-user.target.wants/ssh.service").is_symlink()
    assert (units / "timers.target.wants/fstrim.timer").is_symlink()
    assert not (units / "fstrim.timer").is_symlink()
    assert os.readlink(units / "getty@tty1.service") == "/dev/null"
    manifest = json.loads((root / "etc/oneimage/image.json").read_text())
    assert manifest["packages"] == {"tiny": "1.2-3"} and manifest["kernels"] == [tiny_base.KERNEL]
    assert HASH not in (root / "etc/oneimage/image.json").read_text()


def test_the_root_is_safe_to_share(module: Run, folder: Path) -> None:
    made = module("root_tree", tiny_base.options(folder))
    root = Path(made["path"])
    for path in (
        *("etc/hostname", "etc/ssh/ssh_host_ed25519_key", "etc/udev/rules.d/70-persistent-net.rules"),
        *(
            "usr/lib/udev/rules.d/75-persistent-net-generator.rules",
            "usr/sbin/policy-rc.d",
            "var/log/journal",
        ),
        *("var/log/dpkg.log", "var/lib/systemd/random-seed", "var/cache/apt/pkgcache.bin"),
    ):
        assert not os.path.lexists(root / path), path
    assert (root / "etc/machine-id").read_text() == "" and not (root / "etc/machine-id").is_symlink()
    assert (root / "etc/resolv.conf").read_text() == "" and (root / "etc/fstab").read_text() == ""
    assert os.readlink(root / "etc/mtab") == "../proc/self/mounts"
    assert os.readlink(root / "var/lib/dbus/machine-id") == "/etc/machine-id"
    assert "eth0" not in (root / "etc/network/interfaces").read_text()
    assert "Storage=volatile" in (root / "etc/systemd/journald.conf.d/00-oneimage.conf").read_text()
    assert "HostKey /run/" in (root / "etc/ssh/sshd_config.d/00-oneimage.conf").read_text()
    unit = root / "etc/systemd/system/ssh.service.requires/oneimage-ssh-host-key.service"
    assert "ssh-keygen" in unit.read_text()
    release = (root / "etc/os-release").read_text()
    assert f"IMAGE_ID=tiny\nIMAGE_VERSION={made['version']}\n" in release
    assert (root / "etc/.updated").stat().st_mtime > (root / "usr").stat().st_mtime


def test_nodes_that_write_keep_scratch_and_logs_in_memory(module: Run, folder: Path) -> None:
    mount = {"path": "/var/tmp", "source": "server:/scratch", "type": "nfs"}
    root = Path(module("root_tree", tiny_base.options(folder, shared="rw", mounts=[mount]))["path"])
    lines = (root / "etc/fstab").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["tmpfs", "/tmp"],
        ["tmpfs", "/var/log"],
        ["server:/scratch", "/var/tmp"],
    ]
    assert "d /var/log/nginx 0755 0 0 -\n" in (root / "etc/tmpfiles.d/oneimage-volatile.conf").read_text()


def test_a_rule_can_be_switched_off(module: Run, folder: Path) -> None:
    root = Path(module("root_tree", tiny_base.options(folder, skip_rules=["hostname", "journal"]))["path"])
    assert (root / "etc/hostname").read_text() == "builder\n"
    assert (root / "var/log/journal/0123/system.journal").exists()


def test_a_change_makes_another_version_and_leaves_the_old_one(module: Run, folder: Path) -> None:
    old = module("root_tree", tiny_base.options(folder))
    before = snapshot(Path(old["path"]))
    new = module("root_tree", tiny_base.options(folder, timezone="UTC"))
    assert new["changed"] and new["version"] != old["version"]
    assert snapshot(Path(old["path"])) == before
    assert current(folder) == new["version"]
    assert new["kept_paths"] == [new["path"], old["path"]]


def test_an_old_declaration_becomes_current_again_without_a_build(module: Run, folder: Path) -> None:
    old = module("root_tree", tiny_base.options(folder))
    module("root_tree", tiny_base.options(folder, timezone="UTC"))
    shutil.rmtree(folder / "cache")
    back = module("root_tree", tiny_base.options(folder))
    assert back["changed"] and current(folder) == old["version"] and "becomes current again" in back["reason"]
    assert not (folder / "cache").exists()


def test_old_versions_are_removed_but_never_one_in_use(module: Run, folder: Path) -> None:
    versions = []
    for name in ("one", "two", "three"):
        files = [{"path": "/etc/motd", "content": name}]
        in_use = [f"tiny-{versions[0]}"] if versions else []
        done = module("root_tree", tiny_base.options(folder, files=files, in_use=in_use))
        versions.append(done["version"])
    last = tiny_base.options(folder, files=[{"path": "/etc/motd", "content": "three"}])
    assert published(folder) == sorted(versions)
    predicted = module("root_tree", {**last, "keep": 1}, check=True)
    assert predicted["changed"] and set(predicted["removed"]) == set(versions[:2])
    done = module("root_tree", {**last, "keep": 1})
    assert done["removed"] == predicted["removed"]
    assert published(folder) == [versions[2]]
    assert not module("root_tree", {**last, "keep": 1})["changed"]


MOMENTS: dict[str, Callable[[Path, str], bool]] = {
    "folder": lambda shelf, version: (shelf / f".{version}.partial").is_dir(),
    "unpacking": lambda shelf, version: (shelf / f".{version}.partial/usr/bin").is_dir(),
    "users": lambda shelf, version: (shelf / f".{version}.partial/home").is_dir(),
    "rules": lambda shelf, version: (
        (shelf / f".{version}.partial/etc/network/interfaces").is_file()
        and not (shelf / f".{version}.partial/etc/hostname").exists()
    ),
    "manifest": lambda shelf, version: (shelf / f".{version}.partial/etc/oneimage").is_dir(),
    "published": lambda shelf, version: (shelf / version).is_dir(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_leaves_the_old_root_or_the_new_one(module: Run, folder: Path, moment: str) -> None:
    old = module("root_tree", tiny_base.options(folder))
    before = snapshot(Path(old["path"]))
    wanted = tiny_base.options(folder, users=[{"name": f"user{number}"} for number in range(8)])
    version = module("root_tree", wanted, check=True)["version"]
    process = start_module("root_tree", wanted)
    deadline = time.monotonic() + 60
    while not MOMENTS[moment](shelf(folder), version) and process.poll() is None:
        assert time.monotonic() < deadline, f"never came to {moment}"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert snapshot(Path(old["path"])) == before
    assert current(folder) in (old["version"], version)
    if (shelf(folder) / version).exists():
        assert (
            json.loads((shelf(folder) / version / "etc/oneimage/image.json").read_text())["version"]
            == version
        )
    assert mounts_below(folder) == []
    again = module("root_tree", wanted)
    assert current(folder) == version == again["version"]
    assert not module("root_tree", wanted)["changed"]
    assert [path.name for path in shelf(folder).glob(".*") if path.name != ".lock"] == []


def test_kill_ends_the_programs_in_the_root(module: Run, folder: Path, archive: Path) -> None:
    """A program of the root that hangs dies with the module, and so do its children."""
    root = folder / "hang"
    root.mkdir()
    subprocess.run(["tar", "-I", "zstd", "-xf", archive, "-C", root], check=True)
    (root / "usr/sbin/useradd").unlink()
    (root / "usr/sbin/useradd").write_text("#!/bin/bash\nsleep 86399 & sleep 86399\n")
    (root / "usr/sbin/useradd").chmod(0o755)
    base = next((folder / "cache/roots").glob("*.zst"))
    subprocess.run(["tar", "-I", "zstd", "-cf", base, "-C", root, "."], check=True)

    def sleepers() -> int:
        lines = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout
        return len(re.findall(r"^sleep 86399$", lines, re.MULTILINE))

    process = start_module("root_tree", tiny_base.options(folder, users=[{"name": "alice"}]))
    wait_until(lambda: sleepers() == 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: sleepers() == 0)
    assert not (shelf(folder) / "current").exists()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


@pytest.fixture
def small_storage(folder: Path) -> Iterator[Path]:
    """A storage folder with room for one tiny root, not for two."""
    (folder / "srv").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", folder / "srv"], check=True)
    yield folder
    subprocess.run(["umount", folder / "srv"], check=True)


def test_full_disk_is_one_error_and_keeps_the_old_root(module: Run, small_storage: Path) -> None:
    old = module("root_tree", tiny_base.options(small_storage))
    assert "failed" not in old, old
    before = snapshot(shelf(small_storage))
    large = small_storage / "srv/ballast"
    free = shutil.disk_usage(small_storage / "srv").free
    large.write_bytes(bytes(max(0, free - 2_000_000)))
    failed = module("root_tree", tiny_base.options(small_storage, timezone="UTC"))
    assert failed["failed"] and "No space left" in failed["msg"] and "untouched" in failed["msg"]
    assert snapshot(shelf(small_storage)) == before


def test_damaged_base_names_itself(module: Run, folder: Path) -> None:
    base = next((folder / "cache/roots").glob("*.zst"))
    base.write_bytes(base.read_bytes()[:100_000])
    failed = module("root_tree", tiny_base.options(folder))
    assert failed["failed"] and str(base) in failed["msg"] and "delete it" in failed["msg"]
    assert [path.name for path in shelf(folder).iterdir()] == [".lock"]


def test_mirror_that_is_down_is_one_error(module: Run, folder: Path) -> None:
    old = module("root_tree", tiny_base.options(folder))
    failed = module("root_tree", tiny_base.options(folder, mirror="http://127.0.0.1:9/debian"))
    assert failed["failed"] and failed["msg"].startswith("mirror: http://127.0.0.1:9/debian/dists/bookworm")
    assert "does not answer" in failed["msg"] and current(folder) == old["version"]
    assert list((folder / "cache/roots").glob(".*.partial")) == []


def test_missing_program_names_its_package(
    module: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = folder / "bin"
    programs.mkdir()
    for name in ("setpriv", "unshare", "tar", "zstd", "sync", "apt-config"):
        (programs / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(programs))
    failed = module("root_tree", tiny_base.options(folder))
    assert (
        failed["failed"]
        and "not found on this host: mmdebstrap; install the package mmdebstrap" in failed["msg"]
    )
    assert not (folder / "srv").exists()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"suite": "jessie"}, "suite: 'jessie' is unknown"),
    ({"name": "Big Root"}, "name: 'Big Root'"),
    ({"users": [{"name": "no body"}]}, r"users\[0\].name: 'no body'"),
    (
        {"users": [{"name": "a", "uid": 1500}, {"name": "b", "uid": 1500}]},
        "users: uid 1500 is declared twice",
    ),
    ({"root_password_hash": "secret"}, "root_password_hash: not a crypt hash"),
    ({"files": [{"path": "etc/motd", "content": ""}]}, r"files\[0\].path: 'etc/motd' is not an absolute"),
    ({"files": [{"path": "/etc/../motd", "content": ""}]}, r"files\[0\].path: .* must not hold"),
    ({"files": [{"path": "/a", "src": "/no/such/file"}]}, r"files\[0\].src: cannot read /no/such/file"),
    ({"mounts": [{"path": "/x", "source": "a", "type": "b"}] * 2}, "mounts: path /x is declared twice"),
    ({"skip_rules": ["nothing"]}, "skip_rules: 'nothing' is unknown"),
    ({"keep": 0}, "keep: 0 is less than 1"),
    ({"storage": "srv/../x"}, "storage: "),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input_is_one_error_before_anything_is_written(
    module: Run, folder: Path, wrong: dict[str, Any], message: str
) -> None:
    before = snapshot(folder)
    failed = module("root_tree", tiny_base.options(folder, **wrong))
    assert failed["failed"] and re.search(message, failed["msg"]), failed["msg"]
    assert "secret" not in failed["msg"]
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": [{"name": "www-data"}]}, r"users\[0\].name: www-data is an account"),
        ({"users": [{"name": "a", "shell": "/bin/zsh"}]}, r"users\[0\].shell: /bin/zsh does not exist"),
        ({"users": [{"name": "a", "uid": 33}]}, "useradd"),
        ({"users": [{"name": "a", "group": "sudo", "gid": 99}]}, "the group sudo has gid 27"),
        (
            {"files": [{"path": "/x", "content": "", "owner": "nobody2"}]},
            r"files\[0\].owner: nobody2 does not",
        ),
        ({"files": [{"path": "/usr/bin", "content": ""}]}, "/usr/bin is a folder in the root"),
        ({"services": {"enabled": ["nothing"]}}, "services.enabled: .*nothing.service"),
        ({"timezone": "Mars/Base"}, "timezone: Mars/Base does not exist"),
    ],
)
def test_what_the_root_refuses_leaves_nothing_behind(
    module: Run, folder: Path, archive: Path, wrong: dict[str, Any], message: str
) -> None:
    options = tiny_base.options(folder, **wrong)
    if "timezone" in wrong:  # adds tzdata to the packages, hence another base
        options["packages"] = ["tiny"]
        tiny_base.fill_cache(folder, archive, packages=["tiny", "tzdata"])
    failed = module("root_tree", options)
    assert failed["failed"] and re.search(message, failed["msg"]), failed["msg"]
    assert [path.name for path in shelf(folder).iterdir()] == [".lock"]


# What follows makes real roots from the mirrors of this machine. A base that was made once stays in the cache.

CACHE = os.environ.get("ONEIMAGE_CACHE", "/var/cache/oneimage")


def real(folder: Path, **more: Any) -> dict[str, Any]:
    fixed = {"name": "real", "storage": str(folder / "srv"), "cache": CACHE}
    return {**fixed, "kernel_package": "linux-image-cloud-amd64", **more}


@pytest.mark.slow
def test_real_root_boots_as_far_as_can_be_seen(module: Run, tmp_path: Path) -> None:
    made = module(
        "root_tree", real(tmp_path, root_password_hash=HASH, users=[{"name": "alice", "uid": 1500}])
    )
    assert "failed" not in made, made
    root = Path(made["path"])
    # systemd is never the first process of the namespace: it would take itself for the init of a machine
    inside = ["unshare", "--mount", "--root", str(root), "/usr/bin/env", "-i"]
    version = subprocess.run(
        [*inside, "/usr/bin/systemctl", "--version"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert version.startswith(b"systemd ") and (root / "sbin/init").is_symlink()
    assert (
        subprocess.run([*inside, "/usr/bin/id", "-u", "alice"], stdout=subprocess.PIPE, check=True).stdout
        == b"1500\n"
    )
    for unit in ("ssh.service", "oneimage-ssh-host-key.service"):
        checked = subprocess.run(
            [*inside, "/usr/bin/systemd-analyze", "verify", "--man=no", unit],
            capture_output=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr
    settings = subprocess.run(
        ["grep", "-h", "Include", root / "etc/ssh/sshd_config"], stdout=subprocess.PIPE, check=True
    )
    assert b"sshd_config.d" in settings.stdout
    assert list(root.glob("etc/ssh/ssh_host_*")) == [] and not (root / "etc/hostname").exists()
    assert list(root.glob("boot/initrd*")) == [] and list(root.glob("var/lib/apt/lists/*")) == []
    assert (root / f"lib/modules/{made['kernel']['version']}/modules.dep").is_file()
    assert shutil.which("mkinitramfs", path=str(root / "usr/sbin"))
    assert not module(
        "root_tree", real(tmp_path, root_password_hash=HASH, users=[{"name": "alice", "uid": 1500}])
    )["changed"]
    assert mounts_below(tmp_path, Path(CACHE)) == []


@pytest.mark.slow
def test_package_that_does_not_exist_is_named(module: Run, tmp_path: Path) -> None:
    small = {"variant": "apt", "packages": ["no-such-package"], "kernel_package": ""}
    failed = module("root_tree", {**real(tmp_path, **small), "cache": str(tmp_path / "cache")})
    assert failed["failed"] and "packages: no-such-package does not exist in bookworm" in failed["msg"]
    assert [path.name for path in (tmp_path / "cache/roots").iterdir()] == [".lock"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["var/lib/dpkg", "var/cache/apt/archives/*.deb", "usr/sbin/sshd"])
def test_kill_while_the_base_is_made_leaves_no_mount(module: Run, tmp_path: Path, moment: str) -> None:
    wanted = {**real(tmp_path, packages=["openssh-server", "systemd-sysv"]), "cache": str(tmp_path / "cache")}
    process = start_module("root_tree", wanted)
    scratch = tmp_path / "cache/roots"
    try:
        wait_until(
            lambda: any(scratch.glob(f".*.partial/mmdebstrap.*/{moment}")) or process.poll() is not None
        )
        assert process.poll() is None, "the base was made before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert mounts_below(tmp_path) == []
    failed = module("root_tree", {**wanted, "mirror": "http://127.0.0.1:9/debian"})
    assert "does not answer" in failed["msg"]
    assert list(scratch.glob(".*.partial")) == [] and list(scratch.glob("*.zst")) == []
    assert not (tmp_path / "srv/roots/real/current").exists()


@pytest.mark.slow
def test_debootstrap_makes_a_root_too(module: Run, tmp_path: Path) -> None:
    made = module("root_tree", real(tmp_path, tool="debootstrap"))
    assert "failed" not in made, made
    root = Path(made["path"])
    assert (
        made["kernel"] and (root / "usr/sbin/sshd").is_file() and not (root / "usr/sbin/policy-rc.d").exists()
    )
    assert list(root.glob("usr/share/man/*")) == [] and list(root.glob("boot/initrd*")) == []
    assert mounts_below(tmp_path, Path(CACHE)) == []
