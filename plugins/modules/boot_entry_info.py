#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_entry_info
short_description: Say which boot entry a node would get from a boot tree, and which files are owned
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Follows the order in which PXELINUX, iPXE (by C(ipxe/boot.ipxe)) and GRUB look for their files.
  - Finds also files that somebody else wrote; of those the owner and the entry are not known.
extends_documentation_fragment: [oneimage.cluster._attributes.info]
options:
  directory:
    description: The tree that TFTP and HTTP serve.
    type: path
    required: true
  nodes:
    description: The nodes to look for. They need not be declared anywhere.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's name, under which the answer is returned.
        type: str
        required: true
      mac:
        description: MAC address of the NIC that it boots from.
        type: str
      address:
        description: The IPv4 address that it gets.
        type: str
      uuid:
        description: The machine's UUID.
        type: str
seealso:
  - module: oneimage.cluster.boot_entry
"""

EXAMPLES = r"""
- name: What would an unknown machine of the subnet boot?
  oneimage.cluster.boot_entry_info:
    directory: /srv/oneimage/boot
    nodes:
      - {name: new, mac: "52:54:00:77:00:99", address: 10.77.0.99}
  register: boot
"""

RETURN = r"""
nodes:
  description:
    - By node and loader, C(file), the first file that the loader finds (null if none), its C(owner), C(subject) and
      C(entry) as far as they are known, and C(asked), all names in the order in which the loader asks for them.
  type: dict
  returned: success
  sample:
    new:
      pxelinux:
        file: pxelinux.cfg/default
        owner: oneimage
        subject: default
        entry: disk
        asked: [pxelinux.cfg/01-52-54-00-77-00-99, pxelinux.cfg/0A4D0063, pxelinux.cfg/default]
files:
  description: All files of any owner, with C(path), C(owner), C(subject) and C(entry).
  type: list
  elements: dict
  returned: success
  sample: [{path: pxelinux.cfg/default, owner: oneimage, subject: default, entry: disk}]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_tree import inspect
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NODE = {
    "name": {"type": "str", "required": True},
    "mac": {"type": "str"},
    "address": {"type": "str"},
    "uuid": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "nodes": {"type": "list", "elements": "dict", "options": NODE, "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = inspect(Path(module.params["directory"]), module.params["nodes"])
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
