"""The native initrd against mkinitramfs MODULES=netboot and dracut, for the same kernel in the same chroot.

CPU seconds of all processes, since wall time says more about the other users of a machine; medians of paired rounds.
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
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_generators as generators

ROUNDS = 3
LEAST_CPU_RATIO = 30
MOST_SIZE_RATIO = 0.65
PACKAGES = (
    *("linux-image-amd64", "initramfs-tools", "busybox", "zstd", "kmod", "udev"),
    *("dracut-core", "dracut-network", "nfs-common", "isc-dhcp-client", "iputils-arping", "procps"),
)
MODULE = "ansible_collections.oneimage.cluster.plugins.modules.initrd"
NETBOOT = b"BOOT=nfs\nMODULES=netboot\nCOMPRESS=zstd\n"


def run() -> list[dict[str, Any]]:
    missing = [program for program in ("mmdebstrap", "unshare", "setpriv") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        reason = f"not found: {', '.join(missing)}" if missing else "needs root for chroots"
        return [{"name": "native initrd", "skipped": reason}]
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(os.environ.get("ONEIMAGE_BENCH_CACHE", scratch))
        try:
            return measure(chroot(cache), Path(scratch))
        except subprocess.CalledProcessError as error:
            return [{"name": "native initrd", "skipped": f"{error.cmd[0]} failed: {error.stderr[-300:]!r}"}]


def chroot(cache: Path) -> Path:
    """A Debian root with a stock kernel and both generators, made once."""
    root = cache / "initrd-chroot"
    if not root.is_dir():
        partial = cache / "initrd-chroot.partial"
        shutil.rmtree(partial, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        subprocess.run([*argv, "bookworm", str(partial)], check=True, capture_output=True, timeout=1800)
        partial.rename(root)
    return root


def measure(root: Path, scratch: Path) -> list[dict[str, Any]]:
    version = next((root / "lib/modules").iterdir()).name
    contenders = {
        "native": lambda: native(root, scratch / "native"),
        "mkinitramfs MODULES=netboot": lambda: foreign(
            "initramfs_tools",
            root,
            ["mkinitramfs", "-o", "/tmp/initrd", version],
            {"conf.d/zz": (NETBOOT, 0o644)},
        ),
        "dracut": lambda: foreign(
            "dracut",
            root,
            [
                "dracut",
                "--no-hostonly",
                "--zstd",
                "--tmpdir=/tmp",
                "--add=network-legacy nfs",
                "/tmp/initrd",
                version,
            ],
            {},
        ),
    }
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    size: dict[str, int] = {}
    for _round in range(ROUNDS):
        for name, build in contenders.items():
            before = children()
            size[name] = build()
            cpu[name].append(children() - before)
    rows = []
    for name in list(contenders)[1:]:
        ours, anchor = statistics.median(cpu["native"]), statistics.median(cpu[name])
        ratio = statistics.median(theirs / mine for mine, theirs in zip(cpu["native"], cpu[name]))
        rows.append(
            row(f"native initrd, work, against {name}", ours, anchor, "CPU s", ratio, LEAST_CPU_RATIO)
        )
        smaller = size["native"] / size[name]
        sizes = (size["native"] / 2**20, size[name] / 2**20)
        rows.append(row(f"native initrd, size, against {name}", *sizes, "MiB", smaller, MOST_SIZE_RATIO))
    return rows


def row(name: str, ours: float, anchor: float, unit: str, ratio: float, goal: float) -> dict[str, Any]:
    at_least = goal > 1
    return {
        "name": name,
        "ours": ours,
        "anchor": anchor,
        "unit": unit,
        "ratio": ratio,
        "goal": f"at {'least' if at_least else 'most'} {goal:g}x",
        "met": ratio >= goal if at_least else ratio <= goal,
    }


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def native(root: Path, target: Path) -> int:
    """The module as Ansible runs it: a process that reads its options and builds from nothing."""
    target.unlink(missing_ok=True)
    options = json.dumps({"ANSIBLE_MODULE_ARGS": {"path": str(target), "root": str(root)}})
    tree = os.pathsep.join(path for path in sys.path if path.endswith(".collections"))
    environment = {**os.environ, "PYTHONPATH": tree}
    argv = [sys.executable, "-m", MODULE]
    subprocess.run(argv, input=options.encode(), env=environment, check=True, capture_output=True)
    return target.stat().st_size


def foreign(name: str, root: Path, argv: list[str], files: generators.Files) -> int:
    """The distribution's generator as its own users call it, in the same private namespace that the module uses."""
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", generators.NAMESPACE_SCRIPT]
    command = [*alone, "oneimage", str(root), generators.GENERATORS[name].folder, *argv]
    done = subprocess.run(command, input=generators.tar(files), check=True, capture_output=True)
    return len(done.stdout)
