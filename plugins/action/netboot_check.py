# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list
from ansible.plugins.action import ActionBase

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot import PROFILES
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import as_option, resolve


class ActionModule(ActionBase):
    """Hand the module the rules of the profiles, which are YAML on the controller; it knows which of them hold."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        try:
            names = check_type_list(options.pop("profiles", None) or [])
            paths = [
                Path(self._loader.path_dwim(path))
                for path in check_type_list(options.pop("profile_paths", None) or [])
            ]
            options["rules"] = {
                name: [as_option(rule) for rule in resolve([name], paths)] for name in PROFILES
            }
            options["rules"]["named"] = [as_option(rule) for rule in resolve(names, paths)]
        except (ClusterError, TypeError) as error:
            return {**result, "failed": True, "msg": str(error)}
        module = self._execute_module(
            "oneimage.cluster.netboot_check", module_args=options, task_vars=task_vars
        )
        return {**result, **module}
