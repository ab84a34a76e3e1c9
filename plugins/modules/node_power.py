#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_power
short_description: Switch the power of many nodes in one call
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads the power state of each node, changes it if it is not as wanted, and waits until the node says so itself.
  - Works on O(parallel) nodes at a time. All nodes are tried; the module fails at the end if one of them did, and names
    each such node with the reason.
extends_documentation_fragment: [oneimage.cluster._attributes]
attributes:
  check_mode:
    details: The power states are read in check mode too.
  idempotent:
    support: partial
    details: With O(state=cycle) and O(state=reset) every run switches.
requirements:
  - ipmitool on the host that the module runs on, for O(nodes[].driver=ipmi)
options:
  nodes:
    description: The nodes.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name, for the result and for messages.
        type: str
        required: true
      driver:
        description:
          - The way to the power switch. V(ipmi) runs C(ipmitool) over IPMI 2.0 (lanplus); the password is handed over in
            its environment. V(redfish) speaks Redfish over HTTPS. V(qemu) speaks to the QMP socket of a QEMU machine on
            the host that the module runs on. V(command) runs O(nodes[].commands).
        type: str
        choices: [ipmi, redfish, qemu, command]
        default: ipmi
      address:
        description: Name or address of the BMC.
        type: str
      port:
        description: Port of the BMC; UDP 623 for V(ipmi) and TCP 443 for V(redfish) unless given.
        type: int
      system:
        description: The machine's id below C(/redfish/v1/Systems). The only one that the BMC has unless given.
        type: str
      tls:
        description: Whether V(redfish) speaks HTTPS. Without it the password can be read on the wire.
        type: bool
        default: true
      validate_certs:
        description: Whether the BMC's certificate must be vouched for.
        type: bool
        default: true
      ca_path:
        description: File with the certificates that vouch for it, instead of the host's.
        type: path
      socket:
        description:
          - The QMP socket of a machine for V(qemu). A machine that is stopped right after a reset counts as off.
            QEMU should run with C(-no-shutdown), or a shutdown ends it and only C(on) of O(nodes[].commands) starts it again.
        type: path
      user:
        description: User of the BMC.
        type: str
      password:
        description: Password of that user.
        type: str
      cipher_suite:
        description:
          - IPMI cipher suite, for example V(3) or V(17). Without it C(ipmitool) asks the BMC, which takes ten seconds with
            one that does not answer that question.
        type: int
      firmware:
        description: How the node starts, which an IPMI boot device must say too.
        type: str
        choices: [bios, uefi]
        default: bios
      commands:
        description:
          - Programs with their arguments for V(command), run without a shell on the host that the module runs on. They are
            shown to every user of that host, so they should hold no secret.
          - Only those that O(state) and O(boot_device) need must be there. V(cycle) takes C(off) and C(on).
          - With any other driver, a command takes the place of that one action of the driver.
        type: dict
        suboptions:
          status:
            description: Prints V(on) or V(off). The last of these words that it prints counts.
            type: list
            elements: str
          "on":
            description: Switches the node on.
            type: list
            elements: str
          "off":
            description: Switches the node off.
            type: list
            elements: str
          reset:
            description: Resets the node.
            type: list
            elements: str
          soft_off:
            description: Asks the node's operating system to shut down.
            type: list
            elements: str
          very_hard:
            description: Takes the node's supply away and gives it back, for example by its outlet.
            type: list
            elements: str
          boot_pxe:
            description: Has the node boot from the network next time.
            type: list
            elements: str
          boot_disk:
            description: Has the node boot from its disk next time.
            type: list
            elements: str
          boot_bios:
            description: Has the node enter its firmware setup next time.
            type: list
            elements: str
  state:
    description:
      - V(on) and V(off) change a node that is not so.
      - V(cycle) switches off and on; a node that was off is switched on.
      - V(reset) resets without switching off; a node that is off fails.
      - V(status) changes nothing.
    type: str
    choices: ["on", "off", cycle, reset, status]
    required: true
  level:
    description:
      - How hard a node is switched. V(soft) asks its operating system to shut down, where O(state) is V(off) or V(cycle);
        V(hard) switches its power and asks nothing; V(very_hard) runs its command C(very_hard) first.
      - A node that does not come where it should within O(timeout) is switched by the next harder level that it has.
    type: str
    choices: [soft, hard, very_hard]
    default: hard
  boot_device:
    description:
      - From where a node boots this one time, set right before it is switched on or reset. A node that is left alone is
        left alone here too.
    type: str
    choices: [pxe, disk, bios]
  parallel:
    description: Nodes at a time.
    type: int
    default: 16
  pause:
    description: Seconds between two power-ups.
    type: float
    default: 0
  timeout:
    description: Seconds that one command may take, and seconds that a node may take to reach the state.
    type: float
    default: 60
  retries:
    description: How often a command that failed is tried again.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: Power-cycle two nodes into the network boot, one second apart
  oneimage.cluster.node_power:
    state: cycle
    boot_device: pxe
    pause: 1
    nodes:
      - {name: n1, address: 10.0.0.11, user: admin, password: "{{ vault_bmc_password }}"}
      - {name: n2, address: 10.0.0.12, user: admin, password: "{{ vault_bmc_password }}", firmware: uefi}

