#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_entry
short_description: Say what nodes, clusters and all other machines boot from the network
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Renders one declaration of boot entries for PXELINUX, iPXE and GRUB into the tree that TFTP and HTTP serve, for any
    number of nodes in one call.
  - Owns the files that it wrote (a comment at their top names the O(owner)). It writes those that changed, each by one
    rename, then removes those that are no longer wanted, and never touches a file of somebody else. A kill on the way
    leaves each node with its old file or its new one.
  - A declaration with a mistake, such as two nodes with one MAC, or a kernel that is not there, is refused before
    anything is written.
  - A node boots the entry that it names, else that of the smallest cluster whose subnet holds its address, else the
    default.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  directory:
    description:
      - The boot tree. The entries go to C(pxelinux.cfg/), C(ipxe/) and C(grub/) in it.
      - iPXE must be sent to C(ipxe/boot.ipxe), GRUB to C(grub/grub.cfg).
    type: path
    required: true
  base_url:
    description: The tree's URL, from which iPXE loads kernels and initrds. Required if O(loaders) has V(ipxe).
    type: str
  loaders:
    description: The loaders to render for.
    type: list
    elements: str
    choices: [pxelinux, ipxe, grub]
    default: [pxelinux, ipxe, grub]
  entries:
    description: What can be booted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The entry's name, by which nodes, clusters and the default refer to it.
        type: str
        required: true
      kernel:
        description: Path of the kernel below O(directory).
        type: str
      initrd:
        description: Paths of the initrds below O(directory), in the order in which the kernel unpacks them.
        type: list
        elements: str
        default: []
      parameters:
        description:
          - Kernel parameters. C(BOOTIF), and C(initrd=) where UEFI needs it, are added.
          - One with a space is written with double quotes, as the kernel takes it, for example C(dyndbg="file nfs.c +p").
        type: list
        elements: str
        default: []
      local:
        description: Boot from the local disk instead of a kernel.
        type: bool
        default: false
  nodes:
    description: Nodes with an entry, parameters or a name of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's name.
        type: str
        required: true
      mac:
        description: MAC address of the NIC that it boots from.
        type: str
      address:
        description:
          - Its IPv4 address. Decides to which cluster it belongs, and in which lines of O(evidence) to look.
          - The loaders know the node by it if there is neither O(nodes[].mac) nor O(nodes[].uuid).
        type: str
      uuid:
        description:
          - The machine's UUID as C(dmidecode) shows it. Most firmware sends its first three groups with their bytes
            reversed, and PXELINUX and GRUB ask for what was sent, so that these loaders get a file for either spelling.
          - GRUB knows it only where the DHCP server sends it back to the client; give O(nodes[].mac) too.
        type: str
      entry:
        description: The entry that it boots. Without one, that of its cluster, else the default.
        type: str
      parameters:
        description: Kernel parameters of this node, after those of the entry.
        type: list
        elements: str
        default: []
      once:
        description:
          - An entry to boot one time, before the node goes back to its usual one.
          - This boot gets one more initrd, C(once/TOKEN.cpio), a tiny archive that the loader asks for after all other
            files, and the parameter C(oneimage.once=TOKEN). As soon as a log of O(evidence) shows that the node fetched
            it, the next run of this module renders the usual entry, and notes in the node's files that TOKEN is spent.
          - No daemon watches the logs, so run the module again after the boot. A node that starts twice in between boots
            the entry twice.
        type: str
      once_id:
        description: Change it to have the same entry booted once more. It is part of TOKEN, with the node's and the entry's name.
        type: str
        default: ""
      loader:
        description: Render this node for one loader only.
        type: str
        choices: [pxelinux, ipxe, grub]
  clusters:
    description: Subnets whose machines boot one entry, declared as nodes or not. The smallest subnet wins.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The cluster's name.
        type: str
        required: true
      subnet:
        description:
          - Its IPv4 subnet. PXELINUX and GRUB know prefixes of whole hexadecimal digits, iPXE V(/16), V(/24) and V(/32).
            Any other subnet becomes as many of these as it takes.
        type: str
        required: true
      entry:
        description: The entry that it boots.
        type: str
        required: true
      parameters:
        description: Kernel parameters of this cluster, after those of the entry.
        type: list
        elements: str
        default: []
  default:
    description: What all other machines boot. Without it they say so on their console and start again.
    type: dict
    suboptions:
      entry:
        description: The entry that they boot.
        type: str
        required: true
      parameters:
        description: Kernel parameters, after those of the entry.
        type: list
        elements: str
        default: []
  owner:
    description: Name of this declaration. Several may share a tree, as long as no two of them want the same file.
    type: str
    default: oneimage
  evidence:
    description:
      - Logs of the HTTP and TFTP servers on this host that show which files nodes fetched. Required for O(nodes[].once).
      - A line proves a boot if it has C(once/TOKEN) or C(once=TOKEN) and, where it is declared, the node's address.
    type: list
    elements: path
    default: []
  check_files:
    description:
      - Refuse entries whose kernel or initrd is missing, empty, not readable for all, or leads out of O(directory) by a link.
    type: bool
    default: true
  replace_foreign:
    description:
      - Replace files of somebody else that lie where this declaration must write. Other owners' files are never replaced.
    type: bool
    default: false
  state:
    description: V(absent) removes all files of O(owner).
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: oneimage.cluster.boot_entry_info
  - plugin: oneimage.cluster.pxelinux_filename
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Two nodes of a diskless cluster, everything else from its disk
  oneimage.cluster.boot_entry:
    directory: /srv/oneimage/boot
    base_url: http://10.77.0.1/
    entries:
      - name: debian-12
        kernel: images/debian-12-0a1b2c3d4e5f/vmlinuz
        initrd: [images/debian-12-0a1b2c3d4e5f/initrd-native]
        parameters: [ip=dhcp, root=/dev/nfs, "nfsroot=10.77.0.1:/srv/oneimage/roots/debian-12/current,vers=3", ro]
      - name: disk
        local: true
    nodes:
      - {name: n1, mac: "52:54:00:77:00:01", address: 10.77.0.11, entry: debian-12}
      - {name: n2, mac: "52:54:00:77:00:02", address: 10.77.0.12, entry: debian-12, parameters: [console=ttyS0]}
    default:
      entry: disk

