#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssi_cluster_info
short_description: Ask a session of an SSI cluster for its nodes and its health
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Tells whether the session is up, which nodes it has and in which state, and what is wrong with it by the health checks of
    its flavour.
  - Where the flavour can tell it, each node comes with its load, CPUs and memory.
extends_documentation_fragment: [oneimage.cluster._attributes.info, oneimage.cluster._ssi_entry]
seealso:
  - module: oneimage.cluster.ssi_cluster
"""

EXAMPLES = r"""
- name: Look at the session of this node
  oneimage.cluster.ssi_cluster_info:
    flavour: mainline
  register: cluster

- name: It is healthy and has three members
  ansible.builtin.assert:
    that:
      - cluster.health == []
      - cluster.nodes | selectattr('state', 'equalto', 'online') | length == 3
"""

RETURN = r"""
status:
  description: V(up); V(down); or V(not_running) where the node says that it is none of an SSI cluster.
  type: str
  returned: success
  sample: up
count:
  description: How many members the session has by its own words.
  type: int
  returned: success
  sample: 2
nodes:
  description:
    - The nodes that the session tells of, each with its C(node_id) and C(state), V(possible), V(present) or V(online).
    - With C(name), C(load), C(cpus), C(memory) and what else the flavour tells of a node.
  type: list
  elements: dict
  returned: success
  sample: [{node_id: 11, state: online, name: n1, load: 0.4, cpus: 2, memory: 512}]
health:
  description: What is wrong, with what it C(means), the C(command) that found it and what that C(said). Empty where all is well.
  type: list
  elements: dict
  returned: success
  sample:
    - means: configfs is not mounted at /config, where the scheduler is configured
      command: stat -f -c %t /config
      said: ef53
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_cluster
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import check_flavour


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "flavour": {"type": "raw", "required": True},
            "entry": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        flavour = check_flavour(module.params["flavour"])
        told = _ssi_cluster.inspect(flavour, Entry(tuple(module.params["entry"])))
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
