# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Actions whose module works for long: it runs as a job of its node, and the controller looks how far it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible.plugins.action import ActionBase

LONGEST_JOB = 24 * 3600
"""Seconds after which Ansible ends the job."""
OF_THE_JOB = {"ansible_job_id", "results_file", "started", "finished"}


class BackgroundAction(ActionBase):
    """The job outlives the controller: what it has begun goes on to its end when somebody's terminal is closed."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    def _foresee(self, task_vars: dict[str, Any] | None, **call: Any) -> dict[str, Any]:
        """What the module would do."""
        with self._settings(check_mode=True):
            foreseen: dict[str, Any] = self._execute_module(task_vars=task_vars, **call)
        return foreseen

    def _in_background(
        self,
        task_vars: dict[str, Any] | None,
        look: Callable[[], bool],
        every: float,
        ask: float,
        **call: Any,
    ) -> dict[str, Any]:
        """Run the module and return its result.

        ``look`` shows what is new, every ``every`` seconds, and tells whether the job seems to have ended; the job
        itself is asked then, and after ``ask`` seconds, since a module that was killed shows nothing any more.
        """
        with self._settings(async_val=LONGEST_JOB):
            started: dict[str, Any] = self._execute_module(task_vars=task_vars, wrap_async=True, **call)
        if not started.get("ansible_job_id"):
            return started
        job = str(started["ansible_job_id"])
        asked = time.monotonic()
        done: dict[str, Any] = {}
        while not done.get("finished"):
            time.sleep(every)
            if look() or time.monotonic() >= asked + ask:
                asked = time.monotonic()
                done = self._job(job, "status", task_vars)
        self._job(job, "cleanup", task_vars)
        return {name: value for name, value in done.items() if name not in OF_THE_JOB}

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

    def _job(self, job: str, mode: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        folder = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        answer: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job, "mode": mode, "_async_dir": folder},
            task_vars=task_vars,
        )
        return answer
