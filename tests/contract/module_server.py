"""Modules without the price of starting Python each time: one process that has imported what all of them import, and forks.

A module still runs in a process of its own, with its options on standard input, as Ansible runs it; what is saved are the
0.2 s of processor time that Python and ``ansible.module_utils.basic`` take to load, a thousand times over.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


class ModuleServer:
    """``run(module, text) -> (output, errors)``; the server lives until ``close``."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def run(self, module: str, text: str, timeout: float) -> tuple[str, str]:
        """What the module wrote to standard output and to standard error; it may run beside others."""
        request = {"module": module, "environment": dict(os.environ), "folder": os.getcwd()}
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(json.dumps(request).encode() + b"\n" + text.encode())
            given.seek(0)
            ended, running = os.pipe()
            with open(ended, "rb"):
                socket.send_fds(self.ours, [b"r"], [given.fileno(), out.fileno(), err.fileno(), running])
                os.close(running)
                if not select.select([ended], [], [], timeout)[0]:
                    raise TimeoutError(f"{module} still runs after {timeout} s")
            out.seek(0)
            err.seek(0)
            return out.read().decode(), err.read().decode()

    def close(self) -> None:
        self.ours.close()
        self.process.wait(timeout=60)


def serve(connection: socket.socket) -> None:
    import ansible.module_utils.basic  # noqa: F401, PLC0415

    while True:
        asked, files, _flags, _address = socket.recv_fds(connection, 1, 4)
        if not asked:
            return
        if os.fork() == 0:
            connection.close()
            answer(files)
            return
        for descriptor in files:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def answer(files: list[int]) -> None:
    """Become the module, with all that it would find in a process that had just been started; it ends as one, too.

    The last of the files is a pipe that nobody writes to: it is closed when the module ends, however it ends.
    """
    for number, descriptor in enumerate(files[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.set_inheritable(files[3], False)
    os.setsid()
    request: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    warnings.simplefilter("ignore")
    sys.argv = [request["module"]]  # further words would be taken for a file of options
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    with socket.socket(fileno=int(sys.argv[1])) as connected:
        serve(connected)
