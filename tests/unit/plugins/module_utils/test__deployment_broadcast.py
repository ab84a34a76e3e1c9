"""Which broadcast is chosen, what the nodes' scripts say, and how what they report is judged."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _deployment_broadcast_relay as relay,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast import (
    METHODS,
    choose_method,
    make_broadcast,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_bittorrent import (
    BittorrentBroadcast,
    bencode,
    torrent_info,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_server import (
    Served,
    free_port,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_steps import (
    judge,
    parse,
    send_environment,
    stream_script,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Deadline,
    Image,
    Layout,
    Order,
    Partition,
    StepFailed,
    Target,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import IMPLEMENTATIONS
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SUM = hashlib.sha256(b"image").hexdigest()
IMAGE = Image("/srv/i.tar.zst", "http://10.0.0.1/i.tar.zst", "tar", "zstd", 5 * relay.PIECE + 7, SUM)
NODES = [Target(f"n{number}", "", f"10.0.0.{number}") for number in range(1, 9)]
ORDER = Order("d1", {}, IMAGE, Layout(()), "/srv/d1", "http://10.0.0.1/d/d1-secret/", "10.0.0.1")
GOOD = {"sha256": SUM, "receive": "0", "decompress": "0", "write": "0"}


def everything(_program: str) -> str:
    return "/usr/bin/it"


def nothing(_program: str) -> None:
    return None


@pytest.mark.parametrize(
    ("nodes", "on_server", "node_programs", "method"),
    [
        (1, everything, ["aria2c"], "http"),
        (2, everything, ["aria2c"], "chain"),
        (200, everything, ["aria2c"], "chain"),
        (201, everything, ["aria2c"], "bittorrent"),
        (201, everything, [], "chain"),
        (201, nothing, ["aria2c"], "chain"),
        (5000, everything, ["udp-receiver"], "chain"),
    ],
)
def test_the_number_of_nodes_chooses_among_what_can_be_had(
    nodes: int, on_server: object, node_programs: list[str], method: str
) -> None:
    assert choose_method(nodes, node_programs=node_programs, on_server=on_server) == method


@pytest.mark.parametrize("method", METHODS)
def test_who_asks_for_a_method_gets_it(method: str) -> None:
    programs = ["aria2c", "udp-receiver"]
    assert choose_method(1, method, node_programs=programs, on_server=everything) == method


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("pigeon", "broadcast: pigeon is none of auto, http, chain, bittorrent, udpcast"),
        (
            "udpcast",
            "the boot server has no udp-sender, install its package udpcast; the deployment environment",
        ),
        ("bittorrent", "the boot server has no opentracker, install its package opentracker"),
    ],
)
def test_a_method_that_cannot_be_had_is_refused_with_the_remedy(wanted: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        choose_method(8, wanted, on_server=nothing)


def test_every_implementation_that_broadcasts_has_a_server_side() -> None:
    names = [name for name, one in IMPLEMENTATIONS.items() if one.broadcast]
    assert {IMPLEMENTATIONS[name].broadcast for name in names} == set(METHODS)
    for name in names:
        made = make_broadcast(ORDER, name, NODES)
        assert isinstance(made, METHODS[IMPLEMENTATIONS[name].broadcast].make)  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match="BootNewEnvKexec is no way to broadcast"):
        make_broadcast(ORDER, "BootNewEnvKexec", NODES)


def settings(script: str) -> dict[str, str]:
    """What the shell makes of the script's head."""
    head, _mark, _rest = script.partition("\nquit()")
    done = subprocess.run(
        ["sh", "-c", f"{head}\nset"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    lines = [line.partition("=") for line in done.stdout.splitlines() if "=" in line]
    return {name: value.strip("'") for name, _equals, value in lines}


def test_a_chain_has_a_first_a_middle_and_a_last() -> None:
    chain = make_broadcast(ORDER, "chain", NODES)
    first, middle, last = (settings(chain.receive_script(name)) for name in ("n1", "n6", "n8"))
    assert (first["peers"], first["last"]) == ("", "no")
    assert (middle["peers"], middle["last"]) == ("10.0.0.5 10.0.0.4 10.0.0.3 10.0.0.2", "no")
    assert (last["peers"], last["last"]) == ("10.0.0.7 10.0.0.6 10.0.0.5 10.0.0.4", "yes")
    assert first["count"] == "6" and first["tail"] == "7"
    assert first["token"] == "d1-secret"
    # the nearer to the end, the sooner a node gives up the one behind it
    assert int(first["patience"]) > int(middle["patience"]) > int(last["patience"])


@pytest.mark.parametrize(
    ("size", "count", "tail"),
    [
        (1, 1, 1),
        (relay.PIECE - 1, 1, relay.PIECE - 1),
        (relay.PIECE, 1, relay.PIECE),
        (relay.PIECE + 1, 2, 1),
        (7 * relay.PIECE, 7, relay.PIECE),
    ],
)
def test_an_image_is_cut_into_pieces(size: int, count: int, tail: int) -> None:
    found = settings(relay.Relay("http://s/i", size, "t").script())
    assert (found["count"], found["tail"]) == (str(count), str(tail))


def test_nothing_in_an_address_is_a_command() -> None:
    found = settings(relay.Relay("http://s/$(touch /tmp/x)'; echo", 1, "t`id`").script())
    assert found["token"] == "t`id`"
    assert "$(touch /tmp/x)" in found["url"]


def scripts() -> dict[str, str]:
    bittorrent = BittorrentBroadcast(ORDER, NODES)
    bittorrent._torrent = Path("/srv/d1/image-7000.torrent")
    chain = make_broadcast(ORDER, "chain", NODES)
    dd = Image("/srv/i.dd.gz", "http://10.0.0.1/i.dd.gz", "dd", "gzip", 5, SUM)
    return {
        "give": relay.GIVE,
        "chain": stream_script(IMAGE, "/mnt/dest", chain.receive_script("n3")),
        "bittorrent": stream_script(IMAGE, "/mnt/dest", bittorrent.receive_script("n3"), "/mnt/tmp"),
        "dd": stream_script(dd, "/dev/vda", "cat /image"),
    }


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    # files that are made beside, variables that are set by another function, and functions called by name
    known = "SC1091,SC2154,SC2034,SC2317,SC2329"
    done = subprocess.run(
        ["shellcheck", "-s", "dash", "-S", "warning", "-e", known, "-"],
        input=scripts()[name],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("kind", ["fsa", "qcow2"])
def test_an_image_that_cannot_be_streamed_is_refused(kind: str) -> None:
    with pytest.raises(StepFailed, match=f"kind {kind} cannot be streamed"):
        stream_script(Image("/i", "http://s/i", kind, "zstd", 1, SUM), "/mnt/dest", "true")
    with pytest.raises(StepFailed, match="undo the compression lzma"):
        stream_script(Image("/i", "http://s/i", "tar", "lzma", 1, SUM), "/mnt/dest", "true")


def test_what_a_node_reports_is_read_line_by_line() -> None:
    said = "sha256=abc\nreceive=0\nreceive said=\nwrite=2\nwrite said=tar: x=y: No space left\nnoise\n"
    found = parse(said)
    assert found["write said"] == "tar: x=y: No space left"
    assert "noise" not in found


@pytest.mark.parametrize(
    ("changes", "message", "advice"),
    [
        (
            {"receive": "1", "receive said": "server gone", "sha256": "0", "decompress": "1", "write": "2"},
            "did not arrive: server gone",
            "boot server",
        ),
        ({"receive": "137"}, "did not arrive: exit code 137", "boot server"),
        ({"sha256": "0", "decompress": "1", "write": "2"}, "has sha256 0, and", "register the image again"),
        ({"sha256": ""}, "has sha256 none", ""),
        (
            {"decompress": "1", "write": "2", "decompress said": "not in gzip format"},
            "decompressed: not in",
            "another",
        ),
        (
            {"decompress": "141", "write": "2", "write said": "tar: No space left on device"},
            "written: tar",
            "more room",
        ),
        ({"write": "1", "write said": "dd: Input/output error"}, "written: dd", "look at the disk"),
        ({"decompress": "141", "write": "0"}, "decompressed: exit code 141", ""),
    ],
)
def test_the_first_cause_is_named_and_not_what_followed_from_it(
    changes: dict[str, str], message: str, advice: str
) -> None:
    with pytest.raises(StepFailed, match=message) as failed:
        judge(IMAGE, {**GOOD, **changes})
    assert advice in failed.value.advice


def test_a_report_that_is_all_right_passes() -> None:
    judge(IMAGE, GOOD)
    with pytest.raises(StepFailed):
        judge(IMAGE, {})


class Recorder:
    """A channel that keeps what it was asked to run."""

    def __init__(self) -> None:
        self.scripts: list[bytes] = []

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        assert len(script) < 9000
        self.scripts.append(stdin or b"")
        return "\n".join(f"{name}={value}" for name, value in GOOD.items())

    def answers(self, timeout: float) -> bool:
        return True


@pytest.mark.parametrize(
    ("partitions", "folder"),
    [((), b"/mnt/dest"), ((Partition("deploy", 0), Partition("tmp", 9)), b"/mnt/tmp")],
)
def test_a_whole_image_is_kept_on_a_disk_where_there_is_one(
    partitions: tuple[Partition, ...], folder: bytes
) -> None:
    channel, said = Recorder(), []
    order = Order("d1", {}, IMAGE, Layout(partitions), "/srv/d1", "http://10.0.0.1/d/d1", "10.0.0.1")
    one = Work(
        order,
        NODES[0],
        channel,
        Deadline.after(9),
        {},
        said.append,
        broadcast=make_broadcast(order, "http", NODES),
    )
    send_environment(one)
    assert b"export ONEIMAGE_STORE=" + folder + b"\n" in channel.scripts[0]
    assert one.notes == {"image_sha256": SUM}
    assert "sha256" in said[0]


def test_a_node_without_a_broadcast_fails() -> None:
    one = Work(ORDER, NODES[0], Recorder(), Deadline.after(9), {}, str)
    with pytest.raises(StepFailed, match="no broadcast"):
        send_environment(one)


@pytest.mark.parametrize("method", ["bittorrent", "udpcast"])
def test_there_is_no_script_before_the_start(method: str) -> None:
    with pytest.raises(ClusterError, match="was not started"):
        make_broadcast(ORDER, method, NODES).receive_script("n1")


def test_bencode_writes_what_the_specification_shows() -> None:
    assert bencode({b"spam": b"eggs", b"cow": b"moo", b"n": -3, b"d": {b"x": 0}}) == (
        b"d3:cow3:moo1:dd1:xi0ee1:ni-3e4:spam4:eggse"
    )


def test_a_torrent_has_a_sum_for_every_piece(tmp_path: Path) -> None:
    content = os.urandom(600_000)
    (tmp_path / "i").write_bytes(content)
    info = torrent_info(str(tmp_path / "i"))
    length = info[b"piece length"]
    pieces = [content[start : start + length] for start in range(0, len(content), length)]
    assert info[b"pieces"] == b"".join(hashlib.sha1(piece).digest() for piece in pieces)
    assert (info[b"length"], info[b"private"], info[b"name"]) == (600_000, 1, b"image")


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot read .*absent"):
        torrent_info(str(tmp_path / "absent"))


def test_a_port_is_free_for_all_that_it_is_asked_for() -> None:
    port = free_port("127.0.0.1", (socket.SOCK_DGRAM,), width=2, even=True)
    assert port % 2 == 0
    for offset in (0, 1):
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.1", port + offset))
    with pytest.raises(ClusterError, match="192.0.2.1 is no address of this host"):
        free_port("192.0.2.1", (socket.SOCK_STREAM,))


def alive(pid: int) -> bool:
    """Whether it runs; a process may end while its state is read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


TELLER = ["sh", "-c", "echo $$; exec sleep 600"]


def test_a_served_program_ends_with_the_broadcast() -> None:
    one = Served("sleep", TELLER)
    one.wait_until(lambda: one.said().isdigit())
    pid = int(one.said())
    assert alive(pid)
    one.end()
    assert gone(pid)


def test_a_served_program_ends_with_the_engine_though_that_was_killed() -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_server import Served
one = Served("sleep", {TELLER!r})
one.wait_until(lambda: one.said().isdigit())
print(one.said(), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        assert alive(pid)
        engine.kill()
    assert gone(pid)


def test_a_served_program_that_ends_by_itself_is_quoted() -> None:
    one = Served("tracker", ["sh", "-c", "echo no such port; exit 3"])
    with pytest.raises(ClusterError, match="tracker ended: no such port"):
        one.wait_until(lambda: False)
    one.end()
