#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hardware_info
short_description: Collect the devices of a node and the drivers they need
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads C(/sys) of a running node. Tells its devices as modaliases and as C(lspci -n) does, the drivers that took them, and
    those on the way to its network and its disks.
  - What it returns is what O(oneimage.cluster.kernel_config#module:hardware) takes, so that a kernel gets the drivers of all
    nodes.
  - Needs no program on the node but Python.
options:
  sysfs:
    description: Where sysfs is mounted.
    type: path
    default: /sys
extends_documentation_fragment: [oneimage.cluster._attributes.info]
seealso:
  - module: oneimage.cluster.kernel_config
  - module: oneimage.cluster.netboot_check
"""

EXAMPLES = r"""
- name: Collect what the nodes have
  oneimage.cluster.hardware_info:
  register: hardware

- name: Make a configuration with the drivers of one node of each cluster
  oneimage.cluster.kernel_config:
    source: /usr/src/linux-cluster
    build: /var/tmp/build
    base: /boot/config-6.1.0-56-amd64
    hardware:
      - site: nancy
        drivers: "{{ hostvars['griffon-1'].hardware.network_drivers + hostvars['griffon-1'].hardware.storage_drivers }}"
      - site: rennes
        devices: "{{ hostvars['parapide-1'].hardware.modaliases }}"
    modules_folder: /lib/modules/6.1.0-56-amd64
    strict: false
  delegate_to: builder
  run_once: true
"""

RETURN = r"""
devices:
  description: Every device with a modalias, and the module that took it; empty where none did.
  type: list
  elements: dict
  returned: success
  sample:
    - {bus: pci, id: "0000:02:00.0", modalias: "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00", driver: e1000e}
modaliases:
  description: The modaliases of all devices, each once.
  type: list
  elements: str
  returned: success
  sample: ["pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"]
pci:
  description: The PCI devices as C(lspci -n) shows them.
  type: list
  elements: str
  returned: success
  sample: ["02:00.0 0200: 8086:10d3"]
drivers:
  description: The modules of all drivers in use, built in or not.
  type: list
  elements: str
  returned: success
  sample: [ahci, e1000e, sd_mod]
network_drivers:
  description: Those of the NICs, and of the devices that these hang on.
  type: list
  elements: str
  returned: success
  sample: [e1000e]
storage_drivers:
  description: Those of the disks, and of the devices that these hang on.
  type: list
  elements: str
  returned: success
  sample: [sd_mod, ahci]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._hardware_sysfs import inspect


def main() -> None:
    module = AnsibleModule(
        argument_spec={"sysfs": {"type": "path", "default": "/sys"}}, supports_check_mode=True
    )
    try:
        found = inspect(Path(module.params["sysfs"]))
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
