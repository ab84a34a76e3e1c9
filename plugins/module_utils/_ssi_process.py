# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A process of an SSI cluster: what it may do, where it runs, its checkpoints.

A task becomes a list of steps, each with what is and what shall be. All that can be refused is refused while the steps
are planned; then those that change something are carried out, in check mode none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_capabilities as capability
from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_checkpoint as checkpoints
from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_place as places
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import ask, read_text
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_flavour import check_process
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_rules import refusal
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import search

TAKES: Mapping[str, Sequence[str]] = {
    "present": ("capabilities", "locked"),
    "migrated": ("node_id", "capabilities", "locked"),
    "checkpointed": ("description", "capabilities", "signal", "ignore_unsupported_files", "no_callbacks"),
    "restarted": ("identifier", "version"),
}
"""The options that belong to each state; the others would have no effect, so that they are refused."""
NEEDED = {"migrated": "migrate", "checkpointed": "checkpoint", "restarted": "restart"}
"""The part of a flavour that a state needs."""


@dataclass(frozen=True)
class Step:
    """One thing about the process, as it is and as it shall be; ``carry_out`` returns what it became."""

    name: str
    now: Any
    wanted: Any
    carry_out: Callable[[], Any]


@dataclass(frozen=True)
class Request:
    """The task: a flavour, the way to its session, and the options."""

    flavour: Mapping[str, Any]
    section: Mapping[str, Any]
    entry: Entry
    options: Mapping[str, Any]
    wishes: capability.Wishes = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.flavour.get("name", "without a name"))

    @property
    def pid(self) -> int:
        return int(self.options["pid"])


