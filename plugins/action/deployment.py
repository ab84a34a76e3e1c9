# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shlex
import time
import uuid
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import (
    Progress,
    State,
    parse,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_options import OPTIONS
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import MACROS, MICROS
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_fold import fold
from ansible_collections.oneimage.cluster.plugins.plugin_utils._background_action import BackgroundAction

display = Display()

LOOK = 2.0
"""Seconds between two looks at the journal, which cost one ``tail`` each."""
ASK = 20.0
ENDS = ("ok", "ko", "brk", "discarded")


class ActionModule(BackgroundAction):
    """Asks what there is to do; lets the boot server do it in the background and prints how far the nodes are."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self.validate_argument_spec(argument_spec=OPTIONS)[1]
        interval = given["progress"]
        options = {**self._task.args, "id": given["id"] or f"D-{uuid.uuid4()}"}
        if self._task.async_val or interval <= 0:
            done = self._execute_module(
                module_args=options, task_vars=task_vars, wrap_async=bool(self._task.async_val)
            )
            return {**result, **done}
        foreseen = self._foresee(task_vars, module_args=options)
        if foreseen.get("failed") or self._task.check_mode:
            return {**result, **foreseen}
        if not foreseen["changed"]:
            return {**result, **self._execute_module(module_args=options, task_vars=task_vars)}
        host = (task_vars or {}).get("inventory_hostname", "boot server")
        log = Log(self, foreseen["journal"])
        # what an earlier run of this deployment wrote is known, not news
        log.read()
        display.display(f"{host:>16}  deployment {options['id']}, {foreseen['journal']}")
        watch = Watch(log, interval, host)
        done = self._in_background(task_vars, watch.look, every=LOOK, ask=ASK, module_args=options)
        return {**result, **done}


class Watch:
    """Prints what the journal says: failures at once, the table when it has changed."""

    def __init__(self, log: Log, interval: int, host: str) -> None:
        self._log = log
        self._interval = interval
        self._host = host
        self._shown, self._table = 0.0, ""

    def look(self) -> bool:
        """Whether the journal says that the deployment has just ended."""
        news = self._log.read()
        for record in news:
            if record["event"] == "outcome" and record["outcome"] != "ok":
                self._show(ending(record))
        now, table = time.monotonic(), tabled(self._log.state)
        if now >= self._shown + self._interval and table != self._table:
            self._shown, self._table = now, table
            for line in table.splitlines():
                self._show(line)
        return bool(news) and self._log.state.ended

    def _show(self, line: str) -> None:
        display.display(f"{self._host:>16}  {line}")


class Log:
    """The journal on the boot server, read line by line as it grows."""

    def __init__(self, action: ActionBase, path: str) -> None:
        self.state = State()
        self._action = action
        self._path = shlex.quote(path)
        self._lines = 0

    def read(self) -> list[dict[str, Any]]:
        """The records that are new."""
        command = f"tail -n +{self._lines + 1} {self._path} 2>/dev/null"
        text = self._action._low_level_execute_command(command)["stdout"]
        # a line that is not whole yet comes again
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        self._lines += len(whole)
        news = list(parse("".join(whole).encode()))
        self.state.add(news)
        return news


def ending(record: dict[str, Any]) -> str:
    """One line for a node that is not ok."""
    place = "/".join(record[name] for name in ("implementation", "micro") if record.get(name))
    advice = f" -- {record['advice']}" if record.get("advice") else ""
    return f"{record['node']} {record['outcome']} {place}: {record.get('message', '')}{advice}"


def tabled(state: State) -> str:
    """How many nodes are at which step, and which; in the order of the steps, those that ended last."""
    rows: dict[tuple[int, int, str], list[str]] = {}
    for name, node in state.nodes.items():
        rows.setdefault(place_of(node), []).append(name)
    return "".join(
        f"{title:<44} {len(names):>5}  {fold(names)}\n"
        for (_macro, _micro, title), names in sorted(rows.items())
    )


def place_of(node: Progress) -> tuple[int, int, str]:
    """Where a node's row is in the table, and its title."""
    if node.outcome:
        return len(MACROS), ENDS.index(node.outcome), node.outcome
    if not node.macro:
        return -1, 0, "waiting for its wave"
    micro = MICROS.index(node.micro) if node.micro in MICROS else -1
    waits = " (waits)" if node.state == "wait" else ""
    return MACROS.index(node.macro), micro, f"{node.implementation} {node.micro}{waits}"
