# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Macro-steps, their implementations and the micro-steps of each, by the names and in the order of Kadeploy 3.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MACROS = ("SetDeploymentEnv", "BroadcastEnv", "BootNewEnv")

GROUP_STEP = "send_environment"
"""The micro-step that the nodes of a wave begin together: a broadcast has one beginning for all of them."""

POWER_STEPS = ("reboot", "reboot_from_deploy_env")
"""Micro-steps after which a node draws the power of a start."""

FILESYSTEMS = ("ext2", "ext3", "ext4", "vfat", "xfs", "btrfs")
"""What a deployment environment can make and mount; the last two where it was built with their programs."""


@dataclass(frozen=True)
class Implementation:
    """One way to do a macro-step. ``timeout`` in seconds for one attempt; ``broadcast`` is the method of its server side."""

    name: str
    macro: str
    micros: tuple[str, ...]
    timeout: float
    retries: int = 0
    broadcast: str = ""


@dataclass(frozen=True)
class Traits:
    """What of a deployment decides which micro-steps it has. ``roles`` are those of the layout's partitions."""

    kind: str = "tar"
    os: str = "linux"
    filesystem: str = "ext4"
    kernel: str = "/vmlinuz"
    roles: tuple[str, ...] = ("deploy",)
    keys: bool = True
    reformat_tmp: bool = False
    vlan: bool = False
    pre_installs: bool = False
    admin_post_installs: bool = False
    user_post_installs: bool = False


PREPARE = (
    *("create_partition_table", "format_deploy_part", "mount_deploy_part"),
    *("format_tmp_part", "format_swap_part"),
)
INSTALL = (
    *("manage_admin_post_install", "manage_user_post_install", "check_kernel_files"),
    *("send_key", "install_bootloader", "sync"),
)
SEND = ("send_environment", "decompress_environment", "mount_deploy_part", *INSTALL)

IMPLEMENTATIONS: Mapping[str, Implementation] = {
    one.name: one
    for one in (
        Implementation(
            "SetDeploymentEnvUntrusted",
            "SetDeploymentEnv",
            ("switch_pxe", "set_vlan", "reboot", "wait_reboot", "send_key_in_deploy_env", *PREPARE),
            timeout=600,
            retries=1,
        ),
        Implementation(
            "SetDeploymentEnvKexec",
            "SetDeploymentEnv",
            (
                *("set_vlan", "send_deployment_kernel", "sync", "kexec", "wait_reboot"),
                *("send_key_in_deploy_env", *PREPARE),
            ),
            timeout=400,
        ),
        Implementation(
            "SetDeploymentEnvUntrustedCustomPreInstall",
            "SetDeploymentEnv",
            (
                *("switch_pxe", "set_vlan", "reboot", "wait_reboot", "send_key_in_deploy_env"),
                "manage_admin_pre_install",
            ),
            timeout=600,
            retries=1,
        ),
        Implementation(
            "SetDeploymentEnvProd",
            "SetDeploymentEnv",
            ("check_nodes", "format_deploy_part", "mount_deploy_part", "format_tmp_part"),
            timeout=200,
        ),
        Implementation("SetDeploymentEnvDummy", "SetDeploymentEnv", (), timeout=60),
        Implementation("BroadcastEnvHttp", "BroadcastEnv", SEND, timeout=1200, retries=1, broadcast="http"),
        Implementation("BroadcastEnvChain", "BroadcastEnv", SEND, timeout=1200, broadcast="chain"),
        Implementation(
            "BroadcastEnvBittorrent",
            "BroadcastEnv",
            ("mount_tmp_part", *SEND),
            timeout=1200,
            broadcast="bittorrent",
        ),
        Implementation("BroadcastEnvUdpcast", "BroadcastEnv", SEND, timeout=1200, broadcast="udpcast"),
        Implementation("BroadcastEnvDummy", "BroadcastEnv", (), timeout=60),
        Implementation(
            "BootNewEnvClassical",
            "BootNewEnv",
            ("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "set_vlan", "wait_reboot"),
            timeout=400,
        ),
        Implementation(
            "BootNewEnvKexec",
            "BootNewEnv",
            ("switch_pxe", "umount_deploy_part", "mount_deploy_part", "kexec", "set_vlan", "wait_reboot"),
            timeout=300,
        ),
        Implementation(
            "BootNewEnvHardReboot",
            "BootNewEnv",
            ("switch_pxe", "reboot", "set_vlan", "wait_reboot"),
            timeout=600,
        ),
        Implementation("BootNewEnvDummy", "BootNewEnv", (), timeout=60),
    )
}
"""Http and Udpcast are ours. ``mount_deploy_part`` after ``decompress_environment`` is for dd images, as with Kadeploy."""

ALIASES: Mapping[str, str] = dict.fromkeys(
    ("BroadcastEnvTree", "BroadcastEnvKastafior", "BroadcastEnvKascade"), "BroadcastEnvChain"
)
"""Kadeploy's other programs for a chain of nodes."""

METHODS: Mapping[str, str] = {one.broadcast: one.name for one in IMPLEMENTATIONS.values() if one.broadcast}
"""Broadcast method to implementation."""

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "SetDeploymentEnv": ("SetDeploymentEnvUntrusted",),
    "BroadcastEnv": ("BroadcastEnvHttp",),
    "BootNewEnv": ("BootNewEnvClassical", "BootNewEnvHardReboot"),
}
KEXEC = ("BootNewEnvKexec", "BootNewEnvHardReboot")
"""After a kexec that failed nobody knows what the node runs: its power is the way back."""

