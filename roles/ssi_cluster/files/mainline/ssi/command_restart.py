# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""restart IDENTIFIER VERSION: an application goes on from a checkpoint, on this node, with Kerrighed's output."""

from __future__ import annotations

import getopt
import sys

from ssi import applications, errors, membership, node

USAGE = "usage: restart [-q] <appid> <version>"
UNSUPPORTED = {
    "-t": "another terminal",
    "-f": "staying in the foreground",
    "-p": "another parent",
    "-s": "other files for open ones",
}


def main(arguments: list[str]) -> int:
    try:
        found, rest = getopt.getopt(arguments, "htfpqs:")
    except getopt.GetoptError as error:
        print(f"restart: {error}\n{USAGE}", file=sys.stderr)
        return 1
    options = dict(found)
    if "-h" in options or len(rest) != 2 or not all(word.isdigit() for word in rest):
        print(USAGE, file=sys.stderr)
        return 0 if "-h" in options else 1
    return errors.run(lambda: _run(int(rest[0]), int(rest[1]), options), "restart")


def _run(identifier: int, version: int, options: dict[str, str]) -> int:
    errors.refuse(options, UNSUPPORTED)
    here = node.member()
    applications.check_folder(here)
    seen = membership.view(here)
    seen.require_online(here.node_id)
    if "-q" not in options:
        print(f"Restarting application {identifier} (v{version}) ...", flush=True)
    applications.restart(here, seen, identifier, version)
    if "-q" not in options:
        print(f"Application {identifier} has been successfully restarted")
    return 0
