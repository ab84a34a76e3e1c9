"""A boot server and nodes as network namespaces on one bridge, each node with processes, mounts and a /run of its own.

Nothing on this machine's own network, mounts or process table is touched. A node has the programs of the deployment
environment: dash, curl, GNU tar and dd, coreutils' sha256sum, decompressors, and busybox for all the rest.
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
from typing import Any

SUBNET = "10.86.0"
SERVER = f"{SUBNET}.1"
HTTP_PORT = 8080
PROGRAMS = ("curl", "tar", "dd", "sha256sum", "gzip", "bzip2", "xz", "zstd", "aria2c", "udp-receiver")
NEEDED = ("ip", "tc", "unshare", "nsenter", "nginx", "busybox", *PROGRAMS, "opentracker", "udp-sender")
SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/sbin"
NGINX = """
daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
    access_log {folder}/access.log; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address}:{port}; root {root}; }}
}}
"""
BOOT_NODE = """
mount -t tmpfs none /run && mount -t tmpfs none /mnt && mkdir -p /mnt/dest && mount -t tmpfs dest /mnt/dest
[ -z "$1" ] || mount --bind "$1" "$(readlink -f /bin/sh)"
echo up
exec sleep infinity
"""
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
"""The engine's part, as a process of its own on the boot server; the end of its standard input ends it."""


def missing() -> list[str]:
    """Programs that this machine lacks for it."""
    return [name for name in NEEDED if shutil.which(name, path=SEARCHED) is None]


def address(number: int) -> str:
    """The address of node ``number``, from 1 on."""
    return f"{SUBNET}.{10 + number}"


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@dataclass
class Node:
    """A node that is up."""

    space: str
    programs: Path
    holder: subprocess.Popen[bytes]

    def start(self, script: str, **settings: Any) -> subprocess.Popen[bytes]:
        """``script`` in the node's /bin/sh."""
        first = child_of(self.holder.pid)
        argv = ["nsenter", f"--target={first}", "--mount", "--pid", "--net", "/bin/sh", "-c", script]
        chosen = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **settings,
        }
        return subprocess.Popen(argv, env={"PATH": str(self.programs)}, **chosen)

    def output(self, script: str) -> str:
        out, err = self.start(script).communicate(timeout=60)
        assert not err, err
        return out.decode()

    def pull_the_plug(self) -> None:
        """End all that runs on it at once."""
        os.kill(child_of(self.holder.pid), signal.SIGKILL)
        self.holder.wait()


