#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kadeploy
short_description: Deploy, reboot and switch nodes of sites that run Kadeploy
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Drives C(kadeploy3), C(kareboot3), C(kapower3) and C(kaconsole3) of one or several sites in one call, through their REST
    APIs or the commands.
  - Tells for every node what became of it, V(ok), V(ko) with the step and its error, V(brk) (it stopped at O(breakpoint)),
    V(discarded) (another deployment works on it) or V(missing) (Kadeploy says nothing about it). Kadeploy's own exit codes, lists
    of nodes and statistics do not tell these apart.
  - Before the first node of any site is touched, every site must answer, know its nodes, and have the environment with an
    up-to-date checksum of its image. What a site can only check when it starts makes its nodes V(ko).
  - A deployment that stopped at a breakpoint goes on with O(resume).
extends_documentation_fragment: [oneimage.cluster._attributes, oneimage.cluster._kadeploy_servers]
attributes:
  idempotent:
    support: partial
    details: O(operation=power) leaves nodes alone that are in O(state). Deployments and reboots happen at each run.
options:
  operation:
    description: What to do with the nodes.
    type: str
    choices: [deploy, reboot, power]
    default: deploy
  nodes:
    description:
      - The nodes, by the full names that Kadeploy has for them. Sets such as V(node-[1-4].site1.example.org) are expanded.
    type: list
    elements: str
    required: true
  environment:
    description:
      - The recorded environment to deploy, or to boot with O(kind=recorded_env). It must be on every site that has nodes.
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      user:
        description: Its owner. Without it one's own, else a public one.
        type: str
      version:
        description: Its version. The highest without it.
        type: int
  description:
    description:
      - An environment that is not recorded, in the fields of Kadeploy's YAML. Excludes O(environment).
      - With O(servers[].url), its files must be ones that the server can fetch itself, C(server:///PATH) or a URL.
    type: dict
  refresh_checksums:
    description:
      - Whether Kadeploy is told to note the checksums of the environment's files anew where they are stale, as
        M(oneimage.cluster.environment) does. Only its owner can. Kadeploy refuses to deploy an environment with a stale checksum.
    type: bool
    default: true
  key:
    description:
      - File with the public keys that may log in as root. A file of this host for the commands, C(server:///PATH) or a URL for
        the REST API.
    type: str
  partition:
    description: The number of the partition to deploy on, or to boot from. The site's own choice without it.
    type: str
  block_device:
    description: The disk, for example V(/dev/sdb). Without O(partition) all of it is written, which takes a C(dd) image.
    type: str
  boot_partition:
    description: The number of the partition that the bootloader starts, 0 for the disk's boot record.
    type: int
  vlan:
    description: The VLAN to put the nodes into.
    type: str
  reformat_tmp:
    description: File system with which the partition for C(/tmp) is made anew.
    type: str
  no_kexec:
    description: Whether to boot through the firmware where the site would use kexec.
    type: bool
    default: false
  disable_bootloader_install:
    description: Whether to leave the bootloader alone.
    type: bool
    default: false
  disable_disk_partitioning:
    description: Whether to leave the partition table alone.
    type: bool
    default: false
  steps:
    description:
      - How the macro-steps are done. Each of C(SetDeploymentEnv), C(BroadcastEnv) and C(BootNewEnv) has a list of
        C(implementation) (V(Chain) or V(BroadcastEnvChain)), C(retries) and C(timeout) in seconds. After a failure the
        next one is tried.
      - Macro-steps that are left out, and timeouts, are as the site is configured. Names are checked against what it knows.
    type: dict
  custom_steps:
    description:
      - One's own operations, as C({MACRO-STEP:{MICRO-STEP:{pre-ops, substitute, post-ops:[OPERATION]}}}). An implementation can
        stand for the macro-step.
      - An operation has C(name) and C(action), V(exec) with C(command), V(send) with C(file) and C(destination), or V(run) with
        C(file) and C(params). C(timeout), C(retries), C(scattering) and C(override) are as Kadeploy has them.
    type: dict
  breakpoint:
    description:
      - Where nodes stop, before V(MACRO-STEP), V(MACRO-STEP:MICRO-STEP), or the same with an implementation's name.
      - Nodes that stopped there count as good for O(min_ok).
    type: str
  resume:
    description:
      - Where to go on after a breakpoint, in the terms of O(breakpoint). Nothing before it is done again. Macro-steps are done by
        C(Dummy), micro-steps are substituted.
    type: str
  kind:
    description:
      - How to reboot. V(simple) without it. V(set_pxe) needs O(pxe_profile), V(recorded_env) needs O(environment) and
        O(partition).
    type: str
    choices: [simple, set_pxe, deploy_env, recorded_env]
  level:
    description: How hard the first try of O(operation=reboot) and O(operation=power) is. V(soft) without it.
    type: str
    choices: [soft, hard, very_hard]
  state:
    description:
      - What the nodes should be after O(operation=power). Their power status is asked first, in check mode too, which Kadeploy
        counts as an operation in its statistics.
    type: str
    choices: ["on", "off"]
  pxe_profile:
    description: The text of the PXE profile for O(kind=set_pxe).
    type: str
  check_destructive:
    description: Whether nodes whose last environment was destructive are not rebooted with O(kind=recorded_env).
    type: bool
    default: false
  force:
    description: Whether nodes that another operation works on are taken all the same.
    type: bool
    default: false
  consoles:
    description:
      - A folder that exists, in which C(kaconsole3) keeps what the nodes' consoles show meanwhile, as C(console-NODE.log). Each
        run begins them anew.
      - Without O(servers[].url) only, since Kadeploy's REST API shows no consoles.
    type: path
  retries:
    description: How often the operation is done again on nodes that are V(ko) or V(missing). Never on others.
    type: int
    default: 0
  min_ok:
    description: How many nodes must be V(ok), a number or a share. The module fails with fewer, and returns the same.
    type: str
    default: 100%
  timeout:
    description: Seconds after which, all tries together, what still goes on is ended. Its nodes are V(ko).
    type: float
    default: 7200
  poll:
    description: Seconds between two questions to a server.
    type: float
    default: 2
seealso:
  - module: oneimage.cluster.kadeploy_info
  - module: oneimage.cluster.environment
  - module: oneimage.cluster.deployment
"""

EXAMPLES = r"""
- name: Deploy on two sites, and go on if four of five nodes are fine
  oneimage.cluster.kadeploy:
    servers:
      - {name: site1, url: "https://kadeploy.site1.example.org:25300", user: alice}
      - {name: site2, url: "https://kadeploy.site2.example.org:25300", user: alice}
    nodes:
      - node-[1-3].site1.example.org
      - node-[1-2].site2.example.org
    environment: {name: debian12-mine, user: alice}
    key: http://public.site1.example.org/~alice/authorized_keys
    retries: 2
    min_ok: 80%
  register: deployed

- name: What failed, and where
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value.macro }} {{ item.value.micro }} {{ item.value.message }}"
  loop: "{{ deployed.nodes | dict2items }}"
  when: item.value.outcome != 'ok'

