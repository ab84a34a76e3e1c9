# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The module ``kadeploy``: check everything on every site, start one workflow per site, retry failed nodes, tell the truth."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_evidence import console_end
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import least
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_console import (
    check_consoles,
    kept_at,
    kept_consoles,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_sites import (
    anonymous,
    assign,
    open_sites,
    recorded,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_steps import (
    MACROS,
    chain_of,
    custom_steps,
    resumed,
    split_point,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow import (
    OUTCOMES,
    Log,
    Order,
    Outcome,
    Running,
    Site,
    refused,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand

FAULTS = 10
"""So many polls without an answer, one after the other, and the site counts as lost."""

ONLY: Mapping[str, tuple[str, ...]] = {
    "deploy": (
        *("steps", "custom_steps", "breakpoint", "resume", "description", "reformat_tmp", "no_kexec"),
        *("disable_bootloader_install", "disable_disk_partitioning", "boot_partition"),
    ),
    "reboot": ("kind", "pxe_profile", "check_destructive"),
    "power": ("state",),
}
"""Options that only one operation has."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "set_pxe": ("pxe_profile",),
    "recorded_env": ("environment", "partition"),
}
"""What a kind of reboot cannot do without."""

SAME = (
    *("key", "partition", "block_device", "boot_partition", "vlan", "reformat_tmp", "no_kexec"),
    *("disable_bootloader_install", "disable_disk_partitioning", "breakpoint", "kind", "level", "state"),
    *("pxe_profile", "check_destructive", "force"),
)
"""Options that are fields of an Order as they are."""


@dataclass
class Job:
    """One site with its order and nodes."""

    site: Site
    order: Order
    nodes: list[str]


@dataclass
class Prepared:
    jobs: list[Job]
    refreshed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)


class Interrupted(BaseException):
    """A signal that ends this module."""


def apply(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result; ``failed`` is in it if fewer than min_ok nodes are ok. Raises ClusterError before anything starts,
    and if a signal comes."""
    check_options(options)
    nodes = list(dict.fromkeys(name for text in options["nodes"] for name in expand(text)))
    if not nodes:
        raise ClusterError("nodes: give at least one")
    wanted = least(options["min_ok"], len(nodes))
    prepared = prepare(options, nodes, check_mode)
    if options["operation"] == "power":
        leave_powered(prepared, options["state"])
    if check_mode:
        return predicted(prepared)
    with ExitStack() as stack:
        if options["consoles"]:
            stack.enter_context(kept_consoles(options["consoles"], consoles(prepared.jobs)))
        carry_out(prepared, options)
    if options["consoles"]:
        show_consoles(prepared.outcomes, options["consoles"])
    return result(prepared, nodes, wanted, options["breakpoint"] is not None)


def check_options(options: Mapping[str, Any]) -> None:
    operation = options["operation"]
    for other, names in ONLY.items():
        strange = [name for name in names if options[name] not in (None, False)]
        if other != operation and strange:
            raise ClusterError(f"{', '.join(strange)}: for operation {other} only")
    if operation == "deploy" and (options["environment"] is None) == (options["description"] is None):
        raise ClusterError("operation deploy needs either environment or description")
    if operation == "power" and options["state"] is None:
        raise ClusterError("operation power needs state")
    lacking = [name for name in NEEDS.get(options["kind"] or "", ()) if options[name] is None]
    if lacking:
        raise ClusterError(f"kind {options['kind']} needs {', '.join(lacking)}")
    if options["environment"] and operation != "deploy" and options["kind"] != "recorded_env":
        raise ClusterError(
            "environment is for operation deploy, and for kind recorded_env of operation reboot"
        )
    if options["level"] is not None and operation == "deploy":
        raise ClusterError("level is for operations reboot and power")
    if options["retries"] < 0 or options["timeout"] <= 0 or options["poll"] <= 0:
        raise ClusterError("retries must be 0 or more, timeout and poll more than 0")
    if options["breakpoint"]:
        split_point("breakpoint", options["breakpoint"])
    custom_steps(options["custom_steps"])


def prepare(options: Mapping[str, Any], nodes: list[str], check_mode: bool) -> Prepared:
    """Everything is asked of every site before the first one is told to do something."""
    sites = open_sites(options["servers"])
    homes = assign(nodes, sites)
    prepared = Prepared([])
    servers = {server["name"]: server for server in options["servers"]}
    faults = []
    for site in sites:
        if site.name not in homes:
            continue
        try:
            order = order_of(options, site, servers[site.name], prepared)
            if options["consoles"]:
                check_consoles(options["consoles"], site.console(homes[site.name][0]))
            prepared.jobs.append(Job(site, order, homes[site.name]))
        except ClusterError as error:
            faults.append(f"site {site.name}: {error}")
    if faults:
        raise ClusterError(f"{'; '.join(faults)}; nothing was started anywhere")
    if options["environment"] and options["operation"] != "power":
        faults = refresh(options, servers, prepared, check_mode)
    if faults:
        raise ClusterError(f"{'; '.join(faults)}; nothing was started anywhere")
    return prepared


def consoles(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The argv that shows each node's console, of the sites that show any."""
    return {node: job.site.console(node) for job in jobs for node in job.nodes}


def show_consoles(outcomes: Mapping[str, Outcome], folder: str) -> None:
    """Name the logs that were kept, and show the end of those of nodes on which it failed."""
    for node, found in outcomes.items():
        if found.attempts:
            found.console = str(kept_at(folder, node))
            found.evidence = console_end(found.console) if found.outcome in ("ko", "missing") else []


def order_of(options: Mapping[str, Any], site: Site, server: Mapping[str, Any], prepared: Prepared) -> Order:
    key = options["key"]
    if key and server["url"] and not key.startswith(("server://", "http://", "https://")):
        raise ClusterError(f"key {key} is a file of this host; give server:///PATH or http:// with url")
    same = {name: options[name] for name in SAME if options[name] is not None}
    order = Order(options["operation"], **same)
    if options["operation"] == "reboot":
        order = replace(order, kind=options["kind"] or "simple")
    if options["description"] is not None:
        description, lost = anonymous(server, options["description"])
        prepared.warnings += lost
        order = replace(order, description=description)
    if not (options["steps"] or options["resume"] or options["custom_steps"]):
        return order
    automata = site.automata()
    custom = custom_steps(options["custom_steps"])
    steps = options["steps"] or (dict.fromkeys(MACROS) if options["resume"] else None)
    chain = chain_of(steps, automata, site.title)
    if options["resume"] and chain is not None:
        chain, custom = resumed(chain, options["resume"], custom)
    return replace(order, chain=chain, custom=custom)


def refresh(
    options: Mapping[str, Any], servers: Mapping[str, Any], prepared: Prepared, check_mode: bool
) -> list[str]:
    """Find the environment on every site, then, only if all have it, have stale checksums updated; faults."""
    faults = []
    for write in (False, True):
        for job in prepared.jobs:
            try:
                found, updated, warnings = recorded(
                    servers[job.site.name],
                    options["environment"],
                    options["refresh_checksums"],
                    check_mode or not write,
                )
            except ClusterError as error:
                faults.append(f"site {job.site.name}: {error}")
                continue
            job.order = replace(job.order, environment=found)
            if write:
                prepared.refreshed += [f"{job.site.name}: {text}" for text in updated]
                prepared.warnings += warnings
        if faults:
            return faults
    return []


def leave_powered(prepared: Prepared, state: str) -> None:
    """Nodes that are in ``state`` already are ok, and left alone."""
    for job in prepared.jobs:
        found = job.site.power(job.nodes)
        same = [node for node in job.nodes if found.get(node) == state]
        prepared.outcomes.update({node: Outcome(job.site.name, "ok") for node in same})
        job.nodes = [node for node in job.nodes if node not in same]
    prepared.jobs = [job for job in prepared.jobs if job.nodes]


def predicted(prepared: Prepared) -> dict[str, Any]:
    doomed = [node for job in prepared.jobs for node in job.nodes]
    states = {
        node: state for job in prepared.jobs for node, state in job.site.states().items() if node in doomed
    }
    return {
        "changed": bool(doomed or prepared.refreshed),
        "nodes": {node: found.public() for node, found in prepared.outcomes.items()},
        **{name: [] for name in OUTCOMES if name != "ok"},
        "ok": list(prepared.outcomes),
        "wids": [],
        "refreshed": prepared.refreshed,
        "warnings": prepared.warnings,
        "diff": diff(doomed, states, prepared.jobs[0].order.operation if prepared.jobs else ""),
    }


def diff(nodes: Sequence[str], states: Mapping[str, Any], operation: str) -> dict[str, str]:
    before = (f"{node}: {(states.get(node) or {}).get('state') or 'never used'}\n" for node in nodes)
    return {"before": "".join(before), "after": "".join(f"{node}: {operation}\n" for node in nodes)}


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals that end a process come as Interrupted."""

    def raise_it(number: int, _frame: Any) -> NoReturn:
        raise Interrupted(signal.Signals(number).name)

    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, raise_it) for number in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def carry_out(prepared: Prepared, options: Mapping[str, Any]) -> None:
    """Run the jobs, and those of failed nodes again; each node's outcome is its last one."""
    deadline = time.monotonic() + options["timeout"]
    jobs = prepared.jobs
    for attempt in range(1, options["retries"] + 2):
        for node, found in run_jobs(jobs, options["poll"], deadline).items():
            found.attempts = attempt
            prepared.outcomes[node] = found
        jobs = [
            replace(job, nodes=[node for node in job.nodes if prepared.outcomes[node].again]) for job in jobs
        ]
        jobs = [job for job in jobs if job.nodes]
        if not jobs or time.monotonic() >= deadline:
            return


def run_jobs(jobs: Sequence[Job], poll: float, deadline: float) -> dict[str, Outcome]:
    """Start every job, wait for all of them, and have the servers forget them.

    Raises ClusterError naming every workflow that is on its way if a signal comes; they go on.
    """
    outcomes: dict[str, Outcome] = {}
    running: list[tuple[Job, Running]] = []
    try:
        with interruptible():
            for job in jobs:
                try:
                    running.append((job, job.site.start(job.order, job.nodes)))
                except ClusterError as error:
                    outcomes.update(refused(job.site.name, error, job.nodes, Log()))
            follow(running, outcomes, poll, deadline)
    except Interrupted as signalled:
        left = [
            f"{run.identify() or 'a workflow whose id is not known yet'} at {job.site.name} ({', '.join(job.nodes)})"
            for job, run in running
        ]
        raise ClusterError(
            f"interrupted by {signalled}; {'; '.join(left) or 'nothing'} goes on without this module, follow it with "
            "kadeploy_info, or end it with DELETE of its id"
        ) from signalled
    return outcomes


def follow(
    running: list[tuple[Job, Running]], outcomes: dict[str, Outcome], poll: float, deadline: float
) -> None:
    """Poll until none of ``running`` is left; those that are over are taken out of it."""
    silent: dict[str, int] = {}
    while running:
        for job, run in list(running):
            late = time.monotonic() >= deadline
            try:
                over = run.done()
                found = run.outcomes() if over else {}
                silent[job.site.name] = 0
            except ClusterError as error:
                silent[job.site.name] = silent.get(job.site.name, 0) + 1
                if silent[job.site.name] < FAULTS and not late:
                    continue
                message = f"{error}; workflow {run.wid} may be going on"
                found = {node: Outcome(job.site.name, "missing", message=message) for node in job.nodes}
                over = True
            if not over and not late:
                continue
            if not over:
                found = ended(job, run)
            for one in found.values():
                one.wid = run.wid
            outcomes.update(found)
            finish(run)
            running.remove((job, run))
        if running:
            time.sleep(poll)


def ended(job: Job, run: Running) -> dict[str, Outcome]:
    """The outcomes of a workflow that took too long: nodes that are through keep theirs."""
    found = {node: Outcome(job.site.name, "missing") for node in job.nodes}
    message = "not done when the timeout was over; its workflow was ended"
    try:
        found.update(run.outcomes())
        run.cancel()
    except ClusterError as error:
        message = f"not done when the timeout was over; its workflow may be going on: {error}"
    return {
        node: Outcome(job.site.name, "ko", message=message) if one.outcome == "missing" else one
        for node, one in found.items()
    }


def finish(run: Running) -> None:
    try:
        run.clean()
    except ClusterError:
        # the server forgets it by itself, hours later; the outcomes are known
        return


def result(prepared: Prepared, nodes: list[str], wanted: int, broke: bool) -> dict[str, Any]:
    found = {node: prepared.outcomes[node] for node in nodes}
    lists = {name: [node for node, one in found.items() if one.outcome == name] for name in OUTCOMES}
    touched = [node for node, one in found.items() if one.attempts and one.outcome in ("ok", "ko", "brk")]
    good = len(lists["ok"]) + (len(lists["brk"]) if broke else 0)
    answer: dict[str, Any] = {
        "changed": bool(touched or prepared.refreshed),
        "nodes": {node: one.public() for node, one in found.items()},
        **lists,
        "wids": sorted({one.wid for one in found.values() if one.wid}),
        "refreshed": prepared.refreshed,
        "warnings": prepared.warnings,
        "diff": {
            "before": "".join(f"{node}: untouched\n" for node in touched),
            "after": "".join(f"{node}: {found[node].outcome}\n" for node in touched),
        },
    }
    if good < wanted:
        answer["failed"] = True
        answer["msg"] = f"{good} of {len(nodes)} nodes are ok, min_ok asks for {wanted}: {complaints(found)}"
    return answer


def complaints(found: Mapping[str, Outcome]) -> str:
    """Nodes that are not ok, those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for node, one in found.items():
        if one.outcome != "ok":
            place = f" at {one.macro}:{one.micro}" if one.macro else ""
            reasons.setdefault(f"{one.outcome}{place}: {one.message}", []).append(node)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
