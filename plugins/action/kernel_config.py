# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import parse_rules
from ansible_collections.oneimage.cluster.plugins.plugin_utils._hardware_files import read_files
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profile_action import ProfileAction
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import as_option, resolve


class ActionModule(ProfileAction):
    """One list: the rules of the profiles, then those that the task gives itself; drivers for files of hardware."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        if "hardware" in self._task.args:
            try:
                hardware = read_files(self._task.args["hardware"], self._loader.path_dwim)
            except ClusterError as error:
                return {"failed": True, "msg": str(error)}
            self._task.args = {**self._task.args, "hardware": hardware}
        return super().run(tmp, task_vars)

    def rules(self, names: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> Any:
        given = parse_rules(check_type_list(options.get("rules") or []))
        return [as_option(rule) for rule in [*resolve(names, paths), *given]]