MICROS: tuple[str, ...] = tuple(
    dict.fromkeys(name for one in IMPLEMENTATIONS.values() for name in one.micros)
)


@dataclass(frozen=True)
class Rule:
    """``micros`` are left out of ``macros`` where ``when`` is true."""

    micros: tuple[str, ...]
    when: Callable[[Traits], bool]
    why: str
    macros: tuple[str, ...] = MACROS


def blind(traits: Traits) -> bool:
    return traits.filesystem not in FILESYSTEMS


RULES: Sequence[Rule] = (
    Rule(
        (
            "create_partition_table",
            "format_deploy_part",
            "format_tmp_part",
            "format_swap_part",
            "mount_tmp_part",
        ),
        lambda traits: not traits.roles,
        "the whole disk is written: the layout has no partitions",
    ),
    Rule(("format_deploy_part",), lambda traits: traits.kind != "tar", "the image brings its file system"),
    Rule(
        ("mount_deploy_part",),
        lambda traits: traits.kind != "tar",
        "mounted when the image is there",
        ("SetDeploymentEnv",),
    ),
    Rule(
        ("mount_deploy_part",),
        lambda traits: traits.kind == "tar",
        "mounted before the image came",
        ("BroadcastEnv",),
    ),
    Rule(
        ("mount_deploy_part", "umount_deploy_part", *INSTALL[:-1]),
        blind,
        "the deployment environment cannot mount the file system of the image",
    ),
    Rule(
        ("mount_deploy_part", "umount_deploy_part", *INSTALL[:-1]),
        lambda traits: not traits.roles,
        "the image of a whole disk brings its partitions, kernels and bootloader",
    ),
    Rule(("send_key", "send_key_in_deploy_env"), lambda traits: not traits.keys, "no keys are given"),
    Rule(
        ("format_tmp_part",),
        lambda traits: not traits.reformat_tmp or "tmp" not in traits.roles,
        "not asked for, or no such partition",
    ),
    Rule(("mount_tmp_part",), lambda traits: "tmp" not in traits.roles, "the layout has no such partition"),
    Rule(
        ("format_swap_part",),
        lambda traits: traits.os != "linux" or "swap" not in traits.roles,
        "the system is no Linux, or the layout has no such partition",
    ),
    Rule(("set_vlan",), lambda traits: not traits.vlan, "no hook of this name is given"),
    Rule(("manage_admin_pre_install",), lambda traits: not traits.pre_installs, "there is none"),
    Rule(("manage_admin_post_install",), lambda traits: not traits.admin_post_installs, "there is none"),
    Rule(("manage_user_post_install",), lambda traits: not traits.user_post_installs, "there is none"),
    Rule(("check_kernel_files",), lambda traits: not traits.kernel, "the environment names no kernel"),
)
"""As Kadeploy does; the deployment itself comes into its environment by a key of its own."""


def find(macro: str, name: str) -> Implementation:
    """The implementation that ``name`` means, with or without the macro-step's name; raises ClusterError."""
    full = name if name.startswith(macro) else macro + name
    found = IMPLEMENTATIONS.get(ALIASES.get(full, full))
    if found is None:
        known = ", ".join(one.name for one in IMPLEMENTATIONS.values() if one.macro == macro)
        raise ClusterError(f"steps.{macro}: there is no implementation {name}; there are {known}")
    return found


def micro_steps(implementation: Implementation, traits: Traits) -> tuple[str, ...]:
    """The micro-steps that are left for ``traits``, in order."""
    gone = left_out(implementation, traits)
    return tuple(micro for micro in implementation.micros if micro not in gone)


def left_out(implementation: Implementation, traits: Traits) -> dict[str, str]:
    """The micro-steps that ``traits`` have no use for, each with the first reason."""
    gone: dict[str, str] = {}
    for rule in RULES:
        if implementation.macro in rule.macros and rule.when(traits):
            gone.update({micro: rule.why for micro in rule.micros if micro not in gone})
    return {micro: why for micro, why in gone.items() if micro in implementation.micros}
