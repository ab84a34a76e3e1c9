# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the actions of the SSI modules share: flavours are YAML, which only the controller can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._flavours import resolve


class FlavourAction(ActionBase):
    """Replaces the option ``flavour``, a name, a path or a mapping, by the checked mapping that the module takes."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        try:
            if options.get("flavour") is not None:
                options["flavour"] = resolve(options["flavour"], Path(self._loader.path_dwim(".")))
        except ClusterError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, **self._execute_module(module_args=options, task_vars=task_vars)}
