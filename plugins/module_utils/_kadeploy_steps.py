# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The steps of Kadeploy's deployments: its own chain changed, operations of the user's own, and a chain that resumes.

A chain is ``{macro-step: [{"name", "retries", "timeout"}]}``, several implementations being fallbacks in their order: the
shape of ``automata`` in the requests of REST and of a cluster in the answers of ``/info``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

Chain = dict[str, list[dict[str, Any]]]

MACROS = ("SetDeploymentEnv", "BroadcastEnv", "BootNewEnv")

PREPARE = (
    *("send_key_in_deploy_env", "create_partition_table", "format_deploy_part", "mount_deploy_part"),
    *("format_tmp_part", "format_swap_part"),
)
START = ("switch_pxe", "set_vlan", "reboot", "wait_reboot")
SEND = ("send_environment", "decompress_environment")
INSTALL = (
    *("manage_admin_post_install", "manage_user_post_install", "check_kernel_files"),
    *("send_key", "install_bootloader", "sync"),
)
IMPLEMENTATIONS: Mapping[str, tuple[str, ...]] = {
    "SetDeploymentEnvUntrusted": (*START, *PREPARE),
    "SetDeploymentEnvKexec": (
        *("set_vlan", "send_deployment_kernel", "sync", "kexec", "wait_reboot"),
        *PREPARE,
    ),
    "SetDeploymentEnvUntrustedCustomPreInstall": (
        *START,
        "send_key_in_deploy_env",
        "manage_admin_pre_install",
    ),
    "SetDeploymentEnvProd": ("check_nodes", "format_deploy_part", "mount_deploy_part", "format_tmp_part"),
    "SetDeploymentEnvNfsroot": (*START, *PREPARE),
    "SetDeploymentEnvDummy": ("dummy",),
    "BroadcastEnvChain": (*SEND, *INSTALL),
    "BroadcastEnvTree": (*SEND, *INSTALL),
    "BroadcastEnvKastafior": (*SEND, "mount_deploy_part", *INSTALL),
    "BroadcastEnvKascade": (*SEND, "mount_deploy_part", *INSTALL),
    "BroadcastEnvBittorrent": ("mount_tmp_part", *SEND, *INSTALL),
    "BroadcastEnvCustom": (*SEND, *INSTALL),
    "BroadcastEnvDummy": ("dummy",),
    "BootNewEnvClassical": (
        *("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "set_vlan", "wait_reboot"),
    ),
    "BootNewEnvKexec": (
        *("switch_pxe", "umount_deploy_part", "mount_deploy_part", "kexec", "set_vlan", "wait_reboot"),
    ),
    "BootNewEnvHardReboot": ("switch_pxe", "reboot", "set_vlan", "wait_reboot"),
    "BootNewEnvDummy": ("dummy",),
}
"""The micro-steps of each implementation, verbatim and in order, of Kadeploy 3.3's stepdeploy.rb."""

MICROS = tuple(dict.fromkeys(micro for micros in IMPLEMENTATIONS.values() for micro in micros))

DUMMY = {"retries": 0, "timeout": 100}
"""The implementation Dummy does nothing, for two seconds."""

TARGETS = ("pre-ops", "substitute", "post-ops")
ACTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "exec": (("command",), ()),
    "send": (("file", "destination"), ()),
    "run": (("file",), ("params",)),
}
"""What an operation of a custom step does: the fields that it must have, and those that it may have."""
ALWAYS = ("name", "action", "timeout", "retries", "scattering")


def split_point(option: str, text: str) -> tuple[str, str | None, str | None]:
    """``MACRO[:micro]`` or ``Implementation[:micro]`` as macro-step, implementation (None for all), micro-step or None.

    Raises ClusterError, in the terms of ``option``, for a name that Kadeploy does not know.
    """
    head, _colon, micro = text.partition(":")
    macro = next((one for one in MACROS if head.startswith(one)), None)
    if macro is None or (head != macro and head not in IMPLEMENTATIONS):
        raise ClusterError(
            f"{option}: {head!r} is no macro-step; write {', '.join(MACROS)}, or an implementation such as BroadcastEnvChain"
        )
    if micro and micro not in MICROS:
        raise ClusterError(f"{option}: {micro!r} is no micro-step; there are {', '.join(MICROS)}")
    return macro, None if head == macro else head, micro or None


def chain_of(steps: Mapping[str, Any] | None, automata: Mapping[str, Chain], where: str) -> Chain | None:
    """``steps`` as a whole chain, or None if there are none; ``automata`` is that of ``/info``, by cluster.

    A macro-step that is not named, and a timeout that is not given, are as the server at ``where`` has them configured.
    Raises ClusterError for a name that this server does not know, and for what it cannot complete.
    """
    if not steps:
        return None
    if odd := sorted(set(steps) - set(MACROS)):
        raise ClusterError(f"steps: {', '.join(odd)}: no macro-step; there are {', '.join(MACROS)}")
    chain: Chain = {}
    for macro in MACROS:
        given = steps.get(macro)
        chain[macro] = (
            configured(macro, automata, where)
            if given is None
            else [instance(macro, one, automata, where) for one in checked_list(macro, given)]
        )
    return chain


