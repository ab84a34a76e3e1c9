# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate PID NODE: silent where it succeeds, as Kerrighed's."""

from __future__ import annotations

import sys

from ssi import errors, location, membership, migration, node, remote
from ssi.errors import SsiError

USAGE = "usage: migrate <pid> <nodeid>"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not all(word.isdigit() for word in arguments):
        print(USAGE, file=sys.stderr)
        return 1
    return errors.run(lambda: _run(int(arguments[0]), int(arguments[1])), "migrate")


def _run(pid: int, target: int) -> int:
    here = node.member()
    seen = membership.view(here)
    number = location.require(here, seen, pid)
    if number == target:
        raise SsiError(f"Invalid argument: process {pid} is on node {target} already")
    if number == here.node_id:
        migration.migrate(here, seen, pid, target)
        return 0
    said = remote.run(seen, number, ["migrate", str(pid), str(target)], timeout=1800)
    sys.stderr.write(said.err)
    return said.code
