# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list

from ansible_collections.oneimage.cluster.plugins.module_utils import _hardware_reference
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import parse_rules
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profile_action import ProfileAction
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import as_option, resolve


class ActionModule(ProfileAction):
    """One list: the rules of the profiles, then those that the task gives itself; drivers for files of hardware."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        hardware = self._task.args.get("hardware")
        if isinstance(hardware, list):
            try:
                read = [entry for given in hardware for entry in self.read_entry(given)]
            except ClusterError as error:
                return {"failed": True, "msg": str(error)}
            self._task.args = {**self._task.args, "hardware": read}
        return super().run(tmp, task_vars)

    def read_entry(self, entry: Any) -> list[Any]:
        """``entry``, or the entries that stand for its file, one for each site that the file tells of."""
        if not isinstance(entry, dict) or not entry.get("file"):
            return [entry]
        rest = {name: value for name, value in entry.items() if name != "file"}
        if rest.keys() & {"drivers", "devices"}:
            raise ClusterError(
                f"hardware: {entry['file']} stands in an entry with drivers or devices; give two entries"
            )
        path = Path(self._loader.path_dwim(str(entry["file"])))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ClusterError(f"hardware: cannot read {path}: {error}") from error
        sites = _hardware_reference.read_drivers(text, str(path), rest.pop("site", None))
        return [{**rest, "site": site, "drivers": drivers} for site, drivers in sites.items()]

    def rules(self, names: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> Any:
        given = parse_rules(check_type_list(options.get("rules") or []))
        return [as_option(rule) for rule in [*resolve(names, paths), *given]]
