#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_config
short_description: Make and check a kernel's configuration
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads the configuration of a Linux kernel, of any version from 2.4 on, and holds it against rules that say which
    options must have which values, why, and what to do where they have not.
  - Rules come from profiles, YAML files on the controller, and from the task itself.
  - With O(source) and O(build) it makes the configuration. It starts from O(base), sets what the rules want, what the
    O(hardware) of the nodes needs and the task's O(options), lets the source tree itself settle it (C(olddefconfig), in
    older trees C(oldconfig) with empty answers), and checks it again.
  - What the tree dropped is told with the dependency that dropped it, read from that tree's Kconfig. Drivers become
    options by that tree's Makefiles, so that options which were renamed or moved are found.
  - make works in a temporary folder. C(.config) comes to the build folder by one rename, and C(.oneimage-config.json)
    beside it tells what it was made from. While that stays the same, make is not run again.
requirements:
  - for O(source), util-linux, make and a compiler, flex and bison as the kernel's configuration programs need them
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  path:
    description:
      - The configuration on the target host. A text file such as C(/boot/config-6.1.0-56-amd64) or a source tree's C(.config),
        gzip'd or not, C(/proc/config.gz), or a C(vmlinuz) or C(vmlinux) that was built with C(CONFIG_IKCONFIG).
      - Kernels packed with zstd, lz4 or lzo need the program C(zstd), C(lz4) or C(lzop) on the target host.
      - Either this or O(source).
    type: path
  source:
    description:
      - The source tree of a kernel, from 2.4 on, to make a configuration for.
      - A tree that was configured itself is used as well; it stays as it is.
    type: path
  build:
    description:
      - The build folder (C(O=) of the kernel's make) that gets C(.config). Made if it is missing.
      - Kernels 2.4 are built in the tree, so that this must be O(source).
    type: path
  base:
    description:
      - What to start from. A configuration on the target host, given by its absolute path in any form that O(path) takes;
        V(running), the configuration of the target host's running kernel; or a target of the tree's make, such as
        V(defconfig), V(tinyconfig) or V(x86_64_defconfig).
      - V(defconfig) where it is left out.
    type: str
  options:
    description:
      - Options by name, with or without C(CONFIG_), and the values they must have; C(y), C(m), C(n), a number or a text.
      - They win over rules and hardware. An option that the tree does not have is an error, as is a value of another type.
    type: dict
  hardware:
    description:
      - What the nodes have, one entry or more for each site. Options of all entries are set.
      - With C(module) a driver becomes a module, or stays built in where it is; with C(builtin) it is built in.
    type: list
    elements: dict
    suboptions:
      site:
        description: Name of the site for the report; V(all), or what O(hardware[].file) says, where it is left out.
        type: str
      drivers:
        description: Names of modules, such as C(igb).
        type: list
        elements: str
      devices:
        description:
          - Devices as C(/sys/bus/*/devices/*/modalias) or a line of C(lspci -n) names them, as M(oneimage.cluster.hardware_info)
            collects both. O(modules_folder) tells their drivers.
        type: list
        elements: str
      file:
        description:
          - A JSON file on the controller, relative to the playbook. A node of Grid'5000's reference API, a list of nodes, or
            the API's answer with C(items). Its C(network_adapters[].driver) and C(storage_devices[].driver) are taken.
        type: path
      as:
        description: How the drivers are wanted. Kernels that mount their root without an initrd need the NIC's built in.
        type: str
        choices: [module, builtin]
        default: module
  modules_folder:
    description:
      - The modules of any installed kernel, whose C(modules.alias) tells which driver takes which device.
        Needed for O(hardware[].devices).
    type: path
  architecture:
    description: The architecture to configure for, as the kernel or C(uname -m) calls it; that of the target host otherwise.
    type: str
  cross_compile:
    description: The prefix of the programs of another toolchain, such as V(aarch64-linux-gnu-).
    type: str
  cc:
    description: The compiler that the kernel will be built with, such as V(gcc-12); a configuration holds what it can do.
    type: str
  profiles:
    description:
      - Names of the profiles to check; each brings the rules of those that it includes.
      - The collection has C(netboot_initrd), C(nfsroot_builtin), C(nfs_overlay), C(serial_console), C(initrd_ramdisk),
        C(kadeploy_multisite), C(virtio_guest), C(virtual_node), C(uefi_boot), C(systemd), C(node_base), C(kerrighed) and
        C(openmosix).
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
    description:
      - Whether an unmet rule fails the task; V(false) only reports.
      - With O(source) this holds for dropped options and for drivers that the tree does not know as well. With V(true) nothing
        is written then.
    type: bool
    default: true
seealso:
  - module: oneimage.cluster.hardware_info
  - module: oneimage.cluster.kernel_source
  - module: oneimage.cluster.kernel_build
  - module: oneimage.cluster.netboot_check
notes:
  - Without O(source), never changes anything.
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

- name: Make one for all sites from Debian's
  oneimage.cluster.kernel_config:
    source: /usr/src/linux-cluster
    build: /var/tmp/build
    base: /boot/config-6.1.0-56-amd64
    profiles: [kadeploy_multisite]
    hardware:
      - file: facts/nancy.json
      - site: rennes
        drivers: [ixgbe, megaraid_sas]
    options:
      LOCALVERSION: -cluster
      SYSTEM_TRUSTED_KEYS: ""
      DEBUG_INFO_NONE: y
  register: configuration

- name: Build it
  oneimage.cluster.kernel_build:
    source: /usr/src/linux-cluster
    config: "{{ configuration.path }}"
    build: /var/tmp/build

- name: Show which site needs which driver, and where it ended up
  ansible.builtin.debug:
    var: configuration.hardware_table

- name: A kernel that boots without an initrd, its NICs' drivers built in, from what the inventory knows of its nodes
  oneimage.cluster.kernel_config:
    source: /usr/src/linux-cluster
    build: /var/tmp/build-nfsroot
    profiles: [nfsroot_builtin, serial_console]
    hardware:
      - site: nancy
        drivers: "{{ groups['site_nancy'] | map('extract', hostvars, 'node_drivers') | flatten | unique }}"
        as: builtin
"""

RETURN = r"""
path:
  description: The configuration.
  type: str
  returned: with O(source)
  sample: /var/tmp/build/.config
version:
  description: The version of the source tree.
  type: str
  returned: with O(source)
  sample: 6.1.90
dropped:
  description: What the task, its profiles or the hardware want and the tree did not take over, with the reason.
  type: list
  elements: dict
  returned: with O(source)
  sample:
    - option: CONFIG_KERRIGHED
      wanted: "y"
      value: "n"
      origin: options
      reason: depends on !KEYS, KEYS=y
      dependencies: [{condition: "!KEYS", values: {KEYS: "y"}}]
hardware:
  description:
    - Which site needs which driver, the options that build it in this tree, and where it ended up. The value is C(y), C(m) or
      C(missing).
  type: list
  elements: dict
  returned: with O(source)
  sample:
    - {site: nancy, driver: igb, device: "", options: [CONFIG_IGB], wanted: "m", value: "m"}
hardware_table:
  description: The same as aligned lines, to be printed.
  type: list
  elements: str
  returned: with O(source)
  sample:
    - site   driver  option      wanted  got
    - nancy  igb     CONFIG_IGB  m       m
ok:
  description: Whether every rule is met and nothing was dropped.
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
config_source:
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
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_merge import (
    Request,
    merge,
    publish,
)

RULE = {
    "options": {"type": "list", "elements": "str", "required": True},
    "values": {"type": "list", "elements": "str", "required": True},
    "why": {"type": "str", "required": True},
    "remedy": {"type": "str"},
    "profile": {"type": "str"},
}
HARDWARE = {
    "site": {"type": "str"},
    "drivers": {"type": "list", "elements": "str"},
    "devices": {"type": "list", "elements": "str"},
    "file": {"type": "path"},
    "as": {"type": "str", "choices": ["module", "builtin"], "default": "module"},
}
OPTIONS = {
    "path": {"type": "path"},
    "source": {"type": "path"},
    "build": {"type": "path"},
    "base": {"type": "str"},
    "options": {"type": "dict"},
    "hardware": {"type": "list", "elements": "dict", "options": HARDWARE},
    "modules_folder": {"type": "path"},
    "architecture": {"type": "str"},
    "cross_compile": {"type": "str"},
    "cc": {"type": "str"},
    "profiles": {"type": "list", "elements": "str", "default": []},
    "profile_paths": {"type": "list", "elements": "path", "default": []},
    "rules": {"type": "list", "elements": "dict", "default": [], "options": RULE},
    "strict": {"type": "bool", "default": True},
}
WITH_SOURCE = ("base", "options", "hardware", "modules_folder", "architecture", "cross_compile", "cc")


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        required_one_of=[("path", "source")],
        mutually_exclusive=[("path", "source")],
        required_together=[("source", "build")],
        required_by=dict.fromkeys(WITH_SOURCE, "source"),
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["profiles"] or any(entry["file"] for entry in given["hardware"] or []):
            raise ClusterError(
                "profiles were not resolved, nor files of hardware read: "
                "call the module by its full name oneimage.cluster.kernel_config"
            )
        if given["source"]:
            make(module)
        if not given["rules"]:
            raise ClusterError("nothing to check; name at least one of profiles, or give rules")
        report = check(read_config(Path(given["path"])), parse_rules(given["rules"]))
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if report.unmet and given["strict"]:
        module.fail_json(**report.as_result())
    module.exit_json(changed=False, **report.as_result())


def make(module: AnsibleModule) -> None:
    """Make a configuration, report and end the module."""
    given = module.params
    outcome = merge(
        Request(
            source=Path(given["source"]).absolute(),
            build=Path(given["build"]).absolute(),
            base=given["base"] or "defconfig",
            rules=parse_rules(given["rules"]),
            options=given["options"] or {},
            hardware=given["hardware"] or [],
            modules_folder=Path(given["modules_folder"]) if given["modules_folder"] else None,
            architecture=given["architecture"],
            cross_compile=given["cross_compile"] or "",
            cc=given["cc"] or "",
        )
    )
    if outcome.problems and given["strict"]:
        module.fail_json(**outcome.as_result(written=False))
    if not module.check_mode:
        publish(outcome)
    diff = {"diff": outcome.diff()} if module._diff and outcome.changed else {}
    module.exit_json(changed=outcome.changed, **outcome.as_result(written=True), **diff)


if __name__ == "__main__":
    main()