- name: Two clusters on one wire, each with its own session
  oneimage.cluster.boot_entry:
    directory: /srv/tftp
    loaders: [pxelinux]
    entries:
      - name: ssi
        kernel: vmlinuz-ssi
        initrd: [initrd-ssi]
        parameters: [ip=dhcp, root=/dev/nfs, "nfsroot=10.11.12.1:/srv/ssi,v3,tcp,rsize=4096,wsize=4096", rw]
    clusters:
      - {name: left, subnet: 10.11.12.0/25, entry: ssi, parameters: [session_id=1]}
      - {name: right, subnet: 10.11.12.128/25, entry: ssi, parameters: [session_id=2]}

- name: Deploy n1 at its next start, then boot it from its disk again
  oneimage.cluster.boot_entry:
    directory: /srv/oneimage/boot
    base_url: http://10.77.0.1/
    entries:
      - {name: deploy, kernel: deploy/vmlinuz, initrd: [deploy/initrd]}
      - {name: disk, local: true}
    nodes:
      - {name: n1, mac: "52:54:00:77:00:01", address: 10.77.0.11, entry: disk, once: deploy, once_id: "2026-11-21"}
    evidence: [/var/log/nginx/access.log, /var/log/dnsmasq.log]
"""

RETURN = r"""
nodes:
  description: The files that changed, by node and by what became of them. Nodes without a change are not listed.
  type: dict
  returned: success
  sample: {n1: {added: [pxelinux.cfg/01-52-54-00-77-00-01], changed: [ipxe/mac-52-54-00-77-00-01.ipxe]}}
added:
  description: New files, relative to O(directory).
  type: list
  elements: str
  returned: success
  sample: [pxelinux.cfg/01-52-54-00-77-00-01]
changed_files:
  description: Files with other content than before.
  type: list
  elements: str
  returned: success
  sample: [ipxe/mac-52-54-00-77-00-01.ipxe]
removed:
  description: Files that are gone.
  type: list
  elements: str
  returned: success
  sample: [grub/grub.cfg-01-52-54-00-77-00-09]
once_spent:
  description: Nodes that booted their entry of O(nodes[].once), now or earlier.
  type: list
  elements: str
  returned: success
  sample: [n1]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_tree import publish
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

STRINGS = {"type": "list", "elements": "str", "default": []}
LOADERS = ["pxelinux", "ipxe", "grub"]

ENTRY = {
    "name": {"type": "str", "required": True},
    "kernel": {"type": "str"},
    "initrd": STRINGS,
    "parameters": STRINGS,
    "local": {"type": "bool", "default": False},
}
NODE = {
    "name": {"type": "str", "required": True},
    "mac": {"type": "str"},
    "address": {"type": "str"},
    "uuid": {"type": "str"},
    "entry": {"type": "str"},
    "parameters": STRINGS,
    "once": {"type": "str"},
    "once_id": {"type": "str", "default": ""},
    "loader": {"type": "str", "choices": LOADERS},
}
DEFAULT = {"entry": {"type": "str", "required": True}, "parameters": STRINGS}
CLUSTER = {"name": {"type": "str", "required": True}, "subnet": {"type": "str", "required": True}, **DEFAULT}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "base_url": {"type": "str"},
            "loaders": {"type": "list", "elements": "str", "choices": LOADERS, "default": LOADERS},
            "entries": {"type": "list", "elements": "dict", "options": ENTRY, "default": []},
            "nodes": {"type": "list", "elements": "dict", "options": NODE, "default": []},
            "clusters": {"type": "list", "elements": "dict", "options": CLUSTER, "default": []},
            "default": {"type": "dict", "options": DEFAULT},
            "owner": {"type": "str", "default": "oneimage"},
            "evidence": {"type": "list", "elements": "path", "default": []},
            "check_files": {"type": "bool", "default": True},
            "replace_foreign": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = publish(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
