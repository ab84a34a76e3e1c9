"""An ext2 RAM disk holds what was put in, is no larger than needed, and can be read from any hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio, _initrd_ext2, _initrd_ext2_read
from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Member
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

pytestmark = pytest.mark.skipif(shutil.which("debugfs") is None, reason="needs e2fsprogs")

NOISE = bytes(range(1, 256)) * 1200  # no block of zeros, and more than one level of pointers
CASES: dict[str, list[Member]] = {
    "nothing": [],
    "devices": [
        _cpio.character_device("dev/console", 5, 1),
        _cpio.character_device("dev/hvc", 229, 300, 0o666),
        Member("dev/ram0", 0o060640, rdev=(1, 0), gid=6),
    ],
    "links": [_cpio.link("sbin", "bin"), _cpio.link("short", "x" * 59), _cpio.link("long", "x" * 60)],
    "folders": [_cpio.folder("tmp", 0o1777), _cpio.folder("a/b/c", 0o700)],
    "names": [_cpio.regular('with space/and "quotes"', b"1"), _cpio.regular("h\u00e4/\udcff", b"2")],
    "owners": [Member("own", 0o100640, b"3", uid=70000, gid=100)],
    "sizes": [
        _cpio.regular(str(size), NOISE[:size], 0o755)
        for size in (0, 1, 1023, 1024, 12288, 12289, 280576, 300000)
    ],
    "holes": [
        _cpio.regular("hole", bytes(300_000) + b"x" + bytes(5000)),
        _cpio.regular("zeros", bytes(4096)),
    ],
    "large": [_cpio.regular("large", NOISE * 40)],
    "many": [_cpio.regular(f"many/{'n' * (at % 60)}{at}", b"x" * (at % 3)) for at in range(450)],
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_put_in_comes_out_and_nothing_is_wasted(case: str, tmp_path: Path) -> None:
    wanted = _cpio.complete(CASES[case])
    disk = _initrd_ext2.build(CASES[case], None, None)
    found = {member.name: member for member in _initrd_ext2_read.read_members(disk.content)}
    assert found.keys() - {"lost+found"} == {member.name for member in wanted}
    for member in wanted:
        there = found[member.name]
        assert (there.mode, there.uid, there.gid, there.rdev) == (
            member.mode,
            member.uid,
            member.gid,
            member.rdev,
        )
        assert member.is_folder or bytes(there.data) == bytes(member.data)
    if len(wanted) > 5:
        assert disk.facts["used_kb"] == disk.facts["size_kb"], "the forecast of blocks is not exact"
    assert disk.facts["used_inodes"] == len(wanted) + 11
    (tmp_path / "disk").write_bytes(disk.content)
    subprocess.run(["e2fsck", "-fn", tmp_path / "disk"], check=True, capture_output=True)


def test_the_same_members_make_the_same_bytes_in_any_order() -> None:
    members = [member for case in CASES.values() for member in case]
    one, other = (_initrd_ext2.build(given, 3000 + 12_000, 900) for given in (members, members[::-1]))
    assert one.content == other.content
    assert (one.facts["size_kb"], one.facts["inodes"] >= 900) == (15_000, True)
    assert one.parameters == ["root=/dev/ram0", "rw", "init=/linuxrc", "ramdisk_size=15000"]


@pytest.mark.parametrize(
    ("size_kb", "inodes", "message"),
    [
        (2500, None, r"size_kb is 2500, needed are 12\d\d\d; raise that"),
        (1, None, r"size_kb is 1, needed are"),
        (None, 11, r"inodes is 11, needed are 12"),
        (10, 5, r"size_kb is 10, needed are \d+; inodes is 5, needed are 12; .*largest: large 119\d\d KB"),
    ],
)
def test_what_does_not_fit_is_refused_and_says_how_much_is_needed(
    size_kb: int | None, inodes: int | None, message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        _initrd_ext2.build(CASES["large"], size_kb, inodes)


def test_what_it_says_is_needed_is_just_enough() -> None:
    with pytest.raises(ClusterError) as refused:
        _initrd_ext2.build(CASES["many"], 1, None)
    needed = int(str(refused.value).partition("needed are ")[2].partition(";")[0])
    assert _initrd_ext2.build(CASES["many"], needed, None).facts["size_kb"] == needed
    with pytest.raises(ClusterError, match=f"needed are {needed}"):
        _initrd_ext2.build(CASES["many"], needed - 1, None)


def test_a_line_break_in_a_name_is_refused() -> None:
    with pytest.raises(ClusterError, match="no line break in a name"):
        _initrd_ext2.build([_cpio.regular("a\nrm b", b"")], None, None)


@pytest.mark.parametrize(
    "options", [["-b", "1024"], ["-b", "4096"], ["-b", "2048", "-I", "256"], ["-r", "0"]]
)
def test_a_ram_disk_of_anybody_is_read(options: list[str], tmp_path: Path) -> None:
    """Made as mkinitrd and buildk did, by mke2fs from a tree."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "linuxrc").write_bytes(NOISE)
    (tree / "bin/sh").symlink_to("busybox")
    image = tmp_path / "image"
    argv = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext2",
        "-m",
        "0",
        "-N",
        "300",
        *options,
        "-d",
        str(tree),
        str(image),
        "2500k",
    ]
    made = subprocess.run(argv, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this mke2fs cannot: {made.stderr.strip()}")
    found = {
        member.name: bytes(member.data)
        for member in _initrd_ext2_read.read_members(memoryview(image.read_bytes()))
    }
    assert (found["linuxrc"], found["bin/sh"]) == (NOISE, b"busybox")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:1500], "cut off in its superblock"),
        (lambda data: data[:-1024], "is cut off: it has"),
        (lambda data: data[:1024] + bytes(1024) + data[2048:], "damaged superblock"),
        (lambda data: data[: 1024 + 96] + b"\x42\0" + data[1024 + 98 :], "features of ext3 or ext4"),
        (lambda data: data[:2048] + b"\xff" * 32 + data[2080:], "it refers to byte"),
    ],
)
def test_damage_is_one_clear_error(change, message: str) -> None:  # type: ignore[no-untyped-def]
    data = bytes(_initrd_ext2.build(CASES["sizes"], None, None).content)
    with pytest.raises(ClusterError, match=message):
        _initrd_ext2_read.read_members(memoryview(change(data)))


def test_no_damage_of_a_byte_is_more_than_an_error() -> None:
    data = bytes(_initrd_ext2.build(CASES["folders"] + CASES["links"], None, None).content)
    for at in range(1024, len(data), 7):
        spoilt = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            _initrd_ext2_read.read_members(memoryview(spoilt))
        except ClusterError as error:
            assert "\n" not in str(error)
