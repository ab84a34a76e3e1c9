# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import shlex
import time
import uuid
from collections.abc import Iterator
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

display = Display()

LONGEST_DEPLOYMENT = 24 * 3600
LOOK = 2.0
"""Seconds between two looks at the journal, which cost one ``tail`` each."""
ASK = 20.0
"""Seconds after which the job itself is asked: a module that was killed writes no journal any more."""
OF_THE_JOB = {"ansible_job_id", "results_file", "started", "finished"}
ENDS = ("ok", "ko", "brk", "discarded")


class ActionModule(ActionBase):
    """Asks what there is to do; lets the boot server do it in the background and prints how far the nodes are.

    The job outlives the controller: what is under way on disks goes on to its end when somebody's terminal is closed.
    """

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

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
        with self._settings(check_mode=True):
            foreseen = self._execute_module(module_args=options, task_vars=task_vars)
        if foreseen.get("failed") or self._task.check_mode:
            return {**result, **foreseen}
        if not foreseen["changed"]:
            return {**result, **self._execute_module(module_args=options, task_vars=task_vars)}
        log = Log(self, foreseen["journal"])
        # what an earlier run of this deployment wrote is known, not news
        log.read()
        with self._settings(async_val=LONGEST_DEPLOYMENT):
            started = self._execute_module(module_args=options, task_vars=task_vars, wrap_async=True)
        if not started.get("ansible_job_id"):
            return {**result, **started}
        host = (task_vars or {}).get("inventory_hostname", "boot server")
        job = str(started["ansible_job_id"])
        display.display(f"{host:>16}  deployment {options['id']}, {foreseen['journal']}")
        self._watch(log, interval, host, job, task_vars)
        done = self._job(job, "status", task_vars)
        self._job(job, "cleanup", task_vars)
        return {**result, **{name: value for name, value in done.items() if name not in OF_THE_JOB}}

    @contextlib.contextmanager
    def _settings(self, **settings: Any) -> Iterator[None]:
        """The task's own settings otherwise, for one call of the module."""
        before = {name: getattr(self._task, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self._task, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(self._task, name, value)

    def _watch(self, log: Log, interval: int, host: str, job: str, task_vars: dict[str, Any] | None) -> None:
        """Print what the journal says until the job has ended: failures at once, the table when it has changed."""
        shown, table = 0.0, ""
        asked = time.monotonic()
        while True:
            time.sleep(LOOK)
            news = log.read()
            for record in news:
                if record["event"] == "outcome" and record["outcome"] != "ok":
                    display.display(f"{host:>16}  {ending(record)}")
            now = time.monotonic()
            if now >= shown + interval and tabled(log.state) != table:
                shown, table = now, tabled(log.state)
                for line in table.splitlines():
                    display.display(f"{host:>16}  {line}")
            if (news and log.state.ended) or now >= asked + ASK:
                asked = now
                if self._job(job, "status", task_vars).get("finished"):
                    return

    def _job(self, job: str, mode: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        folder = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        answer: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job, "mode": mode, "_async_dir": folder},
            task_vars=task_vars,
        )
        return answer


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
