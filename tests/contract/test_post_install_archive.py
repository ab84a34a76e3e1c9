"""The module post_install_archive as a process of its own; its trials run in namespaces that vanish with them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot

SCRIPT = """#!/bin/sh
set -eu
echo "$KADEPLOY_CLUSTER $KADEPLOY_ENV_KERNEL $1"
cat "$1/files/fstab" > "$KADEPLOY_ENV_EXTRACTION_DIR/etc/fstab"
cat /mnt/dest/etc/fstab
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "fstab").write_text("/dev/sda3 / ext4 defaults 0 1\n")
    (folder / "run.sh").write_text(SCRIPT)
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a busybox, which is what a deployment system is made of."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox, the package busybox-static")
    folder = tmp_path / "root"
    for name in ("bin", "etc"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox, folder / "bin" / "busybox")
    for name in ("sh", "cat", "sleep", "touch", "ls", "mknod", "mount", "id"):
        (folder / "bin" / name).symlink_to("busybox")
    return folder


def options(source: Path, **more: Any) -> dict[str, Any]:
    return {"src": str(source), "dest": str(source.parent / "post.tgz"), "script": "run.sh /rambin", **more}


def test_first_run_second_run_and_check(module: Run, source: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    predicted = module("post_install_archive", options(source), check=True)
    assert snapshot(tmp_path) == before
    first = module("post_install_archive", options(source))
    written = snapshot(tmp_path)
    second = module("post_install_archive", options(source))
    assert snapshot(tmp_path) == written
    assert predicted == first
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["members"] == ["files", "run.sh", "files/fstab"]
    assert first["diff"]["after"] == "files\nrun.sh\nfiles/fstab\n"
    assert first["postinstall"] == {
        "archive": f"server://{tmp_path}/post.tgz",
        "compression": "gzip",
        "script": "run.sh /rambin",
    }
    (source / "more").touch()
    changed = module("post_install_archive", options(source))
    assert changed["changed"] and "more" not in changed["diff"]["before"]


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_same_tree_same_bytes(module: Run, source: Path, tmp_path: Path, compression: str) -> None:
    first = module("post_install_archive", options(source, compression=compression))
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    os.utime(copy / "run.sh", (1, 1))
    (copy / "files" / "fstab").chmod(0o600)
    second = module(
        "post_install_archive", {**options(copy, compression=compression), "dest": str(tmp_path / "b")}
    )
    assert first["sha256"] == second["sha256"]
    listed = subprocess.run(
        ["tar", "-tvf", tmp_path / "post.tgz"], capture_output=True, text=True, check=True
    )
    assert "-rwxr-xr-x 0/0" in listed.stdout and listed.stderr == ""
    assert (
        module("post_install_archive", {"src": str(tmp_path / "b"), "script": "run.sh"})["changed"] is False
    )


@pytest.mark.parametrize(
    ("change", "script", "fault"),
    [
        ("", "nope.sh", "script 'nope.sh' is not in the archive"),
        ("", "files", "script 'files' is not in the archive"),
        ("", "", "script '' is not in the archive"),
        ("", "run.sh '", "is no command line"),
        ("mode", "run.sh", "script 'run.sh' is not executable; chmod +x it"),
        ("text", "run.sh", "names its interpreter, such as #!/bin/sh"),
        ("windows", "run.sh", "has the line ends of Windows"),
        ("pipe", "run.sh", "is neither file, directory nor link"),
    ],
)
def test_lint_of_a_directory(
    module: Run, source: Path, tmp_path: Path, change: str, script: str, fault: str
) -> None:
    program = source / "run.sh"
    if change == "mode":
        program.chmod(0o644)
    elif change == "text":
        program.write_text("echo\n")
    elif change == "windows":
        program.write_bytes(b"#!/bin/sh\r\necho\r\n")
    elif change == "pipe":
        os.mkfifo(source / "pipe")
    before = snapshot(tmp_path)
    assert fault in module("post_install_archive", options(source, script=script))["msg"]
    assert snapshot(tmp_path) == before


def test_what_is_too_large(module: Run, source: Path, tmp_path: Path) -> None:
    (source / "noise").write_bytes(os.urandom(2 << 20))
    before = snapshot(tmp_path)
    assert (
        "more than the 1 MiB that Kadeploy takes"
        in module("post_install_archive", options(source, size_limit=1))["msg"]
    )
    with (source / "zeros").open("wb") as stream:
        stream.truncate(300 << 20)
    assert "holds more than 256 MiB" in module("post_install_archive", options(source))["msg"]
    (source / "zeros").unlink()
    for compressor in ("gzip", "bzip2", "zstd"):
        bomb = tmp_path / "bomb"
        with (tmp_path / "out").open("wb") as packed:
            zeros = subprocess.Popen(["head", "-c", "300M", "/dev/zero"], stdout=subprocess.PIPE)
            subprocess.run([compressor, "-1", "-c"], stdin=zeros.stdout, stdout=packed, check=True)
            assert zeros.wait() == 0
        (tmp_path / "out").rename(bomb)
        message = module("post_install_archive", {"src": str(bomb), "script": "none"})["msg"]
        assert "holds more than 256 MiB" in message
        bomb.unlink()
    assert list(snapshot(tmp_path)) == list(before)


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(found, key, value)
    return found


def test_lint_of_an_archive(module: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tgz"
    with tarfile.open(bad, "w:gz") as archive:
        for one in (
            member("/etc/passwd"),
            member("../escape"),
            member("disk", type=tarfile.BLKTYPE),
            member("out", type=tarfile.SYMTYPE, linkname="/etc"),
            member("out/shadow"),
            member("hard", type=tarfile.LNKTYPE, linkname="../../etc/shadow"),
        ):
            archive.addfile(one, io.BytesIO())
    message = module("post_install_archive", {"src": str(bad), "script": "none"})["msg"]
    for part in (
        "'/etc/passwd' would be unpacked outside",
        "'../escape' would be unpacked outside",
        "'disk' is a block device",
        "'out/shadow' lies below a link",
        "'hard' is a hard link out of the archive",
    ):
        assert part in message
    bad.write_bytes(bad.read_bytes()[:40])
    assert (
        f"{bad} is damaged or cut off"
        in module("post_install_archive", {"src": str(bad), "script": "none"})["msg"]
    )
    bad.write_text("words")
    assert (
        f"{bad} is no archive of gzip"
        in module("post_install_archive", {"src": str(bad), "script": "none"})["msg"]
    )
    both = {"src": str(bad), "dest": str(tmp_path / "x"), "script": "none"}
    assert "leave dest out" in module("post_install_archive", both)["msg"]
    assert (
        "dest is mandatory" in module("post_install_archive", {"src": str(tmp_path), "script": "none"})["msg"]
    )
    assert (
        "cannot read /nowhere" in module("post_install_archive", {"src": "/nowhere", "script": "none"})["msg"]
    )


def mounts(root: Path) -> list[str]:
    """What this host has mounted from or on ``root``, and what a trial mounts by its own name; others mount meanwhile."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in table if str(root) in line or " oneimage " in line]


@pytest.mark.root
def test_a_trial_leaves_nothing(module: Run, source: Path, root: Path) -> None:
    before = snapshot(root)
    trying = options(source, try_root=str(root), variables={"KADEPLOY_CLUSTER": "c1"})
    result = module("post_install_archive", trying)
    assert result["trial"] == {
        "rc": 0,
        "stdout": "c1 /vmlinuz /rambin\n/dev/sda3 / ext4 defaults 0 1\n",
        "stderr": "",
    }
    assert snapshot(root) == before and mounts(root) == []
    assert not module("post_install_archive", trying)["changed"]
    assert (
        module("post_install_archive", options(source, try_root=str(root), script="none"))["trial"]["rc"] == 0
    )


@pytest.mark.root
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("echo no disk >&2; exit 3", "failed in {root} with exit code 3: no disk"),
        ("cat /mnt/dest/etc/none", "with exit code 1: cat: can't open"),
        ("mknod /tmp/disk b 8 0", "with exit code 1: mknod: /tmp/disk: Operation not permitted"),
        ("mount -t tmpfs none /tmp", "with exit code"),
        ("sleep 60", "did not end within 2 s"),
    ],
)
def test_a_script_that_fails(module: Run, source: Path, root: Path, line: str, fault: str) -> None:
    (source / "run.sh").write_text(f"#!/bin/sh\n{line}\n")
    before = snapshot(source.parent)
    result = module(
        "post_install_archive", options(source, try_root=str(root), timeout=2 if "sleep" in line else 60)
    )
    assert fault.format(root=root) in result["msg"]
    assert snapshot(source.parent) == before


@pytest.mark.root
def test_an_interpreter_that_is_not_there(module: Run, source: Path, root: Path) -> None:
    (source / "run.sh").write_text("#!/bin/ash\n")
    result = module("post_install_archive", options(source, try_root=str(root)))
    assert "with exit code 127" in result["msg"] and "No such file or directory" in result["msg"]
    missing = module("post_install_archive", options(source, try_root="/nowhere"))
    assert "cannot try the script: /nowhere is no directory" in missing["msg"]
