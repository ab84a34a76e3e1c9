#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_stage_info
short_description: Say how far the boot of each node came
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Runs on the boot server and reads what its own services log of each node, so that a dead node is named with the stage
    at which it died, and with the line that shows it.
  - The stages are V(dhcp), V(loader), V(kernel), V(initrd), V(deploy) (the deployment environment), V(root) and V(ssh), in
    this order.
  - With O(wait), looks again and again until the ssh of every node answers or the time is over, and prints each stage
    as a node reaches it.
extends_documentation_fragment:
  - oneimage.cluster._attributes.info
options:
  nodes:
    description: The nodes to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the node.
        type: str
        required: true
      mac:
        description: The MAC address that it boots from.
        type: str
      address:
        description: The address that it gets.
        type: str
        required: true
  since:
    description:
      - When the nodes were powered on, in seconds since 1970 by this host's clock; older lines are not looked at.
    type: float
    default: 0
  wait:
    description:
      - Seconds to wait for all the nodes, done by the controller.
      - V(0) looks once, and then gives a node that is too busy to greet at once half a minute, so that it is not taken for
        one that is off.
    type: int
    default: 0
  interval:
    description: Seconds between two looks.
    type: int
    default: 3
  tree:
    description: The boot tree that TFTP serves.
    type: path
    default: /srv/oneimage/boot
  logs:
    description: The folder with nginx's C(access.log) and C(oneimage-report.log).
    type: path
    default: /var/log/nginx
"""

EXAMPLES = r"""
- name: Wait until all nodes are up
  oneimage.cluster.boot_stage_info:
    nodes:
      - {name: node1, mac: "52:54:00:00:00:11", address: 10.0.0.11}
    since: "{{ powered.started }}"
    wait: 300
  delegate_to: boot
  register: boots

- name: Name the nodes that are not
  ansible.builtin.debug:
    msg: "{{ item.key }} ended at {{ item.value.stage }}: {{ item.value.advice }}"
  loop: "{{ boots.nodes | dict2items | rejectattr('value.stage', 'equalto', 'ssh') }}"
"""

RETURN = r"""
nodes:
  description:
    - By name, the last C(stage) of the node (empty before the first), C(seconds) from O(since) to it, the C(evidence) for it,
      C(advice) on what to look at when it went no further, and the C(timeline) of all its stages.
  type: dict
  returned: success
  sample:
    node1:
      stage: kernel
      seconds: 12.4
      evidence: 10.0.0.11 - - [21/Nov/2026:10:00:12 +0000] "GET /images/debian12-0123456789ab/vmlinuz HTTP/1.1" 200 ...
      advice: the kernel was fetched but no initrd reported ...
      timeline: [{stage: dhcp, seconds: 4.1, evidence: DHCPACK(eth0) 10.0.0.11 ...}]
waiting:
  description: The nodes whose ssh does not answer.
  type: list
  elements: str
  returned: success
  sample: [node1]
timeline:
  description:
    - The stages of all nodes as spans from one stage to the next, in seconds since 1970; M(oneimage.cluster.timeline_page)
      and P(oneimage.cluster.timeline#callback) make a page of it.
  type: dict
  returned: where O(since) is given
  sample: {timeline: 1, title: boot of node1, started: 1795255086.2, ended: 1795255140.3, nodes: []}
now:
  description: The time of the look, in seconds since 1970 by this host's clock.
  type: float
  returned: success
  sample: 1795255086.2
"""

import concurrent.futures
import functools
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_logs import (
    OFTEN,
    ONCE,
    greeting,
    journal,
    log,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_stage import (
    dnsmasq_events,
    nginx_events,
    observe,
    report_events,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import of_boot


def look(options: dict[str, Any]) -> dict[str, Any]:
    nodes = [{**node, "mac": (node["mac"] or "").lower()} for node in options["nodes"]]
    addresses = [node["address"] for node in nodes]
    ask = functools.partial(greeting, patience=OFTEN if options["wait"] else ONCE)
    with concurrent.futures.ThreadPoolExecutor(max_workers=64) as pool:
        answering = {address: said for address, said in zip(addresses, pool.map(ask, addresses)) if said}
    logs = Path(options["logs"])
    events = [
        *dnsmasq_events(journal(options["since"]), options["tree"]),
        *nginx_events(log(logs / "access.log")),
        *report_events(log(logs / "oneimage-report.log")),
    ]
    now = time.time()
    found = observe(nodes, events, answering, options["since"], now)
    waiting = [name for name, boot in found.items() if boot["stage"] != "ssh"]
    result = {"nodes": found, "waiting": waiting, "now": now}
    return {**result, "timeline": of_boot(found, options["since"], now)} if options["since"] else result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "mac": {"type": "str"},
                    "address": {"type": "str", "required": True},
                },
            },
            "since": {"type": "float", "default": 0},
            "wait": {"type": "int", "default": 0},
            "interval": {"type": "int", "default": 3},
            "tree": {"type": "path", "default": "/srv/oneimage/boot"},
            "logs": {"type": "path", "default": "/var/log/nginx"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module.params))
    except ClusterError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
