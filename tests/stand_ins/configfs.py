# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for /config/krg_scheduler: a file system that behaves as configfs with Kerrighed's scheduler in it does.

``python configfs.py MOUNTPOINT`` (root, /dev/fuse) until it is unmounted. Objects, attributes, what they print and what
they refuse as in Kerrighed's kernel/scheduler (process_set.c, probes, filters, mosix_load_balancer.c) and configfs:

- mkdir makes an object of the name's type, with its attributes and groups; one of no known type is refused;
- attributes are not created, and take one value per write; polling_period counts in ticks of 4 ms;
- a link goes from a port to a source of a probe, and keeps the probe busy; readlink prints a relative path;
- groups of the kernel's own are not removed but with what they belong to, and nothing that others' objects are in;
- a set that handles all processes takes no single ones, and the other way round.
"""

from __future__ import annotations

import errno
import posixpath
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mfusepy

TICK = 4
PROBES = {
    "mosix_probe": (
        "mean_load", "upper_load", "norm_mean_load", "norm_upper_load", "single_process_load",
        "norm_single_process_load", "process_load",
    ),
    "migration_probe": ("last_migration", "migration_on_going"),
}  # fmt: skip
SINGLE_PROCESS_LOAD = 250
POLICIES = {
    "mosix_load_balancer": ("local_load", "remote_load", "single_process_load", "process_load"),
    "round_robin_balancer": (),
}


def refuse(code: int) -> None:
    raise mfusepy.FuseOSError(code)


@dataclass
class Attribute:
    show: Callable[[], str]
    store: Callable[[str], None] | None = None


@dataclass
class Group:
    """A directory; ``make`` is the object that mkdir makes of a name in it."""

    kernel: bool = True
    make: Callable[[str], Group] | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    takes_links: bool = False
    is_source: bool = False

    def objects(self) -> list[Group]:
        """What users made in it, at any depth."""
        found = [group for group in self.groups.values() if not group.kernel]
        return found + [inner for group in self.groups.values() for inner in group.objects()]

    def all_links(self) -> list[str]:
        return [*self.links.values(), *(link for group in self.groups.values() for link in group.all_links())]


def number(form: str = "%d\n", start: int = 0, scale: int = 1) -> Attribute:
    held = [start]

    def store(text: str) -> None:
        if not text.strip().isdigit():
            refuse(errno.EINVAL)
        held[0] = -(-int(text) // scale) * scale

    return Attribute(lambda: form % held[0], store)


def probe(name: str) -> Group:
    if name not in PROBES:
        refuse(errno.ENOENT)
    sources = {
        source: Group(
            is_source=True,
            attributes={"value": Attribute(lambda: f"{SINGLE_PROCESS_LOAD}\n")},
        )
        for source in PROBES[name]
    }
    return Group(kernel=False, groups=sources)


def port() -> Group:
    """Fed by one filter or by one link."""
    made = Group(takes_links=True)
    made.make = lambda name: filter_of(made, name)
    return made


def filter_of(above: Group, name: str) -> Group:
    if above.groups and any(not group.kernel for group in above.groups.values()):
        refuse(errno.EBUSY)
    made = port()
    made.kernel = False
    if name == "freq_limit_filter":
        made.attributes["min_interval"] = number()
        made.groups = {"last_event": port(), "events_on_going": port()}
    elif name == "threshold_filter":
        made.attributes["threshold"] = number("%d")
    elif name == "remote_cache_filter":
        made.attributes["polling_period"] = number("%d", scale=TICK)
    else:
        refuse(errno.ENOENT)
    return made


def scheduler(_name: str) -> Group:
    handles_all = [0]
    subsets = {
        name: Group(make=lambda pid: process(pid, handles_all))
        for name in ("single_processes", "process_groups", "process_sessions")
    }

    def store(text: str) -> None:
        if any(subset.groups for subset in subsets.values()):
            refuse(errno.EPERM)
        handles_all[0] = int(int(text) > 0)

    process_set = Group(
        groups=subsets, attributes={"handle_all": Attribute(lambda: f"{handles_all[0]}\n", store)}
    )
    made = Group(kernel=False, groups={"process_set": process_set})
    made.make = lambda name: policy(made, name)
    return made


def process(pid: str, handles_all: list[int]) -> Group:
    if not pid.isdigit():
        refuse(errno.EINVAL)
    if handles_all[0]:
        refuse(errno.EPERM)
    return Group(kernel=False)


def policy(above: Group, name: str) -> Group:
    if name not in POLICIES:
        refuse(errno.ENOENT)
    if any(not group.kernel for group in above.groups.values()):
        refuse(errno.EBUSY)
    attributes = {"stab_factor": number(start=130)} if name == "mosix_load_balancer" else {}
    return Group(kernel=False, groups={name: port() for name in POLICIES[name]}, attributes=attributes)


class Configfs(mfusepy.Operations):
    def __init__(self, mountpoint: str) -> None:
        self.mountpoint = mountpoint
        self.root = Group(groups={"probes": Group(make=probe), "schedulers": Group(make=scheduler)})

    def group(self, path: str) -> Group:
        found = self.root
        for name in filter(None, path.split("/")):
            if name not in found.groups:
                refuse(errno.ENOENT)
            found = found.groups[name]
        return found

    def split(self, path: str) -> tuple[Group, str]:
        above, name = posixpath.split(path)
        return self.group(above), name

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        above, name = self.split(path)
        if path == "/" or name in above.groups:
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if name in above.links:
            return {"st_mode": stat.S_IFLNK | 0o777, "st_nlink": 1}
        if name in above.attributes:
            mode = 0o644 if above.attributes[name].store else 0o444
            return {"st_mode": stat.S_IFREG | mode, "st_nlink": 1, "st_size": 4096}
        refuse(errno.ENOENT)
        return {}

    def readdir(self, path: str, fh: int) -> list[str]:
        group = self.group(path)
        return [".", "..", *group.groups, *group.attributes, *group.links]

    def mkdir(self, path: str, mode: int) -> int:
        above, name = self.split(path)
        if above.make is None:
            refuse(errno.EPERM)
        else:
            above.groups[name] = above.make(name)
        return 0

    def rmdir(self, path: str) -> int:
        above, name = self.split(path)
        group = self.group(path)
        if group.kernel:
            refuse(errno.EPERM)
        if group.objects() or group.all_links():
            refuse(errno.ENOTEMPTY)
        if any(link == path or link.startswith(path + "/") for link in self.root.all_links()):
            refuse(errno.EBUSY)
        del above.groups[name]
        return 0

    def symlink(self, target: str, source: str) -> int:
        above, name = self.split(target)
        if not source.startswith(self.mountpoint + "/"):
            refuse(errno.ENOENT)
        path = source[len(self.mountpoint) :]
        if not above.takes_links:
            refuse(errno.EPERM)
        if not self.group(path).is_source:
            refuse(errno.EINVAL)
        if above.links:
            refuse(errno.EBUSY)
        above.links[name] = path
        return 0

    def readlink(self, path: str) -> str:
        above, name = self.split(path)
        return posixpath.relpath(above.links[name], posixpath.dirname(path))

    def unlink(self, path: str) -> int:
        above, name = self.split(path)
        if name not in above.links:
            refuse(errno.EPERM)
        del above.links[name]
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        refuse(errno.EACCES)
        return 0

    def open(self, path: str, flags: int) -> int:
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        above, name = self.split(path)
        return above.attributes[name].show().encode()[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        above, name = self.split(path)
        store = above.attributes[name].store
        if store is None:
            refuse(errno.EACCES)
        else:
            store(data.decode())
        return len(data)


if __name__ == "__main__":
    mfusepy.FUSE(
        Configfs(sys.argv[1]),
        sys.argv[1],
        foreground=True,
        nothreads=True,
        direct_io=True,
        attr_timeout=0,
        entry_timeout=0,
    )