- name: Stop before the post-install, on a frontend, through the commands
  oneimage.cluster.kadeploy:
    servers:
      - name: site1
    nodes: [node-1.site1.example.org]
    description: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    key: /home/alice/.ssh/id_ed25519.pub
    consoles: /home/alice/consoles
    breakpoint: BroadcastEnv:manage_user_post_install

- name: Go on from there, with kexec and a hard reboot as its fallback
  oneimage.cluster.kadeploy:
    servers:
      - name: site1
    nodes: [node-1.site1.example.org]
    description: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    key: /home/alice/.ssh/id_ed25519.pub
    resume: BroadcastEnv:manage_user_post_install
    steps:
      BootNewEnv:
        - {implementation: Kexec, retries: 1, timeout: 250}
        - {implementation: HardReboot, timeout: 400}

- name: Reboot into the deployment environment
  oneimage.cluster.kadeploy:
    servers:
      - name: site1
    operation: reboot
    kind: deploy_env
    nodes: ["node-[1-8].site1.example.org"]
    key: /home/alice/.ssh/id_ed25519.pub

- name: Switch off
  oneimage.cluster.kadeploy:
    servers:
      - name: site1
    operation: power
    state: "off"
    nodes: ["node-[1-8].site1.example.org"]
"""

RETURN = r"""
nodes:
  description: By node what became of it. Also if the module fails because of O(min_ok).
  type: dict
  returned: unless an option is wrong, or a site is not fit
  contains:
    site: {description: The name of its server., type: str, sample: site1}
    outcome: {description: "V(ok), V(ko), V(brk), V(discarded) or V(missing).", type: str, sample: ko}
    macro:
      description: The implementation of the macro-step in which it failed or stopped.
      type: str
      sample: SetDeploymentEnvUntrusted
    micro: {description: The micro-step., type: str, sample: format_deploy_part}
    message: {description: What Kadeploy says., type: str, sample: "mkfs: mock failure"}
    attempts: {description: How often it was tried. 0 if it was left alone., type: int, sample: 2}
    wid: {description: Kadeploy's id of the last operation., type: str, sample: D-911a082f-7751-4909-8e74-5b576d8f777d}
    console:
      description: The log of its console, with O(consoles).
      type: str
      sample: /home/alice/consoles/console-node-4.site1.example.org.log
    evidence:
      description: The last lines of that log, if it failed.
      type: list
      elements: str
      sample: ["console: Kernel panic - not syncing: VFS: Unable to mount root fs"]
ok:
  description: Nodes on which all went well.
  type: list
  elements: str
  returned: as nodes
  sample: [node-1.site1.example.org]
ko:
  description: Nodes on which it failed.
  type: list
  elements: str
  returned: as nodes
  sample: [node-4.site1.example.org]
brk:
  description: Nodes that stopped at the breakpoint.
  type: list
  elements: str
  returned: as nodes
  sample: []
discarded:
  description: Nodes that were left alone since another operation works on them.
  type: list
  elements: str
  returned: as nodes
  sample: []
missing:
  description: Nodes of which Kadeploy says nothing, or whose server stopped answering.
  type: list
  elements: str
  returned: as nodes
  sample: []
wids:
  description: Kadeploy's ids of the operations.
  type: list
  elements: str
  returned: as nodes
  sample: [D-911a082f-7751-4909-8e74-5b576d8f777d]
refreshed:
  description: Checksums that a site was told to note anew.
  type: list
  elements: str
  returned: as nodes
  sample: ["site1: image of debian12-mine@alice:1"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_run import apply
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_sites import SERVERS_SPEC


def main() -> None:
    switch = {"type": "bool", "default": False}
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True, "options": SERVERS_SPEC},
            "operation": {"type": "str", "choices": ["deploy", "reboot", "power"], "default": "deploy"},
            "nodes": {"type": "list", "elements": "str", "required": True},
            "environment": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "user": {"type": "str"},
                    "version": {"type": "int"},
                },
            },
            "description": {"type": "dict"},
            "refresh_checksums": {"type": "bool", "default": True},
            "key": {"type": "str", "no_log": False},
            "partition": {"type": "str"},
            "block_device": {"type": "str"},
            "boot_partition": {"type": "int"},
            "vlan": {"type": "str"},
            "reformat_tmp": {"type": "str"},
            "no_kexec": switch,
            "disable_bootloader_install": switch,
            "disable_disk_partitioning": switch,
            "steps": {"type": "dict"},
            "custom_steps": {"type": "dict"},
            "breakpoint": {"type": "str"},
            "resume": {"type": "str"},
            "kind": {"type": "str", "choices": ["simple", "set_pxe", "deploy_env", "recorded_env"]},
            "level": {"type": "str", "choices": ["soft", "hard", "very_hard"]},
            "state": {"type": "str", "choices": ["on", "off"]},
            "pxe_profile": {"type": "str"},
            "check_destructive": switch,
            "force": switch,
            "consoles": {"type": "path"},
            "retries": {"type": "int", "default": 0},
            "min_ok": {"type": "str", "default": "100%"},
            "timeout": {"type": "float", "default": 7200},
            "poll": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    try:
        result = apply(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if not module._diff:
        del result["diff"]
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
