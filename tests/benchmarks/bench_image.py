"""Images of a Debian root and of an ext4 partition with deleted data, against the commands of the guides.

The guides say ``tar --posix --numeric-owner --one-file-system -zcf`` for a root and ``dd | gzip`` for a partition.
CPU seconds of all processes, wall seconds and bytes; medians of paired rounds, each in the other order than the last.
Hygiene is off, so that both archive the same; every image is restored by plain tar, or ``zcat | dd``, and compared.
What is archived is in the page cache, and so are the programs, read anew before each round: a host can take the cache of an
idle machine away.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_initrd

from ansible_collections.oneimage.cluster.plugins.module_utils._image_hygiene import HYGIENE, SECRETS

ROUNDS = 3
MODULE = "ansible_collections.oneimage.cluster.plugins.modules.image_archive"
DEVICE_SIZE = 4 << 30
DELETED = 500 << 20
EVERYTHING = {
    "skip_hygiene": [rule.name for rule in HYGIENE],
    "allow_secrets": [secret.name for secret in SECRETS],
}
AT_LEAST = True
GOALS = {
    "root to tar.gz": (("cpu", 10, AT_LEAST), ("wall", 8, AT_LEAST), ("size", 1.13, not AT_LEAST)),
    "root to tar.zst": (("cpu", 5, AT_LEAST), ("size", 0.95, not AT_LEAST)),
    "partition to dd.gz": (("cpu", 10, AT_LEAST), ("wall", 8, AT_LEAST), ("size", 0.4, not AT_LEAST)),
}
UNITS = {"cpu": "CPU s", "wall": "s", "size": "MiB"}

Measure = dict[str, float]


def run() -> list[dict[str, Any]]:
    programs = ("mmdebstrap", "unshare", "setpriv", "mkfs.ext4", "e2image", "igzip", "zstd")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        reason = f"not found: {', '.join(missing)}" if missing else "needs root for owners and mounts"
        return [{"name": "images", "skipped": reason}]
    with tempfile.TemporaryDirectory(dir=os.environ.get("ONEIMAGE_BENCH_CACHE")) as scratch:
        cache = Path(os.environ.get("ONEIMAGE_BENCH_CACHE", scratch))
        try:
            return measure(bench_initrd.chroot(cache), Path(scratch))
        except subprocess.CalledProcessError as error:
            return [{"name": "images", "skipped": f"{error.cmd[0]} failed: {error.stderr[-300:]!r}"}]


def measure(root: Path, scratch: Path) -> list[dict[str, Any]]:
    device = partition(root, scratch)
    by_hand = scratch / "by-hand.tgz"
    names = sorted(path.name for path in root.iterdir())
    guide = ["tar", "--posix", "--numeric-owner", "--one-file-system", "-zcf", by_hand, "-C", root, *names]
    pair = 'dd if="$1" bs=1M status=none | gzip >"$2"'
    contenders: dict[str, tuple[Path, Callable[[], Path]]] = {
        "tar -zcf": (root, lambda: made(by_hand, guide)),
        "root to tar.gz": (root, lambda: module(root, scratch / "image.tar.gz")),
        "root to tar.zst": (root, lambda: module(root, scratch / "image.tar.zst")),
        "dd | gzip": (
            device,
            lambda: made(scratch / "by-hand.gz", ["sh", "-c", pair, "sh", device, scratch / "by-hand.gz"]),
        ),
        "partition to dd.gz": (device, lambda: module(device, scratch / "image.dd.gz")),
    }
    taken: dict[str, list[Measure]] = {name: [] for name in contenders}
    digests: dict[str, set[str]] = {}
    for number in range(ROUNDS):
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in order:
            source, work = contenders[name]
            image, used = timed(source, work)
            taken[name].append(used)
            if name in GOALS:
                text = image.with_name(image.name + ".manifest.json").read_text(encoding="utf-8")
                digests.setdefault(name, set()).add(json.loads(text)["sha256"])
    rows = []
    for name, goals in GOALS.items():
        anchor = "dd | gzip" if name.startswith("partition") else "tar -zcf"
        rows += [row(name, anchor, taken, *goal) for goal in goals]
        rows.append(
            {
                "name": f"{name}, byte-identical on repeat",
                "ours": len(digests[name]),
                "anchor": 1,
                "unit": "digests",
                "ratio": float(len(digests[name])),
                "goal": "1",
                "met": len(digests[name]) == 1,
            }
        )
    return [*rows, *restored(root, device, scratch)]


def partition(root: Path, scratch: Path) -> Path:
    """4 GiB of ext4 with the root in it, and half a GiB of random data that was deleted."""
    device = scratch / "device"
    with device.open("wb") as file:
        file.truncate(DEVICE_SIZE)
    noise = scratch / "noise"
    with noise.open("wb") as file, open("/dev/urandom", "rb") as random:
        for _piece in range(DELETED >> 20):
            file.write(random.read(1 << 20))
    for argv in (
        ["mkfs.ext4", "-q", "-F", "-d", root, device],
        ["debugfs", "-w", "-R", f"write {noise} deleted", device],
        ["debugfs", "-w", "-R", "rm deleted", device],
    ):
        subprocess.run(argv, check=True, capture_output=True)
    noise.unlink()
    return device


def warm(source: Path) -> None:
    """Have all that ``source`` holds in the page cache, and the programs; tar would not read what it writes to /dev/null."""
    argv = ["find", source, "-type", "f", "-exec", "cat", "{}", "+"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        little = Path(folder, "little")
        little.mkdir()
        little.joinpath("file").touch()
        made(Path(folder, "little.tgz"), ["tar", "-zcf", Path(folder, "little.tgz"), "-C", little, "."])
        for suffix in ("gz", "zst"):
            module(little, Path(folder, f"little.tar.{suffix}"))


def made(target: Path, argv: list[Any]) -> Path:
    target.unlink(missing_ok=True)
    subprocess.run(argv, check=True, capture_output=True)
    return target


def module(source: Path, target: Path) -> Path:
    """The module as Ansible runs it, from nothing: hashes, facts, secret scan, manifest and fsync are all in it."""
    target.unlink(missing_ok=True)
    more = EVERYTHING if source.is_dir() else {}
    options = json.dumps({"ANSIBLE_MODULE_ARGS": {"src": str(source), "dest": str(target), **more}})
    tree = os.pathsep.join(path for path in sys.path if path.endswith(".collections"))
    environment = {**os.environ, "PYTHONPATH": tree}
    argv = [sys.executable, "-m", MODULE]
    subprocess.run(argv, input=options.encode(), env=environment, check=True, capture_output=True)
    return target


def timed(source: Path, work: Callable[[], Path]) -> tuple[Path, Measure]:
    # what the last one left to be written to the disk is not this one's work
    os.sync()
    warm(source)
    before, start = children(), time.monotonic()
    image = work()
    wall = time.monotonic() - start
    return image, {"cpu": children() - before, "wall": wall, "size": image.stat().st_size / 2**20}


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(
    name: str, anchor: str, taken: dict[str, list[Measure]], unit: str, goal: float, at_least: bool
) -> dict[str, Any]:
    ours, theirs = ([one[unit] for one in taken[key]] for key in (name, anchor))
    pairs = [b / a if at_least else a / b for a, b in zip(ours, theirs)]
    ratio = statistics.median(pairs)
    return {
        "name": f"{name}, {unit}, against {anchor}",
        "ours": statistics.median(ours),
        "anchor": statistics.median(theirs),
        "unit": UNITS[unit],
        "ratio": ratio,
        "goal": f"at {'least' if at_least else 'most'} {goal:g}x",
        "met": ratio >= goal if at_least else ratio <= goal,
    }


def restored(root: Path, device: Path, scratch: Path) -> list[dict[str, Any]]:
    """Plain tar finds no difference; the file system that ``zcat | dd`` writes is clean and holds the same files."""
    rows = []
    for suffix in ("gz", "zst"):
        argv = ["tar", "--compare", "--numeric-owner", "-f", scratch / f"image.tar.{suffix}", "-C", root]
        rows.append(
            truth(
                f"root to tar.{suffix}, restored by plain tar",
                subprocess.run(argv, check=False).returncode == 0,
            )
        )
    back, tree = scratch / "restored", scratch / "files"
    script = 'zcat "$1" | dd of="$2" bs=1M iflag=fullblock conv=sparse status=none'
    subprocess.run(["sh", "-c", script, "sh", scratch / "image.dd.gz", back], check=True)
    clean = subprocess.run(["e2fsck", "-fn", back], capture_output=True, check=False).returncode == 0
    tree.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump /usr {tree}", back], check=True, capture_output=True)
    same = subprocess.run(
        ["diff", "-rq", "--no-dereference", root / "usr", tree / "usr"], capture_output=True, check=False
    )
    rows.append(truth("partition to dd.gz, restored by zcat | dd", clean and same.returncode == 0))
    return rows


def truth(name: str, met: bool) -> dict[str, Any]:
    return {
        "name": name,
        "ours": int(met),
        "anchor": 1,
        "unit": "yes",
        "ratio": float(met),
        "goal": "1",
        "met": met,
    }
