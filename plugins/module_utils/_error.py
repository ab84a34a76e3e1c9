# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The one exception that module logic raises for what a user can mend."""

from __future__ import annotations


class ClusterError(Exception):
    """What failed, on which path or field, and what to do about it; ``main`` prints it with fail_json.

    Lower case, one line, no traceback text: ``kernel configuration /boot/config-6.1: line 12 is torn ("CONFIG_N"): ...``.
    """
