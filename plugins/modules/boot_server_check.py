#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_server_check
short_description: Test a boot server from a client's side
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
extends_documentation_fragment: [oneimage.cluster._attributes.info]
description:
  - Asks DHCP for each declared answer as a node's firmware or iPXE would, fetches each declared file over TFTP and HTTP,
    mounts each declared export, and compares what arrives with what was declared.
  - It takes no lease, since it sends a DISCOVER and no REQUEST, and writes nothing anywhere.
  - It goes through all checks before it fails, and names every piece that is missing or wrong.
  - Needs root for DHCP. It may run on the boot server itself, whose own broadcasts come back to it.
options:
  server:
    description: Address of the boot server, which all files and exports are read from.
    type: str
    required: true
  interface:
    description: Interface to send the DHCP requests from. Unless set, the one whose network holds O(server).
    type: str
  answers:
    description: The DHCP answers to test.
    type: list
    elements: dict
    default: []
    suboptions:
      mac:
        description: MAC address that asks.
        type: str
        required: true
      architecture:
        description: Client architecture (DHCP option 93), V(0) for BIOS, V(7) for x64 UEFI, V(16) for x64 UEFI over HTTP.
        type: int
        required: true
      ipxe:
        description: Ask as iPXE does, which names itself in the user class (DHCP option 77).
        type: bool
        default: false
      expect:
        description: What the answer must hold; a field that is left out is not compared.
        type: dict
        required: true
        suboptions:
          address:
            description: Address that is offered.
            type: str
          next_server:
            description: Address of the server that holds the boot file.
            type: str
          file:
            description: Boot file, or its URL. An empty string for none.
            type: str
  files:
    description: The files that must be fetched.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below the root of TFTP and HTTP.
        type: str
        required: true
      sha256:
        description: Checksum of the file on the boot server.
        type: str
        required: true
      size:
        description: Size in bytes, against O(tftp_max_size).
        type: int
        default: 0
  tftp:
    description: Fetch the files over TFTP.
    type: bool
    default: true
  tftp_max_size:
    description: Do not fetch files over TFTP that have more bytes than this.
    type: int
    default: 67108864
  http_port:
    description: Port to fetch the files from over HTTP; V(0) for not at all.
    type: int
    default: 80
  exports:
    description: The NFS exports that must be mounted.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Exported path.
        type: str
        required: true
      file:
        description: File below the export to read. Unless set, the export is listed.
        type: str
      sha256:
        description: Checksum of O(exports[].file) on the boot server. Unless set, it is enough that it can be read.
        type: str
  nfs_versions:
    description: NFS versions to mount each export by.
    type: list
    elements: int
    choices: [3, 4]
    default: [3, 4]
  nfs_client:
    description:
      - V(libnfs) reads in user space with the programs of libnfs-utils.
      - V(kernel) mounts in a mount namespace of the module's own, with the C(mount.nfs) of nfs-common.
      - V(auto) takes the first of these that the host has.
    type: str
    choices: [auto, libnfs, kernel]
    default: auto
  timeout:
    description: Seconds to wait for one answer. TFTP and DHCP requests are sent three times.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: Test what two nodes are told and one file
  oneimage.cluster.boot_server_check:
    server: 10.77.0.1
    answers:
      - mac: 52:54:00:77:00:11
        architecture: 0
        expect: {address: 10.77.0.11, next_server: 10.77.0.1, file: pxelinux.0}
      - mac: 52:54:00:77:00:12
        architecture: 7
        ipxe: true
        expect: {address: 10.77.0.12, file: http://10.77.0.1/ipxe/boot.ipxe}
    files:
      - path: pxelinux.0
        sha256: 11a5a7d7c62a2d5be5d3c3c1c1f4cb8f0ac3c6b6a1c4b7d4f3c7e5b2a9d8e7f6

- name: Test an export by NFS version 3 alone
  oneimage.cluster.boot_server_check:
    server: 10.77.0.1
    nfs_versions: [3]
    exports:
      - path: /srv/oneimage/roots/bookworm/4f1c2d3e4a5b
"""

RETURN = r"""
tried:
  description: How many checks were made, by protocol.
  returned: always
  type: dict
  sample: {dhcp: 4, tftp: 12, http: 14, nfs: 2}
problems:
  description: A sentence for each piece that is missing or wrong; the module fails unless it is empty.
  returned: always
  type: list
  elements: str
  sample: ["TFTP pxelinux.0: the server answered error 1, file /srv/oneimage/boot/pxelinux.0 not found for 10.77.0.1"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_server_check import check_boot_server
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nfs_client import CLIENTS

EXPECT = {"address": {"type": "str"}, "next_server": {"type": "str"}, "file": {"type": "str"}}
ANSWER = {
    "mac": {"type": "str", "required": True},
    "architecture": {"type": "int", "required": True},
    "ipxe": {"type": "bool", "default": False},
    "expect": {"type": "dict", "required": True, "options": EXPECT},
}
FILE = {
    "path": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "size": {"type": "int", "default": 0},
}
EXPORT = {"path": {"type": "str", "required": True}, "file": {"type": "str"}, "sha256": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "str", "required": True},
            "interface": {"type": "str"},
            "answers": {"type": "list", "elements": "dict", "default": [], "options": ANSWER},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
            "tftp": {"type": "bool", "default": True},
            "tftp_max_size": {"type": "int", "default": 64 << 20},
            "http_port": {"type": "int", "default": 80},
            "exports": {"type": "list", "elements": "dict", "default": [], "options": EXPORT},
            "nfs_versions": {"type": "list", "elements": "int", "choices": [3, 4], "default": [3, 4]},
            "nfs_client": {"type": "str", "choices": ["auto", *CLIENTS], "default": "auto"},
            "timeout": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    try:
        report = check_boot_server(module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    result = {"tried": report.tried, "problems": report.problems}
    if report.problems:
        module.fail_json(msg=report.summary(module.params["server"]), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
