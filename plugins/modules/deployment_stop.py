#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_stop
short_description: End a deployment that is under way
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Runs on the boot server. A deployment goes on there when its controller ends, so that a cancelled job must stop it.
  - The nodes stay as they are. Those that were not done boot the deployment environment, and M(oneimage.cluster.deployment)
    with the same O(id) deploys them again.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  id:
    description: The deployment.
    type: str
    required: true
  deployments:
    description: The folder with all deployments of this host.
    type: path
    default: /srv/oneimage/deployments
  timeout:
    description: Seconds after which a process that did not end is killed.
    type: float
    default: 20
seealso:
  - module: oneimage.cluster.deployment
"""

EXAMPLES = r"""
- name: End the deployment of a job that was cancelled
  oneimage.cluster.deployment_stop:
    id: job-4711
"""

RETURN = r"""
stopped:
  description: Whether it was under way.
  type: bool
  returned: success
  sample: true
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_stop import stop
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "deployments": {"type": "path", "default": "/srv/oneimage/deployments"},
            "timeout": {"type": "float", "default": 20},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        stopped = stop(Path(options["deployments"]), options["id"], options["timeout"], module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    result = {"changed": stopped, "stopped": stopped}
    if module._diff and stopped:
        result["diff"] = {
            "before": f"deployment {options['id']}: under way\n",
            "after": f"deployment {options['id']}: stopped\n",
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
