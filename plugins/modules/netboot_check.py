#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: netboot_check
short_description: Check that a kernel, an initrd and a root would boot from the network
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads a kernel and its configuration, an initrd, a root and the kernel parameters, and says what would keep a node from
    booting with them over NFS, before any node tries.
  - The kernel must have what netboot needs, the initrd what the kernel lacks (each module with all its dependencies), the root
    an init, the modules of that very kernel, an ssh server, and nothing that nodes must not share; the parameters must agree.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  kernel:
    description: The bootable kernel on the target host, C(vmlinuz); x86 only.
    type: path
    required: true
  config:
    description:
      - The kernel's configuration.
      - C(/boot/config-VERSION) in O(root) when left out, else the one in the kernel itself.
    type: path
  initrd:
    description: The initrd; none when left out, so that the kernel has to mount the root itself.
    type: path
  root:
    description: The directory that the nodes get as C(/).
    type: path
    required: true
  parameters:
    description: The kernel parameters, a string or a list of words.
    type: raw
    required: true
  root_mode:
    description: How the nodes get C(/); what O(parameters) say when left out.
    type: str
    choices: [nfs_ro, nfs_rw]
  firmware:
    description: The firmware that starts the kernel.
    type: str
    choices: [bios, uefi]
    default: bios
  hardware:
    description:
      - What the nodes have and need to reach their root, at least the NIC.
      - Names of drivers, C(e1000e), or hardware as C(/sys) spells it in files called C(modalias), C(virtio:d00000001v00001AF4).
    type: list
    elements: str
    default: []
  profiles:
    description: Further profiles of M(oneimage.cluster.kernel_config) that the kernel's configuration must meet.
    type: list
    elements: str
    default: []
  profile_paths:
    description: Your own profiles on the controller, files or folders of files, relative to the playbook.
    type: list
    elements: path
    default: []
  rules:
    description:
      - The rules of all profiles by the profile's name, as O(oneimage.cluster.kernel_config#module:rules).
      - The action plugin fills it in.
    type: dict
    default: {}
  strict:
    description: Whether an error among the findings fails the task; V(false) only reports.
    type: bool
    default: true
seealso:
  - module: oneimage.cluster.kernel_config
notes:
  - Never changes anything.
"""

EXAMPLES = r"""
- name: Would the new root boot?
  oneimage.cluster.netboot_check:
    kernel: /srv/oneimage/boot/images/compute-0123456789ab/vmlinuz
    initrd: /srv/oneimage/boot/images/compute-0123456789ab/initrd-native
    root: /srv/oneimage/roots/compute/0123456789ab
    parameters: >-
      root=/dev/nfs nfsroot=10.0.0.1:/srv/oneimage/roots/compute/0123456789ab,vers=3 ip=dhcp ro panic=60
      console=tty0 console=ttyS0,115200
    hardware: [e1000e]

- name: What does it lack on the new nodes, which have UEFI?
  oneimage.cluster.netboot_check:
    kernel: /boot/vmlinuz-6.1.0-56-amd64
    initrd: /boot/initrd.img-6.1.0-56-amd64
    root: /srv/oneimage/roots/compute/current
    parameters: [root=/dev/nfs, "nfsroot=10.0.0.1:/srv/root,vers=3", ip=dhcp, rw]
    firmware: uefi
    hardware: ["pci:v00008086d000015F3sv00001849sd000015F3bc02sc00i00"]
    strict: false
  register: lacks
"""

RETURN = r"""
ok:
  description: Whether the findings hold no error.
  type: bool
  returned: all was readable
  sample: false
msg:
  description: The verdict in words, naming every finding.
  type: str
  returned: always
  sample: "the kernel 6.1.0-56-amd64 with the root /srv/root (nfs_ro) would not boot from the network: [root-init] ..."
findings:
  description: Everything that would go wrong.
  type: list
  elements: dict
  returned: all was readable
  contains:
    name:
      description:
        - What kind of finding it is; the same in all versions.
        - C(kernel-OPTION), such as C(kernel-nfs-fs), for an unmet rule of a profile; C(kernel-nfs-version),
          C(kernel-efi-stub), C(kernel-driver-modular), C(hardware-driver).
        - C(initrd-needed), C(initrd-kernel-version), C(initrd-compression), C(initrd-format), C(initrd-init),
          C(initrd-nfs-client), C(initrd-dhcp-client), C(initrd-root-mode), C(initrd-nfs-version),
          C(initrd-module-missing), C(initrd-firmware-missing).
        - C(root-init), C(root-architecture), C(root-modules), C(root-mount-point), C(root-sshd), C(root-machine-id),
          C(root-host-keys), C(root-persistent-net), C(root-fstab), C(root-nfs-client).
        - C(parameters-NAME), such as C(parameters-nfsroot), and C(parameters-length).
      type: str
      sample: initrd-module-missing
    subject:
      description: The option, file, module or parameter that it is about.
      type: str
      sample: virtio_net
    problem:
      description: What is wrong with it.
      type: str
      sample: the driver of virtio_net, neither in the initrd /boot/initrd nor built in
    remedy:
      description: What to do.
      type: str
      sample: name it in the initrd's modules and build the initrd again
    severity:
      description: V(error) for what keeps a node from booting or from being one of many, V(warning) for the rest.
      type: str
      sample: error
kernel_version:
  description: What C(uname -r) will print.
  type: str
  returned: all was readable
  sample: 6.1.0-56-amd64
root_mode:
  description: The root mode that was checked.
  type: str
  returned: all was readable
  sample: nfs_ro
config_source:
  description: Where the kernel's configuration was found.
  type: str
  returned: all was readable
  sample: /srv/root/boot/config-6.1.0-56-amd64 (text)
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import Rule, parse_rules
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot import (
    PROFILES,
    Question,
    answer,
    gather,
)

OPTIONS = {
    "kernel": {"type": "path", "required": True},
    "config": {"type": "path"},
    "initrd": {"type": "path"},
    "root": {"type": "path", "required": True},
    "parameters": {"type": "raw", "required": True},
    "root_mode": {"type": "str", "choices": ["nfs_ro", "nfs_rw"]},
    "firmware": {"type": "str", "choices": ["bios", "uefi"], "default": "bios"},
    "hardware": {"type": "list", "elements": "str", "default": []},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "profile_paths": {"type": "list", "elements": "path", "default": []},
    "rules": {"type": "dict", "default": {}},
    "strict": {"type": "bool", "default": True},
}


def as_question(given: dict[str, Any]) -> Question:
    paths = {name: Path(given[name]) if given[name] else None for name in ("config", "initrd")}
    parameters = given["parameters"]
    if not isinstance(parameters, str) and not (
        isinstance(parameters, list) and all(isinstance(word, str) for word in parameters)
    ):
        raise ClusterError("parameters is neither a string nor a list of strings")
    return Question(
        kernel=Path(given["kernel"]),
        root=Path(given["root"]),
        parameters=parameters,
        firmware=given["firmware"],
        hardware=given["hardware"],
        root_mode=given["root_mode"],
        **paths,
    )


def as_rules(given: dict[str, Any]) -> dict[str, list[Rule]]:
    missing = [name for name in PROFILES if name not in given["rules"]]
    if missing or given["profiles"]:
        raise ClusterError(
            "profiles were not resolved: call the module by its full name oneimage.cluster.netboot_check"
        )
    return {name: parse_rules(rules, f"rules of {name}") for name, rules in given["rules"].items()}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result = answer(gather(as_question(module.params), as_rules(module.params))).as_result()
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if module.params["strict"] and not result["ok"]:
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
