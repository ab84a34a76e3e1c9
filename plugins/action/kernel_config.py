# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_list

from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import parse_rules
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profile_action import ProfileAction
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import as_option, resolve


class ActionModule(ProfileAction):
    """One list: the rules of the profiles, then those that the task gives itself."""

    def rules(self, names: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> Any:
        given = parse_rules(check_type_list(options.get("rules") or []))
        return [as_option(rule) for rule in [*resolve(names, paths), *given]]
