# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import of_boot

display = Display()


class ActionModule(ActionBase):
    """Looks until every node is up or the time is over, and prints each stage as a node reaches it."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        options = {**self._task.args}
        wait = int(options.get("wait") or 0)
        deadline = time.monotonic() + wait
        interval = int(options.get("interval") or 3)
        found: dict[str, Any] = {}
        while True:
            look = self._execute_module(module_args=options, task_vars=task_vars)
            if look.get("failed"):
                return {**result, **look}
            for name, boot in look["nodes"].items():
                if wait and boot["stage"] != found.get(name, {"stage": ""})["stage"]:
                    display.display(f"{name:>16}  {boot['stage']:<8} {boot['seconds']:7.1f} s")
            found.update(look["nodes"])
            if not look["waiting"] or time.monotonic() >= deadline:
                if "timeline" in look:
                    look["timeline"] = of_boot(found, look["timeline"]["started"], look["now"])
                return {**result, **look, "nodes": found}
            # A node that is up keeps the time at which it was first seen.
            options["nodes"] = [node for node in options["nodes"] if node["name"] in look["waiting"]]
            time.sleep(interval)
