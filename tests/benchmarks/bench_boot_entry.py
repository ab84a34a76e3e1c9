"""boot_entry for many nodes in one call against the usual way, one looped ansible.builtin.template per file.

Both are plays of ansible-playbook on localhost, with the project's settings, that start from an empty tree; the figure
is the CPU time of the whole play, which is what a user pays for. Starting Ansible is half of ours and nothing of the
loop's; the second row leaves it out by subtracting a play without tasks.
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

CHECKOUT = Path(__file__).resolve().parents[2]
PAIRS = 3
FILES = 50
NODES = 1000
GOAL = 25
GOAL_SECONDS = 3
TEMPLATE = """\
DEFAULT debian
PROMPT 0
TIMEOUT 100
LABEL debian
  KERNEL images/vmlinuz
  INITRD images/initrd
  APPEND ip=dhcp ro hostname={{ item.name }}
  IPAPPEND 2
"""


def ours(tree: Path, count: int, loaders: list[str]) -> list[dict[str, Any]]:
    entry = {
        "name": "debian",
        "kernel": "images/vmlinuz",
        "initrd": ["images/initrd"],
        "parameters": ["ip=dhcp", "ro"],
    }
    declared = [
        {**node, "entry": "debian", "parameters": [f"hostname={node['name']}"]} for node in nodes(count)
    ]
    options = {"directory": str(tree), "base_url": "http://10.77.0.1/", "loaders": loaders}
    return [
        {
            "name": "One call",
            "oneimage.cluster.boot_entry": {**options, "entries": [entry], "nodes": declared},
        }
    ]


def looped(tree: Path, count: int) -> list[dict[str, Any]]:
    template = {
        "src": str(tree.parent / "entry.j2"),
        "dest": f"{tree}/pxelinux.cfg/01-{{{{ item.mac | replace(':', '-') }}}}",
    }
    folder = {"path": f"{tree}/pxelinux.cfg", "state": "directory", "mode": "0755"}
    return [
        {"name": "Make the folder", "ansible.builtin.file": folder},
        {
            "name": "One file per node",
            "ansible.builtin.template": {**template, "mode": "0644"},
            "loop": nodes(count),
        },
    ]


def nodes(count: int) -> list[dict[str, str]]:
    return [{"name": f"n{n}", "mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}"} for n in range(1, count + 1)]


def empty_tree(work: Path) -> Path:
    tree = work / "boot"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "images").mkdir(parents=True)
    for name in ("vmlinuz", "initrd"):
        (tree / "images" / name).write_text(name)
    return tree


def play(ansible: str, work: Path, tasks: list[dict[str, Any]]) -> float:
    """CPU seconds of one play; raises if it fails."""
    book = work / "play.yml"
    book.write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
    )
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [ansible, str(book)], cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=900
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(name: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """The row of ``pairs`` of our figure and the anchor's."""
    ratio = statistics.median(anchor / one for one, anchor in pairs)
    medians = [statistics.median(column) for column in zip(*pairs)]
    return {
        **{"name": name, "ours": medians[0], "anchor": medians[1], "unit": "CPU s"},
        **{"ratio": ratio, "goal": f">= {GOAL}", "met": ratio >= GOAL},
    }


def run() -> list[dict[str, Any]]:
    ansible = shutil.which(
        "ansible-playbook", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if ansible is None:
        return [{"name": "boot_entry", "skipped": "ansible-playbook is not installed"}]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "entry.j2").write_text(TEMPLATE)
        pairs, starts = [], []
        for _pair in range(PAIRS):
            starts.append(play(ansible, work, []))
            one = play(ansible, work, ours(empty_tree(work), FILES, ["pxelinux"]))
            assert len(list((work / "boot" / "pxelinux.cfg").iterdir())) == FILES
            pairs.append((one, play(ansible, work, looped(empty_tree(work), FILES))))
            assert len(list((work / "boot" / "pxelinux.cfg").iterdir())) == FILES
        tree = empty_tree(work)
        everything = ours(tree, NODES, ["pxelinux", "ipxe", "grub"])
        first = play(ansible, work, everything)
        everything[0]["oneimage.cluster.boot_entry"]["nodes"][7]["parameters"] = ["debug"]
        one_changes = play(ansible, work, everything)
        assert len(list((tree / "ipxe").iterdir())) == NODES + 1
        assert "debug" in (tree / "ipxe" / "mac-52-54-00-00-00-08.ipxe").read_text()
    start = statistics.median(starts)
    anchor = statistics.median(anchor for _one, anchor in pairs)
    extrapolated = anchor / FILES * NODES * 3
    return [
        compared(f"boot_entry, {FILES} files, against a looped template, whole plays", pairs),
        compared(
            f"boot_entry, {FILES} files, against a looped template, tasks alone",
            [(one - start, other - start) for one, other in pairs],
        ),
        {
            "name": f"boot_entry, {NODES} nodes and 3 loaders, against the same template, extrapolated",
            **{"ours": first, "anchor": extrapolated, "unit": "CPU s"},
            **{"ratio": extrapolated / first, "goal": f">= {GOAL}", "met": extrapolated / first >= GOAL},
        },
        {
            "name": f"boot_entry, {NODES} nodes and 3 loaders, one node changes",
            **{"ours": one_changes, "anchor": "", "unit": "CPU s"},
            **{"ratio": "", "goal": f"<= {GOAL_SECONDS}", "met": one_changes <= GOAL_SECONDS},
        },
    ]
