"""Images really go from a boot server to nodes, each a network namespace, by every method; and what is left when things break."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import broadcast_case
import pytest
from broadcast_case import Net, Node, ServerSide, described

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_relay import FOLDER
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_steps import MICRO_STEPS
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Deadline,
    Image,
    Layout,
    Order,
    StepFailed,
    Target,
    Work,
)

LACKING = broadcast_case.missing() if os.geteuid() == 0 else []
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(LACKING), reason=f"not on this machine: {', '.join(LACKING)}"),
]
MIB = 1 << 20
METHODS = ("http", "chain", "bittorrent", "udpcast")
PATIENT = 90
RECEIVED = "/run/received"


@pytest.fixture(scope="module")
def fast() -> Iterator[Net]:
    with broadcast_case.net(5) as one:
        yield one


@pytest.fixture
def net(fast: Net) -> Iterator[Net]:
    """The fast net, and after the test nothing on it but what was there before."""
    yield fast
    wait_for(lambda: not fast.processes(), lambda: f"still there: {fast.processes()}")
    assert [path.name for path in fast.served.rglob("*") if path.name.endswith(".torrent")] == []


@pytest.fixture
def slow() -> Iterator[Net]:
    """Three nodes behind links on which a transfer takes long enough to be disturbed."""
    with broadcast_case.net(3, rate="100mbit") as one:
        yield one


@pytest.fixture(scope="module")
def image(fast: Net) -> Path:
    return noise(fast, 3 * MIB + 4711)


def noise(net: Net, size: int) -> Path:
    """An image of random bytes: whoever writes others, in another order or too few, is found out."""
    path = net.served / f"noise-{size}.tar.zst"
    path.write_bytes(os.urandom(size))
    return path


def wait_for(condition: Callable[[], Any], what: Callable[[], str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@contextlib.contextmanager
def served(net: Net, method: str, image: Path, nodes: int, **changes: Any) -> Iterator[ServerSide]:
    side = net.broadcast(method, image, nodes, **changes)
    try:
        assert not side.error, side.error
        yield side
    finally:
        side.stop()


def receive(net: Net, side: ServerSide, number: int) -> subprocess.Popen[bytes]:
    return net.nodes[number].start(f"({side.scripts[number]}\n) >{RECEIVED}")


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    said = process.communicate(timeout=PATIENT)[1]
    return process.returncode, said.decode()


def arrived(node: Node) -> int:
    """Bytes that a node has so far."""
    return int(node.output(f"[ ! -e {RECEIVED} ] || wc -c <{RECEIVED}") or 0)


def content(node: Node) -> bytes:
    return node.start(f"cat {RECEIVED}").communicate(timeout=60)[0]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_every_node_gets_every_byte(net: Net, image: Path, method: str, count: int) -> None:
    with served(net, method, image, count) as side:
        running = {number: receive(net, side, number) for number in range(1, count + 1)}
        assert {number: ended(process)[0] for number, process in running.items()} == dict.fromkeys(running, 0)
        for number in running:
            assert content(net.nodes[number]) == image.read_bytes(), number
    for number in running:
        assert net.nodes[number].output(
            "ls -A /run/oneimage /run/oneimage/relay 2>/dev/null | grep -v :"
        ) in (
            "",
            "relay\n\n",
        )


def test_the_scripts_run_in_busybox_too(tmp_path: Path) -> None:
    with broadcast_case.net(2, shell="busybox") as net:
        image = noise(net, 2 * MIB)
        assert "BusyBox" in net.nodes[1].output("help 2>&1; busybox | head -n 1")
        for method in METHODS:
            with served(net, method, image, 2) as side:
                running = [receive(net, side, number) for number in (1, 2)]
                assert [ended(process)[0] for process in running] == [0, 0], method
                assert all(content(net.nodes[number]) == image.read_bytes() for number in (1, 2)), method


@pytest.mark.parametrize("method", METHODS)
def test_a_node_that_dies_on_the_way_takes_nobody_along(slow: Net, method: str) -> None:
    image = noise(slow, 24 * MIB)
    with served(slow, method, image, 3) as side:
        running = {number: receive(slow, side, number) for number in (1, 2, 3)}
        if method == "bittorrent":  # it shows no byte before it has them all
            time.sleep(1.5)
        else:
            wait_for(lambda: arrived(slow.nodes[2]) > MIB, lambda: "nothing arrives")
        slow.nodes[2].pull_the_plug()
        others = [ended(running[number]) for number in (1, 3)]
        assert [code for code, _said in others] == [0, 0], others
        assert [content(slow.nodes[number]) == image.read_bytes() for number in (1, 3)] == [True, True]
    wait_for(lambda: not slow.processes(), lambda: f"still there: {slow.processes()}")


def test_a_chain_heals_over_nodes_that_never_came_and_a_cable_that_was_pulled(slow: Net) -> None:
    image = noise(slow, 24 * MIB)
    with served(slow, "chain", image, 3) as side:
        slow.nodes[1].pull_the_plug()
        running = {number: receive(slow, side, number) for number in (2, 3)}
        wait_for(lambda: arrived(slow.nodes[3]) > MIB, lambda: "nothing arrives")
        broadcast_case.ip("-n", f"{slow.prefix}-switch", "link", "set", "p2", "down")
        assert ended(running[3])[0] == 0
        assert content(slow.nodes[3]) == image.read_bytes()


def test_a_node_that_comes_late_gets_what_is_gone_from_the_server(net: Net) -> None:
    image = noise(net, 80 * MIB)
    with served(net, "chain", image, 2) as side:
        first = receive(net, side, 1)
        wait_for(lambda: arrived(net.nodes[1]) == 80 * MIB, lambda: "the first waits for ever")
        second = receive(net, side, 2)
        assert [ended(first)[0], ended(second)[0]] == [0, 0]
        assert content(net.nodes[2]) == image.read_bytes()


@pytest.mark.parametrize("method", ["chain", "udpcast"])
def test_a_server_that_goes_away_is_named_on_every_node(slow: Net, method: str) -> None:
    image = noise(slow, 40 * MIB)
    side = slow.broadcast(method, image, 3)
    running = {number: receive(slow, side, number) for number in (1, 2, 3)}
    wait_for(lambda: arrived(slow.nodes[3]) > 2 * MIB, lambda: "nothing arrives")
    broadcast_case.ip("-n", f"{slow.prefix}-switch", "link", "set", "p0", "down")
    for process in running.values():
        code, said = ended(process)
        assert code != 0
        if method != "udpcast":
            assert f"{slow.url}/{image.name}: the server sends nothing" in said
    side.stop()
    wait_for(lambda: not slow.processes(), lambda: f"still there: {slow.processes()}")


def test_a_server_that_comes_back_is_gone_on_with(slow: Net) -> None:
    image = noise(slow, 24 * MIB)
    with served(slow, "http", image, 1) as side:
        running = receive(slow, side, 1)
        wait_for(lambda: arrived(slow.nodes[1]) > 2 * MIB, lambda: "nothing arrives")
        slow.restart_web_server()
        assert ended(running)[0] == 0
        assert content(slow.nodes[1]) == image.read_bytes()


@pytest.mark.parametrize("method", ["bittorrent", "udpcast"])
def test_what_serves_ends_with_an_engine_that_was_killed(net: Net, image: Path, method: str) -> None:
    side = net.broadcast(method, image, 2)
    assert any(name in " ".join(net.processes().values()) for name in ("opentracker", "udp-sender"))
    side.process.kill()
    side.process.wait()
    wait_for(lambda: not net.processes(), lambda: f"still there: {net.processes()}")
    for torrent in net.served.rglob("*.torrent"):
        torrent.unlink()


@pytest.mark.parametrize("method", ["bittorrent", "udpcast"])
def test_programs_listen_at_the_servers_address_alone(net: Net, image: Path, method: str) -> None:
    with served(net, method, image, 1):
        inside = ["nsenter", f"--net=/run/netns/{net.name(0)}", "ss", "-Hlntu"]
        lines = subprocess.run(inside, check=True, capture_output=True, text=True).stdout.splitlines()
    local = {line.split()[4].rpartition(":")[0] for line in lines}
    # what is sent to all is heard only where it is bound
    allowed = {"10.86.0.1", "10.86.0.255"} | ({"255.255.255.255"} if method == "udpcast" else set())
    assert local <= allowed, lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": f"http://{broadcast_case.SERVER}:{broadcast_case.HTTP_PORT}/absent"}, "answers 404"),
        ({"url": f"http://{broadcast_case.SERVER}:9/noise"}, "is the boot server's nginx up?"),
        ({"size": 3 * MIB}, "what is served is not what was registered"),
        ({"size": 30 * MIB}, "is shorter than"),
        ({"size": 0}, "is empty"),
    ],
)
def test_an_image_that_is_not_served_as_described_is_refused_before_any_node_begins(
    net: Net, image: Path, changes: dict[str, Any], said: str
) -> None:
    side = net.broadcast("chain", image, 2, **changes)
    assert said in side.error
    side.stop()


class NodeChannel:
    """As ssh would, but into a namespace."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        process = self.node.start(script, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=timeout)
        if process.returncode:
            raise StepFailed(err.decode())
        return out.decode()

    def answers(self, timeout: float) -> bool:
        return True


