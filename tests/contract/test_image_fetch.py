"""Images stream from a real sshd, through real plays, to the controller."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot
from ssh_server import PASSWORD, SSHD, Server, children, results_of, server, start_play

from ansible_collections.oneimage.cluster.plugins.module_utils._image_hygiene import SECRETS

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd with users of its own, and kind tar, need root"),
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
]

MIB = 1 << 20
ALL_SECRETS = [secret.name for secret in SECRETS]
"""The machine that runs the tests may hold anything."""
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a file for each thing that a transfer could lose."""
    tree = tmp_path / "root"
    for folder in ("etc/ssh", "bin", "var/log", "home/somebody"):
        (tree / folder).mkdir(parents=True)
    (tree / ".hidden").write_text("dotfile")
    (tree / "etc/hostname").write_text("n1\n")
    (tree / "etc/ssh/ssh_host_rsa_key").write_text("one machine's")
    (tree / "var/log/dpkg.log").write_text("the past")
    (tree / "bin/tool").write_bytes(os.urandom(2 * MIB))
    os.link(tree / "bin/tool", tree / "bin/same")
    os.chown(tree / "home/somebody", 4711, 4711)
    return tree


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """``fetch(options, variables, *flags) -> result, output`` of a play with one task."""

    def run(
        options: dict[str, Any], variables: dict[str, Any], *flags: str, **settings: Any
    ) -> tuple[dict[str, Any], str]:
        results, output = results_of(start_play(tmp_path, options, variables, *flags, **settings))
        return results[0], output

    return run


def wait_for(condition: Callable[[], Any], what: object, seconds: float = 60) -> Any:
    """What ``condition`` finds; ``what`` is shown where it finds nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``; those that end meanwhile are left out."""
    found = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    try:
        return children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return []


def named(pid: int, name: str) -> list[int]:
    """The processes below ``pid`` with this name."""
    found = []
    for one in descendants(pid):
        try:
            if Path(f"/proc/{one}/comm").read_text().strip() == name:
                found.append(one)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def mounts(pid: int) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()


def beside(dest: Path) -> list[str]:
    return sorted(path.name for path in dest.parent.iterdir() if dest.name in path.name)


