# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._reservation_guard import examine

OPTIONS = {
    "nodes": {"type": "raw", "required": True},
    "allow_outside": {"type": "raw", "default": False},
    "require": {"type": "str", "choices": ["if_known", "always"], "default": "if_known"},
    "minimum_left": {"type": "int", "default": 0},
}


class ActionModule(ActionBase):
    """Only the controller knows the inventory: no node is asked, so that none needs to answer."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validated, options = self.validate_argument_spec(argument_spec=OPTIONS)
        try:
            found = examine(options, variables["groups"], variables["hostvars"])
        except ClusterError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": False, **found}