def process(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Bring a process into the wanted state and return the module's result.

    ``options`` are the module's; with ``check`` nothing is touched. Raises ClusterError with the reason for all that
    cannot be, before anything is changed.
    """
    request = _request(options)
    steps = PLANS[options["state"]](request)
    now = {step.name: step.now for step in steps}
    then = {}
    for step in steps:
        then[step.name] = step.wanted if check or step.now == step.wanted else step.carry_out()
    return {"changed": now != then, "pid": options["pid"], **then, "diff": {"before": now, "after": then}}


def _request(options: Mapping[str, Any]) -> Request:
    """The checked task; raises ClusterError for what its flavour, or its state, does not know."""
    flavour, state = options["flavour"], options["state"]
    name = flavour.get("name", "without a name")
    cannot = flavour.get("cannot") or {}
    part = NEEDED.get(state)
    if flavour.get("process") is None:
        raise ClusterError(f"flavour {name}: {cannot.get('process', 'it has no processes to take care of')}")
    section = check_process(flavour["process"], f"flavour {name}: process")
    if part and section[part] is None:
        raise ClusterError(f"state {state}: {cannot.get(part, f'the flavour {name} has no command for it')}")
    for option in sorted({option for names in TAKES.values() for option in names} - set(TAKES[state])):
        if options.get(option) not in (None, False):
            raise ClusterError(f"{option} has no effect with state {state}: leave it out")
    wishes = {kind: names for kind, names in (options.get("capabilities") or {}).items() if names}
    if wishes and section["capabilities"] is None:
        reason = cannot.get("capabilities", f"the flavour {name} has none")
        raise ClusterError(f"capabilities: {reason}")
    capability.check_wishes(section["capabilities"], name, wishes)
    if options.get("locked") is not None and section["lock"] is None:
        raise ClusterError(f"locked: the flavour {name} has no locks on processes")
    return Request(flavour, section, Entry(tuple(options["entry"])), options, wishes)


def _plan_present(request: Request) -> list[Step]:
    place = _place(request)
    return [*_plan_capabilities(request, ()), *_plan_lock(request), _stays(place)]


def _plan_migrated(request: Request) -> list[Step]:
    migrate, timeout = request.section["migrate"], float(request.options["timeout"])
    goal = places.reached(migrate, request.options["node_id"])
    fields = {"pid": request.pid, "node_id": request.options["node_id"] if goal is None else _target(request)}
    place = _place(request)
    if goal == place:
        return [*_plan_capabilities(request, ()), *_plan_lock(request), _stays(place)]
    lock = _plan_lock(request)
    if any(step.wanted for step in lock) or (not lock and _locked(request)):
        raise ClusterError(
            f"process {request.pid} is locked to its home node: set locked to false to have it move"
        )
    _refuse(request, "migrate", fields)
    before = _plan_capabilities(request, migrate["needs"])
    move = Step(
        "node_id",
        place,
        request.options["node_id"] if goal is None else goal,
        lambda: places.move(request.entry, request.section, fields, goal, place, timeout),
    )
    return [*before, *lock, move]


def _plan_checkpointed(request: Request) -> list[Step]:
    rules, entry, options = request.section["checkpoint"], request.entry, request.options
    if not options["description"].strip() or not options["description"].isprintable():
        raise ClusterError("description: must be one line of text; it names the checkpoint")
    if options.get("signal") is not None and not 1 <= options["signal"] <= 64:
        raise ClusterError(f"signal: {options['signal']} is no number of a signal (1 to 64)")
    words = _checkpoint_options(request)
    folder = checkpoints.folder_of(entry, rules, options["require_shared"])
    identifiers = checkpoints.identifiers_of(entry, rules, folder, request.pid)
    for made in reversed(checkpoints.list_checkpoints(entry, rules, folder)):
        if made.identifier in identifiers and made.description == options["description"]:
            kept = made.as_result()
            return [*_capabilities_if_alive(request), Step("checkpoint", kept, kept, dict)]
    place = _place(request)
    fields = {"pid": request.pid, "description": options["description"], "signal": options.get("signal")}
    _refuse(request, "checkpoint", fields)
    before = _plan_capabilities(request, rules["needs"])
    return [
        *before,
        Step(
            "checkpoint",
            None,
            {"description": options["description"]},
            lambda: checkpoints.make(
                entry, rules, folder, fields, words, float(options["timeout"])
            ).as_result(),
        ),
        *([] if options.get("signal") else [_stays(place)]),
    ]


def _plan_restarted(request: Request) -> list[Step]:
    rules, entry, options = request.section["checkpoint"], request.entry, request.options
    folder = checkpoints.folder_of(entry, rules, options["require_shared"])
    if options.get("identifier") is None:
        identifiers = checkpoints.identifiers_of(entry, rules, folder, request.pid)
    else:
        identifiers = {int(options["identifier"])}
    found = checkpoints.list_checkpoints(entry, rules, folder)
    chosen = checkpoints.choose(found, identifiers, options.get("version"), folder)
    place = _already_runs(request, folder, chosen)
    kept = chosen.as_result()

    def carry_out() -> str | None:
        checkpoints.restart(entry, request.section, folder, chosen, float(options["timeout"]))
        return places.place_of(entry, request.section["where"], chosen.identifier)

    return [
        Step("checkpoint", kept, kept, dict),
        Step("node_id", place, "the node of the restart" if place is None else place, carry_out),
    ]


PLANS: Mapping[str, Callable[[Request], list[Step]]] = {
    "present": _plan_present,
    "migrated": _plan_migrated,
    "checkpointed": _plan_checkpointed,
    "restarted": _plan_restarted,
}


def _already_runs(request: Request, folder: str, chosen: checkpoints.Checkpoint) -> str | None:
    """The node of an application that was restarted from this very version, None for one that does not run.

    Raises ClusterError for one that runs otherwise.
    """
    for pid in checkpoints.members_of(request.entry, request.section["checkpoint"], folder, chosen):
        place = places.place_of(request.entry, request.section["where"], pid)
        if place is None:
            continue
        version = checkpoints.restarted_from(request.entry, folder, chosen.identifier)
        if version == chosen.version:
            return place
        since = "" if version is None else f", restarted from version {version}"
        runs = (
            "already runs"
            if pid == chosen.identifier
            else f"has its process {pid}, or another of this number,"
        )
        raise ClusterError(
            f"application {chosen.identifier} {runs} on node {place}{since}: "
            f"end it before it is restarted from version {chosen.version}"
        )
    return None


def _place(request: Request) -> str:
    place = places.place_of(request.entry, request.section["where"], request.pid)
    if place is None:
        raise ClusterError(
            f"no node of the session has a process {request.pid}; it ended, or was lost with its node: "
            "restart it from a checkpoint"
        )
    return place


def _target(request: Request) -> str:
    """The node as the program takes it: words such as home as they are, numbers without leading zeros."""
    target = str(request.options["node_id"])
    return str(int(target)) if target.isdigit() else target


def _stays(place: str) -> Step:
    return Step("node_id", place, place, lambda: place)


def _refuse(request: Request, part: str, fields: Mapping[str, Any]) -> None:
    reason = refusal(request.entry, request.section[part]["refusals"], fields)
    if reason:
        raise ClusterError(f"process {request.pid} cannot be {request.options['state']}: {reason}")


def _plan_capabilities(request: Request, needs: Sequence[str]) -> list[Step]:
    """The step to the wished capabilities; raises ClusterError where those that the state ``needs`` would be missing."""
    rules, pid = request.section["capabilities"], request.pid
    if rules is None or not (request.wishes or needs):
        return []
    now = capability.read(request.entry, rules, pid)
    then = capability.wished(now, request.wishes)
    if now != then:
        capability.check_change(rules, pid, now, then)
        _refuse(request, "capabilities", {"pid": pid})
    for need in needs:
        if need not in then["effective"]:
            raise ClusterError(
                f"process {pid} cannot be {request.options['state']}: it lacks the effective capability {need}; "
                f"set it with capabilities, or have its parent make it inheritable"
            )
    shown = capability.listed(rules, now), capability.listed(rules, then)

    def carry_out() -> dict[str, list[str]]:
        capability.change(request.entry, rules, pid, now, then)
        return shown[1]

    return [Step("capabilities", *shown, carry_out)]


def _capabilities_if_alive(request: Request) -> list[Step]:
    """A process that a signal ended after its checkpoint has no capabilities left to look at."""
    if places.place_of(request.entry, request.section["where"], request.pid) is None:
        return []
    return _plan_capabilities(request, ())


def _plan_lock(request: Request) -> list[Step]:
    wanted = request.options.get("locked")
    if wanted is None:
        return []
    lock = request.section["lock"]
    path, text = lock["file"].format(pid=request.pid), lock["on" if wanted else "off"]

    def carry_out() -> bool:
        said = ask(request.entry, ["tee", path], stdin=f"{text}\n".encode())
        if said.code or _locked(request) != wanted:
            raise ClusterError(
                f"cannot write {text} to {path}: {said.err.strip() or 'the kernel did not take it'}"
            )
        return bool(wanted)

    return [Step("locked", _locked(request), wanted, carry_out)]


def _locked(request: Request) -> bool:
    lock = request.section["lock"]
    if lock is None:
        return False
    found = search(lock["match"], read_text(request.entry, lock["file"].format(pid=request.pid)) or "")
    return found is not None and found["locked"] == lock["on"]


def _checkpoint_options(request: Request) -> list[str]:
    """Words that the options add to the command; raises ClusterError for one that the flavour's program does not have."""
    words: list[str] = []
    for option in ("signal", "ignore_unsupported_files", "no_callbacks"):
        if request.options.get(option):
            known = request.section["checkpoint"]["options"]
            if option not in known:
                raise ClusterError(f"{option}: the flavour {request.name} has no such option for checkpoints")
            words += known[option]
    return words