def endless(tmp_path: Path) -> dict[str, Any]:
    """Options of a stream that takes minutes: the zeros of a large sparse file, compressed here."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 40)
    images = tmp_path / "images"
    images.mkdir()
    return {"src": str(disk), "dest": str(images / "disk.dd.gz"), "compress_on": "controller"}


def test_a_streamed_image_is_the_one_that_a_local_capture_makes(
    node: Server, root: Path, tmp_path: Path, fetch: Any, module: Run
) -> None:
    here = tmp_path / "images"
    here.mkdir()
    local = module("image_archive", {"src": str(root), "dest": str(tmp_path / "local.tar.zst")})
    options = {"src": str(root), "dest": "images/n1.tar.zst", "compress_on": "node"}
    before, mounted = snapshot(tmp_path / "root"), mounts(node.process.pid)

    foreseen, _output = fetch(options, node.host_variables(), "--check", "--diff")
    assert foreseen["changed"] and foreseen["size"] is None
    assert "ssh_host_keys" in foreseen["diff"]["after"] and not foreseen["diff"]["before"]
    assert list(here.iterdir()) == []

    made, _output = fetch(options, node.host_variables())
    image = here / "n1.tar.zst"
    assert made["changed"] and made["sha256"] == local["sha256"]
    content = image.read_bytes()
    assert hashlib.sha256(content).hexdigest() == made["sha256"]
    assert hashlib.md5(content).hexdigest() == made["md5"]
    written = json.loads((here / "n1.tar.zst.manifest.json").read_text())
    expected = json.loads((tmp_path / "local.tar.zst.manifest.json").read_text())
    assert written == {**expected, "file": "n1.tar.zst"}
    assert image.stat().st_mode & 0o777 == 0o600
    names = subprocess.run(
        ["tar", "--list", "--zstd", "-f", image], capture_output=True, text=True, check=True
    )
    assert ".hidden" in names.stdout.split() and "etc/ssh/ssh_host_rsa_key" not in names.stdout.split()

    again, _output = fetch(options, node.host_variables(), "--diff")
    assert not again["changed"] and "diff" not in again and again["sha256"] == made["sha256"]
    assert beside(image) == ["n1.tar.zst", "n1.tar.zst.manifest.json"]

    assert snapshot(tmp_path / "root") == before
    assert mounts(node.process.pid) == mounted
    (root / "etc/hostname").write_text("another\n")
    assert fetch(options, node.host_variables(), "--check")[0]["changed"]
    assert image.read_bytes() == content


def test_it_matters_not_who_compresses(node: Server, root: Path, tmp_path: Path, fetch: Any) -> None:
    wanted = [
        {"src": str(root), "dest": str(tmp_path / f"{where}.tgz"), "compress_on": where}
        for where in ("node", "controller", "auto")
    ]
    results, _output = results_of(start_play(tmp_path, wanted, node.host_variables()))
    facts = ("sha256", "md5", "size", "uncompressed_size", "tools", "omitted")
    first, *others = ({fact: one[fact] for fact in facts} for one in results)
    assert others == [first, first]
    assert not fetch({**wanted[0], "compress_on": "controller"}, LOCAL)[0]["changed"]


def test_a_device_is_streamed_raw(node: Server, tmp_path: Path, fetch: Any) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(MIB) + bytes(MIB))
    options = {"src": str(disk), "dest": str(tmp_path / "disk.dd.gz")}
    made, _output = fetch(options, node.host_variables())
    assert made["kind"] == "dd" and made["partition_size"] == made["uncompressed_size"] == 2 * MIB
    restored = subprocess.run(["zcat", options["dest"]], capture_output=True, check=True)
    assert restored.stdout == disk.read_bytes()
    assert not fetch(options, node.host_variables())[0]["changed"]


def test_it_follows_jump_hosts_and_checks_host_keys(
    node: Server, root: Path, tmp_path: Path, fetch: Any
) -> None:
    options = {"src": str(root), "dest": str(tmp_path / "n1.tgz")}
    with server(authorized=node) as jump:
        config = tmp_path / "ssh_config"
        config.write_text(
            f"Host behind\n  HostName 127.0.0.1\n  Port {node.port}\n  ProxyJump jump\n"
            f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n"
            f"Host *\n  User root\n  IdentityFile {node.key}\n"
            f"  UserKnownHostsFile {node.folder}/known_hosts {jump.folder}/known_hosts\n"
        )
        by_name = {
            "ansible_host": "behind",
            "ansible_ssh_common_args": f"-F {config}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        made, output = fetch(options, by_name, "-vvv")
        assert made["changed"], output
        # one for Ansible's own connection, one for the stream's
        assert jump.log.count("Accepted publickey") == 2

        (jump.folder / "known_hosts").write_text("")
        anew = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}
        refused = start_play(tmp_path, {**options, "dest": "n2.tgz"}, by_name, environment=anew)
        # ssh may end before it has passed on what the ssh to the jump host said of the key
        assert "unreachable=1" in refused.communicate(timeout=120)[0]
        assert jump.log.count("Accepted publickey") == 2
    assert beside(tmp_path / "n2.tgz") == []


def test_a_shared_connection_needs_no_second_login(
    node: Server, root: Path, tmp_path: Path, fetch: Any
) -> None:
    before = node.log.count("Accepted publickey")
    options = {"src": str(root), "dest": str(tmp_path / "n1.tgz"), "own_connection": False}
    made, _output = fetch(
        options, node.host_variables(), environment={"ANSIBLE_SSH_CONTROL_PATH_DIR": str(node.folder)}
    )
    assert made["changed"]
    assert node.log.count("Accepted publickey") == before + 1


def test_a_refused_own_connection_falls_back_on_the_shared_one(
    node: Server, root: Path, tmp_path: Path, fetch: Any
) -> None:
    # as with a password that is used once: the master was let in, and nobody is any more
    wrapper = tmp_path / "ssh"
    wrapper.write_text(
        '#!/bin/sh\ncase "$*" in *ControlPath=none*) echo no second login >&2; exit 255;; esac\nexec ssh "$@"\n'
    )
    wrapper.chmod(0o755)
    options = {"src": str(root), "dest": str(tmp_path / "n1.tgz")}
    made, output = fetch(options, {**node.host_variables(), "ansible_ssh_executable": str(wrapper)})
    assert made["changed"], output


@pytest.mark.parametrize(
    ("user", "become"),
    [
        ("trusted", {"ansible_become": True}),
        ("asked", {"ansible_become": True, "ansible_become_password": PASSWORD}),
        ("root", {"ansible_become": True, "ansible_become_method": "su", "ansible_become_user": "trusted"}),
        (
            "asked",
            {
                "ansible_become": True,
                "ansible_become_method": "su",
                "ansible_become_user": "trusted",
                "ansible_become_password": PASSWORD,
            },
        ),
    ],
)
def test_become_is_the_plays(
    node: Server, tmp_path: Path, fetch: Any, user: str, become: dict[str, Any]
) -> None:
    disk = node.folder / "disk"
    disk.write_bytes(os.urandom(MIB))
    disk.chmod(0o644 if "ansible_become_user" in become else 0o600)
    options = {"src": str(disk), "dest": str(tmp_path / "n1.gz")}
    made, output = fetch(options, {**node.host_variables(user), **become})
    assert made["changed"] and made["kind"] == "dd", output
    assert PASSWORD not in output


def test_without_become_a_root_is_out_of_reach(node: Server, tmp_path: Path, fetch: Any) -> None:
    failed, _output = fetch({"src": "/", "dest": str(tmp_path / "n1.tgz")}, node.host_variables("trusted"))
    assert failed["failed"] and "use become" in failed["msg"]


def test_a_wrong_become_password_is_told(node: Server, root: Path, tmp_path: Path) -> None:
    variables = {**node.host_variables("asked"), "ansible_become": True, "ansible_become_password": "wrong"}
    play = start_play(tmp_path, {"src": str(root), "dest": str(tmp_path / "n1.tgz")}, variables)
    assert "Incorrect sudo password" in play.communicate(timeout=120)[0]
    assert beside(tmp_path / "n1.tgz") == []


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    ({"src": "/nonexistent"}, "/nonexistent"),
    ({"dest": "/nonexistent/n1.tgz"}, "dest: the folder /nonexistent does not exist on the controller"),
    ({"dest": "/tmp"}, "dest: /tmp is a folder"),
    ({"compression": "zstd"}, "compression: zstd does not fit dest n1.tgz"),
    ({"mode": "rw"}, "mode: 'rw' is no octal mode"),
    ({"skip_hygiene": ["dust"]}, "skip_hygiene: 'dust' is not one of"),
    ({"level": 77}, "level: 77 is none of gzip"),
    ({"method": "tgz-g5k"}, "tgz-g5k"),
    ({"sorce": "/"}, "sorce"),
    ({"timeout": 0}, "timeout: 0 is no number of seconds"),
    ({"progress": -1}, "progress: -1 is no number of seconds"),
]


def test_bad_input_is_one_clear_error(node: Server, root: Path, tmp_path: Path) -> None:
    right: dict[str, Any] = {"src": str(root), "dest": str(tmp_path / "n1.tgz")}
    wrong = [{**right, **changed} for changed, _message in BAD_INPUT]
    results, output = results_of(start_play(tmp_path, wrong, node.host_variables()))
    for result, (changed, message) in zip(results, BAD_INPUT, strict=True):
        assert result["failed"] and message in result["msg"], (changed, result)
    assert "Traceback" not in output
    assert beside(tmp_path / "n1.tgz") == []


def test_secrets_never_leave_the_node(node: Server, root: Path, tmp_path: Path, fetch: Any) -> None:
    (root / "root/.ssh").mkdir(parents=True)
    (root / "root/.ssh/id_ed25519").write_bytes(node.key.read_bytes())
    options = {"src": str(root), "dest": str(tmp_path / "n1.tgz")}
    failed, _output = fetch(options, node.host_variables())
    assert failed["failed"] and "ssh_private_key" in failed["msg"]
    assert beside(tmp_path / "n1.tgz") == []
    assert fetch({**options, "allow_secrets": ["ssh_private_key"]}, node.host_variables())[0]["changed"]


def test_a_connection_without_a_stream_is_refused(root: Path, tmp_path: Path, fetch: Any) -> None:
    failed, _output = fetch(
        {"src": str(root), "dest": str(tmp_path / "n1.tgz")}, {"ansible_connection": "ansible.builtin.winrm"}
    )
    assert failed["failed"] and "ssh and local" in failed["msg"]


@pytest.fixture
def random_device(tmp_path: Path) -> Iterator[Path]:
    """A block device without a file system: that it is unchanged, only its content tells."""
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(2 * MIB))
    done = subprocess.run(
        ["losetup", "--find", "--show", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop devices here: {done.stderr}")
    device = Path(done.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_what_only_the_stream_tells(random_device: Path, tmp_path: Path, fetch: Any) -> None:
    options = {"src": str(random_device), "dest": str(tmp_path / "disk.dd.zst")}
    assert fetch(options, LOCAL)[0]["changed"]
    before = snapshot(tmp_path)
    assert not fetch(options, LOCAL, "--check")[0]["changed"]
    assert not fetch(options, LOCAL)[0]["changed"]
    image = Path(options["dest"])
    assert snapshot(tmp_path)[image.name] == before[image.name]
    with random_device.open("r+b") as device:
        device.write(b"changed")
    content = image.read_bytes()
    foreseen = fetch(options, LOCAL, "--check")[0]
    assert foreseen["changed"] and "changed since" in foreseen["reason"] and image.read_bytes() == content
    assert fetch(options, LOCAL)[0]["changed"] and image.read_bytes() != content


STAND_IN = """#!/bin/sh
# Stand-in for tgz-g5k of Grid'5000, which is in no distribution: [-z], an archive to standard output. As the real one
# does, it mounts the root elsewhere; it archives one file only.
compress=gzip; [ "$1" = -z ] && compress="zstd -q"
mount --bind / /mnt || exit 1
tar --posix --numeric-owner --directory /mnt -c etc/hostname | $compress -c
"""


@pytest.fixture
def tgz_g5k(node: Server) -> Iterator[None]:
    program = node.folder / "local/bin/tgz-g5k"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    yield
    program.unlink()


@pytest.mark.usefixtures("tgz_g5k")
def test_the_sites_own_program_makes_the_image(node: Server, tmp_path: Path, fetch: Any) -> None:
    before = mounts(node.process.pid)
    right: dict[str, Any] = {
        "src": "/",
        "method": "tgz-g5k",
        "dest": str(tmp_path / "n1.tar.zst"),
        "allow_secrets": ALL_SECRETS,
    }
    made, output = fetch(right, node.host_variables())
    assert made["changed"] and list(made["tools"]) == ["tgz-g5k"] and made["hygiene"] == [], output
    assert members(right["dest"]) == ["etc/hostname"]
    assert made["uncompressed_size"] == 10240
    again, output = fetch(right, node.host_variables(), "--diff")
    assert not again["changed"], output

    wrong: dict[str, dict[str, Any]] = {
        "src must be /": {"src": "/etc"},
        "not xz": {"dest": str(tmp_path / "n1.tar.xz")},
        "exclude: ": {"exclude": ["etc"]},
        "always compresses on the node": {"compress_on": "controller"},
    }
    results, _output = results_of(
        start_play(tmp_path, [{**right, **change} for change in wrong.values()], node.host_variables())
    )
    for message, result in zip(wrong, results, strict=True):
        assert result["failed"] and message in result["msg"], result
    assert mounts(node.process.pid) == before


def members(image: str) -> list[str]:
    listed = subprocess.run(["tar", "--list", "-f", image], capture_output=True, text=True, check=True)
    return [name.rstrip("/") for name in listed.stdout.splitlines()]


def test_a_running_node_and_nothing_that_is_mounted_on_it(node: Server, tmp_path: Path, fetch: Any) -> None:
    before, mounted = snapshot(node.folder / "root" / "etc"), mounts(node.process.pid)
    options: dict[str, Any] = {"src": "/", "dest": str(tmp_path / "n1.tar.zst"), "allow_secrets": ALL_SECRETS}
    made, output = fetch(options, node.host_variables("trusted") | {"ansible_become": True})
    assert made["changed"], output
    names = members(options["dest"])
    assert {"etc/passwd", "etc/machine-id", "proc", "dev", "usr", "tmp", "root"} <= set(names)
    assert not [name for name in names if name.startswith(("usr/", "proc/", "dev/", "tmp/", "root/"))]
    assert not fetch(options, node.host_variables("trusted") | {"ansible_become": True})[0]["changed"]
    assert snapshot(node.folder / "root" / "etc") == before
    assert mounts(node.process.pid) == mounted


def test_memory_stays_flat(node: Server, tmp_path: Path) -> None:
    options = {**endless(tmp_path), "progress": 1}
    play = start_play(tmp_path, options, node.host_variables())
    try:
        worker = wait_for(lambda: streaming(play.pid), "the stream")
        sizes = []
        read = Path(f"/proc/{worker}/io")
        wait_for(lambda: int(read.read_text().split()[1]) > 100 * MIB, "the first of the stream")
        for step in range(2, 14):
            wait_for(lambda: int(read.read_text().split()[1]) > step * 100 * MIB, "more of the stream")  # noqa: B023
            sizes.append(resident(worker))
        said = Heard(play)
        wait_for(lambda: re.search(r"[MG]iB/s, \d+ %", said.more()), said)
        sizes.append(resident(worker))
        assert max(sizes) - min(sizes) < 16 * MIB
        assert max(sizes) - resident(play.pid) < 64 * MIB
    finally:
        os.killpg(play.pid, signal.SIGTERM)
        play.communicate(timeout=60)


class Heard:
    """What a play has printed."""

    def __init__(self, play: subprocess.Popen[str]) -> None:
        assert play.stdout
        self._output = play.stdout.fileno()
        self._said = ""
        os.set_blocking(self._output, False)

    def more(self) -> str:
        with contextlib.suppress(BlockingIOError):
            self._said += os.read(self._output, 1 << 16).decode()
        return self._said

    def __str__(self) -> str:
        return f"it printed {self._said!r}"


def streaming(pid: int) -> int | None:
    """The worker below ``pid`` whose compressor runs."""
    compressors = named(pid, "igzip") or named(pid, "pigz") or named(pid, "gzip")
    return parent(compressors[0]) if compressors else None


def parent(pid: int) -> int:
    return int(state(pid)[1])


def begin(pid: int) -> str | None:
    """When the process began, which tells it from a later one of the same number; None for one that has ended."""
    try:
        return None if state(pid)[0] == "Z" else state(pid)[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def state(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def alive(begun: dict[int, str | None]) -> list[int]:
    return [pid for pid, time_of_begin in begun.items() if time_of_begin and begin(pid) == time_of_begin]


def resident(pid: int) -> int:
    """Bytes of memory that are in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


