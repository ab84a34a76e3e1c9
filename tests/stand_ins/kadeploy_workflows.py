# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for the workflows of a Kadeploy server. It is not Kadeploy, and touches no node.

Logs, states and lists as recorded of 3.3.11 ([recorded]), or read in its server (workflow.rb, kaworkflow.rb,
paramsparser.rb: [source]). Requests that would touch nodes are written to ``requests.jsonl``, commands on nodes to
``cmd.log``. Faults are injected by ``faults.json``::

    {"ko": {NODE: [MICRO, MESSAGE, TIMES]}, "busy": [NODE], "lost": [NODE], "hang": true, "error": [NUMBER, TEXT]}

``lost`` nodes are in no list and no state; ``hang`` never ends; ``error`` ends the workflow as a whole.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kadeploy_server import Description, Failure, NotRecorded, Server, Settings, refuse, select

PREFIXES = {"deploy": "D", "reboot": "R", "power": "P"}
NAMES = {"deploy": "deployment", "reboot": "reboot", "power": "power operation"}
KINDS = {"simple": "Simple", "set_pxe": "SetPXE", "deploy_env": "DeployEnv", "recorded_env": "RecordedEnv"}
MACROS = ("SetDeploymentEnv", "BroadcastEnv", "BootNewEnv")
PREPARE = ("create_partition_table", "format_deploy_part", "mount_deploy_part", "format_swap_part")
INSTALL = ("manage_user_post_install", "check_kernel_files", "send_key", "install_bootloader", "sync")
MICROS = {
    "SetDeploymentEnvUntrusted": ("switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env", *PREPARE),
    "SetDeploymentEnvDummy": ("dummy", "dummy"),
    "BroadcastEnvChain": ("send_environment", *INSTALL),
    "BroadcastEnvKastafior": ("send_environment", *INSTALL),
    "BroadcastEnvDummy": ("dummy", "dummy"),
    "BootNewEnvClassical": ("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "wait_reboot"),
    "BootNewEnvKexec": ("switch_pxe", "umount_deploy_part", "mount_deploy_part", "kexec", "wait_reboot"),
    "BootNewEnvHardReboot": ("switch_pxe", "reboot", "wait_reboot"),
    "BootNewEnvDummy": ("dummy", "dummy"),
    "Simple": ("reboot", "wait_reboot"),
    "SetPXE": ("switch_pxe", "reboot", "wait_reboot"),
    "DeployEnv": ("switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env"),
    "RecordedEnv": ("switch_pxe", "reboot", "wait_reboot"),
    "On": ("power",),
    "Off": ("power",),
    "Status": ("power",),
}
"""As recorded: of the micro-steps those that a tar image of linux has."""
COMMANDS = {
    "reboot": "power reboot soft",
    "format_deploy_part": "mkfs -t ext4",
    "reboot_from_deploy_env": "reboot -f",
    "send_environment": "tar -x",
    "power": "power",
}
AUTOMATA = {
    "SetDeploymentEnv": [{"name": "SetDeploymentEnvUntrusted", "retries": 0, "timeout": 60}],
    "BroadcastEnv": [{"name": "BroadcastEnvChain", "retries": 0, "timeout": 60}],
    "BootNewEnv": [{"name": "BootNewEnvClassical", "retries": 0, "timeout": 60}],
}
KNOWN = (
    *("set_vlan", "decompress_environment", "manage_admin_post_install", "format_tmp_part", "mount_tmp_part"),
    *(micro for micros in MICROS.values() for micro in micros),
)


@dataclass
class Workflow:
    """One that was carried out at once, in the imagination; it is shown as done after ``polls`` looks at it."""

    wid: str
    kind: str
    user: str
    nodes: list[str]
    environment: dict[str, Any] | None
    cluster: str
    start: float = field(default_factory=time.time)
    polls: int = 2
    log: list[str] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    ok: list[str] = field(default_factory=list)
    ko: list[str] = field(default_factory=list)
    failure: Failure | None = None

    def shown(self) -> dict[str, Any]:
        self.polls -= 1
        done = self.polls <= 0
        answer: dict[str, Any] = {
            "wid": self.wid,
            "user": self.user,
            "done": done,
            "error": done and self.failure is not None,
            "start_time": int(self.start),
        }
        if self.environment:
            answer["environment"] = self.environment
        if not answer["error"]:
            answer["logs"] = bool(self.log)
            answer["nodes"] = {"ok": self.ok if done else [], "ko": self.ko if done else []}
            if not done:
                answer["nodes"]["processing"] = self.nodes
        return {**answer, "time": round(time.time() - self.start, 2)}

    def states_now(self) -> dict[str, dict[str, Any]]:
        """While it is on its way every node is rebooting."""
        if self.polls <= 0:
            return self.states
        going = {
            "macro": "SetDeploymentEnvUntrusted",
            "micro": "wait_reboot",
            "state": "reboot_in_progress",
        }
        return dict.fromkeys(self.nodes, going)

    def popped(self) -> str:
        lines = [f"{self.start + at / 1000:.5f}|{line}" for at, line in enumerate(self.log)]
        self.log = []
        return "\n".join(lines) + "\n"


def folded(nodes: list[str]) -> str:
    """``node-[1-2].site``, as in the logs; several of them are separated by commas."""
    groups: dict[tuple[str, str], list[int]] = {}
    for node in nodes:
        match = re.fullmatch(r"(.*?-)(\d+)(\..*)", node)
        if match is None:
            raise NotRecorded(f"the folded form of {node}")
        groups.setdefault((match[1], match[3]), []).append(int(match[2]))
    shown = []
    for (head, tail), numbers in groups.items():
        runs: list[list[int]] = []
        for number in sorted(numbers):
            if runs and runs[-1][-1] == number - 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        shown += [
            f"{head}{run[0]}{tail}" if len(run) == 1 else f"{head}[{run[0]}-{run[-1]}]{tail}" for run in runs
        ]
    return ",".join(shown)


class Workflows:
    """The routes of workflows; ``site`` is the domain of its nine nodes."""

    def __init__(self, settings: Settings, site: str) -> None:
        self.settings = settings
        self.server = Server(settings)
        self.site = site
        self.cluster = f"cl{site.partition('.')[0]}"
        self.nodes = [f"node-{number}.{site}" for number in range(1, 10)]
        self.running: dict[str, Workflow] = {}
        settings.state.mkdir(parents=True, exist_ok=True)

    def file(self, name: str) -> Path:
        return self.settings.state / name

    def kept(self, name: str, default: Any) -> Any:
        return json.loads(self.file(name).read_text()) if self.file(name).exists() else default

    def keep(self, name: str, value: Any) -> None:
        self.file(name).write_text(json.dumps(value))

    def note(self, name: str, line: str) -> None:
        with self.file(name).open("a") as stream:
            stream.write(line + "\n")

    def faults(self) -> dict[str, Any]:
        return self.kept("faults.json", {})

    def info(self) -> dict[str, Any]:
        return {
            "pxe": "PXElinux",
            "automata": {self.cluster: AUTOMATA},
            "supported_fs": {self.cluster: ["ext2", "ext3", "ext4"]},
            "vars": ["KADEPLOY_CLUSTER", "KADEPLOY_ENV"],
        }

    def states(self) -> dict[str, Any]:
        known = self.kept("nodes.json", {})
        return {node: known.get(node) for node in self.nodes}

    def get(self, wid: str) -> Workflow:
        if wid not in self.running:
            raise refuse(1)
        return self.running[wid]

    def expanded(self, given: Any) -> list[str]:
        nodes = [given] if isinstance(given, str) else list(given)
        for node in nodes:
            if node not in self.nodes:
                raise refuse(2, f"Parameter 'nodes': The node '{node}' does not exist")
        return nodes

    def create(self, kind: str, user: str, params: dict[str, Any]) -> Workflow:
        """Refuses in the order of work_prepare [source], then carries out."""
        nodes = self.expanded(params["nodes"])
        self.check_breakpoint(params.get("breakpoint"))
        environment = self.environment(user, params.get("environment"), params.get("export", False))
        instances = self.instances(kind, params)
        wid = f"{PREFIXES[kind]}-{uuid.uuid4()}"
        work = Workflow(wid, kind, user, nodes, environment, self.cluster)
        self.note("requests.jsonl", json.dumps({"operation": kind, "wid": wid, **params}))
        Carry(self, work, params, instances).out()
        self.running[wid] = work
        return work

    def check_breakpoint(self, point: str | None) -> None:
        if point is None:
            return
        macro, _colon, micro = point.partition(":")
        if macro not in (*MICROS, *MACROS):
            raise refuse(4, f"Parameter 'breakpoint': Invalid macrostep name '{macro}'")
        if micro and micro not in KNOWN:
            raise refuse(4, f"Parameter 'breakpoint': Invalid microstep name '{micro}'")

    def environment(self, user: str, given: dict[str, Any] | None, export: bool) -> dict[str, Any] | None:
        if given is None:
            return None
        if given.get("kind") == "anonymous":
            found = Description({k: v for k, v in given.items() if k != "kind"}, self.settings.version).kept
            self.server.checksums(found, export)
            return {"id": -1, "user": user, "name": found["name"], "version": found["version"]}
        with self.server.records() as records:
            version = given.get("version")
            found_ones = select(
                records, given["name"], given.get("user") or user, str(version) if version else "last"
            )
        if not found_ones:
            raise refuse(
                7,
                f"the environment {given['name']},{given.get('version')} of {given.get('user')} does not exist",
            )
        stale = self.server.stale(found_ones[0]["user"], given["name"])
        if stale:
            raise Failure(400, stale.removeprefix("Invalid file -- "), 5)
        found = found_ones[0]
        return {
            "id": 1,
            "user": found["user"],
            "name": found["description"]["name"],
            "version": found["description"]["version"],
        }

    def instances(self, kind: str, params: dict[str, Any]) -> list[list[dict[str, Any]]]:
        if kind == "reboot":
            return [[{"name": KINDS[params["kind"]], "retries": 0, "timeout": 0}]]
        if kind == "power":
            return [[{"name": params["status"].capitalize(), "retries": 0, "timeout": 0}]]
        chain = params.get("automata") or AUTOMATA
        for macro in MACROS:
            for instance in chain[macro]:
                if instance["name"] not in MICROS:
                    raise refuse(4, f"Parameter 'automata': Unknown macrostep name '{instance['name']}'")
        return [list(chain[macro]) for macro in MACROS]


class Carry:
    """Carry a workflow out: its log, what becomes of each node, and what the database says afterwards."""

    def __init__(
        self, site: Workflows, work: Workflow, params: dict[str, Any], instances: list[list[dict[str, Any]]]
    ) -> None:
        self.site = site
        self.work = work
        self.params = params
        self.instances = instances
        self.faults = site.faults()
        self.macro, _colon, self.micro = str(params.get("breakpoint") or "").partition(":")
        self.steps: dict[str, list[str]] = {}

    def say(self, line: str) -> None:
        self.work.log.append(line)

    def out(self) -> None:
        work, nodes = self.work, list(self.work.nodes)
        name = NAMES[work.kind]
        self.say(f"Launching a {name} on {folded(nodes)}")
        busy = [node for node in nodes if node in self.faults.get("busy", [])]
        if busy and not self.params.get("force"):
            self.say(f"The nodes {folded(busy)} are already involved in {name}, let's discard them")
            for node in busy:
                work.states[node] = {"macro": "", "micro": "", "state": "discarded"}
            nodes = [node for node in nodes if node not in busy]
        if not nodes:
            work.failure = refuse(14, "All the nodes have been discarded ...")
        if self.faults.get("error"):
            number, text = self.faults["error"]
            work.failure = refuse(number, text)
        if work.failure:
            return
        left = nodes
        for macro, instances in zip((*MACROS,) if work.kind == "deploy" else ("",), self.instances):
            left = self.macro_step(macro, instances, left)
        for node in left:
            work.states[node] = {"macro": None, "micro": None, "state": "ok"}
            work.ok.append(node)
        if left:
            self.say(f"End of {name} for {folded(left)} after 30s")
        self.say(f"End of {name} on cluster {work.cluster} after 30s")
        if work.kind == "power" and self.params["status"] == "status":
            powers = self.site.kept("power.json", {})
            self.work.log += ["---", *(f"{node}: {powers.get(node, 'on')}" for node in work.ok), "---"]
        self.finish(nodes)

    def macro_step(self, macro: str, instances: list[dict[str, Any]], nodes: list[str]) -> list[str]:
        """The nodes that go on; failed ones are tried again, then with the next instance."""
        good: list[str] = []
        todo = nodes
        for instance in instances:
            for _attempt in range(instance["retries"] + 1):
                if not todo:
                    break
                done, todo = self.attempt(macro, instance["name"], todo)
                good += done
        for node in todo:
            self.work.ko.append(node)
        return [node for node in nodes if node in good]

    def attempt(self, macro: str, name: str, nodes: list[str]) -> tuple[list[str], list[str]]:
        kind = self.work.kind.capitalize()
        self.say(f"Performing a {kind}[{name}] step")
        failed: list[str] = []
        here = self.macro in (name, macro) and bool(self.macro)
        for micro in MICROS[name]:
            if micro.startswith("send_key") and not self.params.get("ssh_authorized_keys"):
                continue
            left = [node for node in nodes if node not in failed]
            if here and micro == (self.micro or MICROS[name][0]):
                self.stop(name, micro if self.micro else "", left)
                return [], failed
            if self.substituted(macro, name, micro):
                self.say(f"  {micro}-already-done")
                self.say("   * Executing custom command")
                continue
            self.say(f"  {micro}")
            for node in left:
                self.steps.setdefault(node, []).append(f"{name}:{micro}")
                if micro in COMMANDS:
                    self.site.note("cmd.log", f"{COMMANDS[micro]} {node}")
                if self.fails(node, micro, name):
                    failed.append(node)
            now = [node for node in left if node in failed]
            if now:
                self.say(f"!!! The nodes {folded(now)} failed on step {micro}")
                self.say(f"Step {kind}[{name}] failed for {folded(now)} after 9s")
        good = [node for node in nodes if node not in failed]
        if good:
            self.say(f"End of step {kind}[{name}] after 14s")
        return good, failed

    def substituted(self, macro: str, name: str, micro: str) -> bool:
        custom = self.params.get("custom_operations") or {}
        return any("substitute" in custom.get(head, {}).get(micro, {}) for head in (macro, name))

    def fails(self, node: str, micro: str, name: str) -> bool:
        fault = self.faults.get("ko", {}).get(node)
        if not fault or fault[0] != micro or fault[2] <= 0:
            return False
        fault[2] -= 1
        self.site.keep("faults.json", self.faults)
        error = f"{name}-{micro}: {fault[1]}\n"
        self.work.states[node] = {"macro": name, "micro": micro, "state": "ko", "error": error}
        return True

    def stop(self, name: str, micro: str, nodes: list[str]) -> None:
        """As recorded: among the ok nodes, and only the states and the log tell."""
        if micro:
            self.say(f"*** Breakpoint on {micro} reached for {folded(nodes)}")
        self.say(f"Step {self.work.kind.capitalize()}[{name}] breakpointed")
        self.say(f"Breakpoint reached for {folded(nodes)}")
        for node in nodes:
            self.work.states[node] = {"macro": None, "micro": None, "state": "brk"}
            self.work.ok.append(node)

    def finish(self, nodes: list[str]) -> None:
        work, kind = self.work, self.work.kind
        for node in self.faults.get("lost", []):
            work.states.pop(node, None)
            work.ok = [one for one in work.ok if one != node]
            work.ko = [one for one in work.ko if one != node]
        if self.faults.get("hang"):
            work.polls = 1 << 30
        known, powers, table = (
            self.site.kept(name, {}) for name in ("nodes.json", "power.json", "stats.json")
        )
        lines = table.setdefault("records", [])
        for node in nodes:
            good = node in work.ok
            ended = {"deploy": "deployed", "reboot": "rebooted", "power": "powered"}[kind]
            environment = work.environment if work.environment and work.environment["id"] > 0 else {}
            known[node] = {
                "state": ended if good else f"{kind}_failed",
                "user": work.user,
                "environment": {name: environment.get(name) for name in ("name", "version", "user")},
            }
            if kind == "power" and good and self.params["status"] != "status":
                powers[node] = self.params["status"]
            error = "" if good else work.states.get(node, {}).get("error", "")
            names = [one[0]["name"] for one in self.instances] + ["", ""]
            env = f"{work.environment['name']}:{work.environment['version']}" if work.environment else ""
            lines.append(
                f"{work.wid},{work.user},{node},{','.join(names[:3])},60,60,60,0,0,0,{int(work.start)},11,11,8,"
                f"{env},,{'true' if good else 'false'},{error}"
            )
        for name, value in (("nodes.json", known), ("power.json", powers), ("stats.json", table)):
            self.site.keep(name, value)


def statistics(site: Workflows, operation: str | None, wid: str | None) -> str:
    """CSV with raw line breaks in the errors, as recorded."""
    records = site.kept("stats.json", {}).get("records", [])
    head = PREFIXES.get(operation or "", "")
    return "".join(
        record + "\n" for record in records if record.startswith(head) and record.startswith(wid or "")
    )
