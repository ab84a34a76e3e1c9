# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One node's way through a deployment: attempts, fallbacks, hooks, breakpoint, and what is written of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_evidence as evidence
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_boot_steps import hook
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_gathering import Gathering, Gone
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import Journal
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Broadcast,
    Channel,
    Deadline,
    MicroStep,
    Order,
    StepFailed,
    Target,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import Plan, Step
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import (
    GROUP_STEP,
    MACROS,
    POWER_STEPS,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

GRACE = 60.0
"""Seconds after the end of a macro-step's time in which a micro-step must have noticed it itself."""
RETURN = "return_to_deploy_env"
"""Not one of Kadeploy's: what follows a boot of the deployed system that failed."""
RETURN_SECONDS = 180.0


@dataclass(frozen=True)
class Outcome:
    """How one node's deployment ended: ``ok``, ``ko`` or ``brk``, and where."""

    outcome: str
    macro: str = ""
    implementation: str = ""
    micro: str = ""
    message: str = ""
    evidence: tuple[str, ...] = ()
    advice: str = ""


@dataclass(frozen=True)
class Start:
    """Where a node begins. ``micro`` is that of a breakpoint; ``notes`` are those of the steps before."""

    macro: str = MACROS[0]
    implementation: str = ""
    micro: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Tools:
    """What an engine works with. ``table`` has the micro-steps by name, ``broadcast`` makes the server side of one."""

    table: Mapping[str, MicroStep]
    journal: Journal
    channel: Callable[[Target], Channel]
    broadcast: Callable[[Order, str, Sequence[Target]], Broadcast] | None = None
    grace: float = GRACE


@dataclass
class Shared:
    """What all nodes of a deployment share. ``power`` lets as many at once switch on as the plan allows."""

    plan: Plan
    order: Order
    tools: Tools
    targets: Mapping[str, Target]
    power: contextlib.AbstractContextManager[Any]


class _Stopped(Exception):
    """The node is at the breakpoint."""

    def __init__(self, step: Step, micro: str) -> None:
        super().__init__(micro)
        self.step = step
        self.micro = micro


class NodeRun:
    """Runs in a thread of its own; ``ended`` is called with it at the end, whatever happened."""

    def __init__(
        self,
        shared: Shared,
        gathering: Gathering,
        node: Target,
        start: Start,
        ended: Callable[[NodeRun], None],
    ) -> None:
        self.node = node
        self.outcome: Outcome | None = None
        self._shared = shared
        self._gathering = gathering
        self._start = start
        self._ended = ended
        self._notes = dict(start.notes)
        self._fresh = start == Start()
        self._channel = shared.tools.channel(node)
        self._at: dict[str, Any] = {}
        self._due: float | None = None
        self._said: list[str] = []
        self._closing = threading.Lock()

    def run(self) -> None:
        """Never raises: what nobody foresaw fails this node alone."""
        try:
            self._close(self._deploy())
        except Gone:
            return
        except Exception as error:  # pylint: disable=broad-except
            self._close(Outcome("ko", **self._place(), message=f"{type(error).__name__}: {error}"))
        finally:
            self._gathering.leave(self.node.name)
            self._ended(self)

    def give_up_if_overdue(self, grace: float) -> bool:
        """Close the node's run from outside when its micro-step has not ended long after its time was over."""
        due = self._due
        if due is None or time.monotonic() < due + grace:
            return False
        message = f"{self._at.get('micro')} did not end when its macro-step's time was over, and was given up"
        self._close(Outcome("ko", **self._place(), message=message, evidence=tuple(self._said)))
        self._gathering.leave(self.node.name, given_up=True)
        return True

    def _close(self, outcome: Outcome) -> None:
        with self._closing:
            if self.outcome is None:
                fields = dict(vars(outcome))
                self._shared.tools.journal.write("outcome", node=self.node.name, **fields)
                self.outcome = outcome

    def _place(self) -> dict[str, Any]:
        return {name: self._at.get(name, "") for name in ("macro", "implementation", "micro")}

    def _write(self, event: str, **fields: Any) -> None:
        """A record about this node where it is. A run that was given up says nothing more, and ends."""
        with self._closing:
            if self.outcome is not None:
                raise Gone
            self._shared.tools.journal.write(event, node=self.node.name, **self._at, **fields)

    def _deploy(self) -> Outcome:
        try:
            for macro in MACROS[MACROS.index(self._start.macro) :]:
                failed = self._macro(macro)
                if failed:
                    if macro == MACROS[-1]:
                        self._return()
                    return failed
        except _Stopped as stop:
            self._at.update(micro=stop.micro)
            self._write("brk")
            return Outcome("brk", **self._place(), message=f"stopped before {stop.micro}")
        return Outcome("ok", self._at["macro"], self._at["implementation"])

    def _macro(self, macro: str) -> Outcome | None:
        """All attempts at one macro-step, in turn; the outcome if the last one failed."""
        attempts = [
            (step, number) for step in self._shared.plan.steps[macro] for number in range(1, step.retries + 2)
        ]
        begins = macro == self._start.macro
        if begins and self._start.implementation in [step.name for step, number in attempts]:
            while attempts[0][0].name != self._start.implementation:
                del attempts[0]
        for position, (step, number) in enumerate(attempts):
            first = self._start.micro if begins and not position else ""
            failed = self._attempt(step, number, first, again=position + 1 < len(attempts))
            if failed is None:
                break
        if macro == "BroadcastEnv":
            self._gathering.leave(self.node.name)
        return failed

    def _attempt(self, step: Step, number: int, first: str, *, again: bool) -> Outcome | None:
        """One attempt from the micro-step ``first`` on, where a node resumes, else from its beginning."""
        macro = step.implementation.macro
        self._at = {"macro": macro, "implementation": step.name, "attempt": number}
        self._write("enter", fresh=self._fresh)
        self._fresh = False
        deadline, began = Deadline.after(step.timeout), time.monotonic()
        micros = step.micros[step.micros.index(first) :] if first in step.micros else step.micros
        for micro in micros:
            stop = self._shared.plan.breakpoint
            if stop and stop.hit(step, micro) and micro != first:
                raise _Stopped(step, micro)
            self._at["micro"] = micro
            try:
                deadline = self._micro(micro, deadline, again=again)
            except ClusterError as error:
                failed = self._failed(error, began)
                if again and macro != "BootNewEnv" and micro != GROUP_STEP:
                    self._gathering.again(self.node.name)
                return failed
        self._at.pop("micro", None)
        self._write("ok", seconds=round(time.monotonic() - began, 3))
        return None

    def _failed(self, error: ClusterError, began: float) -> Outcome:
        """Close the attempt in the journal. The outcome is final unless another attempt follows."""
        shown = tuple(getattr(error, "evidence", ())) or tuple(self._said)
        if not any(line.startswith(evidence.CONSOLE) for line in shown):
            shown += tuple(evidence.console_end(self.node.console))
        advice = getattr(error, "advice", "") or evidence.advise([str(error), *shown])
        outcome = Outcome(
            "ko", **self._place(), message=" ".join(str(error).split()), evidence=shown, advice=advice
        )
        at, self._at = self._at, {name: value for name, value in self._at.items() if name != "micro"}
        self._write(
            "failed",
            seconds=round(time.monotonic() - began, 3),
            message=f"{at['micro']}: {outcome.message}",
            evidence=shown,
            advice=advice,
        )
        return outcome

    def _micro(self, micro: str, deadline: Deadline, *, again: bool) -> Deadline:
        """Run one micro-step; returns the deadline, later by what the node waited for others. Raises ClusterError."""
        self._said = []
        if micro == GROUP_STEP:
            with self._waiting(deadline) as later:
                current = self._gathering.arrive(self.node.name, self._at["implementation"])
            failed = True
            try:
                # the site's own program needs no server side of ours
                own = f"instead_of_{micro}" in self._shared.order.hooks
                self._carry_out(micro, later(), current.members, None if own else current.broadcast)
                failed = False
            finally:
                self._due = None
                self._gathering.depart(self.node.name, again=failed and again)
            return later()
        if micro in POWER_STEPS and self._shared.plan.power_ups:
            with contextlib.ExitStack() as held:
                with self._waiting(deadline) as later:
                    held.enter_context(self._shared.power)
                self._carry_out(micro, later())
            return later()
        self._carry_out(micro, deadline)
        return deadline

    @contextlib.contextmanager
    def _waiting(self, deadline: Deadline) -> Iterator[Callable[[], Deadline]]:
        """The time in the block is not the node's own: what is yielded tells the deadline after it."""
        self._write("wait")
        began = time.monotonic()
        end: list[float] = []
        yield lambda: Deadline(deadline.at + end[0])
        end.append(time.monotonic() - began)

    def _carry_out(
        self,
        micro: str,
        deadline: Deadline,
        peers: Sequence[str] = (),
        broadcast: Callable[[], Broadcast] | None = None,
    ) -> None:
        """The hooks and the micro-step itself, timed; raises ClusterError, and StepFailed for what nobody foresaw."""
        before = json.dumps(self._notes, sort_keys=True, default=str)
        self._write("start")
        began = time.monotonic()
        self._due = deadline.at
        try:
            deadline.left()
            work = Work(
                order=self._shared.order,
                node=self.node,
                channel=self._channel,
                deadline=deadline,
                notes=self._notes,
                say=self._say,
                peers=tuple(self._shared.targets[name] for name in peers),
                macro=self._at["macro"],
                implementation=self._at["implementation"],
                broadcast=broadcast() if broadcast else None,
            )
            self._hook(f"before_{micro}", work)
            if not self._hook(f"instead_of_{micro}", work):
                self._shared.tools.table[micro](work)
            self._hook(f"after_{micro}", work)
        except Gone:
            raise
        except Exception as error:  # pylint: disable=broad-except
            fault = (
                error if isinstance(error, ClusterError) else StepFailed(f"{type(error).__name__}: {error}")
            )
            self._write("failed", seconds=round(time.monotonic() - began, 3), message=str(fault))
            raise fault from error
        finally:
            self._due = None
        left = {} if json.dumps(self._notes, sort_keys=True, default=str) == before else self._notes
        self._write("ok", seconds=round(time.monotonic() - began, 3), notes=left)

    def _say(self, line: str) -> None:
        self._said.append(line)
        self._write("said", message=line)

    def _hook(self, name: str, work: Work) -> bool:
        """Run the site's own program on this host, where one is given; says whether there is one."""
        if name not in self._shared.order.hooks:
            return False
        hook(work, name)
        return True

    def _return(self) -> None:
        """A node that failed to boot what was deployed comes back where somebody can look at it. Best effort."""
        if RETURN not in self._shared.tools.table:
            return
        self._at = {"macro": MACROS[-1], "implementation": self._at["implementation"], "micro": RETURN}
        with contextlib.suppress(ClusterError):
            self._carry_out(RETURN, Deadline.after(RETURN_SECONDS))