def checked_list(macro: str, given: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise ClusterError(f"steps: {macro}: give a list of {{implementation, retries, timeout}}")
    return given


def configured(macro: str, automata: Mapping[str, Chain], where: str) -> list[dict[str, Any]]:
    """The implementations of ``macro`` in the server's configuration; raises ClusterError where its clusters differ."""
    found = [chain[macro] for chain in automata.values() if macro in chain]
    if not found or any(one != found[0] for one in found):
        raise ClusterError(
            f"steps: {macro} is not given, and {where} has not one configuration of it for all its clusters; give it"
        )
    return found[0]


def instance(
    macro: str, given: Mapping[str, Any], automata: Mapping[str, Chain], where: str
) -> dict[str, Any]:
    known = [one for chain in automata.values() for one in chain.get(macro, [])]
    names = [name for name in IMPLEMENTATIONS if name.startswith(macro)]
    names += [one["name"] for one in known if one["name"] not in names]
    text = str(given.get("implementation") or "")
    name = text if text.startswith(macro) else macro + text
    if name not in names:
        short = ", ".join(one[len(macro) :] for one in names)
        raise ClusterError(
            f"steps: {macro}: {text!r} is no implementation that {where} knows; there are {short}"
        )
    if odd := sorted(set(given) - {"implementation", "retries", "timeout"}):
        raise ClusterError(
            f"steps: {name}: {', '.join(odd)} is no field; there are implementation, retries, timeout"
        )
    timeout = given.get("timeout")
    if timeout is None:
        timeout = next((one["timeout"] for one in known if one["name"] == name), None)
    if timeout is None:
        raise ClusterError(
            f"steps: {name}: give timeout, in seconds, since {where} has it not in its configuration"
        )
    return {
        "name": name,
        "retries": whole(f"steps: {name}: retries", given.get("retries") or 0),
        "timeout": whole(f"steps: {name}: timeout", timeout),
    }


def whole(where: str, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdigit():
        raise ClusterError(f"{where}: {value!r} is no whole number")
    return int(text)


def force_steps(chain: Chain) -> str:
    """``chain`` as ``--force-steps`` takes it."""
    parts = (
        f"{macro}|" + ",".join(f"{one['name']}:{one['retries']}:{one['timeout']}" for one in chain[macro])
        for macro in MACROS
    )
    return "&".join(parts)


def custom_steps(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``{macro or implementation: {micro: {pre-ops|substitute|post-ops: [operation], override}}}``, checked.

    Raises ClusterError naming the place of what Kadeploy would refuse.
    """
    for head, micros in (given or {}).items():
        split_point("custom_steps", head)
        for micro, operations in entries(f"custom_steps: {head}", micros):
            split_point("custom_steps", f"{head}:{micro}")
            for target, actions in entries(f"custom_steps: {head}: {micro}", operations):
                where = f"custom_steps: {head}: {micro}: {target}"
                if target == "override" and isinstance(actions, bool):
                    continue
                if target not in TARGETS or not isinstance(actions, list):
                    raise ClusterError(f"{where}: give lists called {', '.join(TARGETS)}, or override: true")
                for action in actions:
                    check_operation(where, action)
    return dict(given or {})


def entries(where: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise ClusterError(f"{where}: is no mapping, or empty")
    return list(value.items())


def check_operation(where: str, action: Any) -> None:
    kind = str(action.get("action")) if isinstance(action, dict) else ""
    if kind not in ACTIONS:
        raise ClusterError(f"{where}: each operation needs an action, one of {', '.join(ACTIONS)}")
    must, may = ACTIONS[kind]
    missing = [field for field in ("name", *must) if not action.get(field)]
    odd = sorted(set(action) - {*ALWAYS, *must, *may})
    if missing or odd:
        fault = f"{', '.join(missing)} is missing" if missing else f"{', '.join(odd)} is no field of {kind}"
        raise ClusterError(f"{where}: {action.get('name') or kind}: {fault}")


def resumed(chain: Chain, point: str, custom: Mapping[str, Any]) -> tuple[Chain, dict[str, Any]]:
    """``chain`` and ``custom`` steps such that everything before ``point`` is left as it is on the nodes.

    Macro-steps before it become Dummy; micro-steps before it are substituted by a command that does nothing. Raises
    ClusterError if ``chain`` has no such point, and for custom steps where nothing is done any more.
    """
    macro, head, micro = split_point("resume", point)
    instances = chain[macro]
    if head is not None:
        instances = [one for one in instances if one["name"] == head]
    done = {one["name"]: skipped(one["name"], micro) for one in instances}
    if not instances or None in done.values():
        names = ", ".join(one["name"] for one in chain[macro])
        raise ClusterError(
            f"resume: {point} is no step of this deployment, whose {macro} is {names}; give steps with it"
        )
    found = {name: dict(micros) for name, micros in custom.items()}
    for name, micros in done.items():
        for before in micros or ():
            if before in found.get(name, {}) or before in found.get(macro, {}):
                raise ClusterError(f"custom_steps: {before} of {name} is before {point}, where resume begins")
            nothing = {"name": "already-done", "action": "exec", "command": "true"}
            found.setdefault(name, {})[before] = {"substitute": [nothing]}
    before_it = MACROS[: MACROS.index(macro)]
    skip: Chain = {one: [{"name": f"{one}Dummy", **DUMMY}] for one in before_it}
    return {**chain, macro: instances, **skip}, found


def skipped(name: str, micro: str | None) -> tuple[str, ...] | None:
    """The micro-steps of ``name`` before ``micro``; None if it has no such micro-step, or is not known."""
    if micro is None:
        return ()
    micros = IMPLEMENTATIONS.get(name, ())
    return micros[: micros.index(micro)] if micro in micros else None
