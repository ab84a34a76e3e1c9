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
PASSWORD = "open sesame"
USERS = {"asked": "ALL", "trusted": "NOPASSWD: ALL"}
"""Users that exist for this server alone, and what sudo lets them do; their password is ``PASSWORD``."""


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

    def host_variables(self, user: str = "root") -> dict[str, Any]:
        """How a play reaches this server: its host key is checked against the one known file."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={self.folder}/known_hosts",
            "ansible_python_interpreter": "/usr/bin/python3",
        }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def server(authorized: Server | None = None) -> Iterator[Server]:
    """Start sshd on a machine of its own (``in_machine``); with ``authorized`` the keys of that server are let in too."""
    assert SSHD
    # a short path: sockets of ControlPersist lie below it
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))
    folder.chmod(0o755)
    process = None
    try:
        for name in ("host_key", "user_key"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(argv, check=True, timeout=90)
        keys = [one.folder / "user_key.pub" for one in (authorized,) if one] + [folder / "user_key.pub"]
        (folder / "authorized_keys").write_text("".join(key.read_text() for key in keys))
        port = free_port()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
        (folder / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"StrictModes no\nPermitRootLogin yes\nLogLevel VERBOSE\nAuthorizedKeysFile {folder}/authorized_keys\n"
            "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                in_machine(folder, [SSHD, "-D", "-e", "-f", str(folder / "config")]), stderr=log
            )
        deadline = time.monotonic() + 90
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
            # its sessions are its children: they serve ControlPersist masters, which end with them
            sessions = children(process.pid)
            process.terminate()
            process.wait()
            for pid in sessions:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        shutil.rmtree(folder)


def in_machine(folder: Path, argv: list[str]) -> list[str]:
    """``argv`` on a machine that differs from this one by its root and its ``USERS``, for itself and its children alone.

    The root is small: /etc, /root and /run of its own, and this machine's folders mounted into it. So it is what a node's
    / is, and programs may be added in ``folder/local``.
    """
    openssl = ["openssl", "passwd", "-6", PASSWORD]
    coded = subprocess.run(openssl, check=True, capture_output=True, text=True, timeout=90).stdout.strip()
    root = folder / "root"
    root.mkdir()
    subprocess.run(["cp", "-a", "/etc", root], check=True, timeout=60)
    lines = {"passwd": "", "shadow": "", "sudoers": "root ALL=(ALL) ALL\n"}
    for number, (name, allowed) in enumerate(USERS.items(), 64000):
        home = folder / name
        home.mkdir()
        os.chown(home, number, number)
        lines["passwd"] += f"{name}:x:{number}:{number}::{home}:/bin/sh\n"
        lines["shadow"] += f"{name}:{coded}:20000:0:99999:7:::\n"
        lines["sudoers"] += f"{name} ALL=(ALL) {allowed}\n"
    (root / "etc/sudoers").unlink(missing_ok=True)
    for name, content in lines.items():
        with (root / "etc" / name).open("a") as file:
            file.write(content)
    (root / "etc/sudoers").chmod(0o440)
    (folder / "local/bin").mkdir(parents=True)
    (root / "run").mkdir()
    # a root is where a file system is mounted: a chroot alone is none
    script = f"mount --bind {root} {root} && "
    for top in sorted(Path("/").iterdir()):
        if top.is_symlink():
            (root / top.name).symlink_to(top.readlink())
        elif top.name == "root":
            # what this machine's login shells do takes time, and leaves locks when it is killed
            (root / top.name).mkdir(mode=0o700)
        elif top.is_dir() and top.name not in ("etc", "run"):
            (root / top.name).mkdir()
            bind = "rbind" if top.name in ("dev", "proc", "sys") else "bind"
            script += f"mount --{bind} {top} {root}{top} && "
    script += f"mount --bind {folder}/local {root}/usr/local && mount -t tmpfs tmpfs {root}/run && "
    return [
        *("unshare", "--mount", "--propagation", "private"),
        *(
            "sh",
            "-c",
            f'{script} cd {root} && pivot_root . . && umount -l . && cd / && mkdir /run/sshd && exec "$@"',
            "sh",
            *argv,
        ),
    ]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_play(
    folder: Path,
    options: dict[str, Any] | list[dict[str, Any]],
    variables: dict[str, Any],
    *flags: str,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a play on the host ``node`` with a task ``image_fetch`` for each of ``options``, in a session of its own."""
    (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"node": variables}}}))
    tasks: list[dict[str, Any]] = [
        {"oneimage.cluster.image_fetch": one, "register": f"fetched_{number}", "ignore_errors": True}
        for number, one in enumerate(options if isinstance(options, list) else [options])
    ]
    results = ", ".join(task["register"] for task in tasks)
    tasks.append({"ansible.builtin.debug": {"msg": f"RESULT {{{{ [{results}] | to_json }}}} END"}})
    (folder / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "node", "gather_facts": False, "tasks": tasks}])
    )
    argv = ["-m", "ansible", "playbook", "-i", str(folder / "inventory.yml"), str(folder / "play.yml")]
    return subprocess.Popen(
        [sys.executable, *argv, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=True,
        # Ansible leaves it to its end, or to a buffer that is full, when a pipe shows what it prints
        env={**os.environ, "PYTHONUNBUFFERED": "1", **ENVIRONMENT, **(environment or {})},
    )


def results_of(process: subprocess.Popen[str], timeout: float = 300) -> tuple[list[dict[str, Any]], str]:
    """The tasks' results and all that the play printed."""
    output = process.communicate(timeout=timeout)[0]
    _before, mark, rest = output.partition('"msg": "RESULT ')
    assert mark, output
    results: list[dict[str, Any]] = json.loads(json.loads('"' + rest.partition(' END"')[0] + '"'))
    return results, output
