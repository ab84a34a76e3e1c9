# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for Kerrighed's krgcapset, migrate, checkpoint and restart. It is not Kerrighed.

Options, outputs and exit codes are those of its tools (krgcapset.c, migrate.c, checkpoint.c, restart.c) and as recorded on
a cluster of two nodes; the kernel's rules on capabilities are those of capability.c. In the environment:
SSI_STAND_IN_STATE is the folder of the session, SSI_STAND_IN_NODE the node that the command runs on (1),
SSI_STAND_IN_DELAY seconds that a step of it takes (0), SSI_STAND_IN_FAULT what goes wrong: ``lost`` (the target dies while
a process arrives), ``lazy`` (migrate returns before the process has moved, as the real one does).

The folder: nodes.json {"1": "online"}; processes/PID.json; proc/PID/stat and proc/nodes/nodeN/cpuinfo as the kernel shows
them; chkpt/ for /var/chkpt.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

STATE = Path(os.environ.get("SSI_STAND_IN_STATE", "."))
NODE = int(os.environ.get("SSI_STAND_IN_NODE", "1"))
DELAY = float(os.environ.get("SSI_STAND_IN_DELAY", "0"))
FAULT = os.environ.get("SSI_STAND_IN_FAULT", "")

CAPABILITIES = [
    "CHANGE_KERRIGHED_CAP", "CAN_MIGRATE", "DISTANT_FORK", "FORK_DELAY", "CHECKPOINTABLE", "USE_REMOTE_MEMORY",
    "USE_INTRA_CLUSTER_KERSTREAMS", "USE_INTER_CLUSTER_KERSTREAMS", "USE_WORLD_VISIBLE_KERSTREAMS",
    "SEE_LOCAL_PROC_STAT", "DEBUG", "SYSCALL_EXIT_HOOK",
]  # fmt: skip
SUPPORTED = 0o1067
"""What the recorded cluster had permitted."""
PROCESSORS = 4
"""Numbers of processors per node, NR_CPUS of the recorded kernel: processor 8 is the first of node 2."""
GLOBAL = 1 << 21


class Process(NamedTuple):
    pid: int
    node: int
    app: int
    pgid: int
    sid: int
    threads: int = 1
    permitted: int = SUPPORTED
    effective: int = SUPPORTED
    inheritable_permitted: int = SUPPORTED
    inheritable_effective: int = SUPPORTED
    frozen: bool = False
    used: tuple[str, ...] = ()


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def save(process: Process) -> None:
    stat = ["0"] * 50
    stat[1:4] = ["1", str(process.pgid), str(process.sid)]
    stat[0], stat[17], stat[36] = "S", str(process.threads), str(process.node * PROCESSORS)
    put(STATE / "processes" / f"{process.pid}.json", json.dumps(process._asdict()))
    put(STATE / "proc" / str(process.pid) / "stat", f"{process.pid} (sp) in) {' '.join(stat)}\n")


def load(pid: int) -> Process | None:
    try:
        return Process(**json.loads((STATE / "processes" / f"{pid}.json").read_text()))
    except FileNotFoundError:
        return None


def everybody() -> list[Process]:
    return [Process(**json.loads(path.read_text())) for path in (STATE / "processes").glob("[0-9]*.json")]


def end(process: Process) -> None:
    (STATE / "processes" / f"{process.pid}.json").unlink()
    (STATE / "proc" / str(process.pid) / "stat").unlink()


def online(node: int) -> bool:
    try:
        return json.loads((STATE / "nodes.json").read_text()).get(str(node)) == "online"
    except FileNotFoundError:
        return False


def set_up(nodes: dict[int, str]) -> None:
    """A session of ``nodes`` with their states, as krgadm names them."""
    put(STATE / "nodes.json", json.dumps(nodes))
    for node, state in nodes.items():
        if state == "online":
            lines = "".join(f"processor\t: {node * PROCESSORS + at}\nvendor_id\t: x\n\n" for at in range(2))
            put(STATE / "proc" / "nodes" / f"node{node}" / "cpuinfo", lines)
    (STATE / "chkpt").mkdir(exist_ok=True)


def options_of(arguments: list[str], with_value: str) -> tuple[list[tuple[str, str]], list[str]]:
    """As getopt(3) reads them; importing Python's costs more than all that is done here."""
    found, rest = [], list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        found.append((option, rest.pop(0) if option[1] in with_value else ""))
    return found, rest


