# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._netboot import PROFILES
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profile_action import ProfileAction
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import as_option, resolve


class ActionModule(ProfileAction):
    """The rules by profile, since the module knows which of them hold for a boot; what the task names holds for any."""

    def rules(self, names: Sequence[str], paths: Sequence[Path], options: dict[str, Any]) -> Any:
        wanted = {**{name: [name] for name in PROFILES}, "named": names}
        return {
            name: [as_option(rule) for rule in resolve(profiles, paths)] for name, profiles in wanted.items()
        }
