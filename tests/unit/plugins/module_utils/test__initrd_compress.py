from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.kernel_tree import VERSION, set_config

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_compress
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@pytest.mark.parametrize(
    ("options", "wanted", "chosen"),
    [
        (None, "auto", "gzip"),
        (None, "zstd", "zstd"),
        (("BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD"), "auto", "zstd"),
        (("BLK_DEV_INITRD", "RD_GZIP"), "auto", "gzip"),
        (("BLK_DEV_INITRD",), "auto", "none"),
        (("BLK_DEV_INITRD", "RD_GZIP"), "none", "none"),
    ],
)
def test_the_best_that_the_kernel_can_undo(
    options: tuple[str, ...] | None, wanted: str, chosen: str, tmp_path: Path
) -> None:
    if options is not None:
        set_config(tmp_path, *options)
    assert _initrd_compress.choose_compression(tmp_path, VERSION, wanted) == chosen


@pytest.mark.parametrize(
    ("options", "wanted", "message"),
    [
        (("BLK_DEV_INITRD", "RD_GZIP"), "zstd", "does not set CONFIG_RD_ZSTD"),
        (("BLK_DEV_INITRD", "RD_ZSTD"), "gzip", "does not set CONFIG_RD_GZIP"),
        (("RD_GZIP",), "auto", "CONFIG_BLK_DEV_INITRD is not set"),
    ],
)
def test_what_the_kernel_cannot_undo_is_refused(
    options: tuple[str, ...], wanted: str, message: str, tmp_path: Path
) -> None:
    set_config(tmp_path, *options)
    with pytest.raises(ClusterError, match=message):
        _initrd_compress.choose_compression(tmp_path, VERSION, wanted)


@pytest.mark.parametrize("programs", [("igzip", "pigz", "gzip"), ("pigz", "gzip"), ("gzip",), ()])
def test_gzip_by_the_best_program_there_is_always_the_same_bytes(
    programs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in programs:
        program = shutil.which(name)
        if program is None:
            pytest.skip(f"{name} is not installed")
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    pieces = [b"one image", bytes(300_000)]
    first, compressor = _initrd_compress.compress(pieces, "gzip")
    assert compressor == (programs[0] if programs else "python")
    assert bytes(first[4:8]) == bytes(4), "the header carries a time"
    assert not first[3] & 8, "the header carries a name"
    assert first == _initrd_compress.compress(pieces, "gzip")[0]
    monkeypatch.undo()
    assert shutil.which("gzip")


def test_zstd_without_its_program_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="install the package zstd"):
        _initrd_compress.compress([b"x"], "zstd")