KILLS = {
    "the play": lambda play, node: os.kill(play.pid, signal.SIGKILL),
    "the play's worker": lambda play, node: os.kill(streaming(play.pid) or 0, signal.SIGKILL),
    "the session on the node": lambda play, node: os.kill(session_of(node), signal.SIGKILL),
    "the reader on the node": lambda play, node: os.kill(named(node.process.pid, "cat")[0], signal.SIGKILL),
    "the program on the node": lambda play, node: os.kill(
        parent(named(node.process.pid, "cat")[0]), signal.SIGKILL
    ),
    "the play, gently": lambda play, node: os.kill(play.pid, signal.SIGINT),
}


def session_of(node: Server) -> int:
    """The sshd process that serves the stream."""
    pid = named(node.process.pid, "cat")[0]
    while Path(f"/proc/{pid}/comm").read_text().strip() != "sshd":
        pid = parent(pid)
    return pid


@pytest.mark.parametrize("victim", KILLS)
def test_a_kill_leaves_nothing(node: Server, tmp_path: Path, victim: str) -> None:
    options = endless(tmp_path)
    dest = Path(options["dest"])
    dest.write_bytes(b"the image of yesterday")
    before, mounted, temporary = snapshot(dest.parent), mounts(node.process.pid), set(os.listdir("/tmp"))
    play = start_play(tmp_path, options, node.host_variables())
    try:
        wait_for(lambda: named(node.process.pid, "cat") and streaming(play.pid), "the stream")
        workers = {one: begin(one) for one in descendants(play.pid)}
        KILLS[victim](play, node)
        wait_for(lambda: not named(node.process.pid, "cat"), "the end of the capture on the node", 20)
        wait_for(lambda: not alive(workers), f"the end of {workers}", 30)
        output = play.communicate(timeout=60)[0]
    finally:
        for one in (play.pid, *descendants(play.pid)):
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
    if "node" in victim:
        assert "the stream was cut off" in output or "cat failed by signal 9" in output, output
        assert "Traceback" not in output
    assert snapshot(dest.parent) == before
    assert mounts(node.process.pid) == mounted
    # what another test runs meanwhile goes by itself
    wait_for(
        lambda: not [name for name in set(os.listdir("/tmp")) - temporary if "image_fetch" in name],
        "the end of temporary files",
    )


def test_two_captures_into_one_file(node: Server, tmp_path: Path, fetch: Any) -> None:
    options = endless(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    play = start_play(other, options, node.host_variables())
    try:
        wait_for(lambda: named(node.process.pid, "cat") and streaming(play.pid), "the stream")
        failed, _output = fetch(options, LOCAL)
        assert failed["failed"] and "another capture writes" in failed["msg"]
    finally:
        os.killpg(play.pid, signal.SIGTERM)
        play.communicate(timeout=60)
    wait_for(lambda: not named(node.process.pid, "cat"), "the end of the capture on the node", 20)


def test_a_full_disk_is_told(node: Server, root: Path, tmp_path: Path, fetch: Any) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        failed, _output = fetch({"src": str(root), "dest": str(small / "n1.tgz")}, node.host_variables())
        assert failed["failed"] and "No space left on device" in failed["msg"]
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
