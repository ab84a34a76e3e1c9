from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import module_name, read_initrd

MAIN = b"".join(
    _cpio.pack(
        [
            _cpio.regular("usr/lib/modules/6.1.0-test/kernel/net/my-nic.ko.xz", b"module" * 999),
            _cpio.regular("init", b"#!/bin/sh\n", 0o755),
        ]
    )
)
MICROCODE = b"".join(_cpio.pack([_cpio.regular("kernel/x86/microcode/GenuineIntel.bin", b"m" * 3333)]))
PROGRAMS = {
    "none": ["cat"],
    "gzip": ["gzip", "-9n"],
    "bzip2": ["bzip2"],
    "lzma": ["lzma"],
    "xz": ["xz", "--check=crc32"],
    "lz4": ["lz4", "-l"],
    "zstd": ["zstd", "-q", "-19"],
    "lzo": ["lzop"],
}


def compressed(kind: str) -> bytes:
    argv = PROGRAMS[kind]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    return subprocess.run(argv, input=MAIN, capture_output=True, check=True).stdout


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    return tmp_path / "initrd"


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize(
    ("before", "behind"), [(b"", b""), (MICROCODE, b""), (MICROCODE + bytes(512), bytes(3000))]
)
def test_every_compression_with_and_without_microcode(
    kind: str, before: bytes, behind: bytes, initrd: Path
) -> None:
    if kind == "lzo" and behind:
        pytest.skip("lzop refuses padding")
    initrd.write_bytes(before + compressed(kind) + behind)
    found = read_initrd(initrd)
    assert (found.format, found.compression) == ("cpio", kind)
    assert [part.compression for part in found.segments] == (["none"] if before else []) + [kind]
    assert found.modules == {"my_nic"}
    assert found.kernel_versions == {"6.1.0-test"}
    assert bytes(found.files["init"].data) == b"#!/bin/sh\n"
    assert ("kernel/x86/microcode/GenuineIntel.bin" in found.files) == bool(before)


@pytest.mark.parametrize("kind", [name for name in PROGRAMS if name not in ("none", "lzo")])
def test_compressed_archives_one_after_the_other(kind: str, initrd: Path) -> None:
    content = compressed(kind)
    initrd.write_bytes(content + bytes(4) + MICROCODE + content)
    assert [part.compression for part in read_initrd(initrd).segments] == [kind, "none", kind]


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("keep", [0.3, 0.8, 0.97])
def test_a_truncated_file_is_one_clear_error(kind: str, keep: float, initrd: Path) -> None:
    content = compressed(kind)
    # behind the end of a plain archive there is only padding
    initrd.write_bytes(content[: int(len(content.rstrip(b"\0") if kind == "none" else content) * keep)])
    with pytest.raises(ClusterError, match=str(initrd)) as caught:
        read_initrd(initrd)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (bytes(4096), "nothing but zeros"),
        (b"\x89PNG\r\n\x1a\n" + b"picture" * 99, "is no initrd: byte 0 begins 89 50 4e 47"),
        (MICROCODE + b"\x89PNG\r\n\x1a\n", "is no initrd: byte 4096 begins 89 50"),
        (subprocess.run(["gzip"], input=b"text", stdout=-1, check=True).stdout, "neither cpio nor ext2"),
    ],
)
def test_foreign_files_are_one_clear_error(content: bytes, message: str, initrd: Path) -> None:
    initrd.write_bytes(content)
    with pytest.raises(ClusterError, match=message):
        read_initrd(initrd)


def test_a_missing_file_is_one_clear_error(initrd: Path) -> None:
    with pytest.raises(ClusterError, match=f"cannot read the initrd {initrd}: No such file"):
        read_initrd(initrd)


@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_a_damaged_ext2_ram_disk_is_one_clear_error(kind: str, initrd: Path) -> None:
    disk = b"\xeb" + bytes(1079) + b"\x53\xef" + bytes(3000)
    initrd.write_bytes(subprocess.run(PROGRAMS[kind], input=disk, stdout=-1, check=True).stdout)
    with pytest.raises(ClusterError, match=f"initrd {initrd}: the ext2 file system has a damaged superblock"):
        read_initrd(initrd)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lib/modules/6.1/kernel/a-b.ko", "a_b"),
        ("a.ko.zst", "a"),
        ("a.ko.gz", "a"),
        ("a.ko.bak", None),
        ("etc/modules", None),
    ],
)
def test_module_name(path: str, name: str | None) -> None:
    assert module_name(path) == name
