"""Configurations are found wherever they lie, torn ones are refused, and rules say what they mean."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import (
    KernelConfig,
    accepts,
    check,
    parse_rules,
    read_config,
)

STOCK = sorted((Path(__file__).parents[3] / "fixtures" / "kernel_config").glob("config-*.gz"))
CONFIG = b"""#
# Automatically generated make config: don't edit
#
CONFIG_X86=y
# CONFIG_SMP is not set
CONFIG_NFS_FS=m
CONFIG_LOG_BUF_SHIFT=17
CONFIG_PHYSICAL_START=0x1000000
CONFIG_LOCALVERSION="-say \\"hi\\" = 1"
CONFIG_openMosix_NO_OOM=y
CONFIG_INITRAMFS_SOURCE=""
CONFIG_OLD=n
"""
EMBEDDED = b"IKCFG_ST" + gzip.compress(CONFIG) + b"IKCFG_ED"
VMLINUX = b"\x7fELF" + bytes(5000) + EMBEDDED + bytes(100)


def bzimage(payload: bytes, protocol: int = 0x20F) -> bytes:
    """A kernel as the boot loader sees it, packed as its build packs it."""
    setup = bytearray(2 * 512)
    setup[0x1F1] = 1
    struct.pack_into("<4sH", setup, 0x202, b"HdrS", protocol)
    struct.pack_into("<H", setup, 0x20E, 0x100)
    setup[0x300:0x310] = b"2.6.20-krg (x@y)"
    if protocol >= 0x208:
        struct.pack_into("<II", setup, 0x248, 16, len(payload))
    return bytes(setup) + bytes(16) + payload + b"trailer"


def packed_by(*argv: str) -> bytes:
    return subprocess.run(argv, input=VMLINUX, stdout=subprocess.PIPE, check=True).stdout


SIZE = struct.pack("<I", len(VMLINUX))
PACKERS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(VMLINUX),
    "bzip2": lambda: bz2.compress(VMLINUX) + SIZE,
    "lzma": lambda: lzma.compress(VMLINUX, lzma.FORMAT_ALONE) + SIZE,
    "xz": lambda: lzma.compress(VMLINUX) + SIZE,
    "zstd": lambda: packed_by("zstd", "-qc") + SIZE,
    "lz4": lambda: packed_by("lz4", "-lqc") + SIZE,
    "lzop": lambda: packed_by("lzop", "-c") + SIZE,
}


def config(tmp_path: Path, content: bytes) -> KernelConfig:
    path = tmp_path / "config"
    path.write_bytes(content)
    return read_config(path)


def test_every_kind_of_line_is_read(tmp_path: Path) -> None:
    found = config(tmp_path, CONFIG)
    assert {name: found.value(name) for name in found.symbols} == {
        "CONFIG_X86": "y",
        "CONFIG_SMP": "not-set",
        "CONFIG_NFS_FS": "m",
        "CONFIG_LOG_BUF_SHIFT": "17",
        "CONFIG_PHYSICAL_START": "0x1000000",
        "CONFIG_LOCALVERSION": '-say "hi" = 1',
        "CONFIG_openMosix_NO_OOM": "y",
        "CONFIG_INITRAMFS_SOURCE": "",
        "CONFIG_OLD": "not-set",
    }


def test_the_last_line_of_an_option_wins(tmp_path: Path) -> None:
    assert config(
        tmp_path, b"CONFIG_A=y\n# CONFIG_A is not set\n# CONFIG_B is not set\nCONFIG_B=m\n"
    ).symbols == {
        "CONFIG_A": "not-set",
        "CONFIG_B": "m",
    }


@pytest.mark.parametrize(
    "content, source",
    [
        (CONFIG.replace(b"=y\n", b"=y \n"), "text"),
        (CONFIG, "text"),
        (CONFIG.replace(b"\n", b"\r\n"), "text"),
        (CONFIG.rstrip(b"\n"), "text"),
        (gzip.compress(CONFIG), "gzip'd text"),
        (VMLINUX, "embedded in the kernel"),
        (gzip.compress(VMLINUX), "embedded in the kernel"),
        (b"MZ\0\0zimg" + bytes(60) + gzip.compress(VMLINUX) + b"more", "embedded in the kernel"),
    ],
    ids=[
        "blanks",
        "text",
        "carriage-returns",
        "no-last-newline",
        "gzip",
        "vmlinux",
        "vmlinux.gz",
        "other-architecture",
    ],
)
def test_the_same_options_wherever_they_lie(tmp_path: Path, content: bytes, source: str) -> None:
    found = config(tmp_path, content)
    assert (found.source, len(found.symbols)) == (source, 9)


@pytest.mark.parametrize(
    "packer, protocol",
    [(packer, 0x20F) for packer in PACKERS]
    + [("gzip", 0x205), ("lzma", 0x205), ("xz", 0x205), ("zstd", 0x205)],
)
def test_a_packed_kernel_is_unpacked(tmp_path: Path, packer: str, protocol: int) -> None:
    if packer in ("zstd", "lz4", "lzop") and not shutil.which(packer):
        pytest.skip(f"{packer} is not installed")
    found = config(tmp_path, bzimage(PACKERS[packer](), protocol))
    assert (found.source, found.value("NFS_FS")) == ("embedded in the kernel", "m")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ["is empty"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["neither a kernel configuration nor a kernel", "89 50 4e 47"]),
        (gzip.compress(CONFIG)[:-20], ["truncated"]),
        (gzip.compress(CONFIG)[:40] + b"damage" + gzip.compress(CONFIG)[46:], ["damaged"]),
        (b"\x7fELF" + bytes(5000), ["CONFIG_IKCONFIG", "/boot/config-VERSION"]),
        (bzimage(gzip.compress(b"no configuration")), ["CONFIG_IKCONFIG"]),
        (bzimage(gzip.compress(VMLINUX))[:1100], ["truncated", "payload ends at byte"]),
        (bzimage(b"what is this?"), ["packed in an unknown way"]),
        (VMLINUX[:5020], ["truncated"]),
        (b"CONFIG_A=y\nCONFIG_NFS_F", ["line 2", "CONFIG_NFS_F"]),
        (b"CONFIG_A=y\nCONFIG_NFS_FS=\nCONFIG_B=y\n", ["line 2", "CONFIG_NFS_FS="]),
        (b'CONFIG_A=y\n\nCONFIG_LOCALVERSION="-am\n', ["line 3", "CONFIG_LOCALVERSION"]),
        (b"CONFIG_A=y\n# CONFIG_NFS_FS is n", ["line 2", "is n"]),
        (b"CONFIG_A=y\n# CONFIG_NF", ["line 2", "CONFIG_NF"]),
        (b"CONFIG_A=y\nCONFIG_B=yes\n", ["line 2", "CONFIG_B=yes"]),
        (b"CONFIG_A=y\n\n\n\n# comment\nCONFIG_B\n\n", ["line 6", "'CONFIG_B'"]),
        (b"CONFIG\n", ["line 1", "'CONFIG'"]),
        (b"CONFIG_A=y\nCONF\xff", ["line 2", "no text"]),
        (b"#!/bin/sh\necho hello\n", ["line 2", "echo hello"]),
        (b"# just words\n", ["no kernel option"]),
    ],
)
def test_what_is_no_configuration_gives_one_clear_error(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    with pytest.raises(ClusterError) as raised:
        config(tmp_path, content)
    assert str(tmp_path / "config") in str(raised.value)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "missing", "No such file")):
        with pytest.raises(ClusterError, match=f"{path}.*{reason}"):
            read_config(path)


@pytest.mark.parametrize(
    "value, found, expected",
    [
        ("y", "y", True),
        ("y", "m", False),
        ("m", "m", True),
        ("not-set", "not-set", True),
        ("not-set", "absent", True),
        ("absent", "not-set", False),
        ("absent", "absent", True),
        ("16", "16", True),
        ("16", "0x10", True),
        ("0x10", "16", True),
        ("16", "8", False),
        (">=16", "16", True),
        (">= 16", "15", False),
        (">=16", "0x20", True),
        (">=16", "y", False),
        (">=16", "absent", False),
        ("<=4", "4", True),
        (">4", "4", False),
        ("<4", "-1", True),
        ("", "", True),
        ("-amd64", "-amd64", True),
        ("-amd64", "-arm64", False),
    ],
)
def test_values(value: str, found: str, expected: bool) -> None:
    assert accepts(value, found) is expected


def test_any_option_with_any_value_meets_a_rule(tmp_path: Path) -> None:
    rules = parse_rules(
        [
            {"options": ["NFS_V3", "CONFIG_NFS_FS"], "values": ["y", "m"], "why": "root"},
            {"options": "openMosix_NO_OOM", "values": "y", "why": "openMosix"},
            {
                "options": ["SMP", "NUMA"],
                "values": ["y"],
                "why": "cores",
                "remedy": "buy cores",
                "profile": "hardware",
            },
            {"options": ["LOG_BUF_SHIFT"], "values": [">=18"], "why": "boot messages"},
        ]
    )
    result = check(config(tmp_path, CONFIG), rules).as_result()
    assert [rule["ok"] for rule in result["rules"]] == [True, True, False, False]
    assert result["unmet"] == ["CONFIG_SMP", "CONFIG_NUMA", "CONFIG_LOG_BUF_SHIFT"]
    assert all(option in result["msg"] for option in result["unmet"])
    assert "buy cores" in result["msg"]
    assert result["rules"][2] == {
        "options": ["CONFIG_SMP", "CONFIG_NUMA"],
        "wanted": ["y"],
        "found": {"CONFIG_SMP": "not-set", "CONFIG_NUMA": "absent"},
        "ok": False,
        "why": "cores",
        "remedy": "buy cores",
        "profile": "hardware",
    }
    assert (result["ok"], result["symbols"]) == (False, 9)


@pytest.mark.parametrize(
    "values, remedy",
    [
        (["y", "m"], "set CONFIG_A or CONFIG_B to y and build the kernel again"),
        (["m"], "set CONFIG_A to m and build the kernel again"),
        (["not-set", "y"], "switch CONFIG_A and CONFIG_B off and build the kernel again"),
        ([">=16"], "set CONFIG_A or CONFIG_B to >=16 and build the kernel again"),
    ],
)
def test_a_remedy_is_made_where_none_is_given(values: list[str], remedy: str) -> None:
    (rule,) = parse_rules([{"options": ["A", "B"], "values": values, "why": "x"}])
    assert rule.remedy == remedy


@pytest.mark.parametrize(
    "rule, words",
    [
        ("CONFIG_A", "rule 1 is no mapping"),
        ({"values": ["y"], "why": "x"}, "rule 1 lacks options"),
        ({"options": [], "values": ["y"], "why": "x"}, "rule 1 lacks options"),
        ({"options": ["A"], "why": "x"}, "rule 1 lacks values"),
        ({"options": ["A"], "values": [None], "why": "x"}, "rule 1 lacks values"),
        ({"options": ["A"], "values": ["y"]}, "rule 1 lacks why"),
        ({"options": ["A"], "values": ["y"], "why": " "}, "rule 1 lacks why"),
        ({"options": ["A-B"], "values": ["y"], "why": "x"}, "'A-B' in options"),
        ({"options": ["A"], "values": [True], "why": "x"}, "True in values is no kernel value; write y"),
        ({"options": ["A"], "values": ["n"], "why": "x"}, "write not-set"),
        ({"options": ["A"], "values": [">=many"], "why": "x"}, "no comparison"),
        ({"options": ["A"], "values": ["y"], "why": "x", "valeus": []}, "unknown field 'valeus'"),
    ],
)
def test_a_rule_of_wrong_shape_is_named(rule: object, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        parse_rules([rule])


@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.name)
def test_stock_configurations_are_read(path: Path) -> None:
    found = read_config(path)
    assert len(found.symbols) > 4000
    assert (found.value("BLK_DEV_INITRD"), found.value("NFS_FS"), found.value("IP_PNP")) == (
        "y",
        "m",
        "not-set",
    )