def error(program: str, code: int) -> NoReturn:
    """As perror(3) says it."""
    print(f"{program}: {os.strerror(code)}", file=sys.stderr)
    sys.exit(1)


# krgcapset


def print_capability(vector: int) -> None:
    """The names, wrapped as krgcapset.c wraps them: without a comma, and counting the one before twice."""
    column = 8
    for bit, name in enumerate(CAPABILITIES):
        if vector >> bit & 1:
            width = len(name) + 2
            if column + width < 80:
                if column != 8:
                    print(", ", end="")
                    width += 2
                else:
                    print("\t", end="")
            else:
                print("\n\t", end="")
                column = 8
            print(name, end="")
            column += width
    print()


def show(process: Process) -> None:
    for title in ("Permitted", "Effective", "Inheritable Permitted", "Inheritable Effective"):
        vector = getattr(process, title.lower().replace(" ", "_"))
        print(f"{title} Capabilities: 0{vector:o}")
        print_capability(vector)


def construct(text: str) -> int:
    found = 0
    for token in text.split(","):
        for bit, name in enumerate(CAPABILITIES):
            if token.startswith(name):
                found |= 1 << bit
                break
        else:
            print(f"Unrecognized capability: {token}", file=sys.stderr)
            print("Authorized capability names are:", file=sys.stderr)
            print_capability(SUPPORTED)
    return found


def update(text: str, old: int) -> int:
    try:
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        if text.startswith("+"):
            return old | construct(text[1:])
        return old & ~construct(text[1:]) if text.startswith("-") else construct(text)


def set_capabilities(process: Process, wanted: Process) -> int:
    """capability.c, krg_set_cap: an errno, or 0."""
    if (
        wanted.effective & ~wanted.permitted
        or wanted.inheritable_permitted & ~wanted.permitted
        or wanted.inheritable_effective & ~wanted.inheritable_permitted
    ):
        return errno.EINVAL
    if wanted.permitted & ~((1 << len(CAPABILITIES)) - 1):
        return errno.ENOSYS
    if not process.effective & 1:
        return errno.EPERM
    if any(not wanted.effective >> CAPABILITIES.index(name) & 1 for name in process.used):
        return errno.EBUSY
    permitted = process.permitted & wanted.permitted
    save(
        process._replace(
            permitted=permitted,
            effective=permitted & wanted.effective,
            inheritable_permitted=permitted & wanted.inheritable_permitted,
            inheritable_effective=permitted & wanted.inheritable_effective,
        )
    )
    return 0


def krgcapset(arguments: list[str]) -> int:
    sets = {
        "-e": "effective",
        "-p": "permitted",
        "-d": "inheritable_effective",
        "-i": "inheritable_permitted",
    }
    options, _rest = options_of(arguments, "kpeid")
    if not online(NODE):
        print("Unable to get the list of supported caps.\nIs Kerrighed running?", file=sys.stderr)
        return 255
    process, wanted, force, changed = None, None, False, False
    for option, value in options:
        if option == "-k":
            if changed:
                print("Conflict in implementation: -k must be the first option used")
                return 1
            process = wanted = load(int(value))
            if process is None:
                print(f"Unable to get capabilities of process {value} (res: -1, errno: {errno.ESRCH}))")
                return 255
        elif option == "-f":
            force = True
        elif process is None or wanted is None:
            print("stand-in: the calling process has no capabilities here", file=sys.stderr)
            return 99
        elif option == "-s":
            show(wanted)
        else:
            changed = True
            name = sets[option]
            wanted = wanted._replace(**{name: update(value, getattr(wanted, name))})
    if changed and process and wanted:
        if not force and not wanted.permitted & wanted.effective & 1:
            print("Are you sure you want to loose the capability to change your capabilities (y/N)")
            if sys.stdin.read(1) not in ("y", "Y"):
                return 0
        time.sleep(DELAY)
        code = set_capabilities(process, wanted)
        if code:
            print(f"Unable to set the capabilities of process {process.pid} (res is -1, errno {code})")
    return 0


# migrate


def arrive(pid: int, target: int) -> None:
    process = load(pid)
    if process:
        end(process) if FAULT == "lost" else save(process._replace(node=target))


