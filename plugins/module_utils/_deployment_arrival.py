# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Whether a node that was started has come into the deployment environment, or into its deployed system.

The deployment environment proves itself by a login with this deployment's key and by its kernel's command line. The
deployed system has keys of its own: it proves itself by an ssh server that is not that of the deployment environment.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_logs import BootLogs, greeting
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_boot_entry import deployment_boot
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_evidence import console_end
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    DeploymentBoot,
    StepFailed,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

POLL_SECONDS = 2.0
LOGIN_SECONDS = 15.0
SCAN_SECONDS = 30
"""For the handshakes of three kinds of keys: an emulated or busy machine takes more than ssh-keyscan's 5 s."""
REFUSAL_SECONDS = 4.0
ASK = "cat /proc/sys/kernel/random/boot_id /proc/cmdline"

ENVIRONMENT_ADVICE = {
    "": "it asked for no address: is its MAC right, was it really switched on, does it boot from the network first?",
    "kernel": "the deployment environment's kernel was fetched but its initrd did not report: has it this NIC's driver?",
    "initrd": "the deployment environment has the network but its ssh did not start: look at the console",
}
DISK_ADVICE = {
    "": "it asked for no address after the reboot: did it start at all? look at the console",
    "loader": "its loader went on to the disk, whose system did not come as far as ssh: bootloader, kernel, initrd"
    " or network; look at the console",
    "kernel": "it booted from the network instead of its disk: does its boot entry lie under another name too?",
}
"""What to look at by the stage at which a boot ended, where it is not what boot_stage_info says."""


class Facts(NamedTuple):
    """What a node says of the system that it runs."""

    boot_id: str
    command_line: str


LOGS: dict[DeploymentBoot, BootLogs] = {}
LOGS_LOCK = threading.Lock()


def logs_of(boot: DeploymentBoot) -> BootLogs:
    """One reader for all the nodes of a deployment."""
    with LOGS_LOCK:
        return LOGS.setdefault(boot, BootLogs(boot.tree, boot.logs))


def facts_of(work: Work, patience: float = LOGIN_SECONDS) -> Facts | None:
    """What the node says, None where it takes no login of this deployment or goes down meanwhile."""
    if not work.channel.answers(min(patience, work.deadline.left())):
        return None
    with contextlib.suppress(StepFailed):
        boot_id, _newline, command_line = work.channel.run(ASK, timeout=LOGIN_SECONDS).partition("\n")
        return Facts(boot_id.strip(), command_line.strip())
    return None


def host_keys(address: str) -> list[str]:
    """Fingerprints of the ssh host keys at ``address``, as ``ssh-keygen -l`` shows them."""
    with contextlib.suppress(ClusterError):
        argv = ["ssh-keyscan", "-T", str(SCAN_SECONDS), "-t", "ed25519,ecdsa,rsa", address]
        said = run(argv, timeout=2 * SCAN_SECONDS, accept=(0, 1)).stdout
        words = [line.split() for line in said.decode("ascii", "replace").splitlines() if line[:1] != "#"]
        blobs = {base64.b64decode(word[2]) for word in words if len(word) == 3}
        return sorted(
            "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=") for blob in blobs
        )
    return []


def wait_for_environment(work: Work) -> None:
    """Raises StepFailed with the stage where the boot ended."""
    watch(work, environment_arrived, "the deployment environment", ENVIRONMENT_ADVICE)
    work.notes["environment_greeting"] = greeting(work.node.address)
    work.notes["environment_host_keys"] = host_keys(work.node.address)


def environment_arrived(work: Work, _said: str) -> str:
    """Evidence that this deployment's environment runs, or nothing."""
    known = facts_of(work)
    if known is None or known.boot_id == work.notes.get("boot_id"):
        return ""
    if f"oneimage.deploy={work.order.base_url}" not in known.command_line.split():
        return ""
    work.notes["boot_id"] = known.boot_id
    return f"the deployment environment answers, boot {known.boot_id}"


def wait_for_system(work: Work) -> None:
    """Raises StepFailed with the stage where the boot ended, or when the node came back instead of going on."""
    watch(work, system_arrived, "its deployed system", DISK_ADVICE)


def system_arrived(work: Work, said: str) -> str:
    """Evidence that the deployed system's ssh answers, or nothing; raises StepFailed when another system came."""
    keys = host_keys(work.node.address)
    if not keys or set(keys) & set(work.notes.get("environment_host_keys", ())):
        return ""
    # Another ssh server than the one that was left: is it the deployment environment again, with its next key?
    alike = said == work.notes.get("environment_greeting", said)
    known = facts_of(work, LOGIN_SECONDS if alike else REFUSAL_SECONDS)
    if known is not None:
        raise StepFailed(
            f"it came back into the deployment environment instead of its disk, boot {known.boot_id}",
            evidence=[f"/proc/cmdline: {known.command_line}"],
            advice="does its loader find the boot entry of this MAC, does the firmware boot from the network first?",
        )
    work.notes["system_host_keys"] = keys
    return f"the deployed system answers: {said}, host key {keys[0]}"


def watch(work: Work, arrived: Callable[[Work, str], str], what: str, advice: dict[str, str]) -> None:
    """Ask again and again until the deadline, saying each stage of the boot as the boot server's logs show it."""
    logs = logs_of(deployment_boot(work.order))
    node = {"name": work.node.name, "mac": work.node.mac, "address": work.node.address}
    since = float(work.notes.get("rebooted_at") or time.time())
    seen: dict[str, Any] = {"stage": "", "timeline": [], "advice": ""}
    while True:
        found = logs.look(node, since)
        if found["stage"] != seen["stage"]:
            work.say(f"stage {found['stage']} after {found['seconds']:g} s: {found['evidence']}")
        seen = found
        try:
            # The greeting is cheap, a login is not: thousands of nodes are asked while they boot.
            said = greeting(work.node.address)
            evidence = arrived(work, said) if said else ""
            work.deadline.left()
        except StepFailed as over:
            give_up(work, what, seen, advice, over)
        if evidence:
            work.say(evidence)
            return
        time.sleep(POLL_SECONDS)


def give_up(
    work: Work, what: str, seen: dict[str, Any], advice: dict[str, str], over: StepFailed
) -> NoReturn:
    """Raise StepFailed that says how far the boot came, and what shows it."""
    stage = str(seen["stage"])
    answers = greeting(work.node.address)
    reached = f"its boot ended at the stage '{stage}'" if stage else "nothing was seen of its boot"
    if answers:
        reached += f"; {answers} answers, but it is not {what}"
    shown = [f"{one['stage']} after {one['seconds']:g} s: {one['evidence']}" for one in seen["timeline"]]
    raise StepFailed(
        f"it did not come into {what}: {reached} ({over})",
        evidence=[*over.evidence, *shown, *console_end(work.node.console)],
        advice=over.advice or advice.get(stage, str(seen["advice"])),
    ) from over
