# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""How an image is compressed: the programs that can do it and undo it, the best first, and how a file says which it was."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@dataclass(frozen=True)
class Compressor:
    """A program from standard input to standard output. ``levels`` None: it is only used at its own best level.

    The bytes must not depend on the number of cores, of which ``{threads}`` becomes the number.
    """

    program: str
    argv: tuple[str, ...]
    package: str
    default: int
    levels: range | None = None


COMPRESSORS = {
    "gzip": (
        # its levels are not those of gzip: 1 is the fastest by far at 1.13 times gzip's size
        # and one thread is faster than tar feeds it; its -T costs a fifth more work
        Compressor("igzip", ("igzip", "-{level}", "-n", "-c"), "isal", 1),
        Compressor("pigz", ("pigz", "-{level}", "-n", "-p{threads}", "-c"), "pigz", 6, range(1, 10)),
        Compressor("gzip", ("gzip", "-{level}", "-n", "-c"), "gzip", 6, range(1, 10)),
    ),
    # never --single-thread: its bytes are others than those of -T1, -T2, ...
    "zstd": (
        Compressor(
            "zstd",
            ("zstd", "-q", "-{level}", "-T{threads}", "-c", "--no-progress"),
            "zstd",
            3,
            range(1, 20),
        ),
    ),
    # one thread would make one block, more make blocks of the size given here
    "xz": (
        Compressor(
            "xz",
            ("xz", "-q", "-{level}", "-T{more_threads}", "--block-size=24MiB", "-c"),
            "xz-utils",
            6,
            range(0, 10),
        ),
    ),
    "bzip2": (Compressor("bzip2", ("bzip2", "-q", "-{level}", "-c"), "bzip2", 9, range(1, 10)),),
}

DECOMPRESSORS = {
    "gzip": (("igzip", "-d", "-c"), ("pigz", "-d", "-c"), ("gzip", "-d", "-c")),
    "zstd": (("zstd", "-q", "-d", "-c", "--no-progress", "--long=31"),),
    "xz": (("xz", "-q", "-d", "-c"),),
    "bzip2": (("bzip2", "-q", "-d", "-c"),),
    "none": (("cat",),),
}

MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
)
SUFFIXES = {
    "gzip": (".gz", ".tgz"),
    "zstd": (".zst", ".tzst", ".zstd"),
    "xz": (".xz", ".txz"),
    "bzip2": (".bz2", ".tbz2", ".tbz"),
}


def recognise(head: bytes) -> str:
    """The compression of a file that begins with ``head``; ``none`` where it is none of those we know."""
    return next((name for magic, name in MAGIC if head.startswith(magic)), "none")


def by_name(name: str) -> str | None:
    """The compression that a file's name promises, None where it promises none."""
    return next((kind for kind, ends in SUFFIXES.items() if name.endswith(ends)), None)


def choose(compression: str, level: int | None) -> tuple[Compressor, list[str]]:
    """The best compressor of this host for ``compression`` and its argv.

    Raises ClusterError where no program is installed, or none takes ``level``.
    """
    candidates = COMPRESSORS[compression]
    if level is not None:
        candidates = tuple(one for one in candidates if one.levels and level in one.levels)
        if not candidates:
            levels = COMPRESSORS[compression][-1].levels or range(1)
            raise ClusterError(
                f"level: {level} is none of {compression}, which has {levels[0]} to {levels[-1]}"
            )
    for one in candidates:
        if shutil.which(one.program):
            # tar, and whoever hashes the image, keep one core busy
            cores = max(1, len(os.sched_getaffinity(0)) - 1)
            words = {
                "level": one.default if level is None else level,
                "threads": cores,
                "more_threads": max(2, cores),
            }
            return one, [word.format(**words) for word in one.argv]
    names = " or ".join(one.package for one in candidates)
    raise ClusterError(
        f"compression {compression}: no program for it is on this host; install the package {names}"
    )


def decompressor(compression: str) -> list[str]:
    """The argv that undoes ``compression``; raises ClusterError where no program for it is installed."""
    for argv in DECOMPRESSORS[compression]:
        if shutil.which(argv[0]):
            return list(argv)
    raise ClusterError(
        f"compression {compression}: no program that undoes it is on this host; install {compression}"
    )


def version(program: str) -> str:
    """The version that a program gives itself, an empty text where it gives none."""
    done = run([program, "--version"], accept=range(256), timeout=30)
    match = re.search(rb"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return match.group().decode() if match else ""