def migrate(arguments: list[str]) -> int:
    pid, target = (int(word) if word.isdigit() else 0 for word in arguments)
    if not online(NODE):
        error("migrate", errno.EAGAIN)
    if not 0 <= target < 256:
        error("migrate", errno.EINVAL)
    process = load(pid)
    if not online(target):
        error("migrate", errno.ENONET)
    if process is None:
        error("migrate", errno.ESRCH)
    if not process.effective >> 1 & 1 or process.threads > 1 or min(process.pgid, process.sid) < GLOBAL:
        error("migrate", errno.EPERM)
    if FAULT == "lazy":
        import subprocess  # noqa: PLC0415, what is loaded late is not paid for by each run

        subprocess.Popen([sys.executable, __file__, "arrive", str(pid), str(target)], start_new_session=True)
        return 0
    time.sleep(DELAY)
    arrive(pid, target)
    return 0


# checkpoint and restart


def check_environment() -> None:
    if not online(NODE):
        error("Kerrighed is not started", errno.EAGAIN)
    if not (STATE / "chkpt").is_dir():
        error("/var/chkpt", errno.ENOENT)


def write_images(folder: Path, members: list[Process]) -> None:
    folder.mkdir(mode=0o700, parents=True)
    node = members[0].node
    images = {f"task_{one.pid}.bin": json.dumps(one._asdict()) for one in members}
    images.update(
        {
            "global.bin": "x",
            f"node_{node}.bin": "x",
            f"shared_obj_{node}.bin": "x",
            f"user_info_{node}.txt": "",
        }
    )
    for name, text in images.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def checkpoint(arguments: list[str]) -> int:
    # -k takes its value in the same word
    if arguments[0] == "-u":
        return unfreeze(int(arguments[1]))
    signals = [word for word in arguments if word.startswith("-k")]
    options, rest = options_of([word for word in arguments if word not in signals], "d")
    description = dict(options).get("-d", "No description")
    return take(int(rest[0]), description, int(signals[0][2:] or "15") if signals else None)


def unfreeze(pid: int) -> int:
    print(f"Unfreezing application in which process {pid} is involved...")
    process = load(pid)
    for one in everybody():
        if process and one.app == process.app:
            save(one._replace(frozen=False))
    return 0


def take(pid: int, description: str, signal: int | None) -> int:
    check_environment()
    process = load(pid)
    print(f"Freezing application in which process {pid} is involved...")
    if process is None:
        error("checkpoint", errno.ESRCH)
    members = [one for one in everybody() if one.app == process.app]
    if any(not one.effective >> 4 & 1 or min(one.pgid, one.sid) < GLOBAL for one in members):
        error("checkpoint", errno.EPERM)
    for one in members:
        save(one._replace(frozen=True))
    print(f"Checkpointing application in which process {pid} is involved...")
    versions = [int(path.name[1:]) for path in (STATE / "chkpt" / str(process.app)).glob("v[0-9]*")]
    version = max(versions, default=0) + 1
    folder = STATE / "chkpt" / str(process.app) / f"v{version}"
    write_images(folder, members)
    time.sleep(DELAY)
    now = int(time.time())
    head = f"Identifier: {process.app}\nVersion: {version}\nDescription: {description}\n"
    print(f"{head}Date: {time.ctime(now)}\n")
    with (folder / "description.txt").open("a") as file:
        file.write(f"{head}Date: {now}\n")
    print(f"Unfreezing application in which process {pid} is involved...")
    for one in members:
        end(one) if signal == 9 else save(one)
    return 0


def restart(arguments: list[str]) -> int:
    app, version = (int(word) for word in arguments)
    check_environment()
    print(f"Restarting application {app} (v{version}) ...", flush=True)
    if any(one.app == app for one in everybody()):
        print(f"restart: an application using appid {app} is already running", file=sys.stderr)
        return 1
    folder = STATE / "chkpt" / str(app) / f"v{version}"
    if not folder.is_dir():
        error("restart", errno.ENOENT)
    try:
        members = [Process(**json.loads(path.read_text())) for path in folder.glob("task_*.bin")]
    except ValueError:
        print("restart: invalid checkpoint files (corrupted or wrong kernel version)", file=sys.stderr)
        return 1
    if any(load(one.pid) for one in members):
        print(
            "restart: one PID (including session id or group id) of the application is already in use",
            file=sys.stderr,
        )
        return 1
    time.sleep(DELAY)
    for one in members:
        save(one._replace(node=one.node if online(one.node) else NODE, frozen=False))
    print(f"Application {app} has been successfully restarted")
    return 0


def main(program: str, arguments: list[str]) -> int:
    if program == "arrive":
        time.sleep(DELAY)
        arrive(*map(int, arguments))
        return 0
    programs = {"krgcapset": krgcapset, "migrate": migrate, "checkpoint": checkpoint, "restart": restart}
    return programs[program](arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
