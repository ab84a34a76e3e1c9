# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Run the commands of a flavour where its cluster is: on this host, or through ssh on a node that cannot run modules itself."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import clean

NOT_FOUND = 127
SSH_FAILED = 255
"""Of ssh itself; a command's own 255, as krgcapset's, is 254 on its way."""
OWN_CODE = "{} || {{ code=$?; [ $code -ne 255 ] || code=254; exit $code; }}"
GONE = ("No route to host", "Connection timed out", "Host is down")
"""ssh's words for an address where nothing answers, as of a node that is off."""


class EntryLost(ClusterError):
    """ssh does not reach the node behind the entry; ``said`` is what it says of that."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.gone = any(words in said for words in GONE)
        self.may_come = self.gone or "Connection refused" in said


class CommandTimeout(ClusterError):
    """The command was ended because it gave no answer in time."""


@dataclass(frozen=True)
class Said:
    """What a command printed, with its backspaces carried out; ``text`` is standard output, then standard error."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + ("\n" if self.out and not self.out.endswith("\n") else "") + self.err


@dataclass(frozen=True)
class Entry:
    """The way to the entry node: words before each command, such as ``ssh -p 2222 root@n1``; none for this host."""

    prefix: tuple[str, ...] = ()

    def run(self, argv: Sequence[str], *, timeout: float = 60, stdin: bytes | None = None) -> Said:
        """Run ``argv`` as it stands; any exit code is an answer. ``timeout`` in seconds, after which it is ended.

        Behind a prefix the command is one word, quoted for the shell there. Raises CommandTimeout, EntryLost where ssh
        itself failed, and ClusterError for a program that is not there.
        """
        if not self.prefix:
            return execute(argv, timeout, stdin)
        said = execute([*self.prefix, OWN_CODE.format(shlex.join(argv))], timeout, stdin)
        if said.code == SSH_FAILED:
            by = shlex.join(self.prefix)
            raise EntryLost(f"cannot reach the entry node by {by}: {line(said.err)}", said.err)
        if said.code == NOT_FOUND:
            raise ClusterError(f"cannot run {argv[0]}: not found on the entry node")
        return Said(255, said.out, said.err) if said.code == 254 else said


def fill(argv: Sequence[str], **fields: Any) -> list[str]:
    """``argv`` of a flavour with its ``{fields}``."""
    return [word.format_map(fields) for word in argv]


def execute(command: Sequence[str], timeout: float, stdin: bytes | None) -> Said:
    """Output goes to files: a daemon that the command leaves behind would hold a pipe open for ever."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        try:
            # logic knows no AnsibleModule, so that its run_command is out of reach
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
                list(command),
                stdin=given,
                stdout=out,
                stderr=err,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ClusterError(f"cannot run {command[0]}: not found on this host") from error
        except OSError as error:
            raise ClusterError(f"cannot run {command[0]}: {error.strerror}") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            end(process)
            raise CommandTimeout(
                f"{shlex.join(command)} gave no answer within {timeout:.0f} s and was ended"
            ) from error
        return Said(code, read(out), read(err))


def end(process: subprocess.Popen[bytes]) -> None:
    """The command and what it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(file: Any) -> str:
    file.seek(0)
    return clean(file.read().decode("utf-8", "replace"))


def line(text: str) -> str:
    """``text`` on one line, for an error."""
    return " | ".join(part.strip() for part in text.splitlines() if part.strip()) or "it said nothing"
