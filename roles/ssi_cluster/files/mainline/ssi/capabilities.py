# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a process may do in the session: Kerrighed's capabilities, as far as mainline Linux can keep their promise.

A child has what its parent made inheritable. The kernel keeps track of that: a hierarchy of control groups of its own, without
controllers, has a group for each pair of inheritable sets, and a child is born into its parent's group. What was set for
a process itself lies in a file named by its pid.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

from ssi import node, process
from ssi.errors import SsiError
from ssi.membership import replace

NAMES = (
    "CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "DISTANT_FORK", "FORK_DELAY", "CHECKPOINTABLE", "USE_REMOTE_MEMORY",
    "USE_INTRA_CLUSTER_KERSTREAMS", "USE_INTER_CLUSTER_KERSTREAMS", "USE_WORLD_VISIBLE_KERSTREAMS", "SEE_LOCAL_PROC_STAT",
    "DEBUG", "SYSCALL_EXIT_HOOK",
)  # fmt: skip
BIT = {name: 1 << number for number, name in enumerate(NAMES)}

UNSUPPORTED = {
    "FORK_DELAY": "a fork is never delayed here",
    "USE_REMOTE_MEMORY": "mainline Linux has no memory of other nodes",
    "USE_INTRA_CLUSTER_KERSTREAMS": "mainline Linux has no streams that move with a process",
    "USE_INTER_CLUSTER_KERSTREAMS": "mainline Linux has no streams that move with a process",
    "USE_WORLD_VISIBLE_KERSTREAMS": "mainline Linux has no streams that move with a process",
    "SEE_LOCAL_PROC_STAT": "/proc always shows the local node",
    "DEBUG": "mainline Linux has nothing of Kerrighed to debug",
    "SYSCALL_EXIT_HOOK": "mainline Linux has no such hook",
}
SUPPORTED = sum(bit for name, bit in BIT.items() if name not in UNSUPPORTED)

GROUPS = f"{node.RUN}/cgroup"
RECORDS = f"{node.RUN}/capabilities"


class Sets(NamedTuple):
    """The four sets as Kerrighed has them."""

    permitted: int
    effective: int
    inheritable_permitted: int
    inheritable_effective: int

    def child(self) -> Sets:
        """What a child is born with."""
        return Sets(
            self.inheritable_permitted,
            self.inheritable_effective,
            self.inheritable_permitted,
            self.inheritable_effective,
        )

    def has(self, name: str) -> bool:
        return bool(self.effective & BIT[name])


FIRST = Sets(
    SUPPORTED, BIT["CHANGE_KERRIGHED_CAP"], SUPPORTED, BIT["CHANGE_KERRIGHED_CAP"]
)  # of a process that nobody changed
WITHIN = (
    ("effective", "permitted"),
    ("inheritable_permitted", "permitted"),
    ("inheritable_effective", "inheritable_permitted"),
)
FIELD = {"-p": "permitted", "-e": "effective", "-i": "inheritable_permitted", "-d": "inheritable_effective"}


def names(bits: int) -> list[str]:
    return [name for name in NAMES if bits & BIT[name]]


def show(sets: Sets) -> str:
    """What `krgcapset -s` prints."""
    titles = ("Permitted", "Effective", "Inheritable Permitted", "Inheritable Effective")
    lines = []
    for title, bits in zip(titles, sets):
        lines.append(f"{title} Capabilities: 0{bits:o}")
        lines.extend(f"\t{line}" for line in textwrap.wrap(", ".join(names(bits)), 72) or [""])
    return "\n".join(lines)


def change(sets: Sets, changes: Iterable[tuple[str, str]]) -> Sets:
    """Sets after all of the changes, each (option, [+|-]CAP[,CAP...] or an octal number).

    SsiError: an unknown or unsupported capability, or sets that no process can have.
    """
    for option, text in changes:
        field = FIELD[option]
        sets = sets._replace(**{field: _changed(getattr(sets, field), text)})
    for inner, outer in WITHIN:
        wrong = getattr(sets, inner) & ~getattr(sets, outer)
        if wrong:
            inside, outside = inner.replace("_", " "), outer.replace("_", " ")
            raise SsiError(
                f"Operation not permitted: {inside} has {', '.join(names(wrong))}, which {outside} has not"
            )
    return sets


def _changed(bits: int, text: str) -> int:
    if text and not set(text) - set("01234567"):
        given, listed = int(text, 8), names(int(text, 8))
        if given >> len(NAMES):
            raise SsiError(f"Unrecognized capability: 0{given:o}")
    else:
        listed = text.lstrip("+-").split(",")
        for name in listed:
            if name not in BIT:
                raise SsiError(f"Unrecognized capability: {name}")
        given = sum(BIT[name] for name in set(listed))
    if text.startswith("-"):
        return bits & ~given
    for name in listed:
        if name in UNSUPPORTED:
            raise SsiError(f"{name} is not supported: {UNSUPPORTED[name]}")
    return bits | given if text.startswith("+") else given


def prepare() -> None:
    """Mount the hierarchy of groups; without controllers it limits nothing and is no business of systemd's."""
    os.makedirs(RECORDS, exist_ok=True)
    if node.mounted(GROUPS) is None:
        os.makedirs(GROUPS, exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup", "-o", "none,name=ssi", "ssi", GROUPS], check=True)


def get(pid: int) -> Sets:
    """SsiError: there is no such process."""
    found = process.look(pid)
    if found is None:
        raise SsiError("No such process")
    with contextlib.suppress(FileNotFoundError, ValueError):
        record = json.loads(node.read(f"{RECORDS}/{pid}"))
        if record["start"] == found.start:
            return Sets(*record["sets"])
    return born(node.read(f"/proc/{pid}/cgroup"))


def born(groups: str) -> Sets:
    """What a process has by its group alone. `groups`: text of /proc/PID/cgroup."""
    for line in groups.splitlines():
        controllers, path = line.split(":", 2)[1:]
        if controllers == "name=ssi" and path != "/":
            permitted, effective = (int(part, 8) for part in path.strip("/").split("-"))
            return Sets(permitted, effective, permitted, effective)
    return FIRST


def put(pid: int, sets: Sets) -> None:
    """Set them for one process, and for the children that it will have."""
    found = process.look(pid)
    if found is None:
        raise SsiError("No such process")
    group = f"{GROUPS}/{sets.inheritable_permitted:o}-{sets.inheritable_effective:o}"
    os.makedirs(group, exist_ok=True)
    replace(f"{RECORDS}/{pid}", json.dumps({"start": found.start, "sets": sets}))
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(pid))


def forget_the_dead() -> None:
    for name in os.listdir(RECORDS):
        if name.isdigit() and process.look(int(name)) is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{RECORDS}/{name}")


def application(pid: int, members: dict[int, process.Process] | None = None) -> int:
    """The process that an application begins with: the highest of the CHECKPOINTABLE processes above and including this one."""
    known = process.everything() if members is None else members
    root = pid
    while root in known and known[root].parent in known and get(known[root].parent).has("CHECKPOINTABLE"):
        root = known[root].parent
    return root