- name: Switch a virtual machine on
  oneimage.cluster.node_power:
    state: "on"
    nodes:
      - name: v1
        driver: command
        commands:
          status: [/usr/local/bin/vm, status, v1]
          "on": [/usr/local/bin/vm, start, v1]

- name: Shut nodes down by Redfish, politely at first
  oneimage.cluster.node_power:
    state: "off"
    level: soft
    timeout: 120
    nodes:
      - name: n3
        driver: redfish
        address: bmc-n3.example.org
        user: admin
        password: "{{ vault_bmc_password }}"
        ca_path: /etc/ssl/certs/site.pem

- name: Ask all nodes of the inventory, each with the BMC of its own variables
  oneimage.cluster.node_power:
    state: status
    nodes: >-
      {% set nodes = [] %}
      {% for name in groups['nodes'] %}
      {% set _ = nodes.append({'name': name} | combine(hostvars[name].node_bmc)) %}
      {% endfor %}
      {{ nodes }}
"""

RETURN = r"""
nodes:
  description:
    - By node, the power state C(before) and C(after) (V(on), V(off), or null if it could not be read), whether it C(changed),
      the C(level) that brought it there, null if none did, and the C(error), null if there is none.
  type: dict
  returned: always, unless an option is wrong
  sample: {n1: {before: "off", after: "on", changed: true, level: hard, error: null}}
started:
  description: When the first node was switched, in seconds since 1970 by this host's clock.
  type: float
  returned: always, unless an option is wrong
  sample: 1795255086.2
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils import _power
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NODE = {
    **_power.OPTIONS,
    "name": {"type": "str", "required": True},
    "firmware": {"type": "str", "choices": ["bios", "uefi"], "default": "bios"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "dict", "options": NODE, "required": True},
            "state": {"type": "str", "choices": ["on", "off", "cycle", "reset", "status"], "required": True},
            "level": {"type": "str", "choices": list(_power.LEVELS), "default": "hard"},
            "boot_device": {"type": "str", "choices": ["pxe", "disk", "bios"]},
            "parallel": {"type": "int", "default": 16},
            "pause": {"type": "float", "default": 0},
            "timeout": {"type": "float", "default": 60},
            "retries": {"type": "int", "default": 2},
        },
        supports_check_mode=True,
    )
    params = module.params
    order = _power.Order(
        state=params["state"],
        timeout=params["timeout"],
        retries=params["retries"],
        boot_device=params["boot_device"],
        level=params["level"],
        check=module.check_mode,
    )
    try:
        targets = _power.parse_targets(params["nodes"], order)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    started = time.time()
    outcomes = _power.power(targets, order, params["parallel"], params["pause"])
    result = {
        "changed": any(outcome.changed for outcome in outcomes.values()),
        "started": started,
        "nodes": {name: vars(outcome) for name, outcome in outcomes.items()},
    }
    if module._diff:
        result["diff"] = {
            "before": _power.listing(outcomes, "before"),
            "after": _power.listing(outcomes, "after"),
        }
    failed = _power.failures(outcomes)
    if failed:
        module.fail_json(msg=failed, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
