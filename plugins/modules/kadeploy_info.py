#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kadeploy_info
short_description: What Kadeploy knows of its nodes and of what was done to them
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads what C(kanodes3), C(kastat3) and C(kapower3 --status) tell, from one or several sites, as data.
  - C(kastat3) writes errors with raw line breaks into its CSV. Here they are records again.
extends_documentation_fragment: [oneimage.cluster._attributes.info, oneimage.cluster._kadeploy_servers]
options:
  nodes:
    description: Only these nodes. Sets such as V(node-[1-4].site1.example.org) are expanded.
    type: list
    elements: str
    default: []
  gather:
    description:
      - What to read. V(nodes) are the states in Kadeploy's database, V(statistics) what was done, V(failure_rates) the share of
        failed deployments of each node, V(configuration) the implementations of the macro-steps by cluster.
      - V(power) asks the nodes' power, for which O(nodes) must be given.
    type: list
    elements: str
    choices: [nodes, statistics, failure_rates, power, configuration]
    default: [nodes]
  operation:
    description: Only statistics of this kind of operation.
    type: str
    choices: [deploy, reboot, power]
  wid:
    description: Only statistics of the operation with this id.
    type: str
  date_min:
    description: Only statistics from this time on, C(yyyy-mm-dd hh:mm:ss).
    type: str
  date_max:
    description: Only statistics up to this time.
    type: str
seealso:
  - module: oneimage.cluster.kadeploy
"""

EXAMPLES = r"""
- name: Which nodes fail too often
  oneimage.cluster.kadeploy_info:
    servers:
      - {name: site1, url: "https://kadeploy.site1.example.org:25300", user: alice}
    gather: [nodes, failure_rates]
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.failure_rates | dict2items | selectattr('value.rate', '>=', 0.5) | map(attribute='key') }}"

- name: The power of some nodes, on a frontend
  oneimage.cluster.kadeploy_info:
    servers:
      - name: site1
    nodes: ["node-[1-4].site1.example.org"]
    gather: [power]
"""

RETURN = r"""
nodes:
  description: By node its C(site), C(state), C(user) and C(environment) in Kadeploy's database. Null what it does not know.
  type: dict
  returned: if gathered
  sample:
    node-1.site1.example.org:
      {site: site1, state: deployed, user: alice, environment: {name: squeeze-mine, version: 1, user: alice}}
statistics:
  description:
    - What was done, one record for each node and operation, with the columns of kastat3 and C(site). C(start) is Unix time,
      durations and timeouts are seconds. C(success) is true for nodes that stopped at a breakpoint, as Kadeploy has it.
  type: list
  elements: dict
  returned: if gathered
  sample:
    - site: site1
      wid: D-1b1bb679-0c21-4dd6-a8df-812d379a3636
      user: alice
      hostname: node-4.site1.example.org
      step1: SetDeploymentEnvUntrusted
      start: 1795250432
      step1_duration: 9
      env: "squeeze-mine:1"
      success: false
      error: "SetDeploymentEnvUntrusted-format_deploy_part: mkfs: mock failure"
failure_rates:
  description: By node its C(deployments), its C(failures), and their share C(rate) from 0 to 1.
  type: dict
  returned: if gathered
  sample: {node-1.site1.example.org: {deployments: 2, failures: 1, rate: 0.5}}
power:
  description: By node its power status. Nodes that gave no answer are not in it.
  type: dict
  returned: if gathered
  sample: {node-1.site1.example.org: "on"}
configuration:
  description: By site and cluster the implementations of each macro-step, with C(name), C(retries) and C(timeout).
  type: dict
  returned: if gathered
  sample: {site1: {clsite1: {BootNewEnv: [{name: BootNewEnvClassical, retries: 0, timeout: 60}]}}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_info import TOPICS, look
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_sites import SERVERS_SPEC


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True, "options": SERVERS_SPEC},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "gather": {"type": "list", "elements": "str", "choices": list(TOPICS), "default": ["nodes"]},
            "operation": {"type": "str", "choices": ["deploy", "reboot", "power"]},
            "wid": {"type": "str"},
            "date_min": {"type": "str"},
            "date_max": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