class Prepared:
    """A broadcast whose server side runs elsewhere."""

    def __init__(self, side: ServerSide) -> None:
        self.side = side

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def receive_script(self, node: str) -> str:
        return self.side.scripts[int(node[1:])]


def work(net: Net, side: ServerSide, image: dict[str, Any], number: int = 1, **notes: Any) -> Work:
    order = Order(
        *("d1", {}, Image(**image), Layout(()), "/nowhere", f"{net.url}/d1-4f1c9c0de"),
        server=broadcast_case.SERVER,
    )
    target = Target(f"n{number}", "", broadcast_case.address(number))
    channel = NodeChannel(net.nodes[number])
    said: list[str] = []
    return Work(
        order, target, channel, Deadline.after(PATIENT), {**notes}, said.append, broadcast=Prepared(side)
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with one of everything that a careless tar loses."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text("n1\n")
    (root / ".hidden").write_text("dotfile")
    os.chown(root / "etc/hostname", 4711, 4712)
    os.link(root / "etc/hostname", root / "etc/same")
    (root / "etc/link").symlink_to("/etc/hostname")
    (root / "etc/hostname").chmod(0o4750)
    os.setxattr(root / "etc/hostname", "trusted.oneimage", b"kept")
    with (root / "sparse").open("wb") as file:
        file.seek(20 * MIB)
        file.write(b"end")
    run(["setfacl", "-m", "u:4713:r", str(root / "etc")])
    (root / "etc/noise").write_bytes(os.urandom(2 * MIB))
    return root


def pack(net: Net, tree: Path, suffix: str, program: str) -> dict[str, Any]:
    image = net.served / f"root.tar.{suffix}"
    names = sorted(path.name for path in tree.iterdir())
    keep = ["--posix", "--acls", "--xattrs", "--xattrs-include=*", "--sparse", "--numeric-owner"]
    run(["tar", *keep, "-I", program, "-cf", str(image), "-C", str(tree), *names])
    return described(image, net.url)


@pytest.mark.parametrize(
    ("suffix", "program"), [("zst", "zstd"), ("gz", "gzip"), ("xz", "xz"), ("bz2", "bzip2")]
)
def test_a_tar_image_goes_straight_into_the_partition_and_loses_nothing(
    net: Net, tree: Path, suffix: str, program: str
) -> None:
    image = pack(net, tree, suffix, program)
    with served(net, "http", Path(image["path"]), 1) as side:
        one = work(net, side, image)
        node = net.nodes[1]
        node.output("mkdir -p /mnt/dest/lost+found; echo old >/mnt/dest/of-an-earlier-attempt")
        MICRO_STEPS["send_environment"](one)
        MICRO_STEPS["decompress_environment"](one)
    names = "etc etc/hostname etc/link sparse .hidden"
    shown = node.output(
        f"cd /mnt/dest; stat -c '%n %a %u:%g %h %s' {names}; ls -A; readlink etc/link; du -k sparse"
    )
    lines = shown.splitlines()
    assert lines[1] == "etc/hostname 4750 4711:4712 2 3"
    assert lines[3].startswith("sparse ") and lines[3].endswith(f" {20 * MIB + 3}")
    assert sorted(lines[5:9]) == [".hidden", "etc", "lost+found", "sparse"]
    assert lines[9] == "/etc/hostname"
    assert int(lines[10].split()[0]) < 100
    first = broadcast_case.child_of(node.holder.pid)
    dest = Path(f"/proc/{first}/root/mnt/dest")
    assert os.getxattr(dest / "etc/hostname", "trusted.oneimage") == b"kept"
    assert b"user:4713:r--" in run(["getfacl", "-n", str(dest / "etc")]).stdout
    assert (dest / "etc/noise").read_bytes() == (tree / "etc/noise").read_bytes()
    assert one.notes["image_sha256"] == image["sha256"]
    assert node.output("ls /run/oneimage") == "receive.sh\nrelay\n"


def test_a_dd_image_goes_straight_onto_the_device(net: Net, tmp_path: Path) -> None:
    disk, raw = tmp_path / "disk", tmp_path / "raw"
    raw.write_bytes(os.urandom(3 * MIB + 512))
    disk.write_bytes(bytes(4 * MIB))
    packed = net.served / "disk.dd.gz"
    packed.write_bytes(run(["gzip", "-c", str(raw)]).stdout)
    image = described(packed, net.url)
    device = run(["losetup", "--find", "--show", str(disk)]).stdout.decode().strip()
    try:
        with served(net, "http", packed, 1) as side:
            one = work(net, side, image, deploy_device=device)
            MICRO_STEPS["send_environment"](one)
            MICRO_STEPS["decompress_environment"](one)
            disk.write_bytes(b"")
            os.truncate(disk, MIB)
            run(["losetup", "--set-capacity", device])
            with pytest.raises(StepFailed, match="No space left") as full:
                MICRO_STEPS["send_environment"](one)
    finally:
        run(["losetup", "--detach", device])
    assert "more room" in full.value.advice
    assert "image_sha256" not in one.notes


def test_a_wrong_checksum_fails_the_node_and_not_the_one_behind_it(net: Net, tree: Path) -> None:
    image = pack(net, tree, "zst", "zstd")
    path = Path(image["path"])
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with served(net, "chain", path, 2) as side:
        behind = receive(net, side, 2)
        one = work(net, side, image)
        with pytest.raises(StepFailed, match=f"checksum of the image is wrong: .*{image['sha256']}") as wrong:
            MICRO_STEPS["send_environment"](one)
        assert ended(behind)[0] == 0
        assert content(net.nodes[2]) == bytes(damaged)
    assert "register the image again" in wrong.value.advice
    assert "image_sha256" not in one.notes
    with pytest.raises(StepFailed, match="was not sent to this node"):
        MICRO_STEPS["decompress_environment"](one)


def test_without_a_partition_nothing_is_written_into_memory(tree: Path) -> None:
    with broadcast_case.net(1) as other:
        path = pack(other, tree, "zst", "zstd")
        with served(other, "http", Path(path["path"]), 1) as side:
            other.nodes[1].output("umount /mnt/dest")
            with pytest.raises(StepFailed, match="nothing is mounted at /mnt/dest"):
                MICRO_STEPS["send_environment"](work(other, side, path))
            assert other.nodes[1].output("ls -A /mnt/dest") == ""


def test_a_node_on_which_an_attempt_was_killed_can_begin_again(net: Net) -> None:
    image = noise(net, 60 * MIB)
    with served(net, "chain", image, 2) as side:
        for _attempt in range(2):  # the first waits for the second, which is not there
            running = net.nodes[1].start(f"exec setsid sh -c {quoted(side.scripts[1])} >{RECEIVED}")
            wait_for(lambda: arrived(net.nodes[1]) > MIB, lambda: "nothing arrives")
            group = next(pid for pid, command in net.processes().items() if command.startswith("busybox nc"))
            os.killpg(os.getpgid(group), 9)
            running.wait(90)
        pair = [receive(net, side, number) for number in (1, 2)]
        assert [ended(process)[0] for process in pair] == [0, 0]
        assert content(net.nodes[2]) == image.read_bytes()


def quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


def test_neighbours_without_the_deployments_name_get_nothing(net: Net) -> None:
    image = noise(net, 60 * MIB)
    with served(net, "chain", image, 2) as side:
        first = receive(net, side, 1)
        wait_for(lambda: arrived(net.nodes[1]) > MIB, lambda: "nothing arrives")
        codes = [
            net.nodes[3].output(f"curl -s -o /dev/null -w '%{{http_code}}' http://10.86.0.11:7086/{path}")
            for path in ("", "0", "?0", "x?0", "../0", "d1-4f1c9c0de/0", "d1-4f1c9c0d?0", "*?0")
        ]
        assert all(code.startswith("4") for code in codes), codes
        assert FOLDER in net.nodes[1].output(f"find {FOLDER} -name 0")
        second = receive(net, side, 2)
        assert [ended(first)[0], ended(second)[0]] == [0, 0]