@dataclass
class Net:
    """Namespaces named after ``prefix``; nginx serves ``served``. ``nodes`` are there from 1 on."""

    prefix: str
    folder: Path
    count: int
    rate: str
    shell: str
    nodes: dict[int, Node] = field(default_factory=dict)
    _running: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{SERVER}:{HTTP_PORT}"

    @property
    def served(self) -> Path:
        return self.folder / "served"

    def name(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def up(self) -> None:
        switch = f"{self.prefix}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        ip("-n", switch, "link", "set", "br0", "up")
        for number in range(self.count + 1):
            self._plug(number, switch)
        self.served.mkdir()
        for folder in (self.folder, self.served):
            folder.chmod(0o755)
        programs = self._programs()
        for number in range(1, self.count + 1):
            self.nodes[number] = self._boot(number, programs)
        self.serve()

    def _plug(self, number: int, switch: str) -> None:
        name, port = self.name(number), f"p{number}"
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
        own = address(number) if number else SERVER
        ip("-n", name, "addr", "add", f"{own}/24", "brd", "+", "dev", "eth0")
        for space, device in ((name, "lo"), (name, "eth0"), (switch, port)):
            ip("-n", space, "link", "set", device, "up")
        ip("-n", switch, "link", "set", port, "master", "br0")
        ip("-n", name, "route", "add", "default", "dev", "eth0")
        if self.rate:
            shape = ["root", "tbf", "rate", self.rate, "burst", "128kb", "latency", "50ms"]
            for space, device in ((name, "eth0"), (switch, port)):
                argv = ["tc", "-n", space, "qdisc", "add", "dev", device, *shape]
                subprocess.run(argv, check=True, capture_output=True)

    def _programs(self) -> Path:
        folder = self.folder / "bin"
        folder.mkdir()
        busybox = str(shutil.which("busybox"))
        applets = subprocess.run(
            [busybox, "--list"], check=True, capture_output=True, text=True
        ).stdout.split()
        for name in {"busybox", *applets}:
            (folder / name).symlink_to(busybox)
        for name in ("sh", *PROGRAMS):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(str(shutil.which(name, path=f"/bin:{SEARCHED}")))
        return folder

    def _boot(self, number: int, programs: Path) -> Node:
        shell = str(shutil.which(self.shell)) if self.shell else ""
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # unshare complains when its child is killed
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        holder = self.start(number, [*argv, "sh", "-c", BOOT_NODE, "sh", shell], **pipes)
        assert holder.stdout and holder.stdout.readline() == b"up\n"
        return Node(self.name(number), programs, holder)

    def serve(self) -> subprocess.Popen[Any]:
        """nginx on the boot server; returns when it answers."""
        state = self.folder / "nginx"
        state.mkdir(exist_ok=True)
        config = state / "nginx.conf"
        config.write_text(NGINX.format(folder=state, root=self.served, address=SERVER, port=HTTP_PORT))
        argv = ["nginx", "-e", str(state / "nginx.log"), "-c", str(config)]
        process = self.start(0, argv, env={**os.environ, "PATH": SEARCHED})
        asked = ["nsenter", f"--net=/run/netns/{self.name(0)}", "curl", "-s", "-o", "/dev/null", self.url]
        while subprocess.run(asked, check=False).returncode:
            assert process.poll() is None, (state / "nginx.log").read_text()
            time.sleep(0.05)
        return process

    def restart_web_server(self) -> None:
        web = next(process for process in self._running if "nginx" in process.args)
        web.terminate()
        web.wait()
        self._running.remove(web)
        self.serve()

    def start(self, number: int, argv: list[str], **settings: Any) -> subprocess.Popen[Any]:
        """A process in the network of the boot server (0) or a node."""
        inside = ["nsenter", f"--net=/run/netns/{self.name(number)}", *argv]
        process: subprocess.Popen[Any] = subprocess.Popen(inside, start_new_session=True, **settings)
        self._running.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """What runs on the boot server and the nodes, apart from nginx and the nodes' first processes."""
        first = {child_of(node.holder.pid) for node in self.nodes.values() if node.holder.poll() is None}
        known = first | {process.pid for process in self._running}
        found = {}
        for number in range(self.count + 1):
            argv = ["ip", "netns", "pids", self.name(number)]
            for pid in map(int, subprocess.run(argv, check=True, capture_output=True).stdout.split()):
                with contextlib.suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command and pid not in known and not command.startswith("nginx: "):
                        found[pid] = command
        return found

    def down(self) -> None:
        for process in self._running:
            process.kill()
        for number in range(self.count + 1):
            done = subprocess.run(
                ["ip", "netns", "pids", self.name(number)], capture_output=True, check=False
            )
            for pid in map(int, done.stdout.split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._running:
            process.wait()
        for name in (f"{self.prefix}-switch", *(self.name(number) for number in range(self.count + 1))):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def broadcast(self, method: str, image: Path, nodes: int, **changes: Any) -> ServerSide:
        """Start ``method`` for the first ``nodes`` nodes; ``image`` lies in ``served``, ``changes`` are to what is said of it."""
        deployment = self.served / "d1-4f1c9c0de"
        deployment.mkdir(exist_ok=True)
        asked = {
            "image": {**described(image, self.url), **changes},
            "folder": str(deployment),
            "base_url": f"{self.url}/{deployment.name}",
            "server": SERVER,
            "method": method,
            "nodes": {f"n{number}": address(number) for number in range(1, nodes + 1)},
        }
        settings = self.folder / "asked.json"
        settings.write_text(json.dumps(asked))
        process = self.start(
            0,
            [sys.executable, "-c", SERVER_SIDE, str(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / ".collections")},
        )
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            return ServerSide(process, {}, answer["error"])
        return ServerSide(process, {int(name[1:]): script for name, script in answer.items()})


def described(image: Path, url: str) -> dict[str, Any]:
    """What an order says of ``image``, whose name ends in its kind and compression, such as ``x.tar.zst``."""
    content = image.read_bytes()
    kind, suffix = image.name.split(".")[1:]
    return {
        "path": str(image),
        "url": f"{url}/{image.name}",
        "kind": kind,
        "compression": {"zst": "zstd", "gz": "gzip", "xz": "xz", "bz2": "bzip2"}[suffix],
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@dataclass
class ServerSide:
    """A broadcast that was started. ``scripts`` are the nodes' receive scripts by node number, from 1 on."""

    process: subprocess.Popen[Any]
    scripts: dict[int, str]
    error: str = ""

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(90)


@contextlib.contextmanager
def net(count: int, rate: str = "", shell: str = "") -> Iterator[Net]:
    """A boot server and ``count`` nodes, gone when the block ends.

    ``rate`` of each link and way is as ``tc`` writes it; ``shell`` is what stands at the nodes' /bin/sh if not dash.
    """
    with tempfile.TemporaryDirectory(prefix="broadcast-") as folder:
        one = Net(Path(folder).name, Path(folder), count, rate, shell)
        try:
            one.up()
            yield one
        finally:
            one.down()
