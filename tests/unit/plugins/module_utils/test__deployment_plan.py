from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_steps as steps
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import (
    Breakpoint,
    Plan,
    least,
    make_plan,
    parse_hooks,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import Traits
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def node(number: int, **more: Any) -> dict[str, Any]:
    return {
        "name": f"n{number}",
        "mac": f"52:54:00:00:00:{number:02x}",
        "address": f"10.0.0.{number}",
        **more,
    }


def plan(count: int = 1, traits: Traits | None = None, **options: Any) -> Plan:
    given = {"nodes": [node(number + 1) for number in range(count)], "broadcast": "http", **options}
    return make_plan(given, traits or Traits())


def names(made: Plan, macro: str) -> list[str]:
    return [step.name for step in made.steps[macro]]


def test_kadeploys_micro_steps_in_kadeploys_order() -> None:
    everything = Traits(
        roles=("swap", "deploy", "tmp"),
        reformat_tmp=True,
        vlan=True,
        admin_post_installs=True,
        user_post_installs=True,
    )
    found = {name: steps.micro_steps(one, everything) for name, one in steps.IMPLEMENTATIONS.items()}
    assert found["SetDeploymentEnvUntrusted"] == (
        *(
            "switch_pxe",
            "set_vlan",
            "reboot",
            "wait_reboot",
            "send_key_in_deploy_env",
            "create_partition_table",
        ),
        *("format_deploy_part", "mount_deploy_part", "format_tmp_part", "format_swap_part"),
    )
    assert found["SetDeploymentEnvKexec"][:5] == (
        "set_vlan",
        "send_deployment_kernel",
        "sync",
        "kexec",
        "wait_reboot",
    )
    assert found["SetDeploymentEnvKexec"][5:] == found["SetDeploymentEnvUntrusted"][4:]
    assert found["BroadcastEnvChain"] == (
        *(
            "send_environment",
            "decompress_environment",
            "manage_admin_post_install",
            "manage_user_post_install",
        ),
        *("check_kernel_files", "send_key", "install_bootloader", "sync"),
    )
    assert found["BroadcastEnvBittorrent"] == ("mount_tmp_part", *found["BroadcastEnvChain"])
    assert found["BootNewEnvClassical"] == (
        *("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "set_vlan", "wait_reboot"),
    )
    assert found["BootNewEnvKexec"] == (
        *("switch_pxe", "umount_deploy_part", "mount_deploy_part", "kexec", "set_vlan", "wait_reboot"),
    )
    assert found["BootNewEnvHardReboot"] == ("switch_pxe", "reboot", "set_vlan", "wait_reboot")


@pytest.mark.parametrize(
    ("traits", "implementation", "gone", "stays"),
    [
        (
            Traits(),
            "SetDeploymentEnvUntrusted",
            "set_vlan format_tmp_part format_swap_part",
            "format_deploy_part",
        ),
        (
            Traits(roles=("swap", "deploy")),
            "SetDeploymentEnvUntrusted",
            "format_tmp_part",
            "format_swap_part",
        ),
        (
            Traits(os="other", roles=("swap", "deploy")),
            "SetDeploymentEnvUntrusted",
            "format_swap_part",
            "reboot",
        ),
        (Traits(roles=("tmp", "deploy")), "SetDeploymentEnvUntrusted", "format_tmp_part", "reboot"),
        (Traits(keys=False), "SetDeploymentEnvUntrusted", "send_key_in_deploy_env", "wait_reboot"),
        (Traits(keys=False), "BroadcastEnvHttp", "send_key", "install_bootloader"),
        (
            *(Traits(kind="dd"), "SetDeploymentEnvUntrusted", "format_deploy_part mount_deploy_part"),
            "create_partition_table",
        ),
        (Traits(kind="dd"), "BroadcastEnvHttp", "manage_user_post_install", "mount_deploy_part send_key"),
        (
            *(Traits(kind="dd", filesystem="ntfs"), "BroadcastEnvHttp"),
            *("mount_deploy_part check_kernel_files send_key install_bootloader", "send_environment sync"),
        ),
        (
            Traits(kind="dd", filesystem="ntfs"),
            "BootNewEnvClassical",
            "umount_deploy_part",
            "reboot_from_deploy_env",
        ),
        (
            *(Traits(kind="dd", roles=()), "SetDeploymentEnvUntrusted"),
            *("create_partition_table format_deploy_part mount_deploy_part format_swap_part", "wait_reboot"),
        ),
        (Traits(kernel=""), "BroadcastEnvHttp", "check_kernel_files", "send_key"),
        (
            Traits(user_post_installs=True),
            "BroadcastEnvHttp",
            "manage_admin_post_install",
            "manage_user_post_install",
        ),
        (Traits(), "BroadcastEnvBittorrent", "mount_tmp_part mount_deploy_part", "decompress_environment"),
    ],
)
def test_what_is_left_out(traits: Traits, implementation: str, gone: str, stays: str) -> None:
    left = steps.micro_steps(steps.IMPLEMENTATIONS[implementation], traits)
    assert not set(gone.split()) & set(left) and set(stays.split()) <= set(left)
    assert set(gone.split()) <= set(steps.left_out(steps.IMPLEMENTATIONS[implementation], traits))


def test_defaults() -> None:
    made = plan(5, broadcast="chain")
    assert names(made, "SetDeploymentEnv") == ["SetDeploymentEnvUntrusted"]
    assert names(made, "BroadcastEnv") == ["BroadcastEnvChain", "BroadcastEnvHttp"]
    assert names(made, "BootNewEnv") == ["BootNewEnvClassical", "BootNewEnvHardReboot"]
    assert names(plan(kexec=True), "BootNewEnv") == ["BootNewEnvKexec", "BootNewEnvHardReboot"]
    assert names(plan(1, broadcast="auto"), "BroadcastEnv") == ["BroadcastEnvHttp"]
    assert names(plan(9, broadcast="auto"), "BroadcastEnv")[0] == "BroadcastEnvChain"
    # a wave of one node is what counts
    assert names(plan(9, broadcast="auto", wave=1), "BroadcastEnv") == ["BroadcastEnvHttp"]


def test_steps_as_told() -> None:
    given = {
        "BroadcastEnv": [
            {"implementation": "BroadcastEnvKastafior", "timeout": 7, "retries": 3},
            {"implementation": "Http"},
        ],
        "BootNewEnv": [{"implementation": "Dummy"}],
    }
    made = plan(steps=given)
    first, second = made.steps["BroadcastEnv"]
    assert (first.name, first.timeout, first.retries) == ("BroadcastEnvChain", 7, 3)
    assert (second.name, second.timeout) == (
        "BroadcastEnvHttp",
        steps.IMPLEMENTATIONS["BroadcastEnvHttp"].timeout,
    )
    assert made.steps["BootNewEnv"][0].micros == ()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nodes": []}, "nodes: there is none to deploy"),
        ({"nodes": [node(1), node(1)]}, "two nodes are named n1"),
        ({"nodes": [{"name": "n1", "mac": "52:54:00:00:00:01"}]}, "n1 has no address"),
        ({"nodes": [node(1), node(2, mac="52:54:00:00:00:01")]}, "have the same MAC address"),
        ({"wave": -1}, "wave: -1 is less than 0"),
        ({"wave_pause": -2}, "wave_pause: -2 is less than 0"),
        ({"power_ups": -3}, "power_ups: -3 is less than 0"),
        ({"steps": {"Boot": []}}, "steps: Boot is no macro-step"),
        (
            {"steps": {"BootNewEnv": [{"implementation": "Magic"}]}},
            "there is no implementation Magic; there are BootNew",
        ),
        ({"steps": {"BootNewEnv": [{"implementation": "Chain"}]}}, "there is no implementation Chain"),
        (
            {"steps": {"BootNewEnv": [{"implementation": "Kexec", "timeout": 0}]}},
            "a timeout of 0 s leaves no time",
        ),
        (
            {"steps": {"BootNewEnv": [{"implementation": "Kexec", "retries": -1}]}},
            "retries: -1 is less than 0",
        ),
        ({"breakpoint": "Foo"}, "breakpoint: Foo is neither a macro-step"),
        ({"breakpoint": "BootNewEnv:nope"}, "breakpoint: there is no micro-step nope"),
        (
            {"breakpoint": "BootNewEnv:sync"},
            "BootNewEnv has no micro-step sync in this deployment; it has switch_pxe",
        ),
        ({"breakpoint": "BroadcastEnvChain"}, "breakpoint: BroadcastEnvChain is not used"),
        ({"broadcast": "smoke"}, "broadcast: smoke is none of"),
    ],
)
def test_bad_plans(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ClusterError, match=error):
        plan(**options)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BroadcastEnv", Breakpoint("BroadcastEnv")),
        ("BroadcastEnvHttp:sync", Breakpoint("BroadcastEnv", "BroadcastEnvHttp", "sync")),
        ("BootNewEnv:wait_reboot", Breakpoint("BootNewEnv", "", "wait_reboot")),
    ],
)
def test_breakpoints(text: str, found: Breakpoint) -> None:
    assert plan(breakpoint=text).breakpoint == found


@pytest.mark.parametrize(
    ("text", "total", "count"),
    [("3", 4, 3), ("0", 4, 0), ("100%", 7, 7), ("50%", 7, 4), (" 1% ", 64, 1), ("67%", 3, 3), ("66%", 3, 2)],
)
def test_least(text: str, total: int, count: int) -> None:
    assert least(text, total) == count


@pytest.mark.parametrize("text", ["most", "-1", "101%", "5", "0.5", ""])
def test_bad_least(text: str) -> None:
    with pytest.raises(ClusterError, match="min_ok: "):
        least(text, 4)


@pytest.mark.parametrize(
    "hooks",
    [
        {"during_sync": ["x"]},
        {"before_nothing": ["x"]},
        {"sync": ["x"]},
        {"after_sync": []},
        {"after_sync": [1]},
    ],
)
def test_bad_hooks(hooks: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match="hooks: "):
        parse_hooks(hooks)


def test_waves() -> None:
    made = plan(5, wave=2)
    assert [[one.name for one in wave] for wave in made.waves(made.nodes)] == [
        ["n1", "n2"],
        ["n3", "n4"],
        ["n5"],
    ]
    assert len(list(plan(5).waves(plan(5).nodes))) == 1
