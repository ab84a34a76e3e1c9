"""Stand-ins for nodes that run the deployment environment: an sshd each, at an address and a port 22 of its own.

They share a network namespace whose loopback has all their addresses, and each has /run and /root of its own. What is
deployed on them is a program of the test; the way to them is the real one.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import MICROS

CHECKOUT = Path(__file__).resolve().parents[1]
SSHD = "/usr/sbin/sshd"
MODULE = "ansible_collections.oneimage.cluster.plugins.modules.deployment"
REAL = ("check_nodes",)
"""Micro-steps that log in, ask the node and change nothing on it; programs stand in for all others."""
STEPS = {
    "SetDeploymentEnv": [{"implementation": "Prod"}],
    "BroadcastEnv": [{"implementation": "Http", "retries": 0}],
    "BootNewEnv": [{"implementation": "Dummy"}],
}


def address(number: int) -> str:
    return f"127.1.{number >> 8}.{number & 255}"


class Nodes:
    """``count`` running nodes; what they let in is what a deployment serves below ``boot``."""

    def __init__(self, folder: Path, namespace: str, count: int) -> None:
        self.folder = folder
        self.namespace = namespace
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []
        (folder / "boot" / "images").mkdir(parents=True)
        (folder / "boot" / "images" / "vmlinuz").touch()
        (folder / "image.tar.gz").write_bytes(b"not looked into")

    def inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *argv]

    def start(self) -> None:
        subprocess.run(["ip", "netns", "add", self.namespace], check=True, timeout=90)
        subprocess.run(self.inside(["ip", "link", "set", "lo", "up"]), check=True, timeout=90)
        key = self.folder / "host_key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20
        )
        # a program of the system: sshd trusts none in a temporary folder
        let_in = f"/usr/bin/find {self.folder}/boot/deployments -name authorized_keys -exec cat {{}} +"
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port 22\nHostKey {key}\nPidFile none\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            f"AuthorizedKeysFile none\nAuthorizedKeysCommand {let_in}\nAuthorizedKeysCommandUser root\n"
        )
        web = [
            sys.executable,
            "-m",
            http.server.__name__,
            "80",
            "--bind",
            "127.0.0.1",
            "-d",
            str(self.folder / "boot"),
        ]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(self.inside(web), **quiet))
        own = 'mount -t tmpfs t /run && mkdir /run/sshd && mount -t tmpfs t /root && exec "$@"'
        for number in range(1, self.count + 1):
            sshd = [SSHD, "-D", "-f", str(config), "-o", f"ListenAddress={address(number)}"]
            argv = self.inside(["unshare", "--mount", "sh", "-c", own, "sh", *sshd])
            self.processes.append(subprocess.Popen(argv, **quiet))
        self.wait()

    def wait(self) -> None:
        ports = {f"{address(number)}:22" for number in range(1, self.count + 1)} | {"127.0.0.1:80"}
        for _turn in range(300):
            shown = subprocess.run(
                self.inside(["ss", "-Hltn"]), capture_output=True, text=True, check=True, timeout=20
            ).stdout
            if ports <= {line.split()[3] for line in shown.splitlines()}:
                return
            time.sleep(0.2)
        raise RuntimeError("the nodes' sshd did not start")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(90)
        subprocess.run(["ip", "netns", "del", self.namespace], check=True, timeout=90)

    def options(self, count: int, **more: Any) -> dict[str, Any]:
        """Of a deployment to the first ``count`` nodes."""
        description = {
            **{"name": "deb", "os": "linux", "filesystem": "ext4", "boot": {"kernel": "/vmlinuz"}},
            "image": {"file": str(self.folder / "image.tar.gz"), "kind": "tar", "compression": "gzip"},
        }
        return {
            "environment": {"description": description},
            "nodes": [
                {"name": f"n{n}", "mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}", "address": address(n)}
                for n in range(1, count + 1)
            ],
            "boot": {
                "tree": str(self.folder / "boot"),
                "kernel": "images/vmlinuz",
                "url": "http://127.0.0.1",
            },
            "server": "127.0.0.1",
            "deployments": str(self.folder / "deployments"),
            "steps": STEPS,
            "hooks": {f"instead_of_{micro}": ["true"] for micro in MICROS if micro not in REAL},
            **more,
        }

    def deploy(self, count: int, **more: Any) -> dict[str, Any]:
        """The module's result, as Ansible would get it."""
        done = subprocess.run(
            self.inside([sys.executable, "-m", MODULE]),
            input=json.dumps({"ANSIBLE_MODULE_ARGS": self.options(count, **more)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(CHECKOUT / ".collections")},
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@contextmanager
def running_nodes(count: int) -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        nodes = Nodes(Path(folder), f"nodes-{os.getpid()}", count)
        try:
            nodes.start()
            yield nodes
        finally:
            nodes.stop()
