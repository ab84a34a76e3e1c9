#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssi_cluster
short_description: Form, grow, shrink and stop a session of an SSI cluster
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Brings a session of a single system image cluster to the nodes that it is to have, by the commands of its flavour.
    Who has to come and who has to go follows from what the session says of itself.
  - Waits until all nodes that are to come are up, before it calls a command that would wait for them for ever; and
    afterwards until the session says that they are members. The time for everything together is O(timeout).
  - What a flavour cannot do is refused with the flavour's own words, before anything is done.
extends_documentation_fragment: [oneimage.cluster._attributes, oneimage.cluster._ssi_entry]
options:
  state:
    description:
      - V(formed), O(nodes) are the members of the session.
      - V(stopped), there is no session. With Kerrighed its nodes are switched off, as that has no other end.
    type: str
    choices: [formed, stopped]
    default: formed
  session:
    description: The number of the session. A node that is of another one is refused.
    type: int
    required: true
  nodes:
    description:
      - The ids of the nodes that are to be members. All that are up, where it is left out.
      - openMosix takes the members of its map, or with no O(nodes) those that the wire tells of (C(omdiscd)).
    type: list
    elements: int
  exact:
    description: Whether members that are not in O(nodes) are removed.
    type: bool
    default: true
  entries:
    description:
      - The ways to all nodes of the session, each as O(entry). For flavours whose commands work on one node only, as those
        of openMosix; of the others the first is taken.
    type: list
    elements: list
  timeout:
    description: Seconds after which a session that is not what it is to be is an error.
    type: float
    default: 120
seealso:
  - module: oneimage.cluster.ssi_cluster_info
  - module: oneimage.cluster.ssi_process
"""

EXAMPLES = r"""
- name: Two nodes work as one
  oneimage.cluster.ssi_cluster:
    flavour: mainline
    session: 1
    nodes: [11, 12]

- name: A third one comes to them, whoever else is there
  oneimage.cluster.ssi_cluster:
    flavour: mainline
    session: 1
    nodes: [13]
    exact: false

- name: Form a session of Kerrighed from the boot server, in the container that its nodes share
  oneimage.cluster.ssi_cluster:
    flavour: kerrighed_3_0
    entry: [ssh, -p, "2222", -o, BatchMode=yes, root@10.0.0.11]
    session: 1
    nodes: [11, 12]
    timeout: 300
  delegate_to: boot-server

- name: Let openMosix find its nodes
  oneimage.cluster.ssi_cluster:
    flavour: openmosix_2_4
    entries:
      - [ssh, root@10.0.0.11]
      - [ssh, root@10.0.0.12]
    session: 1
  delegate_to: boot-server

- name: End a session
  oneimage.cluster.ssi_cluster:
    flavour: flavours/site.yml
    session: 2
    state: stopped
"""

RETURN = r"""
session:
  description: The number of the session.
  type: int
  returned: success
  sample: 1
status:
  description: V(up) or V(down), afterwards.
  type: str
  returned: success
  sample: up
nodes:
  description: The nodes that the session tells of, each with its C(node_id) and C(state), V(possible), V(present) or V(online).
  type: list
  elements: dict
  returned: success
  sample: [{node_id: 11, state: online}, {node_id: 12, state: online}, {node_id: 13, state: present}]
added:
  description: The ids of the nodes that became members.
  type: list
  elements: int
  returned: success
  sample: [12]
removed:
  description: The ids of the nodes that are no longer members.
  type: list
  elements: int
  returned: success
  sample: []
waited:
  description: How many seconds it took.
  type: float
  returned: success
  sample: 4.5
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_cluster
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import check_flavour


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "flavour": {"type": "raw", "required": True},
            "session": {"type": "int", "required": True},
            "state": {"type": "str", "choices": ["formed", "stopped"], "default": "formed"},
            "nodes": {"type": "list", "elements": "int"},
            "exact": {"type": "bool", "default": True},
            "entry": {"type": "list", "elements": "str", "default": []},
            "entries": {"type": "list", "elements": "list"},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    nodes = params["nodes"]
    wish = _ssi_cluster.Wish(
        state=params["state"],
        session=params["session"],
        nodes=None if nodes is None else tuple(nodes),
        exact=params["exact"],
        timeout=params["timeout"],
    )
    try:
        entries = [Entry(tuple(map(str, words))) for words in params["entries"] or [params["entry"]]]
        outcome = _ssi_cluster.settle(check_flavour(params["flavour"]), entries, wish, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "session": wish.session,
        "status": "up" if outcome.after.up else "down",
        "nodes": _ssi_cluster.as_list(outcome.after),
        "added": list(outcome.added),
        "removed": list(outcome.removed),
        "waited": outcome.waited,
    }
    if module._diff:
        result["diff"] = {"before": outcome.before.lines(), "after": outcome.after.lines()}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
