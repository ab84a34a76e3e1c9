"""The way to a node with a real sshd on a machine of its own at the other end."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment_nodes import running_nodes
from ssh_server import SSHD, Server, free_port, server

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_channel import (
    LAST_LINE,
    Doors,
    SshChannel,
    alone,
    make_key,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import StepFailed, Target

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(SSHD is None, reason="no sshd on this machine"),
]
NODE = Target("n1", "52:54:00:00:00:01", "127.0.0.1")


@pytest.fixture(scope="module")
def machine() -> Iterator[Server]:
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with server() as one:
        yield one


@pytest.fixture
def doors(machine: Server, tmp_path: Path) -> Iterator[Doors]:
    public = make_key(tmp_path / "key", "deployment d")
    with (machine.folder / "authorized_keys").open("a") as keys:
        keys.write(public + "\n")
    one = Doors(tmp_path / "key", str(tmp_path))
    one.open()
    yield one
    one.close()
    assert not one.folder.exists()


@pytest.fixture
def channel(machine: Server, doors: Doors) -> SshChannel:
    return SshChannel(NODE, doors.key, doors.folder, machine.port)


def test_scripts_and_their_input(channel: SshChannel) -> None:
    assert channel.answers(20)
    assert channel.run("echo one; echo 'two  three'", timeout=90) == "one\ntwo  three\n"
    data = bytes(range(256)) * 4096
    assert (
        channel.run('cat | sha256sum | cut -c 1-8; echo "it\'s"', timeout=90, stdin=data)
        == hashlib.sha256(data).hexdigest()[:8] + "\nit's\n"
    )
    long = "x=" + "y" * 60000 + "\necho ${#x}\ncat\n"
    assert channel.run(long, timeout=90, stdin=b"rest") == "60000\nrest"
    assert channel.run("cat", timeout=90) == ""


def test_a_script_that_fails(channel: SshChannel) -> None:
    with pytest.raises(StepFailed, match="its script ended with exit code 3: cause") as error:
        channel.run("echo before; echo cause >&2; exit 3", timeout=90)
    assert error.value.evidence == ("before", "cause")


def test_a_script_that_hangs_is_gone_before_the_next(channel: SshChannel) -> None:
    channel.run("true", timeout=90)
    hang = "echo $$ >/run/hangs; sleep 300 & wait"
    with pytest.raises(StepFailed, match="n1 had not finished its script after 5 s"):
        channel.run(hang, timeout=5)
    assert channel.run("kill -0 $(cat /run/hangs) 2>/dev/null || echo gone", timeout=90) == "gone\n"


def test_a_script_of_which_only_a_part_came_does_not_run(channel: SshChannel) -> None:
    """Its sender was killed: half of a line can mean something else than the whole."""
    whole = f"echo /tmp/a/b\n{LAST_LINE}".encode()
    for part, code, out in ((whole, 0, b"/tmp/a/b\n"), (whole[:9], 1, b"")):
        done = channel._ssh(alone(len(whole)), 90, part)
        assert done and (done.returncode, done.stdout) == (code, out)


def test_what_runs_on_after_its_script(channel: SshChannel) -> None:
    channel.run("setsid sh -c 'sleep 1; echo late >/run/late' >/dev/null 2>&1 </dev/null &", timeout=90)
    deadline = time.monotonic() + 90
    said = ""
    while not said and time.monotonic() < deadline:
        time.sleep(0.2)
        said = channel.run("cat /run/late 2>/dev/null || true", timeout=90)
    assert said == "late\n", "the next script ended what was to go on"


def test_a_node_that_is_not_there(machine: Server, doors: Doors) -> None:
    gone = SshChannel(NODE, doors.key, doors.folder, free_port())
    assert not gone.answers(1)
    with pytest.raises(StepFailed, match="n1 cannot be reached at 127.0.0.1: .*refused"):
        gone.run("true", timeout=90)


def test_a_key_that_the_node_does_not_know(machine: Server, doors: Doors, tmp_path: Path) -> None:
    make_key(tmp_path / "other", "other")
    stranger = SshChannel(NODE, tmp_path / "other", doors.folder, machine.port)
    refused = "closed by authenticating user root"
    before = machine.log.count(refused)
    assert not stranger.answers(30)
    deadline = time.monotonic() + 90
    while machine.log.count(refused) == before and time.monotonic() < deadline:
        time.sleep(0.1)  # the server writes it when the client has gone
    assert machine.log.count(refused) == before + 1, "what was refused once is not asked again"
    with pytest.raises(StepFailed, match="cannot be reached .*Permission denied"):
        stranger.run("true", timeout=90)


def test_another_system_at_the_same_address(machine: Server, doors: Doors) -> None:
    one = SshChannel(NODE, doors.key, doors.folder, machine.port)
    assert one.run("echo $$", timeout=90)
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with server(authorized=machine) as other:
        with (other.folder / "authorized_keys").open("a") as keys:
            keys.write(doors.key.with_suffix(".pub").read_text())
        # the same name, another host key: what a node is after its reboot
        one.port = other.port
        assert one.answers(20) and one.run("echo new", timeout=90) == "new\n"
        assert "Accepted publickey for root" in other.log


def test_the_key_is_made_once_and_is_whole(tmp_path: Path) -> None:
    first = make_key(tmp_path / "key", "c")
    assert make_key(tmp_path / "key", "c") == first and (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    # killed between the two files
    (tmp_path / "key.pub").unlink()
    second = make_key(tmp_path / "key", "c")
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "key")], capture_output=True, text=True, check=True
    )
    assert second.split()[1] == derived.stdout.split()[1] != first.split()[1]


@pytest.mark.skipif(not Path("/usr/sbin/sfdisk").exists(), reason="no sfdisk, which nodes are asked for")
def test_the_module_on_nodes_that_answer_and_one_that_does_not() -> None:
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with running_nodes(6) as nodes:
        result = nodes.deploy(7, min_ok="6")
        assert result["ok"] == [f"n{n}" for n in range(1, 7)] and not result.get("failed"), result.get("msg")
        silent = result["nodes"]["n7"]
        assert (silent["outcome"], silent["implementation"], silent["micro"]) == (
            *("ko", "SetDeploymentEnvProd", "check_nodes"),
        )
        assert (
            "takes no login" in silent["message"]
            and "boot it into the deployment environment" in silent["advice"]
        )
