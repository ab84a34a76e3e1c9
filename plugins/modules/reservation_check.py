#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reservation_check
short_description: Refuse nodes that are not reserved
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Fails when one of the nodes is not in the inventory's group C(reserved), or when its reservation is over, so that nobody
    else's node is powered, rebooted or deployed.
  - The inventory plugin C(oneimage.cluster.nodes) fills the group C(reserved), and says by C(node_job) and C(node_expires)
    for which job and until when a node is reserved.
  - Works on the controller and asks no host.
extends_documentation_fragment:
  - oneimage.cluster._attributes.info
options:
  nodes:
    description:
      - The nodes, as the inventory calls them. A list of names, or a nodeset such as V(griffon-[1-4,7].nancy.example.org).
    type: raw
    required: true
  allow_outside:
    description:
      - Nodes that may be touched though they are not reserved or their reservation is over, a list of names or a nodeset.
      - V(true) allows all of O(nodes).
    type: raw
    default: false
  require:
    description:
      - What to do when the inventory has no group C(reserved). V(if_known) checks nothing and says so, V(always) fails.
    type: str
    choices: [if_known, always]
    default: if_known
  minimum_left:
    description: Seconds for which the reservation must last at least.
    type: int
    default: 0
seealso:
  - plugin: oneimage.cluster.nodes
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Touch no node of somebody else
  oneimage.cluster.reservation_check:
    nodes: "{{ ansible_play_hosts }}"
  run_once: true

- name: Half an hour must be left, and the spare node is ours anyway
  oneimage.cluster.reservation_check:
    nodes: griffon-[1-4].nancy.example.org
    allow_outside: griffon-4.nancy.example.org
    require: always
    minimum_left: 1800
  run_once: true
"""

RETURN = r"""
guarded:
  description: Whether the inventory says what is reserved; without it nothing was checked.
  type: bool
  returned: the options are valid
  sample: true
checked:
  description: The nodes that were asked for, expanded.
  type: list
  elements: str
  returned: the options are valid
  sample: [griffon-1.nancy.example.org, griffon-2.nancy.example.org]
outside:
  description: Those that are not reserved, also where they are allowed.
  type: list
  elements: str
  returned: the options are valid
  sample: []
ending:
  description: Those whose reservation is over, or ends in less than O(minimum_left) seconds, also where they are allowed.
  type: list
  elements: str
  returned: the options are valid
  sample: []
jobs:
  description: The jobs for which the nodes are reserved.
  type: list
  elements: str
  returned: the options are valid
  sample: ["4242"]
expires:
  description: When the first of these reservations ends, in seconds since 1970; null where no source says it.
  type: int
  returned: the options are valid
  sample: 1795262286
msg:
  description: The verdict in words, naming the nodes that are refused and how to allow them.
  type: str
  returned: always
  sample: "outside the reservation: griffon-[5-6].nancy.example.org (reserved: griffon-[1-4].nancy.example.org); ..."
"""
