#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssi_scheduler
short_description: Put the scheduler of an SSI cluster together from directories, values and links
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes a tree of directories, values and links, as Kerrighed's configurable scheduler is one in configfs. There C(mkdir)
    loads a module or attaches a process, a link connects a probe with a filter or a policy, a value sets one of them.
  - Works on any file system. In configfs the kernel adds attributes and directories by itself and takes them away with
    the directory above. Values are compared as the kernel prints them.
  - Removes first, links before directories and the deepest ones first. Then it makes directories and links, and writes
    values, in the order in which they are declared. Put what switches a scheduler on last, so that a run that is ended
    on the way leaves none that works with half of its parts; the next run goes on. A value of V(0) that is there
    already is written before anything is made, since a scheduler that handles all processes takes no single ones.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  flavour:
    description:
      - The kind of SSI cluster. A name, as C(kerrighed_3_0), the path of a YAML file on the controller, or a mapping.
      - It says where the root is and which presets there are. Without it O(root) and O(tree) are required.
    type: raw
  entry:
    description:
      - How the session's entry node is reached from the host that this module runs on, as words of a command to which
        each command is added as one word, for example V([ssh, -p, "2222", root@n1]).
      - Without it this host is the entry node.
    type: list
    elements: str
    default: []
  preset:
    description:
      - A tree of the flavour. Those of Kerrighed have V(mosix), V(round_robin), and V(legacy), which is both, as
        C(krg_legacy_scheduler) makes them.
      - The balancer of V(mainline) has them too; whatever they say, it leaves a process for a minute where it came to.
    type: str
  tree:
    description: A tree, or what to add to the O(preset) or to change in it. All paths are relative to the root.
    type: dict
    suboptions:
      directories:
        description: Directories to make. Those above are made too where the kernel does not make them.
        type: list
        elements: str
        default: []
      values:
        description:
          - Values to write, by path. A value is a text of one line.
          - "It may be a number made of another value's, C({from: PATH, multiply: 3, divide: 2})."
        type: dict
        default: {}
      links:
        description: Links to make, with the paths that they lead to.
        type: dict
        default: {}
  root:
    description: The folder that the tree is in. That of the flavour without it.
    type: path
  exact:
    description:
      - Remove the directories and links that the tree does not have. Directories that the kernel made in one that stays
        (C(kernel_groups) of the flavour) are left alone.
      - With an empty tree that is everything.
    type: bool
    default: false
seealso:
  - module: oneimage.cluster.ssi_process
"""

EXAMPLES = r"""
- name: Balance load as Kerrighed's legacy scheduler does, but migrate only every five seconds
  oneimage.cluster.ssi_scheduler:
    flavour: kerrighed_3_0
    entry: [ssh, -p, "2222", root@10.11.12.101]
    preset: legacy
    tree:
      values:
        schedulers/mosix/mosix_load_balancer/local_load/freq_limit_filter/min_interval: "5000000000"
    exact: true

- name: A scheduler that takes care of two processes alone
  oneimage.cluster.ssi_scheduler:
    flavour: kerrighed_3_0
    entry: [ssh, -p, "2222", root@10.11.12.101]
    tree:
      directories:
        - schedulers/mine
        - schedulers/mine/round_robin_balancer
        - schedulers/mine/process_set/single_processes/6291475
        - schedulers/mine/process_set/single_processes/6291481

- name: No balancing any more
  oneimage.cluster.ssi_scheduler:
    flavour: mainline
    tree: {}
    exact: true
"""

RETURN = r"""
root:
  description: The folder that the tree is in.
  type: str
  returned: success
  sample: /config/krg_scheduler
made:
  description: Directories that were made, in this order.
  type: list
  elements: str
  returned: success
  sample: [schedulers/rr, schedulers/rr/round_robin_balancer]
linked:
  description: Links that were made.
  type: list
  elements: str
  returned: success
  sample: [schedulers/mosix/mosix_load_balancer/process_load/mosix]
written:
  description:
    - Values that were written, as they are read back.
    - In check mode a value is null if it is made of one that is not there yet.
  type: dict
  returned: success
  sample: {schedulers/rr/process_set/handle_all: "1"}
removed:
  description: Links and directories that were removed, in this order.
  type: list
  elements: str
  returned: success
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler import schedule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "flavour": {"type": "raw"},
            "entry": {"type": "list", "elements": "str", "default": []},
            "preset": {"type": "str"},
            "tree": {
                "type": "dict",
                "options": {
                    "directories": {"type": "list", "elements": "str", "default": []},
                    "values": {"type": "dict", "default": {}},
                    "links": {"type": "dict", "default": {}},
                },
            },
            "root": {"type": "path"},
            "exact": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = schedule(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
