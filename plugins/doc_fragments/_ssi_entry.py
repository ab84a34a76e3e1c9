# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  flavour:
    description:
      - The kind of the cluster. V(kerrighed_2_4), V(kerrighed_3_0), V(openmosix_2_4) or V(mainline); or a file of your own on
        the controller, relative to the playbook; or what such a file holds.
    type: raw
    required: true
  entry:
    description:
      - How the node that is asked is reached from the host of this task, for nodes that cannot run modules themselves. Words
        that stand before each command, such as V([ssh, -p, "2222", root@10.0.0.11]); the command follows as one word, quoted
        for a shell.
      - Empty where the task runs on that node.
    type: list
    elements: str
    default: []
"""
