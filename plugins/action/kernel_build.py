# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from ansible.utils.display import Display

from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import ENDED, PROGRESS
from ansible_collections.oneimage.cluster.plugins.modules.kernel_build import OPTIONS
from ansible_collections.oneimage.cluster.plugins.plugin_utils._background_action import BackgroundAction

display = Display()

LOOK = 1.0
"""Seconds between two looks at the progress file, which cost one ``cat`` each."""
ASK = 30.0


class ActionModule(BackgroundAction):
    """Asks what there is to do; lets the node do it in the background and prints how far it is."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        interval = self.validate_argument_spec(argument_spec=OPTIONS)[1]["progress"]
        if self._task.async_val or interval <= 0:
            done = self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val))
            return {**result, **done}
        foreseen = self._foresee(task_vars)
        if foreseen.get("failed") or self._task.check_mode or not foreseen["changed"]:
            return {**result, **foreseen}
        file = shlex.quote(f"{foreseen['build']}/{PROGRESS}")
        self._low_level_execute_command(f"rm -f {file}")
        watch = Watch(self, file, interval, (task_vars or {}).get("inventory_hostname", "node"))
        return {**result, **self._in_background(task_vars, watch.look, every=LOOK, ask=ASK)}


class Watch:
    """Prints what the progress file says: each phase at once, how far it is every ``interval`` seconds."""

    def __init__(self, action: BackgroundAction, file: str, interval: int, host: str) -> None:
        self._action = action
        self._file = file
        self._interval = interval
        self._host = host
        self._shown, self._phase = 0.0, ""

    def look(self) -> bool:
        """Whether the file says that the build has ended."""
        said = progress(self._action._low_level_execute_command(f"cat {self._file}")["stdout"])
        if not said:
            return False
        now, ended = time.monotonic(), said["phase"] == ENDED
        if not ended and (said["phase"] != self._phase or now >= self._shown + self._interval):
            self._shown, self._phase = now, said["phase"]
            display.display(f"{self._host:>16}  {line(said)}")
        return bool(ended)


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
