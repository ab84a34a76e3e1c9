#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_config
short_description: Check a kernel's configuration against profiles
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads the configuration of a Linux kernel, of any version from 2.4 on, and holds it against rules that say which
    options must have which values, why, and what to do where they have not.
  - Rules come from profiles, YAML files on the controller, and from the task itself.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  path:
    description:
      - The configuration on the target host. A text file such as C(/boot/config-6.1.0-56-amd64) or a source tree's C(.config),
        gzip'd or not, C(/proc/config.gz), or a C(vmlinuz) or C(vmlinux) that was built with C(CONFIG_IKCONFIG).
      - Kernels packed with zstd, lz4 or lzo need the program C(zstd), C(lz4) or C(lzop) on the target host.
    type: path
    required: true
  profiles:
    description:
      - Names of the profiles to check; each brings the rules of those that it includes.
      - The collection has C(netboot_initrd), C(nfsroot_builtin), C(nfs_overlay), C(serial_console), C(initrd_ramdisk),
        C(kadeploy_multisite), C(virtio_guest), C(uefi_boot), C(systemd) and C(node_base).
    type: list
    elements: str
    default: []
  profile_paths:
    description:
      - Your own profiles on the controller, files or folders of files, relative to the playbook.
      - A file C(NAME.yml) is the profile C(NAME), a mapping of C(summary), C(includes) (a list of names) and C(rules)
        (a list as in O(rules)).
    type: list
    elements: path
    default: []
  rules:
    description: Rules of this task, besides those of the profiles.
    type: list
    elements: dict
    default: []
    suboptions:
      options:
        description: One option, or several of which one is enough; with or without C(CONFIG_).
        type: list
        elements: str
        required: true
      values:
        description:
          - The values of which one is enough.
          - C(y) is built in, C(m) a module, C(not-set) off or not mentioned, C(absent) not mentioned at all, as an older
            kernel that does not know the option; else a number, a string, or a comparison with a number such as C(>=16).
        type: list
        elements: str
        required: true
      why:
        description: What breaks where the rule is not met.
        type: str
        required: true
      remedy:
        description: What to do where the rule is not met; to set the option, when left out.
        type: str
      profile:
        description: The profile that the rule is from.
        type: str
  strict:
    description: Whether an unmet rule fails the task; V(false) only reports.
    type: bool
    default: true
seealso:
  - module: oneimage.cluster.netboot_check
notes:
  - Never changes anything.
"""

EXAMPLES = r"""
- name: The kernel must boot nodes from the network into a shared root
  oneimage.cluster.kernel_config:
    path: /srv/oneimage/roots/compute/current/boot/config-6.1.0-56-amd64
    profiles: [netboot_initrd, nfs_overlay, serial_console]

- name: What does the running kernel lack for the clusters of all sites?
  oneimage.cluster.kernel_config:
    path: /proc/config.gz
    profiles: [kadeploy_multisite]
    strict: false
  register: multisite

- name: A site's own profile and one more rule
  oneimage.cluster.kernel_config:
    path: /usr/src/linux/.config
    profiles: [site_hardware]
    profile_paths: [profiles/kernel]
    rules:
      - options: [NR_CPUS]
        values: [">=128"]
        why: The largest node has 128 cores.
"""

RETURN = r"""
ok:
  description: Whether every rule is met.
  type: bool
  returned: success or a rule is unmet
  sample: false
msg:
  description: The verdict in words, naming every unmet option.
  type: str
  returned: always
  sample: "/boot/config-6.1 does not meet 1 of 14 rules: [1] CONFIG_IP_PNP is not-set; wanted y (profile nfsroot_builtin): ..."
rules:
  description: Every rule with what was found.
  type: list
  elements: dict
  returned: success or a rule is unmet
  sample:
    - options: [CONFIG_NFS_FS]
      wanted: ["y", "m"]
      found: {CONFIG_NFS_FS: m}
      ok: true
      why: The root is mounted over NFS.
      remedy: set CONFIG_NFS_FS to m (the initrd then carries nfs) or y and build the kernel again
      profile: netboot_initrd
unmet:
  description: The options of all unmet rules.
  type: list
  elements: str
  returned: success or a rule is unmet
  sample: [CONFIG_ROOT_NFS]
source:
  description: Where the configuration was found. C(text), C(gzip'd text) or C(embedded in the kernel).
  type: str
  returned: success or a rule is unmet
  sample: text
symbols:
  description: The number of options that the configuration mentions.
  type: int
  returned: success or a rule is unmet
  sample: 8777
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import check, parse_rules, read_config

RULE = {
    "options": {"type": "list", "elements": "str", "required": True},
    "values": {"type": "list", "elements": "str", "required": True},
    "why": {"type": "str", "required": True},
    "remedy": {"type": "str"},
    "profile": {"type": "str"},
}
OPTIONS = {
    "path": {"type": "path", "required": True},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "profile_paths": {"type": "list", "elements": "path", "default": []},
    "rules": {"type": "list", "elements": "dict", "default": [], "options": RULE},
    "strict": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    given = module.params
    try:
        if given["profiles"]:
            raise ClusterError(
                "profiles were not resolved: call the module by its full name oneimage.cluster.kernel_config"
            )
        if not given["rules"]:
            raise ClusterError("nothing to check; name at least one of profiles, or give rules")
        report = check(read_config(Path(given["path"])), parse_rules(given["rules"]))
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if report.unmet and given["strict"]:
        module.fail_json(**report.as_result())
    module.exit_json(changed=False, **report.as_result())


if __name__ == "__main__":
    main()
