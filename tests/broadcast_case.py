"""A boot server and nodes as network namespaces on one bridge; what runs on a node sees busybox, and a /run of its own.

A node is two processes of a namespace each: nothing on this machine's own network, mounts or process table is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUBNET = "10.86.0"
SERVER = f"{SUBNET}.1"
HTTP_PORT = 8080
NGINX = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
    access_log {folder}/access.log; sendfile on; tcp_nopush on; server_tokens off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address}:{port}; root {root}; }}
}}
"""
# a process namespace per node: killing its first process is pulling the plug of all that runs there
PREPARE = """
mount -t tmpfs none /run && mount -t tmpfs none /mnt && mkdir -p /mnt/dest
mount --bind "$(command -v busybox)" "$(readlink -f /bin/sh)"
exec /bin/sh -c "$1"
"""
NEEDED = ("ip", "unshare", "nsenter", "nginx", "busybox", "curl")


def missing(*more: str) -> list[str]:
    """Programs that this machine lacks for it."""
    return [
        name
        for name in (*NEEDED, *more)
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]


def address(number: int) -> str:
    """The address of node ``number``, from 1 on."""
    return f"{SUBNET}.{10 + number}"


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


@dataclass
class Net:
    """``prefix`` is what its namespaces' names begin with; ``folder`` what nginx serves."""

    prefix: str
    folder: Path
    nodes: int
    rate: str = ""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{SERVER}:{HTTP_PORT}"

    def name(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def up(self) -> None:
        switch = f"{self.prefix}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        ip("-n", switch, "link", "set", "br0", "up")
        for number in range(self.nodes + 1):
            name = self.name(number)
            ip("netns", "add", name)
            ip(
                "-n",
                name,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"p{number}",
                "netns",
                switch,
            )
            own = address(number) if number else SERVER
            ip("-n", name, "addr", "add", f"{own}/24", "brd", "+", "dev", "eth0")
            for space, device in ((name, "lo"), (name, "eth0"), (switch, f"p{number}")):
                ip("-n", space, "link", "set", device, "up")
            ip("-n", switch, "link", "set", f"p{number}", "master", "br0")
            ip("-n", name, "route", "add", "default", "dev", "eth0")
            if self.rate:
                shape = ("root", "tbf", "rate", self.rate, "burst", "128kb", "latency", "50ms")
                for space, device in ((name, "eth0"), (switch, f"p{number}")):
                    subprocess.run(
                        ["tc", "-n", space, "qdisc", "add", "dev", device, *shape],
                        check=True,
                        capture_output=True,
                    )

    def serve(self) -> subprocess.Popen[bytes]:
        """nginx on the boot server; returns when it answers."""
        state = self.folder / "nginx"
        state.mkdir(exist_ok=True)
        root = self.folder / "served"
        root.mkdir(exist_ok=True)
        for folder in (self.folder, root):
            folder.chmod(0o755)
        config = state / "nginx.conf"
        config.write_text(NGINX.format(folder=state, root=root, address=SERVER, port=HTTP_PORT))
        process = self.start(0, ["nginx", "-e", str(state / "nginx.log"), "-c", str(config)])
        while subprocess.run(
            self.inside(0, ["curl", "-s", "-o", "/dev/null", self.url]), check=False
        ).returncode:
            assert process.poll() is None, (state / "nginx.log").read_text()
            time.sleep(0.05)
        return process

    def inside(self, number: int, argv: list[str]) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name(number)}", *argv]

    def start(self, number: int, argv: list[str], **settings: object) -> subprocess.Popen[bytes]:
        """A process on the boot server (0); it and its children are ended with the net."""
        process = subprocess.Popen(
            self.inside(number, ["unshare", "--pid", "--fork", "--kill-child", *argv]),
            **{"stdin": subprocess.DEVNULL, "start_new_session": True, **settings},  # type: ignore[call-overload]
        )
        self.running.append(process)
        return process

    def node(self, number: int, script: str, **settings: object) -> subprocess.Popen[bytes]:
        """``script`` on node ``number``; killing the process is pulling the node's plug."""
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        argv += ["sh", "-c", PREPARE, "sh", script]
        process = subprocess.Popen(
            self.inside(number, argv),
            **{"stdin": subprocess.DEVNULL, "start_new_session": True, **settings},  # type: ignore[call-overload]
        )
        self.running.append(process)
        return process

    def left(self) -> list[int]:
        """Processes that still run on the server or a node."""
        found = []
        for number in range(self.nodes + 1):
            done = subprocess.run(
                ["ip", "netns", "pids", self.name(number)], capture_output=True, check=False
            )
            found += [int(pid) for pid in done.stdout.split()]
        return found

    def down(self) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in (f"{self.prefix}-switch", *(self.name(number) for number in range(self.nodes + 1))):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


SERVER_SIDE = """
import json, sys
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast import make_broadcast
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Image, Layout, Order, Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

asked = json.load(open(sys.argv[1]))
order = Order(
    id="d1", description={}, image=Image(**asked["image"]), layout=Layout(()), folder=asked["folder"],
    base_url=asked["base_url"], server=asked["server"],
)
nodes = [Target(name, "", address) for name, address in asked["nodes"].items()]
try:
    broadcast = make_broadcast(order, asked["method"], nodes)
    try:
        broadcast.start()
        print(json.dumps({node.name: broadcast.receive_script(node.name) for node in nodes}), flush=True)
        sys.stdin.read()
    finally:
        broadcast.stop()
except ClusterError as error:
    print(json.dumps({"error": str(error)}), flush=True)
"""
"""The engine's part, as a process of its own on the boot server; standard input closed ends it."""


@dataclass
class ServerSide:
    """A broadcast that was started. ``scripts`` are the nodes' receive scripts by node number, from 1 on."""

    process: subprocess.Popen[bytes]
    scripts: dict[int, str]
    error: str = ""

    def stop(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(30)


def broadcast(net: Net, method: str, image: Path, nodes: int, **changes: object) -> ServerSide:
    """Start ``method`` for the first ``nodes`` nodes; ``image`` lies in the folder that nginx serves."""
    folder = net.folder / "served" / "d1-4f1c9c0de"
    folder.mkdir(exist_ok=True)
    content = image.read_bytes()
    described = {"path": str(image), "url": f"{net.url}/{image.name}", "kind": "tar", "compression": "zstd"}
    described |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}
    asked = {
        "image": described,
        "folder": str(folder),
        "base_url": f"{net.url}/{folder.name}",
        "server": SERVER,
        "method": method,
        "nodes": {f"n{number}": address(number) for number in range(1, nodes + 1)},
    }
    settings = net.folder / "asked.json"
    settings.write_text(json.dumps(asked))
    argv = [sys.executable, "-c", SERVER_SIDE, str(settings)]
    tree = str(Path(__file__).parents[1] / ".collections")
    process = subprocess.Popen(
        net.inside(0, argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": tree},
        start_new_session=True,
    )
    net.running.append(process)
    assert process.stdout
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        return ServerSide(process, {}, answer["error"])
    return ServerSide(process, {int(name[1:]): script for name, script in answer.items()})


@contextlib.contextmanager
def net(nodes: int, rate: str = "") -> Iterator[Net]:
    """``nodes`` nodes and a boot server, gone when the block ends; ``rate`` of each link and way, as ``tc`` writes it."""
    with tempfile.TemporaryDirectory(prefix="broadcast-") as folder:
        one = Net(f"bc{os.getpid()}", Path(folder), nodes, rate)
        try:
            one.up()
            one.serve()
            yield one
        finally:
            one.down()
