# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_info on images of anybody: sound, damaged, hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import image_source
import pytest
from conftest import Run, snapshot
from test_image_archive_dd import make_ext, tree

KERNEL = f"/boot/vmlinuz-{image_source.VERSION}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tree(tmp_path / "tree")


def pack(folder: Path, image: Path, how: str = "--gzip", *names: str) -> Path:
    """As the guides do, members named by themselves."""
    names = names or tuple(path.name for path in folder.iterdir())
    subprocess.run(["tar", how, "-cf", image, "-C", folder, "--", *names], check=True)
    return image


@pytest.mark.parametrize(
    ("how", "compression"),
    [("--gzip", "gzip"), ("--zstd", "zstd"), ("--xz", "xz"), ("--bzip2", "bzip2"), ("--format=v7", "none")],
)
@pytest.mark.parametrize("names", [(), (".",)])
def test_it_reads_archives_of_others(
    how: str, compression: str, names: tuple[str, ...], module: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / ("long" * 50)).unlink()  # v7 has no room for its name
    image = pack(folder, tmp_path / "image", how, *names)
    before = snapshot(tmp_path)
    found = module(
        "image_info",
        {"path": str(image), "kernel": "/vmlinuz", "initrd": f"/boot/initrd.img-{image_source.VERSION}"},
    )
    assert snapshot(tmp_path) == before and found["changed"] is False
    assert (found["kind"], found["compression"], found["valid"], found["verified"]) == (
        "tar",
        compression,
        True,
        False,
    )
    assert found["kernels"] == [
        {"path": KERNEL, "version": image_source.VERSION},
        {"path": "/vmlinuz", "version": image_source.VERSION},
    ]
    assert found["kernel"]["found"] and found["initrd"]["found"] and found["architecture"] == "x86_64"
    assert found["distribution"]["id"] == "debian" and found["manifest"] is None
    assert found["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert found["members"] > 5 and found["partition_size"] is None


@pytest.mark.parametrize(
    "path", ["/boot/bzImage", "/boot", "/vmlinuz/x", "/../../etc/passwd", "/" + "long" * 50]
)
def test_a_kernel_that_is_not_inside_is_a_problem(
    path: str, module: Run, folder: Path, tmp_path: Path
) -> None:
    found = module("image_info", {"path": str(pack(folder, tmp_path / "image.tgz")), "kernel": path})
    assert found["kernel"] == {"path": path, "found": False, "version": None} and not found["valid"]
    assert f"the kernel {path} is not in the image; it holds {KERNEL}" in found["problems"][0]


@pytest.mark.parametrize(
    ("promise", "valid"),
    [
        ({"md5": "right"}, True),
        ({"sha256": "RIGHT"}, True),
        ({"md5": "0" * 32}, False),
        ({"sha256": "0" * 64}, False),
        ({"size": 5}, False),
    ],
)
def test_promises_are_compared(
    promise: dict[str, Any], valid: bool, module: Run, folder: Path, tmp_path: Path
) -> None:
    image = pack(folder, tmp_path / "image.tgz")
    content = image.read_bytes()
    right = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
    wanted = {
        name: right[name] if value == "right" else right[name].upper() if value == "RIGHT" else value
        for name, value in promise.items()
    }
    found = module("image_info", {"path": str(image), **wanted})
    assert found["valid"] is valid and found["verified"] is valid and len(found["problems"]) == (not valid)


@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_it_reads_devices(kind: str, module: Run, folder: Path, tmp_path: Path) -> None:
    device = make_ext(tmp_path / "device", folder, kind, size="32M")
    image = tmp_path / "image.dd.gz"
    image.write_bytes(gzip.compress(device.read_bytes(), 1))
    found = module("image_info", {"path": str(image), "kernel": "/vmlinuz", "initrd": "/boot/none"})
    assert (found["kind"], found["uncompressed_size"], found["partition_size"]) == ("dd", 32 << 20, 32 << 20)
    assert found["filesystem"]["type"] == kind and found["filesystem"]["label"] == "root"
    assert (
        found["boot_sector"] == {"signature": True, "loader": "grub"}
        and found["distribution"]["id"] == "debian"
    )
    assert found["kernel"]["found"] is True and found["initrd"]["found"] is False
    assert found["kernels"][1] == {"path": "/vmlinuz", "version": image_source.VERSION}


def test_a_device_that_nobody_knows_proves_no_kernel(module: Run, tmp_path: Path) -> None:
    image = tmp_path / "image.dd.gz"
    image.write_bytes(gzip.compress(random.Random(1).randbytes(1 << 20)))
    found = module("image_info", {"path": str(image), "kernel": "/vmlinuz"})
    assert found["kind"] == "dd" and found["kernel"]["found"] is None and "not proven" in found["problems"][0]


def with_manifest(image: Path, module: Run, folder: Path) -> dict[str, Any]:
    device = make_ext(image.with_name("device"), folder)
    made = module("image_archive", {"src": str(device), "dest": str(image)})
    assert "failed" not in made
    return made


def test_a_proven_manifest_answers(module: Run, folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.dd.gz"
    made = with_manifest(image, module, folder)
    found = module("image_info", {"path": str(image), "kernel": "/vmlinuz"})
    assert found["verified"] and found["valid"] and found["kernel"]["found"] and "filesystem" not in found
    assert found["manifest"]["sha256"] == found["sha256"] == made["sha256"]
    scanned = module("image_info", {"path": str(image), "scan": True})
    assert scanned["filesystem"]["type"] == "ext4" and scanned["kernels"] == found["kernels"]


@pytest.mark.parametrize("key", ["sha256", "md5", "size"])
def test_a_manifest_of_another_image_is_a_problem(
    key: str, module: Run, folder: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.dd.gz"
    with_manifest(image, module, folder)
    beside = tmp_path / "image.dd.gz.manifest.json"
    said = json.loads(beside.read_text())
    said[key] = 5 if key == "size" else "0" * len(said[key])
    beside.write_text(json.dumps(said))
    found = module("image_info", {"path": str(image)})
    assert not found["valid"] and not found["verified"] and found["problems"][0].startswith(f"{key} is ")
    assert found["kernels"][0]["path"] == KERNEL  # read from the image itself


@pytest.mark.parametrize("text", ["{", "[]", '{"manifest": 2}', '{"manifest": 1}', "[" * 100_000])
def test_a_broken_manifest_is_a_problem(text: str, module: Run, folder: Path, tmp_path: Path) -> None:
    image = pack(folder, tmp_path / "image.tgz")
    (tmp_path / "image.tgz.manifest.json").write_text(text)
    found = module("image_info", {"path": str(image)})
    assert (
        not found["valid"]
        and "image.tgz.manifest.json" in found["problems"][0]
        and len(found["problems"][0]) < 300
    )
    assert found["kernels"][0]["path"] == KERNEL


def cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "two bytes": lambda content: content[:2],
    "half": lambda content: cut(content, 0.5),
    "without the end": lambda content: content[:-9],
    "flipped": lambda content: content[: len(content) // 2] + b"\0\xff\0" + content[len(content) // 2 + 3 :],
    "a picture": lambda content: b"\x89PNG\r\n\x1a\n" * 100,
    "text": lambda content: b"no image at all\n" * 100,
}


@pytest.mark.parametrize("how", ["--gzip", "--zstd", "--xz", "--bzip2"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_clear_error(damage: str, how: str, module: Run, folder: Path, tmp_path: Path) -> None:
    image = pack(folder, tmp_path / "image", how)
    image.write_bytes(DAMAGE[damage](image.read_bytes()))
    failed = module("image_info", {"path": str(image)})
    assert failed["failed"] and str(image) in failed["msg"] and "\n" not in failed["msg"], failed


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for member, content in members:
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return target.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_an_archive_that_breaks_off_within_the_tar_stream(module: Run, tmp_path: Path) -> None:
    whole = archive(*((member(f"file{number}"), b"x" * 1000) for number in range(20)))
    for content in (whole[:5000], whole[:5120], whole[:4608], whole[:3072] + b"\xff" * 512 + whole[3584:]):
        (tmp_path / "image.tgz").write_bytes(gzip.compress(content))
        failed = module("image_info", {"path": str(tmp_path / "image.tgz")})
        assert failed["failed"] and "broken after file" in failed["msg"], failed


HOSTILE = {
    "absolute": ((member("/etc/passwd"), b"x"),),
    "up": ((member("a/../../etc/passwd"), b"x"),),
    "hard link": ((member("x", tarfile.LNKTYPE, "../../etc/passwd"), b""),),
    "behind a link": ((member("x", tarfile.SYMTYPE, "/etc"), b""), (member("x/passwd"), b"x")),
    "behind a deep link": (
        (member("a/x", tarfile.SYMTYPE, "../../.."), b""),
        (member("a/x/etc/passwd"), b"x"),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_leads_out_is_a_problem(case: str, module: Run, tmp_path: Path) -> None:
    image = tmp_path / "image.tgz"
    image.write_bytes(gzip.compress(archive((member("etc/hostname"), b"x"), *HOSTILE[case])))
    found = module("image_info", {"path": str(image)})
    assert not found["valid"] and found["problems"][0].startswith("unsafe to unpack: ")


def test_a_header_as_large_as_the_memory_is_refused(module: Run, tmp_path: Path) -> None:
    large = tarfile.TarInfo("x")
    large.type, large.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "image.tar").write_bytes(
        archive((member("a"), b""))[:512] + large.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    )
    failed = module("image_info", {"path": str(tmp_path / "image.tar")})
    assert failed["failed"] and f"says that it has {1 << 40} bytes" in failed["msg"]


def test_links_in_circles_lead_nowhere(module: Run, tmp_path: Path) -> None:
    circle = [(member("a", tarfile.SYMTYPE, "b"), b""), (member("b", tarfile.SYMTYPE, "a"), b"")]
    (tmp_path / "image.tar").write_bytes(archive(*circle))
    assert (
        module("image_info", {"path": str(tmp_path / "image.tar"), "kernel": "/a"})["kernel"]["found"]
        is False
    )


def gpg(home: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["gpg", "--homedir", home, "--batch", *arguments], capture_output=True, check=True
    ).stdout


def test_signatures_of_both_tools(
    module: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg(home, "--passphrase", "", "--quick-generate-key", "lab@example.org", "ed25519", "sign", "never")
    try:
        monkeypatch.setenv("GNUPGHOME", str(home))
        (tmp_path / "key.asc").write_bytes(gpg(home, "--armor", "--export"))
        (tmp_path / "key.gpg").write_bytes(gpg(home, "--export"))
        device = make_ext(tmp_path / "device", folder)
        image = tmp_path / "image.dd.gz"
        signature = {"tool": "gpg", "key": "lab@example.org"}
        made = module("image_archive", {"src": str(device), "dest": str(image), "signature": signature})
        assert "failed" not in made, made
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path))
    minisign = ["minisign", "-G", "-W", "-p", tmp_path / "mini.pub", "-s", tmp_path / "mini.key"]
    subprocess.run(minisign, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["minisign", "-S", "-s", tmp_path / "mini.key", "-m", image], check=True, capture_output=True
    )
    for key in ("key.asc", "key.gpg"):
        keys = {"gpg": str(tmp_path / key), "minisign": str(tmp_path / "mini.pub")}
        found = module("image_info", {"path": str(image), "keys": keys})
        assert found["valid"] and [one["good"] for one in found["signatures"]] == [True, True], found
    unknown = module("image_info", {"path": str(image)})["signatures"]
    assert [(one["tool"], one["good"]) for one in unknown] == [("gpg", None), ("minisign", None)]
    with image.open("ab") as file:
        file.write(b"\0")
    assert [
        one["good"] for one in module("image_info", {"path": str(image), "keys": keys})["signatures"]
    ] == [False, False]
    shutil.copy(tmp_path / "image.dd.gz", tmp_path / "bare.dd.gz")
    found = module("image_info", {"path": str(tmp_path / "bare.dd.gz"), "keys": keys})
    assert "there is no signature of gpg" in str(found["problems"])


@pytest.mark.parametrize("path", ["/does/not/exist", "/", "/dev/null"])
def test_what_cannot_be_read_is_one_error(path: str, module: Run) -> None:
    failed = module("image_info", {"path": path})
    assert failed["failed"] and path in failed["msg"]
