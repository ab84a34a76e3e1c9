"""A real sshd on loopback with keys of its own, and plays that reach it: nothing of the user's ssh is read or written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from adhoc import ENVIRONMENT

SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")


@dataclass
class Server:
    """A running sshd; ``log`` is what it says of its connections."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    def host_variables(self) -> dict[str, Any]:
        """How a play reaches this server: its host key is checked against the one known file."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={self.folder}/known_hosts",
            "ansible_python_interpreter": "/usr/bin/python3",
        }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def server(settings: str = "", authorized: Path | None = None) -> Iterator[Server]:
    """Start sshd; ``settings`` are further lines of its configuration, ``authorized`` a public key to let in."""
    assert SSHD
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    # a short path: sockets of ControlPersist lie below it
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))
    process = None
    try:
        for name in ("host_key", "user_key"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(argv, check=True, timeout=30)
        shutil.copy(authorized or folder / "user_key.pub", folder / "authorized_keys")
        port = free_port()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
        (folder / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nPermitRootLogin yes\nLogLevel VERBOSE\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PasswordAuthentication no\nMaxSessions 20\n{settings}"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield Server(folder, port, process)
    finally:
        if process:
            # its sessions are its children and end with the masters, whose processes they serve
            sessions = children(process.pid)
            process.terminate()
            process.wait()
            for pid in sessions:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        shutil.rmtree(folder)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_play(
    folder: Path,
    options: dict[str, Any],
    variables: dict[str, Any],
    *flags: str,
    task: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a play with one task ``image_fetch`` on the host ``node``, in a session of its own."""
    inventory = {"all": {"hosts": {"node": variables}}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
    fetch = {"oneimage.cluster.image_fetch": options, "register": "fetched", **(task or {})}
    show = {"ansible.builtin.debug": {"msg": "RESULT {{ fetched | to_json }} END"}}
    play = [{"hosts": "node", "gather_facts": False, "tasks": [{**fetch, "ignore_errors": True}, show]}]
    (folder / "play.yml").write_text(yaml.safe_dump(play))
    argv = ["-m", "ansible", "playbook", "-i", str(folder / "inventory.yml"), str(folder / "play.yml")]
    return subprocess.Popen(
        [sys.executable, *argv, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, **ENVIRONMENT, **(environment or {})},
    )


def result_of(process: subprocess.Popen[str], timeout: float = 300) -> tuple[dict[str, Any], str]:
    """The task's result and all that the play printed."""
    output = process.communicate(timeout=timeout)[0]
    _before, mark, rest = output.partition('"msg": "RESULT ')
    assert mark, output
    text = json.loads('"' + rest.partition(' END"')[0] + '"')
    result: dict[str, Any] = json.loads(text)
    return result, output
