# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""krgcapset: the capabilities of a process, with Kerrighed's options and output. Without -k: of the process that calls it."""

from __future__ import annotations

import getopt
import os
import sys

from ssi import capabilities, errors, location, membership, node, remote
from ssi.errors import SsiError

USAGE = """usage: krgcapset [-k pid] -s
       krgcapset [-f] [-k pid] {-e|-p|-d|-i} {[+|-]CAP[,CAP...]|OCTAL} ...
-e effective, -p permitted, -d inheritable effective, -i inheritable permitted; several are changed at once"""


def main(arguments: list[str]) -> int:
    try:
        found, rest = getopt.getopt(arguments, "hsfk:e:p:d:i:")
        pid = int(dict(found).get("-k", os.getppid()))
    except (getopt.GetoptError, ValueError) as error:
        print(f"krgcapset: {error}\n{USAGE}", file=sys.stderr)
        return 1
    if rest or not found or "-h" in dict(found):
        print(USAGE, file=sys.stderr)
        return 0 if "-h" in dict(found) else 1
    try:
        here = node.member()
    except SsiError:
        print("Unable to get the list of supported caps.\nIs Kerrighed running?", file=sys.stderr)
        return 1
    return errors.run(lambda: _run(here, pid, found, arguments), "krgcapset")


def _run(here: node.Node, pid: int, found: list[tuple[str, str]], arguments: list[str]) -> int:
    options = dict(found)
    if "-k" in options:
        seen = membership.view(here)
        number = location.where(here, seen, pid)
        if number not in (None, here.node_id):
            said = remote.run(seen, int(str(number)), ["krgcapset", *arguments], timeout=60)
            sys.stdout.write(said.out)
            sys.stderr.write(said.err)
            return said.code
    sets = capabilities.get(pid)
    if "-s" in options:
        print(capabilities.show(sets))
        return 0
    changed = capabilities.change(
        sets, [(option, text) for option, text in found if option in capabilities.FIELD]
    )
    own = capabilities.BIT["CHANGE_KERRIGHED_CAP"]
    if sets.effective & own and not changed.effective & own and "-f" not in options:
        print("Dropping CHANGE_KERRIGHED_CAP cannot be undone. Continue? (y/n) ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    capabilities.put(pid, changed)
    return 0
