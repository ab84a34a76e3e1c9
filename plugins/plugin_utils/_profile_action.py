# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the actions of modules with kernel profiles share: profiles are YAML, which only the controller can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list
from ansible.plugins.action import ActionBase

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


class ProfileAction(ActionBase):
    """Replaces the options ``profiles`` and ``profile_paths`` by the plain ``rules`` that the module takes."""

    def rules(self, names: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> Any:
        """The module's option ``rules``; raises ClusterError for a profile that is unknown or wrong."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        try:
            names = check_type_list(options.pop("profiles", None) or [])
            paths = check_type_list(options.pop("profile_paths", None) or [])
            options["rules"] = self.rules(
                names, [Path(self._loader.path_dwim(path)) for path in paths], options
            )
        except (ClusterError, TypeError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, **self._execute_module(module_args=options, task_vars=task_vars)}
