# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Micro-steps that bring a node from one system into the next: boot entry, power, kexec, and the proof that it arrived.

A step that starts another system notes ``rebooted_at`` (seconds since 1970) and, where the node could be asked, the
``boot_id`` of the system that it left, so that a late answer of the old one is not taken for the new one.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ansible_collections.oneimage.cluster.plugins.module_utils import _power
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_logs import greeting
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_arrival import (
    facts_of,
    wait_for_environment,
    wait_for_system,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_boot_entry import (
    DISK,
    deployment_boot,
    deployment_entry,
    deployment_parameters,
    switch,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    MicroStep,
    StepFailed,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

BOOT_NEW = "BootNewEnv"
"""The macro-step in which the next system is the deployed one; in all others it is the deployment environment."""
LEAVING_SECONDS = 90.0
"""How long a node may take to end its system after it was told to; then it is reset."""
POWER_SECONDS = 60.0
SCRIPT_SECONDS = 60.0
DOWNLOAD_SECONDS = 300.0
POLL_SECONDS = 1.0
MOUNTED = "/mnt/dest"
DOWNLOADS = "/run/oneimage-deployment"

DETACHED = "setsid /bin/sh -c {} >/dev/null 2>&1 </dev/null &"
"""A command that outlives the ssh session that gave it; the session must end well before the system does."""
REBOOT = DETACHED.format(shlex.quote("sleep 1; sync; reboot -f"))
SYNC = "sync"

DOWNLOAD = """
set -e
mkdir -p {folder}
cd {folder}
fetch() {{
    if command -v curl >/dev/null; then curl --fail --silent --show-error --output "$2" "$1"; else wget -q -O "$2" "$1"; fi
}}
: >initrd
{fetches}
test -s kernel
"""

KEXEC = """
set -e
command -v kexec >/dev/null
kexec -l {kernel} {initrd} --command-line={parameters}
{leave}
"""

KEXEC_DISK = """
set -e
command -v kexec >/dev/null
inside() {{ # a path of the deployed system, links followed within it
    path=$1
    for _turn in 1 2 3 4 5 6 7 8; do
        [ -L "{mounted}$path" ] || break
        link=$(readlink "{mounted}$path")
        case $link in /*) path=$link ;; *) path=${{path%/*}}/$link ;; esac
    done
    echo "{mounted}$path"
}}
device=$(sed -n 's|^\\([^ ]*\\) {mounted} .*|\\1|p' /proc/mounts | tail -n 1)
[ -n "$device" ] || {{ echo "nothing is mounted at {mounted}"; exit 1; }}
uuid=$(blkid "$device" | sed -n 's/.* UUID="\\([^"]*\\)".*/\\1/p')
root=$device
[ -z "$uuid" ] || root=UUID=$uuid
set -- -l "$(inside {kernel})"
[ -z {initrd} ] || set -- "$@" --initrd="$(inside {initrd})"
kexec "$@" --command-line="root=$root ro "{parameters}
{leave}
"""
KEXEC_NOW = DETACHED.format(shlex.quote(f"sleep 1; umount {MOUNTED}; sync; kexec -e"))

READY = """
for program in sfdisk mkfs.ext4 tar; do
    command -v "$program" >/dev/null || { echo "it has no $program"; exit 1; }
done
"""


def switch_pxe(work: Work) -> None:
    """The next boot is the deployed disk in BootNewEnv, the deployment environment before it."""
    entry = DISK if work.macro == BOOT_NEW else deployment_entry(work.order)
    changed = switch(work.order, work.node, entry)
    work.say(f"boot entry {entry.name}: " + (", ".join(changed) or "was there already"))


def soft(work: Work) -> None:
    """Have the running system end; raises StepFailed when it takes no order or does not leave."""
    if not greeting(work.node.address) or not work.channel.answers(min(10.0, work.deadline.left())):
        raise StepFailed("it takes no login of this deployment")
    note_leaving(work)
    work.channel.run(REBOOT, timeout=SCRIPT_SECONDS)
    over = time.monotonic() + min(LEAVING_SECONDS, work.deadline.left())
    while greeting(work.node.address):
        if time.monotonic() >= over:
            raise StepFailed(f"it did not leave within {LEAVING_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def press(work: Work, state: str, level: str = "hard") -> str:
    """Use the node's power switch; what the power was before. Raises StepFailed where there is none, or it refuses."""
    if not work.node.power:
        raise StepFailed("it has no power switch", advice="declare its BMC (node_bmc)")
    work.notes["rebooted_at"] = time.time()
    order = _power.Order(state=state, timeout=min(POWER_SECONDS, work.deadline.left()), level=level)
    (target,) = _power.parse_targets([{**work.node.power, "name": work.node.name}], order)
    outcome = _power.bring(target, order, _power.Gate(0))
    if outcome.error:
        raise StepFailed(outcome.error)
    return outcome.before or ""


def hard(work: Work) -> None:
    """Reset it, or switch it on when it is off."""
    press(work, "reset" if press(work, "status") == "on" else "on")


def very_hard(work: Work) -> None:
    """Take its power away, by the outlet where it has one."""
    press(work, "cycle", level="very_hard")


LEVELS: Mapping[str, MicroStep] = {
    "soft": soft,
    "hard": hard,
    "very_hard": very_hard,
}
"""Ways to reboot, the gentlest first, by Kadeploy's names."""


def escalate(work: Work, levels: Sequence[str]) -> None:
    """Reboot by the first level that works; raises StepFailed with what each of them met."""
    refused = []
    for level in levels:
        try:
            LEVELS[level](work)
        except ClusterError as error:
            work.deadline.left()
            refused.append(f"{level}: {error}")
            continue
        work.say("; ".join([*refused, f"{level} reboot"]))
        return
    raise StepFailed(
        f"no way to reboot it: {'; '.join(refused)}",
        evidence=refused,
        advice="is its BMC reachable from the boot server, are user and password right?",
    )


def reboot(work: Work) -> None:
    """As gently as the node lets us; with the power switch only in BootNewEnvHardReboot."""
    hard = work.implementation.endswith("HardReboot")
    if hard and greeting(work.node.address) and work.channel.answers(min(10.0, work.deadline.left())):
        note_leaving(work)
        work.channel.run(SYNC, timeout=SCRIPT_SECONDS)
    escalate(work, list(LEVELS)[1:] if hard else list(LEVELS))


def note_leaving(work: Work) -> None:
    """What the system is that the node is about to leave."""
    known = facts_of(work)
    if known:
        work.notes["boot_id"] = known.boot_id
    work.notes["rebooted_at"] = time.time()


def wait_reboot(work: Work) -> None:
    """Until the next system's ssh answers; raises StepFailed naming the stage at which the boot ended.

    A node whose deployed system does not come boots the deployment environment the next time: never the same disk again
    and again.
    """
    if work.macro != BOOT_NEW:
        wait_for_environment(work)
        return
    try:
        wait_for_system(work)
    except ClusterError:
        switch(work.order, work.node, deployment_entry(work.order))
        work.say("boot entry deployment: it comes back to the deployment environment")
        raise


def return_to_deploy_env(work: Work) -> None:
    """For a node that failed: back into the deployment environment, where somebody can look at it."""
    switch(work.order, work.node, deployment_entry(work.order))
    escalate(work, list(LEVELS))


def check_nodes(work: Work) -> None:
    """Nodes that are said to run a deployment environment do so."""
    if not work.channel.answers(min(30.0, work.deadline.left())):
        raise StepFailed(
            "it takes no login of this deployment",
            advice="boot it into the deployment environment first: SetDeploymentEnvUntrusted",
        )
    work.channel.run(READY, timeout=SCRIPT_SECONDS)


def send_deployment_kernel(work: Work) -> None:
    """The deployment environment's kernel and initrds onto a node that runs another system."""
    boot = deployment_boot(work.order)
    url = boot.url.rstrip("/")
    fetches = [f"fetch {shlex.quote(f'{url}/{boot.kernel}')} kernel"]
    for path in boot.initrds:
        fetches.append(f"fetch {shlex.quote(f'{url}/{path}')} part && cat part >>initrd && rm part")
    script = DOWNLOAD.format(folder=DOWNLOADS, fetches="\n".join(fetches))
    work.channel.run(script, timeout=min(DOWNLOAD_SECONDS, work.deadline.left()))


def kexec(work: Work) -> None:
    """Start the next system's kernel without the firmware: the deployed one's, or the deployment environment's."""
    note_leaving(work)
    script = deployed_kexec(work) if work.macro == BOOT_NEW else environment_kexec(work)
    work.channel.run(script, timeout=SCRIPT_SECONDS)


def deployed_kexec(work: Work) -> str:
    """Kernel, initrd and parameters as the environment describes them, the root where it is mounted now."""
    boot = work.order.description.get("boot") or {}
    if not boot.get("kernel"):
        raise StepFailed(
            "the environment names no kernel, which kexec needs", advice="boot.kernel in its description"
        )
    words = [*str(boot.get("kernel_params") or "").split(), *work.order.parameters]
    return KEXEC_DISK.format(
        mounted=MOUNTED,
        kernel=shlex.quote(str(boot["kernel"])),
        initrd=shlex.quote(str(boot.get("initrd") or "")),
        parameters=shlex.quote(" ".join(words)),
        leave=KEXEC_NOW,
    )


def environment_kexec(work: Work) -> str:
    """What the loader would have started, from where send_deployment_kernel put it."""
    words = [*deployment_parameters(work.order), f"BOOTIF=01-{work.node.mac.replace(':', '-')}"]
    return KEXEC.format(
        kernel=f"{DOWNLOADS}/kernel",
        initrd=f"--initrd={DOWNLOADS}/initrd" if deployment_boot(work.order).initrds else "",
        parameters=shlex.quote(" ".join(words)),
        leave=KEXEC_NOW,
    )


def hook(work: Work, name: str) -> None:
    """Run the user's own program for this node on the boot server; raises StepFailed when its exit code is not 0.

    It is an argv list; ``{node}``, ``{address}``, ``{mac}``, ``{cluster}``, ``{site}`` and ``{deployment}`` in a word are
    the node's. No shell reads it.
    """
    known = {
        "{node}": work.node.name,
        "{address}": work.node.address,
        "{mac}": work.node.mac,
        "{cluster}": work.node.cluster,
        "{site}": work.node.site,
        "{deployment}": work.order.id,
    }
    argv = []
    for word in work.order.hooks[name]:
        for placeholder, value in known.items():
            word = word.replace(placeholder, value)
        argv.append(word)
    try:
        done = run(argv, timeout=work.deadline.left())
    except ClusterError as error:
        raise StepFailed(f"hook {name}: {error}", advice=f"it ran {shlex.join(argv)}") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    work.say(f"hook {name} ended well" + (f": {said.splitlines()[-1]}" if said else ""))


def hook_step(name: str) -> Callable[[Work], None]:
    """The micro-step that runs the hook ``name``."""
    return partial(hook, name=name)


MICRO_STEPS: Mapping[str, MicroStep] = {
    "switch_pxe": switch_pxe,
    "reboot": reboot,
    "reboot_from_deploy_env": partial(escalate, levels=list(LEVELS)),
    "wait_reboot": wait_reboot,
    "return_to_deploy_env": return_to_deploy_env,
    "check_nodes": check_nodes,
    "send_deployment_kernel": send_deployment_kernel,
    "kexec": kexec,
    "set_vlan": hook_step("set_vlan"),
}
