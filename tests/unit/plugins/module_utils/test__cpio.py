from __future__ import annotations

import subprocess

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MEMBERS = [
    _cpio.regular("lib/modules/6.1/kernel/a.ko", b"x" * 1001),
    _cpio.regular("init", b"#!/bin/sh\n", 0o755),
    _cpio.link("bin/sh", "busybox"),
    _cpio.character_device("dev/console", 5, 1),
]


def packed(members: list[_cpio.Member]) -> bytes:
    return b"".join(_cpio.pack(members))


def test_what_was_packed_is_unpacked_with_its_parent_folders() -> None:
    members, end = _cpio.unpack(memoryview(packed(MEMBERS)))
    found = {member.name: member for member in members}
    assert end <= len(packed(MEMBERS))
    for member in MEMBERS:
        same = found[member.name]
        assert (same.mode, bytes(same.data), same.rdev) == (member.mode, member.data, member.rdev)
    folders = [member.name for member in members if member.is_folder]
    assert folders == ["bin", "dev", "lib", "lib/modules", "lib/modules/6.1", "lib/modules/6.1/kernel"]


def test_the_same_members_in_any_order_make_the_same_bytes() -> None:
    assert packed(MEMBERS) == packed(MEMBERS[::-1])


def test_cpio_itself_reads_it() -> None:
    done = subprocess.run(["cpio", "-t"], input=packed(MEMBERS), capture_output=True, check=True)
    assert set(done.stdout.decode().split()) > {
        "init",
        "bin/sh",
        "dev/console",
        "lib/modules/6.1/kernel/a.ko",
    }


def test_what_cpio_writes_is_read(tmp_path: object) -> None:
    (tmp_path / "init").write_bytes(b"hello")  # type: ignore[operator]
    done = subprocess.run(
        ["cpio", "-o", "-H", "newc"], input=b"./init\n", cwd=str(tmp_path), capture_output=True, check=True
    )
    members, _rest = _cpio.unpack(memoryview(done.stdout))
    assert [(member.name, bytes(member.data)) for member in members] == [("init", b"hello")]


@pytest.mark.parametrize("size", [50, 109, 115, 400])
def test_a_cut_archive_says_so(size: int) -> None:
    with pytest.raises(ClusterError, match="cut off"):
        _cpio.unpack(memoryview(packed(MEMBERS)[:size]))


@pytest.mark.parametrize(("at", "byte"), [(0, b"9"), (20, b"z")])
def test_a_damaged_header_says_so(at: int, byte: bytes) -> None:
    whole = packed(MEMBERS)
    with pytest.raises(ClusterError, match="damaged at byte 0"):
        _cpio.unpack(memoryview(whole[:at] + byte + whole[at + 1 :]))
