# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for setpe, omdiscd, showmap and mosctl of openMosix. It is not openMosix, and moves nothing.

Options and the map's form as in setpe(1) and the openMosix HOWTO ([source]); ``yes`` and ``no`` of isup as programs that ask
it expect them. What setpe says without a configuration is not recorded. In the environment: SSI_STAND_IN_STATE (folder
of all nodes), SSI_STAND_IN_NODE (id of the node it runs on), SSI_STAND_IN_PROGRAM (which of the programs it is). The folder:

- ``etc/openmosix.map``: what lies in /etc on every node; ``wire``: such a map of what omdiscd would find;
- ``kernel/ID``: the map in the kernel of that node, which is up while it is there and ``dead/ID`` is not;
- ``calls.log``: every command, a line each, after the id of its node.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

STATE = Path(os.environ["SSI_STAND_IN_STATE"])
OWN = os.environ.get("SSI_STAND_IN_NODE", "1")
KERNEL = STATE / "kernel" / OWN


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


def check(text: str) -> None:
    """Three fields a line; the node's own address must be among them [source]."""
    ids: list[int] = []
    for line in filter(str.strip, text.splitlines()):
        fields = line.split()
        if len(fields) != 3 or not fields[0].isdigit() or not fields[2].isdigit():
            fail(f"setpe: bad line: {line}")
        ids += range(int(fields[0]), int(fields[0]) + int(fields[2]))
    if int(OWN) not in ids:
        fail("setpe: this node's address is not in the table")


def configure(text: str) -> None:
    check(text)
    KERNEL.parent.mkdir(exist_ok=True)
    KERNEL.write_text(text)


def setpe(words: list[str]) -> None:
    if words == ["-off"]:
        KERNEL.unlink(missing_ok=True)
    elif words == ["-r"]:
        if not KERNEL.exists():
            fail("openMosix is not configured")
        print(KERNEL.read_text(), end="")
    elif words[:2] == ["-w", "-f"]:
        configure((STATE / words[2].lstrip("/")).read_text())
    else:
        fail(f"stand-in: not recorded: setpe {' '.join(words)}")


def showmap() -> None:
    """As the HOWTO shows it [source]."""
    print(
        f"My Node-Id: 0x{int(OWN):04x}\n\nBase Node-Id Address          Count\n------------ ---------------- -----"
    )
    for line in KERNEL.read_text().splitlines():
        first, address, count = line.split()
        print(f"0x{int(first):04x}       {address:<16} {count}")


def mosctl(words: list[str]) -> None:
    if words[0] == "isup":
        node = words[1] if words[1:] else OWN
        up = (STATE / "kernel" / node).exists() and not (STATE / "dead" / node).exists()
        print("yes" if up else "no")
    elif words != ["expel"]:
        fail(f"stand-in: not recorded: mosctl {' '.join(words)}")


def main(words: list[str]) -> None:
    program = os.environ["SSI_STAND_IN_PROGRAM"]
    with (STATE / "calls.log").open("a") as log:
        log.write(" ".join([OWN, program, *words]) + "\n")
    if program == "setpe":
        setpe(words)
    elif program == "omdiscd":
        configure((STATE / "wire").read_text())
    elif program == "showmap":
        showmap()
    else:
        mosctl(words)


if __name__ == "__main__":
    main(sys.argv[1:])
