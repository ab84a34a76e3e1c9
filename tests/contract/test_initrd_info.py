from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Run, snapshot

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio

MICROCODE = b"".join(_cpio.pack([_cpio.regular("kernel/x86/microcode/AuthenticAMD.bin", b"m")]))
MAIN = b"".join(
    _cpio.pack([_cpio.regular("init", b"#!/bin/sh\n", 0o755), _cpio.regular("lib/modules/6.1/a/nfs.ko", b"")])
)


@pytest.mark.parametrize("check", [False, True])
def test_it_tells_what_is_inside_and_touches_nothing(check: bool, module: Run, tmp_path: Path) -> None:
    content = MICROCODE + subprocess.run(["gzip", "-n"], input=MAIN, stdout=-1, check=True).stdout
    (tmp_path / "initrd").write_bytes(content)
    before = snapshot(tmp_path)
    found = module("initrd_info", {"path": str(tmp_path / "initrd")}, check=check)
    assert snapshot(tmp_path) == before
    assert found["changed"] is False
    assert (found["format"], found["compression"], found["size"]) == ("cpio", "gzip", len(content))
    assert [(part["compression"], part["files"]) for part in found["segments"]] == [("none", 1), ("gzip", 2)]
    assert (found["modules"], found["kernel_versions"]) == (["nfs"], ["6.1"])
    assert {"name": "init", "mode": "0100755", "size": 10} in found["files"]


@pytest.mark.parametrize(
    ("patterns", "names"), [([], []), (["init"], ["init"]), (["*.ko"], ["lib/modules/6.1/a/nfs.ko"])]
)
def test_the_list_of_files_can_be_narrowed(
    patterns: list[str], names: list[str], module: Run, tmp_path: Path
) -> None:
    (tmp_path / "initrd").write_bytes(MAIN)
    found = module("initrd_info", {"path": str(tmp_path / "initrd"), "files": patterns})
    assert [file["name"] for file in found["files"]] == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the initrd"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "is no initrd: byte 0 begins 89 50 4e 47"),
        (MAIN[:300], "is cut off"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    content: bytes | None, message: str, module: Run, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "initrd").write_bytes(content)
    failed = module("initrd_info", {"path": str(tmp_path / "initrd")})
    assert failed["failed"]
    assert str(tmp_path / "initrd") in failed["msg"] and message in failed["msg"]
