# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi-ps: the processes of all nodes of the session, each asked for its own: a view, not one table."""

from __future__ import annotations

import getopt
import json
import os
import sys

from ssi import errors, location, membership, node, pids, remote
from ssi.errors import SsiError

USAGE = """usage: ssi-ps [-a] [--json]     processes whose pid is in a node's range; -a: all processes of all nodes
       ssi-ps --where PID       number of the node where a process of the session runs"""
HEADER = ("NODE", "USER", "PID", "PPID", "%CPU", "RSS", "STAT", "SECONDS", "COMMAND")


def main(arguments: list[str]) -> int:
    try:
        found, rest = getopt.getopt(arguments, "ha", ["json", "where="])
    except getopt.GetoptError as error:
        print(f"ssi-ps: {error}\n{USAGE}", file=sys.stderr)
        return 1
    options = dict(found)
    if "-h" in options or rest or not options.get("--where", "0").isdigit():
        print(USAGE, file=sys.stderr)
        return 0 if "-h" in options else 1
    if "--where" in options:
        return errors.run(lambda: _where(int(options["--where"])), "ssi-ps")
    return errors.run(lambda: _table(options), "ssi-ps")


def _where(pid: int) -> int:
    here = node.member()
    print(location.require(here, membership.view(here), pid))
    return 0


def _table(options: dict[str, str]) -> int:
    here = node.member()
    seen = membership.view(here)
    rows: list[list[str]] = []
    answers = remote.ask_all(here, seen, seen.online() or [here.node_id], ["processes"])
    for number, answer in answers.items():
        if isinstance(answer, SsiError):
            print(f"ssi-ps: node {number} is left out: {answer}", file=sys.stderr)
            continue
        rows.extend(
            [str(number), *row] for row in json.loads(answer) if "-a" in options or pids.home(int(row[1]))
        )
    if "--json" in options:
        print(
            json.dumps(
                [
                    dict(
                        zip(("node", "user", "pid", "ppid", "cpu", "rss", "stat", "seconds", "command"), row)
                    )
                    for row in rows
                ]
            )
        )
        return 0
    width = os.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in [HEADER, *rows]:
        print("{:>4} {:<12} {:>8} {:>8} {:>5} {:>8} {:<5} {:>8} {}".format(*row)[:width])
    return 0 if not any(isinstance(answer, SsiError) for answer in answers.values()) else 1
