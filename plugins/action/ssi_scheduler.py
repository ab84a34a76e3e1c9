# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.oneimage.cluster.plugins.plugin_utils._flavour_action import FlavourAction


class ActionModule(FlavourAction):
    """The module takes the flavour as a mapping."""
