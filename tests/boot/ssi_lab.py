"""An SSI cluster on the lab: programs of its nodes, and a machine on its wire that nobody declared."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, INVENTORY, declared
from playbook_run import SETTINGS
from testinfra.host import Host

from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_node import ACCELERATORS, QEMU

COUNTER = """
import sys, time
stream = open(sys.argv[1], "a", buffering=1)
for number in range(1, 10**9):
    stream.write(f"{number}\\n")
    time.sleep(0.2)
"""
SPINNER = "while True: pass\n"
SLEEPER = "import time\nwhile True: time.sleep(1)\n"
START = """
set -e
krgcapset -i +CAN_MIGRATE,CHECKPOINTABLE,DISTANT_FORK -d +{capabilities}
cd /home
setsid python3 /home/{program} {arguments} </dev/null >/dev/null 2>&1 &
echo $!
"""
"""What the shell's children inherit; a session, a folder and files of their own, as whatever shall move needs."""
PIDS_OF_A_NODE = 16384
"""A process that never moved is on the node in whose range its pid lies."""
STRANGER = "52:54:00:77:02:01"
MACHINE = (
    *("-smp", "1", "-m", "768", "-machine", "pc,graphics=off", "-boot", "reboot-timeout=5000"),
    *("-display", "none", "-nodefaults", "-no-user-config", "-device", "virtio-rng-pci"),
)


def ask(node: Host, *argv: str) -> str:
    """What a program of the node prints; it must succeed."""
    said = node.run(shlex.join(argv))
    assert said.rc == 0, f"{shlex.join(argv)}: {said.stdout}{said.stderr}"
    return str(said.stdout)


def until(holds: Callable[[], bool], patience: float, what: str) -> None:
    """Ask again and again; emulated nodes on a busy machine take their time, to greet as well."""
    over = time.monotonic() + patience
    why = ""
    while True:
        try:
            if holds():
                return
        except RuntimeError as error:  # ssh's own failure
            why = f" ({error})"
        if time.monotonic() > over:
            pytest.fail(f"not within {patience:g} s: {what}{why}")
        time.sleep(1)


def members(node: Host) -> dict[int, str]:
    """The nodes of its session as krgadm lists them: number -> state."""
    return {
        int(number): state
        for number, state in re.findall(r"(?m)^(\d+):(\w+)$", node.run("krgadm nodes").stdout)
    }


def where(node: Host, pid: int) -> int | None:
    """On which node of the session a process runs; None where it runs on none."""
    said = node.run(f"ssi-ps --where {pid}")
    return int(said.stdout) if said.rc == 0 else None


def recorded(boot_server: Host, session: int, pid: int) -> int | None:
    """On which node a process runs by the session's folder, None while it moves: the server's answer is no load for a node."""
    storage = next(host for host in declared() if "boot_server" in host["group_names"])["oneimage_storage"]
    records = f"{storage}/ssi/session-{session}/processes/{pid}/[0-9]*"
    newest = boot_server.run(f'cat "$(ls {records} | tail -n 1)"')
    if newest.rc:
        return pid // PIDS_OF_A_NODE
    record = json.loads(newest.stdout)
    return int(record["node"]) if record["event"] == "on" and record["awake"] else None


def start(
    node: Host, program: str, text: str, *arguments: str, capabilities: str = "CAN_MIGRATE,CHECKPOINTABLE"
) -> int:
    """Run a program of the shared /home in the background; its pid."""
    node.run_expect([0], f"printf %s {shlex.quote(text)} >/home/{program}")
    script = START.format(program=program, arguments=shlex.join(arguments), capabilities=capabilities)
    return int(node.check_output(f"sh -c {shlex.quote(script)}"))


def end(nodes: Iterable[Host], pids: Collection[int]) -> None:
    """Kill processes wherever they are. Again until none is left: one may be between two nodes."""
    asked = list(nodes)

    def gone() -> bool:
        for node in asked:
            node.run(f"kill -9 {shlex.join(map(str, pids))}")
        return all(where(asked[0], pid) is None for pid in pids)

    until(gone, 120, "the processes are gone")


def counted(node: Host, file: str) -> list[range]:
    """What a counter wrote: one range without a gap, and another one for each time that it was set back."""
    numbers = [int(word) for word in ask(node, "cat", file).split("\n")[:-1]]
    starts = [0, *(at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1] + 1)]
    ends = [*starts[1:], len(numbers)]
    return [range(numbers[start], numbers[end - 1] + 1) for start, end in zip(starts, ends) if start < end]


def goes_on(node: Host, file: str) -> None:
    """It counts, and is not set back meanwhile."""
    before = counted(node, file)
    until(lambda: counted(node, file)[-1].stop > before[-1].stop + 2, 90, f"{file} grows")
    assert len(counted(node, file)) == len(before)


def task(host: str, module: str, **options: Any) -> dict[str, Any]:
    """The result of one task; it must succeed."""
    program = Path(sys.executable).with_name("ansible")
    done = subprocess.run(
        [program, host, "-i", INVENTORY, "-m", f"oneimage.cluster.{module}", "-a", json.dumps(options)],
        cwd=CHECKOUT,
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout.partition(" => ")[2])[0]
    return result


def power_off(host: dict[str, Any]) -> None:
    """Take a node's power, by its BMC."""
    switch = {"name": host["inventory_hostname"], **host["node_bmc"]}
    assert task("boot", "node_power", nodes=[switch], state="off")["changed"]


@contextlib.contextmanager
def stranger() -> Iterator[Path]:
    """A machine on the lab's wire that no inventory knows; the log of its console. It has no BMC: its plug is pulled."""
    lab = Path(declared()[0]["lab_directory"])
    inside = ["ip", "netns", "exec", f"oneimage-{lab.name}"]
    scripts = [script.read_text() for script in lab.glob("nodes/*/power-on")]
    kind = "kvm" if any("-accel kvm" in script for script in scripts) else "tcg"
    console = lab / "stranger.log"
    subprocess.run([*inside, "ip", "tuntap", "add", "dev", "stranger", "mode", "tap"], check=True)
    for setting in (("master", "br0"), ("up",)):
        subprocess.run([*inside, "ip", "link", "set", "stranger", *setting], check=True)
    network = ("-netdev", "tap,id=net0,ifname=stranger,script=no,downscript=no")
    nic = ("-device", f"virtio-net-pci,netdev=net0,mac={STRANGER},bootindex=1")
    machine = subprocess.Popen(
        [*inside, QEMU, *MACHINE, *ACCELERATORS[kind], *network, *nic, "-serial", f"file:{console}"]
    )
    try:
        yield console
    finally:
        machine.kill()
        machine.wait()
        subprocess.run([*inside, "ip", "link", "del", "stranger"], check=False)
