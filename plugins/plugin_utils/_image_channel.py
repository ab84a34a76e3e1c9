# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A program on the node whose output arrives while it runs, over the play's own connection.

Ansible's execution of commands gives their output back when they are over, and keeps all of it in memory until then. So
the argv that the connection plugin would run is run here, which follows the user's ssh configuration wherever the play
does: jump hosts, keys, agents, host keys, ports. The ssh plugin's ``_build_command`` is the one private name for that;
its signature is the same from ansible-core 2.19 to 2.21.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ansible.module_utils.common.text.converters import to_bytes, to_text

from ansible_collections.oneimage.cluster.plugins.module_utils._command import tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import DATA, HEADER

BLOCK = 1 << 20
"""Bytes read at once."""
NOISE = 1 << 16
"""Bytes of greetings before the stream, and of messages beside it, that are kept."""
FRAME_LIMIT = 1 << 26
"""Bytes of a frame that has to be held in one piece: results with long lists, never data."""
TRANSPORTS = ("ssh", "local")
GRACE = 5.0
"""Seconds that the program here gets to end by itself."""


class Refused(ClusterError):
    """The way to the node could not be opened; nothing of the stream had begun."""


def check_connection(connection: Any) -> None:
    """Raise ClusterError for a connection that has no stream."""
    if connection.transport not in TRANSPORTS:
        raise ClusterError(
            f"image_fetch streams over the connections {' and '.join(TRANSPORTS)}, and this play uses"
            f" {connection.transport}: capture with image_archive and copy the file, or change ansible_connection"
        )


def routes(connection: Any, command: str, *, own: bool) -> list[list[str]]:
    """The argv to try, in turn, to run the shell command ``command`` on the node.

    With ``own`` the first is a connection of its own: the play's has ``-C`` by default, which compresses what is compressed
    already (at some 50 MB/s a core). A node that wants a password refuses it. The last is always the play's own way, over
    its ControlPersist master, which has been let in already.
    """
    if connection.transport == "local":
        return [["/bin/sh", "-c", command]]
    ssh = connection.get_option("ssh_executable")
    host = connection.get_option("host") or connection._play_context.remote_addr
    built = [to_text(word) for word in connection._build_command(ssh, "ssh", host, command)]
    # before 2.20 sshpass comes first; the master that the play opened needs no password any more
    words = built[built.index(ssh) + 1 :]
    # nobody can answer a question here: the stream's input is the lifeline
    quiet = [ssh, "-o", "BatchMode=yes", "-T"]
    shared = [*quiet, *words]
    if not own or connection.get_option("password"):
        return [shared]
    single = [*quiet, "-o", "ControlPath=none", "-o", "Compression=no", *(w for w in words[:-2] if w != "-C")]
    return [[*single, *words[-2:]], shared]


class Channel:
    """The started program. ``frames`` gives what it sends; ``close`` ends it, on the node as well."""

    def __init__(
        self, argv: Sequence[str], *, become: Any, token: str, patience: float, tick: Callable[[], None]
    ) -> None:
        """``become`` is the become plugin or None, ``patience`` how many seconds may pass without any sign of life.

        ``tick`` is called at least once a second. Raises ClusterError where ``argv`` cannot be started.
        """
        self._become, self._token, self._patience, self._tick = become, token.encode() + b"\n", patience, tick
        self._program = argv[0]
        self._heard = self._beaten = time.monotonic()
        self._parent = os.getppid()
        self._output = self._errors = b""
        self._selector = selectors.DefaultSelector()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pipesize=BLOCK,
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(f"cannot run {argv[0]}: {error.strerror}") from error
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = (stream.fileno() for stream in streams if stream)
        for descriptor in (self._stdout, self._stderr):
            self._selector.register(descriptor, selectors.EVENT_READ)

    def frames(self, program: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Hand ``program`` to the node once it can take it; yield kind and body of each frame, data piece by piece.

        Raises Refused until the stream begins, ClusterError when it is cut off after that.
        """
        self._open(program)
        while True:
            kind, size = HEADER.unpack(b"".join(self._pieces(HEADER.size)))
            if kind == DATA:
                for piece in self._pieces(size):
                    yield kind, piece
                continue
            if size > FRAME_LIMIT:
                raise ClusterError(f"the node sent a frame of {size} bytes: this is no image stream")
            yield kind, b"".join(self._pieces(size))

    def close(self) -> None:
        """End the program here; without its lifeline the node's side ends as well."""
        self._selector.close()
        with self._process as process:  # closes the three pipes
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def _open(self, program: bytes) -> None:
        """Become the wanted user, send ``program`` and wait for the line with the token; the stream follows it."""
        asked = sent = False
        if not self._become:
            self._send(program)
            sent = True
        while self._token not in self._output:
            if self._become and not sent:
                if self._become.check_success(self._output):
                    self._send(program)
                    sent = True
                else:
                    asked = self._answer(asked)
            if not self._fill():
                raise Refused(self._ending("the node did not start the capture"))
            if len(self._output) > NOISE and self._token not in self._output:
                raise Refused(
                    "the node prints without end before the capture starts: see its login shell's files"
                )
        self._output = self._output.partition(self._token)[2]

    def _answer(self, asked: bool) -> bool:
        """Give the become password when it is asked for; returns whether it has been given."""
        said = self._errors + b"\n" + self._output
        if self._become.check_missing_password(said):
            raise ClusterError(
                f"{self._become.name} wants a password: set ansible_become_password, or use -K"
            )
        if self._become.check_incorrect_password(said):
            raise ClusterError(f"{self._become.name} refused the password in ansible_become_password")
        if not asked and self._become.expect_prompt() and self._become.check_password_prompt(said):
            self._send(to_bytes(self._become.get_option("become_pass")) + b"\n")
            return True
        return asked

    def _send(self, content: bytes) -> None:
        # a program that is gone is told by its output's end, with its own words
        with contextlib.suppress(BrokenPipeError):
            view = memoryview(content)
            while view:
                view = view[os.write(self._stdin, view) :]

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._output and not self._fill():
                raise ClusterError(self._ending("the stream was cut off"))
            piece, self._output = self._output[:size], self._output[size:]
            size -= len(piece)
            yield piece

    def _fill(self) -> bool:
        """Wait for output and add it to ``_output``; false at its end. Keeps the lifeline alive meanwhile."""
        while True:
            self._live()
            for key, _events in self._selector.select(1.0):
                block = os.read(key.fd, BLOCK)
                self._heard = time.monotonic()
                if key.fd == self._stderr:
                    self._errors = (self._errors + block)[-NOISE:]
                    if not block:
                        self._selector.unregister(key.fd)
                    elif self._become:
                        return True
                    continue
                self._output += block
                return bool(block)

    def _live(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= 1.0:
            self._beaten = now
            self._send(b".")
            self._tick()
            if os.getppid() != self._parent:
                raise ClusterError("the play was killed")
        if now - self._heard > self._patience:
            raise ClusterError(
                f"nothing came from the node for {self._patience:g} s: the way to it is broken"
            )

    def _ending(self, event: str) -> str:
        """``event``, how the program ended and the last that it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        # never until the end: a ControlPersist master may hold its end open for long
        while ready := [key for key, _events in self._selector.select(0) if key.fd == self._stderr]:
            block = os.read(ready[0].fd, BLOCK)
            self._errors = (self._errors + block)[-NOISE:]
            if not block:
                break
        code = self._process.returncode
        said = tail(self._errors or self._output)
        return f"{event}: {self._program} ended with exit code {code}: {said}"
