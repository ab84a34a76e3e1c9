#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_info
short_description: Tell what deployments there were, are, and how they went
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads the history of a boot server's deployments, as C(kastat3) does that of a Kadeploy server. Which nodes fail how often,
    how long each micro-step takes, what was deployed when, by whom and with what outcome.
  - Tells of one deployment how far each node is, also while it runs, from its journal.
extends_documentation_fragment: [oneimage.cluster._attributes.info]
options:
  deployments:
    description: The folder with the journals and the history.
    type: path
    default: /srv/oneimage/deployments
  deployment:
    description: Only this deployment, and its journal in C(journal).
    type: str
  nodes:
    description: Only these nodes.
    type: list
    elements: str
    default: []
  environment:
    description: Only deployments of environments with this name.
    type: str
  since:
    description: Only deployments that began then or later, a date such as V(2026-11-21) or V(2026-11-21 16:30), by this host's
      clock, or seconds since 1970.
    type: str
  until:
    description: Only deployments that began before then.
    type: str
  limit:
    description: At most so many of the latest deployments in C(deployments). What is counted is counted over all.
    type: int
seealso:
  - module: oneimage.cluster.deployment
"""

EXAMPLES = r"""
- name: Nodes that failed in more than a tenth of their deployments this year
  oneimage.cluster.deployment_info:
    since: "2026-01-01"
  register: history

- name: Name them
  ansible.builtin.debug:
    msg: "{{ history.failures | dict2items | selectattr('value.rate', 'gt', 0.1) | map(attribute='key') }}"

- name: How far is the deployment that runs now
  oneimage.cluster.deployment_info:
    deployment: "{{ (history.deployments | selectattr('running') | first).id }}"
"""

RETURN = r"""
deployments:
  description: The deployments, the latest first.
  type: list
  elements: dict
  returned: success
  contains:
    id: {description: Its id., type: str, sample: D-1b1bb679-0c21-4dd6-a8df-812d379a3636}
    begun: {description: "When it began, in seconds since 1970.", type: float, sample: 1795250432.1}
    ended: {description: "When it ended, null if it runs or was killed.", type: float, sample: 1795250512.8}
    running: {description: Whether a process works on it now., type: bool, sample: false}
    user: {description: Who deployed., type: str, sample: root}
    environment: {description: The environment's name., type: str, sample: debian12-min}
    owner: {description: Its owner. Empty for an anonymous one., type: str, sample: deploy}
    version: {description: Its version., type: int, sample: 3}
    nodes:
      description: By node, its outcome (V(unfinished) while it runs, or when it was killed), the last step, seconds, message and
        advice.
      type: dict
      sample:
        n1:
          outcome: ok
          macro: BootNewEnv
          implementation: BootNewEnvClassical
          micro: wait_reboot
          seconds: 231.4
          message: ""
          advice: ""
failures:
  description: By node, how many deployments of it ended as V(ok) or V(ko), how many as V(ko), and their share.
  type: dict
  returned: success
  sample: {n4: {deployments: 12, failed: 3, rate: 0.25}}
steps:
  description: For each micro-step of each implementation, how often it ended well and failed, and the seconds where it did well.
  type: list
  elements: dict
  returned: success
  sample:
    - implementation: SetDeploymentEnvUntrusted
      micro: wait_reboot
      ok: 31
      failed: 1
      least: 58.1
      median: 66.3
      mean: 67.0
      most: 91.2
journal:
  description: How far each node is, for O(deployment).
  type: dict
  returned: with O(deployment)
  sample:
    running: true
    nodes:
      n1:
        macro: SetDeploymentEnv
        implementation: SetDeploymentEnvUntrusted
        micro: wait_reboot
        state: start
        since: 1795250433.5
        outcome: ""
timeline:
  description:
    - The steps of all nodes as spans, in seconds since 1970; M(oneimage.cluster.timeline_page) and
      P(oneimage.cluster.timeline#callback) make a page of it.
  type: dict
  returned: with O(deployment)
  sample: {timeline: 1, title: deployment D-1b1bb679, started: 1795250432.1, ended: 1795250512.8, nodes: []}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_info import look
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "deployments": {"type": "path", "default": "/srv/oneimage/deployments"},
            "deployment": {"type": "str"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "str"},
            "since": {"type": "str"},
            "until": {"type": "str"},
            "limit": {"type": "int"},
        },
        supports_check_mode=True,
    )
    try:
        answer = look(module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
