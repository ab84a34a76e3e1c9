#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_lab
short_description: A private network with a boot server and virtual nodes on one machine
version_added: 0.1.0
description:
  - Makes a network namespace with a bridge, a boot server and any number of virtual machines that boot from the network,
    or removes all of it. Nothing of it is seen from the machine's own network.
  - The boot server is a container that runs systemd and is managed over ssh like any other host.
  - Each node has a BMC that speaks real IPMI (RMCP+, cipher suite 3). The module starts the BMC and leaves the node off;
    C(ipmitool chassis power on) starts it.
  - What is as declared is left alone, including the nodes that run. What died is started again.
author: The oneimage.cluster founders (@oneimage)
extends_documentation_fragment:
  - oneimage.cluster._attributes
requirements:
  - root
  - iproute2, netcat-openbsd, openssh-client
  - podman and mmdebstrap for a boot server
  - qemu-system-x86, ipxe-qemu, openipmi and, for UEFI, ovmf for nodes
options:
  state:
    description: Whether the lab exists. V(absent) also ends every process that runs in the lab's network.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the lab; part of the names of its namespaces and of its container.
    type: str
    required: true
  directory:
    description:
      - Folder of the lab's keys, logs and sockets, and of its O(storage) unless that lies elsewhere.
      - It must be new, empty or this lab's. V(absent) removes it.
    type: path
    required: true
  storage:
    description:
      - Folder that is the same inside the boot server and outside, for what the nodes get.
      - C(srv) in O(directory) unless told otherwise.
    type: path
  cache:
    description: Folder of what is slow to make and the same for every lab, such as the boot server's packed root.
    type: path
    default: /var/cache/oneimage/virtual_lab
  purge:
    description: Whether V(absent) removes the O(cache), too.
    type: bool
    default: false
  subnet:
    description: The lab's IPv4 network. Several labs can use the same one.
    type: str
    default: 10.77.0.0/24
  client_address:
    description:
      - This machine's address in the lab, from which tests look at it as a node would.
      - The last one of O(subnet) unless told otherwise.
    type: str
  controller_user:
    description: The user of this machine who owns the lab's ssh key.
    type: str
    default: root
  acceleration:
    description:
      - How the nodes' processors are made. V(auto) boots a kernel under KVM and takes V(tcg) if that does not get through.
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  probe_kernel:
    description: Kernel file for V(auto); the distribution's kernel is fetched unless one is given.
    type: path
  boot_server:
    description: The boot server. Without it the lab has a network and nodes only.
    type: dict
    suboptions:
      hostname:
        description: Its host name.
        type: str
        default: boot
      address:
        description: Its address in O(subnet).
        type: str
        required: true
      release:
        description: Release of the distribution that it runs; this machine's own unless told otherwise.
        type: str
      mirror:
        description: Package mirror; the sources of this machine's own apt unless told otherwise.
        type: str
      packages:
        description: Packages in its root.
        type: list
        elements: str
        required: true
  nodes:
    description: The nodes. The folder, machine and BMC of a node that is no longer listed are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      mac:
        description: MAC address of its NIC.
        type: str
        required: true
      address:
        description: The address that it will get; only checked against the others here.
        type: str
      firmware:
        description: Its firmware.
        type: str
        choices: [bios, uefi]
        default: bios
      memory:
        description: Its memory in MiB.
        type: int
        default: 768
      disk:
        description:
          - Its disk in MiB, empty at first and seen by the node as C(/dev/vda). V(0) for a node without one.
          - It grows on request, and never shrinks, which is refused since somebody's data would be cut off.
        type: int
        default: 0
      bmc:
        description: Its BMC.
        type: dict
        required: true
        suboptions:
          address:
            description: Address of the BMC in O(subnet).
            type: str
            required: true
          port:
            description: UDP port of the BMC.
            type: int
            default: 623
          user:
            description: Name of the BMC's account.
            type: str
            default: admin
          password:
            description: Password of the BMC's account.
            type: str
            required: true
