# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""checkpoint PID: the next version of the application that the process belongs to, with Kerrighed's options and output."""

from __future__ import annotations

import getopt
import signal
import sys
import time

from ssi import applications, capabilities, errors, location, membership, node, process, remote
from ssi.errors import SsiError
from ssi.node import Node

USAGE = """usage: checkpoint [-f|-u[SIG]|-c|-k[SIG]] [-q] [-d DESCRIPTION] [-a] <pid>
-f freeze only, -u unfreeze only (and send SIG), -c checkpoint a frozen application, -k checkpoint, then send SIG (KILL),
-q no output, -d description, -a the number is the application's identifier"""

UNSUPPORTED = {"-b": "callbacks", "-i": "leaving out what cannot be saved"}


def main(arguments: list[str]) -> int:
    # -u and -k take their signal without a blank, as Kerrighed's do.
    split = [
        word if word[:2] not in ("-u", "-k") or len(word) == 2 else f"--signal{word[1]}={word[2:]}"
        for word in arguments
    ]
    try:
        found, rest = getopt.gnu_getopt(split, "hfuckqbaid:", ["signalu=", "signalk="])
    except getopt.GetoptError as error:
        print(f"checkpoint: {error}\n{USAGE}", file=sys.stderr)
        return 1
    options = dict(found)
    actions = [name for name in ("-f", "-u", "-c", "-k", "--signalu", "--signalk") if name in options]
    if "-h" in options or len(rest) != 1 or not rest[0].isdigit() or len(actions) > 1:
        print(USAGE, file=sys.stderr)
        return 0 if "-h" in options else 1
    return errors.run(lambda: _run(int(rest[0]), options, arguments), "checkpoint")


def _run(pid: int, options: dict[str, str], arguments: list[str]) -> int:
    errors.refuse(options, UNSUPPORTED)
    here = node.member()
    applications.check_folder(here)
    seen = membership.view(here)
    number = location.require(here, seen, pid)
    if number != here.node_id:
        said = remote.run(seen, number, ["checkpoint", *arguments], timeout=1800)
        sys.stdout.write(said.out)
        sys.stderr.write(said.err)
        return said.code
    root = pid if "-a" in options else capabilities.application(pid)
    applications.check_allowed(process.tree(root), "CHECKPOINTABLE")
    return _act(here, pid, root, options)


def _act(here: Node, pid: int, root: int, options: dict[str, str]) -> int:
    def say(text: str) -> None:
        if "-q" not in options:
            print(text, flush=True)

    known = f"application in which process {pid} is involved..."
    if "-f" in options:
        say(f"Freezing {known}")
        process.freeze(root)
        return 0
    if "-u" in options or "--signalu" in options:
        say(f"Unfreezing {known}")
        _wake(root, options.get("--signalu"))
        return 0
    members = process.tree(root)
    if "-c" in options and any(member.state != "T" for member in members):
        raise SsiError(
            f"Operation not permitted: application {root} is not frozen; checkpoint -f {pid} freezes it"
        )
    if "-c" not in options:
        say(f"Freezing {known}")
        members = process.freeze(root)
    try:
        say(f"Checkpointing {known}")
        version = applications.save(here, root, members, options.get("-d", "No description"))
    except BaseException:
        if "-c" not in options:
            process.thaw(members)
        raise
    say(version.text(time.ctime(version.date)))
    if "-c" in options:
        return 0
    say(f"Unfreezing {known}")
    _wake(root, options.get("--signalk", "KILL" if "-k" in options else None))
    return 0


def _wake(root: int, name: str | None) -> None:
    members = process.tree(root)
    if name:
        process.kill(members, _signal(name))
    process.thaw(members)


def _signal(name: str) -> int:
    """Number of a signal given by number or name."""
    try:
        return int(name) if name.isdigit() else int(signal.Signals["SIG" + name.upper().removeprefix("SIG")])
    except (KeyError, ValueError) as error:
        raise SsiError(f"Invalid argument: there is no signal {name}") from error
