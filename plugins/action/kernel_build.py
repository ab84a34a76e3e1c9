# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Iterator
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import ENDED, PROGRESS
from ansible_collections.oneimage.cluster.plugins.modules.kernel_build import OPTIONS

display = Display()

LONGEST_BUILD = 24 * 3600
LOOK = 1.0
"""Seconds between two looks at the progress file, which cost one ``cat`` each."""
ASK = 30.0
"""Seconds after which the job itself is asked: a module that was killed writes no progress any more."""
OF_THE_JOB = {"ansible_job_id", "results_file", "started", "finished"}


class ActionModule(ActionBase):
    """Asks what there is to do; lets the node do it in the background and prints how far it is."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        interval = self.validate_argument_spec(argument_spec=OPTIONS)[1]["progress"]
        if self._task.async_val or interval <= 0:
            done = self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val))
            return {**result, **done}
        with self._settings(check_mode=True):
            foreseen = self._execute_module(task_vars=task_vars)
        if foreseen.get("failed") or self._task.check_mode or not foreseen["changed"]:
            return {**result, **foreseen}
        file = shlex.quote(f"{foreseen['build']}/{PROGRESS}")
        self._low_level_execute_command(f"rm -f {file}")
        with self._settings(async_val=LONGEST_BUILD):
            started = self._execute_module(task_vars=task_vars, wrap_async=True)
        if not started.get("ansible_job_id"):
            return {**result, **started}
        host = (task_vars or {}).get("inventory_hostname", "node")
        job = str(started["ansible_job_id"])
        self._watch(file, interval, host, job, task_vars)
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

    def _watch(self, file: str, interval: int, host: str, job: str, task_vars: dict[str, Any] | None) -> None:
        """Print what the progress file says until the job has ended."""
        shown, phase = 0.0, ""
        asked = time.monotonic()
        while True:
            time.sleep(LOOK)
            said = progress(self._low_level_execute_command(f"cat {file}")["stdout"])
            now = time.monotonic()
            if said and said["phase"] != ENDED and (said["phase"] != phase or now >= shown + interval):
                shown, phase = now, said["phase"]
                display.display(f"{host:>16}  {line(said)}")
            if (said and said["phase"] == ENDED) or now >= asked + ASK:
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


def progress(text: str) -> dict[str, Any] | None:
    """What the node wrote, None where that is not there yet."""
    try:
        said = json.loads(text)
        return {
            "phase": str(said["phase"]),
            "done": int(said["done"]),
            "expected": int(said["expected"] or 0),
        }
    except (ValueError, TypeError, KeyError):
        return None


def line(said: dict[str, Any]) -> str:
    """``compiling: 120 of about 412 files``; an incremental build ends before."""
    if not said["done"]:
        return str(said["phase"])
    # the guess was too low: no file is more than all
    of = f" of about {said['expected']}" if said["expected"] > said["done"] else ""
    return f"{said['phase']}: {said['done']}{of} files"
