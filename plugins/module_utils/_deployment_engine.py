# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Carries out a plan: a thread for each node, wave after wave. What happens to one node never stops another."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping, Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_gathering import Gathering
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_node import (
    NodeRun,
    Outcome,
    Shared,
    Start,
    Tools,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Broadcast,
    Order,
    Target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import Plan
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import GROUP_STEP, MACROS
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LOOK = 1.0
"""Seconds between two looks at nodes whose micro-step may have overrun its time."""


class Engine:
    """Runs ``plan`` for ``order``. Raises ClusterError at once for a micro-step that nobody provides."""

    def __init__(self, plan: Plan, order: Order, tools: Tools) -> None:
        used = {micro for steps in plan.steps.values() for step in steps for micro in step.micros}
        missing = sorted(used - set(tools.table) - replaced(order))
        if missing:
            raise ClusterError(f"no micro-step of this name is provided: {', '.join(missing)}")
        power = threading.Semaphore(plan.power_ups) if plan.power_ups else contextlib.nullcontext()
        self._shared = Shared(plan, order, tools, {node.name: node for node in plan.nodes}, power)

    def run(self, starts: Mapping[str, Start]) -> dict[str, Outcome]:
        """Deploy the nodes of ``starts`` and return each one's outcome, in the order of the plan."""
        plan = self._shared.plan
        nodes = [node for node in plan.nodes if node.name in starts]
        outcomes: dict[str, Outcome] = {}
        for number, wave in enumerate(plan.waves(nodes)):
            if number and plan.pause:
                time.sleep(plan.pause)
            outcomes.update(self._wave(wave, starts))
        return outcomes

    def _wave(self, wave: Sequence[Target], starts: Mapping[str, Start]) -> dict[str, Outcome]:
        names = [node.name for node in wave]
        coming = [name for name in names if comes_to_group_step(self._shared.plan, starts[name])]
        gathering = Gathering(names, coming, self._make_broadcast)
        ended: queue.Queue[NodeRun] = queue.Queue()
        runs = [NodeRun(self._shared, gathering, node, starts[node.name], ended.put) for node in wave]
        under_way = set(runs)
        try:
            for run in runs:
                threading.Thread(target=run.run, name=run.node.name, daemon=True).start()
            while under_way:
                with contextlib.suppress(queue.Empty):
                    under_way.discard(ended.get(timeout=LOOK))
                grace = self._shared.tools.grace
                under_way -= {run for run in under_way if run.give_up_if_overdue(grace)}
        finally:
            gathering.close()
        return {run.node.name: run.outcome for run in runs if run.outcome}

    def _make_broadcast(self, implementation: str, names: Sequence[str]) -> Broadcast:
        shared = self._shared
        if shared.tools.broadcast is None:
            raise ClusterError("this engine has no broadcast")
        return shared.tools.broadcast(shared.order, implementation, [shared.targets[name] for name in names])


def replaced(order: Order) -> set[str]:
    """The micro-steps that a hook stands in for."""
    mark = "instead_of_"
    return {name[len(mark) :] for name in order.hooks if name.startswith(mark)}


def comes_to_group_step(plan: Plan, start: Start) -> bool:
    """Whether a node that begins there comes to the micro-step that all begin together, if nothing fails before."""
    for macro in MACROS[MACROS.index(start.macro) :]:
        steps = plan.steps[macro]
        step = next(
            (one for one in steps if (macro, one.name) == (start.macro, start.implementation)), steps[0]
        )
        begins = step.micros.index(start.micro) if macro == start.macro and start.micro in step.micros else 0
        if GROUP_STEP in step.micros[begins:]:
            return True
    return False