"""

EXAMPLES = r"""
- name: A lab with one node
  oneimage.cluster.virtual_lab:
    name: demo
    directory: /var/lib/oneimage/labs/demo
    subnet: 10.77.0.0/24
    boot_server:
      address: 10.77.0.1
      packages: [systemd, systemd-sysv, openssh-server, python3, ipmitool]
    nodes:
      - name: node1
        mac: 52:54:00:77:00:01
        bmc: {address: 10.77.0.201, password: lab}
  become: true

- name: Remove it
  oneimage.cluster.virtual_lab:
    name: demo
    directory: /var/lib/oneimage/labs/demo
    state: absent
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in order.
  returned: always
  type: list
  elements: str
  sample: ["make network namespace oneimage-demo", "node node1: start its BMC"]
namespace:
  description: Network namespace of the bridge, the nodes and the BMCs.
  returned: O(state=present)
  type: str
  sample: oneimage-demo
container:
  description: The boot server's container.
  returned: O(state=present)
  type: str
  sample: oneimage-demo-boot
acceleration:
  description: How the nodes run.
  returned: O(state=present)
  type: str
  sample: tcg
acceleration_reason:
  description: Why they run like that.
  returned: O(state=present)
  type: str
  sample: probe-vmlinuz did not get through under KVM within 20 s
nodes:
  description: Per node the paths of its console log, console socket and QEMU monitor.
  returned: O(state=present)
  type: dict
  sample:
    node1:
      console_log: /var/lib/oneimage/labs/demo/nodes/node1/console.log
      console_socket: /var/lib/oneimage/labs/demo/nodes/node1/console.sock
      qmp_socket: /var/lib/oneimage/labs/demo/nodes/node1/qmp.sock
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import parse_lab
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_lifecycle import (
    absent_steps,
    apply,
    check_programs,
    describe,
    present_steps,
)

BMC = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 623},
    "user": {"type": "str", "default": "admin"},
    "password": {"type": "str", "required": True, "no_log": True},
}
NODE = {
    "name": {"type": "str", "required": True},
    "mac": {"type": "str", "required": True},
    "address": {"type": "str"},
    "firmware": {"type": "str", "choices": ["bios", "uefi"], "default": "bios"},
    "memory": {"type": "int", "default": 768},
    "disk": {"type": "int", "default": 0},
    "bmc": {"type": "dict", "required": True, "options": BMC},
}
BOOT_SERVER = {
    "hostname": {"type": "str", "default": "boot"},
    "address": {"type": "str", "required": True},
    "release": {"type": "str"},
    "mirror": {"type": "str"},
    "packages": {"type": "list", "elements": "str", "required": True},
}
ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "name": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "storage": {"type": "path"},
    "cache": {"type": "path", "default": "/var/cache/oneimage/virtual_lab"},
    "purge": {"type": "bool", "default": False},
    "subnet": {"type": "str", "default": "10.77.0.0/24"},
    "client_address": {"type": "str"},
    "controller_user": {"type": "str", "default": "root"},
    "acceleration": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
    "probe_kernel": {"type": "path"},
    "boot_server": {"type": "dict", "options": BOOT_SERVER},
    "nodes": {"type": "list", "elements": "dict", "default": [], "options": NODE},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        lab = parse_lab(module.params)
        if module.params["state"] == "present":
            if not module.check_mode:
                check_programs(lab)
            actions = apply(present_steps(lab), module.check_mode)
            facts = describe(lab)
        else:
            actions = apply(absent_steps(lab, module.params["purge"]), module.check_mode)
            facts = {}
    except ClusterError as error:
        module.fail_json(msg=str(error))
    diff = {"prepared": "".join(f"{action}\n" for action in actions)}
    module.exit_json(changed=bool(actions), actions=actions, diff=diff, **facts)


if __name__ == "__main__":
    main()
