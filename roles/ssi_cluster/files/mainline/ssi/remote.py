# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From node to node by ssh: each node makes a key at boot, shows its public half in the session's folder, and lets the others
run ssi-serve with theirs, each from its own address only. sshd reads the keys from a file that
the member keeps: no program at each login."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import subprocess
import time
from typing import NamedTuple

from ssi import membership, node
from ssi.errors import SsiError
from ssi.membership import View
from ssi.node import Node

KEY = f"{node.RUN}/key"
KNOWN = f"{node.RUN}/known_hosts"
AUTHORIZED = f"{node.RUN}/authorized_keys"
SERVE = "/usr/lib/oneimage-ssi/ssi-serve"
ONE_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]{40,120}$")

HOST_KEY_TIMEOUT = 120  # seconds until sshd must have its key; slow machines make one at boot


class Said(NamedTuple):
    """What a command on another node ended with."""

    code: int
    out: str
    err: str


def publish(here: Node) -> None:
    """Show this node's public keys to the session; the private ones stay in its memory."""
    if not os.path.exists(KEY):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", KEY], check=True)
    folder = membership.node_folder(here.node_id)
    os.makedirs(folder, exist_ok=True)
    membership.replace(f"{folder}/host.pub", _host_key() + "\n")
    membership.replace(f"{folder}/key.pub", " ".join(node.read(f"{KEY}.pub").split()[:2]) + "\n")


def _host_key() -> str:
    """The key that this node's sshd serves, wherever it keeps it."""
    end = time.monotonic() + HOST_KEY_TIMEOUT
    while time.monotonic() < end:
        said = subprocess.run(
            ["ssh-keyscan", "-t", "ed25519", "127.0.0.1"], capture_output=True, text=True, check=False
        )
        for line in said.stdout.splitlines():
            key = line.partition(" ")[2]
            if ONE_KEY.match(key):
                return key
        time.sleep(1)
    raise SsiError(
        "this node's sshd shows no ed25519 host key, so that the others cannot know it; is ssh.service running?"
    )


def authorized_keys(here: Node) -> list[str]:
    """Lines for sshd's AuthorizedKeysFile: the other nodes of the session."""
    lines = []
    for name in sorted(os.listdir(f"{node.SHARED}/nodes")):
        folder = f"{node.SHARED}/nodes/{name}"
        state = membership.read_state(f"{folder}/state.json", 0.0)
        key = _read_key(f"{folder}/key.pub")
        if state and key and state.node_id != here.node_id:
            # What other nodes wrote must not become another option of this line.
            lines.append(f'restrict,from="{ipaddress.IPv4Address(state.address)}",command="{SERVE}" {key}')
    return lines


def authorize(here: Node) -> None:
    """Let the session's other nodes in, and nobody else any more."""
    text = "".join(f"{line}\n" for line in authorized_keys(here))
    if not os.path.exists(AUTHORIZED) or node.read(AUTHORIZED) != text:
        membership.replace(AUTHORIZED, text, 0o600)


def _read_key(path: str) -> str:
    try:
        key = node.read(path).strip()
    except FileNotFoundError:
        return ""
    return key if ONE_KEY.match(key) else ""


def command(seen: View, number: int, words: list[str]) -> list[str]:
    """argv that runs ssi-serve with these words on another node.

    SsiError: the node is not up, or has shown no host key.
    """
    if not seen.alive(number):
        raise SsiError(f"node {number} is not up")
    key = _read_key(f"{membership.node_folder(number)}/host.pub")
    if not key:
        raise SsiError(f"node {number} has shown no host key in {membership.node_folder(number)}")
    address = seen.states[number].address
    os.makedirs(KNOWN, exist_ok=True)
    known = f"{KNOWN}/{number}"
    membership.replace(known, f"{address} {key}\n")
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}",
               "GlobalKnownHostsFile=/dev/null", "ConnectTimeout=60", "ServerAliveInterval=10", "ServerAliveCountMax=6",
               "LogLevel=ERROR"]  # fmt: skip
    flags = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", "none", "-i", KEY, *flags, f"root@{address}", shlex.join(words)]


def run(seen: View, number: int, words: list[str], timeout: float = 300) -> Said:
    """SsiError: the node cannot be reached."""
    try:
        done = subprocess.run(
            command(seen, number, words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SsiError(f"node {number} did not answer within {timeout:.0f} s") from error
    if done.returncode == 255:
        raise SsiError(f"node {number} cannot be reached: {done.stderr.strip()}")
    return Said(done.returncode, done.stdout, done.stderr)


def ask(here: Node, seen: View, number: int, words: list[str]) -> str:
    """What ssi-serve prints on that node, or on this one.

    SsiError: it fails, in its own words.
    """
    if number == here.node_id:
        done = subprocess.run(
            [SERVE, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        said = Said(done.returncode, done.stdout, done.stderr)
    else:
        said = run(seen, number, words)
    if said.code:
        raise SsiError(said.err.strip() or f"node {number} failed without a word")
    return said.out


def ask_all(here: Node, seen: View, numbers: list[int], words: list[str]) -> dict[int, str | SsiError]:
    """The answer of each node, or why there is none; all are asked at once."""

    from concurrent.futures import (
        ThreadPoolExecutor,
    )  # here, as it is slow to load and most programs ask nobody

    def one(number: int) -> str | SsiError:
        try:
            return ask(here, seen, number, words)
        except SsiError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, min(32, len(numbers)))) as pool:
        return dict(zip(numbers, pool.map(one, numbers)))


def start(seen: View, number: int, words: list[str]) -> subprocess.Popen[str]:
    """ssi-serve on another node, to be talked to."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(seen, number, words), stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1
    )
