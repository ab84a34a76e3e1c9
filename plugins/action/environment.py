# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Replaces the option ``src``, a file on the controller, by ``content``, the text of it that the module takes."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        source = options.get("src")
        if source and not options.get("content"):
            try:
                path = Path(self._find_needle("files", source))
                options["content"] = path.read_text(encoding="utf-8")
            except (AnsibleError, OSError, UnicodeDecodeError) as error:
                return {**result, "failed": True, "msg": f"cannot read src {source}: {error}"}
            del options["src"]
        return {**result, **self._execute_module(module_args=options, task_vars=task_vars)}
