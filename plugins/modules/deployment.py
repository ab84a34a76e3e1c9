#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment
short_description: Deploy an environment to the disks of many nodes
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Runs on the boot server, for all nodes in one call. Each node goes through the macro-steps C(SetDeploymentEnv),
    C(BroadcastEnv) and C(BootNewEnv) of Kadeploy, and their micro-steps, by itself. What fails on one node never stops another.
  - Every node ends as V(ok), V(ko), V(brk) (it stopped at O(breakpoint)) or V(discarded) (another deployment works on it), with
    the step where that happened, the lines that show it, and an advice. The module fails only if fewer than O(min_ok) are V(ok).
  - Everything is checked before the first node is touched. Whatever happens after that is in the journal at once, from which
    a run that was killed, or stopped at a breakpoint, goes on.
extends_documentation_fragment: [oneimage.cluster._attributes]
attributes:
  idempotent:
    support: partial
    details: With O(id), nodes that are V(ok) in this deployment are left alone. Without it every run is a new deployment.
requirements:
  - OpenSSH's client on the host that the module runs on
notes:
  - Guard nodes that are not yours by M(oneimage.cluster.reservation_check) first.
options:
  id:
    description:
      - The deployment's name. With that of an earlier one, its nodes that are V(ok) are left alone, those that failed are
        deployed anew, those whose run was killed too. If only the boot into the deployed system was left to do, they are booted
        once more.
      - Without it a new deployment begins, whose name is returned.
    type: str
  environment:
    description: What is deployed.
    type: dict
    required: true
    suboptions:
      registry:
        description: The directory of the registry.
        type: path
        default: /srv/oneimage/registry
      name:
        description: The environment, C(NAME), C(NAME@OWNER), C(NAME:VERSION) or C(NAME@OWNER:VERSION%ARCH). Without a version
          the highest.
        type: str
      owner:
        description: Its owner. Without it one's own, else a public one.
        type: str
      version:
        description: Its version.
        type: int
      user:
        description: Who asks, which decides what is seen. The user that runs the module without it.
        type: str
      description:
        description:
          - A description in Kadeploy's current YAML instead, that need not be registered (an anonymous deployment). Its image is
            a file on this host, or has a URL.
        type: dict
  nodes:
    description: The nodes.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name.
        type: str
        required: true
      mac:
        description: MAC address of the NIC that it boots from.
        type: str
        required: true
      address:
        description: Its IPv4 address, in the deployment environment and after.
        type: str
        required: true
      firmware:
        description: How it starts.
        type: str
        choices: [bios, uefi]
        default: bios
      loader:
        description: Its network loader.
        type: str
        choices: [ipxe, pxelinux, grub]
        default: ipxe
      cluster:
        description: Its cluster, for post-installs and hooks.
        type: str
        default: ""
      site:
        description: Its site.
        type: str
        default: ""
      disk:
        description: The disk to write, if it is another than that of O(layout).
        type: str
        default: ""
      power:
        description: Its way to power, as M(oneimage.cluster.node_power) takes it. Without it only its own system can reboot it.
        type: dict
        suboptions:
          driver:
            description: The way to the power switch.
            type: str
            choices: [ipmi, redfish, qemu, command]
            default: ipmi
          address:
            description: Name or address of the BMC.
            type: str
          port:
            description: Port of the BMC, if it is not the driver's own.
            type: int
          system:
            description: The machine's id for V(redfish), if the BMC has several.
            type: str
          tls:
            description: Whether V(redfish) speaks HTTPS.
            type: bool
            default: true
          validate_certs:
            description: Whether the BMC's certificate must be vouched for.
            type: bool
            default: true
          ca_path:
            description: File with the certificates that vouch for it.
            type: path
          socket:
            description: The QMP socket of a machine for V(qemu).
            type: path
          user:
            description: User of the BMC.
            type: str
          password:
            description: Password of that user.
            type: str
          cipher_suite:
            description: IPMI cipher suite.
            type: int
          commands:
            description: Programs with their arguments, for V(command) or in place of an action of another driver.
            type: dict
            suboptions:
              status: {description: Prints V(on) or V(off)., type: list, elements: str}
              "on": {description: Switches the node on., type: list, elements: str}
              "off": {description: Switches the node off., type: list, elements: str}
              soft_off: {description: Asks its operating system to shut down., type: list, elements: str}
              reset: {description: Resets the node., type: list, elements: str}
              very_hard: {description: Takes its supply away and gives it back., type: list, elements: str}
              boot_pxe: {description: Has it boot from the network next time., type: list, elements: str}
              boot_disk: {description: Has it boot from its disk next time., type: list, elements: str}
              boot_bios: {description: Has it enter its firmware setup next time., type: list, elements: str}
      console:
        description:
          - A file on this host with its console's output. Its last lines are evidence when the node fails.
          - What is added to it during the deployment is kept with the journal.
        type: str
        default: ""
      facts:
        description: Anything else that post-installs shall know of it.
        type: dict
        default: {}
  layout:
    description: What the disk becomes.
    type: dict
    default: {}
    suboptions:
      disk:
        description: The disk, such as V(/dev/nvme0n1). The node's first one without it.
        type: str
      table:
        description: The kind of the partition table. V(auto) goes by the node's firmware.
        type: str
        choices: [auto, gpt, mbr]
        default: auto
      overwrite:
        description:
          - Whose data may go. V(ours) is a table that an earlier deployment wrote, or an empty disk. V(any) is whatever is there.
        type: str
        choices: [ours, any]
        default: ours
      partitions:
        description: The partitions in order. None at all is for a dd image of a whole disk.
        type: list
        elements: dict
        default: [{role: swap, size: 1024, type: swap}, {role: deploy, size: 0}]
        suboptions:
          role:
            description: Its role, V(deploy), V(swap), V(tmp), V(prod), V(efi) or another word.
            type: str
            required: true
          size:
            description: Its size in MiB, V(0) for the rest of the disk.
            type: int
            required: true
          type:
            description: The partition's type.
            type: str
            choices: [linux, swap, efi, bios_boot, lvm, raid, fat]
            default: linux
          filesystem:
            description: Its file system. That of the environment for the one that is deployed.
            type: str
            default: ""
          label:
            description: The file system's label.
            type: str
            default: ""
  partition:
    description: The role of the partition that the environment goes to.
    type: str
    default: deploy
  steps:
    description:
      - By macro-step, its implementations in the order in which they are tried. Those that fail go on with the next.
      - Implementations are named as Kadeploy names them, with or without the macro-step, C(SetDeploymentEnvUntrusted), C(Kexec),
        C(Prod) for nodes that run the deployment environment already, C(BroadcastEnvHttp), C(Chain), C(Bittorrent),
        C(Udpcast), C(BootNewEnvClassical), C(Kexec), C(HardReboot), and C(Dummy) for each.
    type: dict
    default: {}
    suboptions:
      SetDeploymentEnv: &steps
        description: Its implementations.
        type: list
        elements: dict
        suboptions:
          implementation:
            description: The implementation.
            type: str
            required: true
          timeout:
            description: Seconds for one attempt, without the time in which a node waits for others.
            type: float
          retries:
            description: How many more attempts a node has.
            type: int
      BroadcastEnv: *steps
      BootNewEnv: *steps
  broadcast:
    description:
      - How the image goes to the nodes. V(auto) goes by their number. Nodes that it fails get it by HTTP.
      - O(steps.BroadcastEnv) goes before it.
    type: str
    choices: [auto, http, chain, bittorrent, udpcast]
    default: auto
  kexec:
    description: Whether nodes enter the deployed system by kexec, without their firmware. O(steps.BootNewEnv) goes before it.
    type: bool
    default: false
  wave:
    description: How many nodes are deployed at once. All without it.
    type: int
    default: 0
  wave_pause:
    description: Seconds between two waves.
    type: float
    default: 0
  power_ups:
    description: How many nodes are rebooted at the same moment. Any number without it.
    type: int
    default: 0
  breakpoint:
    description: Stop before a micro-step, C(MACRO:micro) or C(IMPLEMENTATION:micro), or at a macro-step's beginning, C(MACRO).
    type: str
  resume:
    description: Whether the nodes that stopped at a breakpoint of deployment O(id) go on from there. O(nodes) chooses which.
    type: bool
    default: false
  min_ok:
    description: How many nodes must be V(ok), a number or a share. Nodes that stopped at O(breakpoint) count too.
    type: str
    default: 100%
  busy:
    description: What to do about nodes that another deployment works on. V(refuse) names them and touches nothing.
    type: str
    choices: [refuse, discard]
    default: refuse
  keys:
    description: Lines of C(authorized_keys) for root of the deployment environment and of the deployed system.
    type: list
    elements: str
    default: []
  reformat_tmp:
    description: Whether the partition with the role V(tmp) is made anew.
    type: bool
    default: false
  admin_post_installs:
    description: The site's own post-installs, before those of the environment, each as in C(postinstalls) of a description.
    type: list
    elements: dict
    default: []
  parameters:
    description: Further kernel parameters of the deployed system.
    type: list
    elements: str
    default: []
  hooks:
    description:
      - The site's own programs, lists of a program and its arguments, which run on this host once for each node. V({node}),
        V({address}), V({mac}), V({cluster}), V({site}) and V({deployment}) in a word are the node's.
      - Their names are C(set_vlan), for that micro-step, or C(before_), C(after_) or C(instead_of_) and a micro-step.
    type: dict
    default: {}
  boot:
    description: How nodes boot from this host.
    type: dict
    default: {}
    suboptions:
      tree:
        description: The folder that TFTP and HTTP serve.
        type: path
        default: /srv/oneimage/boot
      url:
        description: The same by HTTP. C(http://) and O(server) without it.
        type: str
      kernel:
        description: The deployment environment's kernel, below O(boot.tree).
        type: str
      initrds:
        description: Its initrds, below O(boot.tree).
        type: list
        elements: str
        default: []
      parameters:
        description: Its kernel parameters.
        type: list
        elements: str
        default: []
      programs:
        description: Programs that it has for broadcasts, V(aria2c), V(udp-receiver).
        type: list
        elements: str
        default: []
      logs:
        description: The folder with the logs of nginx, which tell how far a boot came.
        type: path
        default: /var/log/nginx
  server:
    description: This host's address for the nodes.
    type: str
    required: true
  deployments:
    description: The folder with the journals, the history and the locks of all deployments of this host.
    type: path
    default: /srv/oneimage/deployments
  ok_file:
    description: A file that gets the names of the nodes that are V(ok), one a line.
    type: path
  ko_file:
    description: A file that gets the names of all others.
    type: path
  progress:
    description: Seconds between two tables of the nodes by step that are printed while it runs, V(0) for none.
    type: int
    default: 10
seealso:
  - module: oneimage.cluster.deployment_info
  - module: oneimage.cluster.environment
  - module: oneimage.cluster.node_power
"""

EXAMPLES = r"""
- name: Deploy the latest debian12 to two nodes, and go on if one of them makes it
  oneimage.cluster.deployment:
    environment:
      name: debian12-min
    nodes:
      - name: n1
        mac: 52:54:00:00:00:01
        address: 10.77.0.1
        power: {driver: ipmi, address: 10.78.0.1, user: admin, password: "{{ vault_bmc_password }}"}
      - name: n2
        mac: 52:54:00:00:00:02
        address: 10.77.0.2
        firmware: uefi
        power: {driver: ipmi, address: 10.78.0.2, user: admin, password: "{{ vault_bmc_password }}"}
    boot:
      kernel: images/deployment-1/vmlinuz
      initrds: [images/deployment-1/initrd]
      parameters: [ip=dhcp]
    server: 10.77.0.254
    keys: ["{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"]
    min_ok: "1"
  register: deployed

- name: Stop before the post-install, to look at the nodes by ssh
  oneimage.cluster.deployment:
    id: tuning-1
    environment:
      description: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    nodes: "{{ my_nodes }}"
    boot: "{{ deployment_boot }}"
    server: 10.77.0.254
    breakpoint: BroadcastEnv:manage_user_post_install

- name: Go on from there with one of them
  oneimage.cluster.deployment:
    id: tuning-1
    environment:
      description: "{{ lookup('ansible.builtin.file', 'mine.yml') | from_yaml }}"
    nodes: "{{ my_nodes[:1] }}"
    boot: "{{ deployment_boot }}"
    server: 10.77.0.254
    resume: true

- name: Two waves, more time to boot, and nobody waits for a slow one
  oneimage.cluster.deployment:
    environment:
      name: debian12-min@deploy:3
    nodes: "{{ my_nodes }}"
    boot: "{{ deployment_boot }}"
    server: 10.77.0.254
    wave: 32
    wave_pause: 10
    power_ups: 8
    broadcast: chain
    steps:
      SetDeploymentEnv:
        - {implementation: Untrusted, timeout: 900, retries: 0}
      BootNewEnv:
        - {implementation: Classical, timeout: 600}
        - {implementation: HardReboot, timeout: 900, retries: 1}
    min_ok: 90%
"""

RETURN = r"""
deployment:
  description: The deployment's id.
  type: str
  returned: always, unless an option is wrong
  sample: D-1b1bb679-0c21-4dd6-a8df-812d379a3636
environment:
  description: What was deployed.
  type: str
  returned: always, unless an option is wrong
  sample: debian12-min@deploy:3
nodes:
  description: What became of each node.
  type: dict
  returned: always, unless an option is wrong
  contains:
    outcome:
      description: V(ok), V(ko), V(brk) or V(discarded). Null in check mode for a node that would be deployed.
      type: str
      sample: ko
    macro: {description: The macro-step that it came to., type: str, sample: BootNewEnv}
    implementation: {description: The implementation of it., type: str, sample: BootNewEnvHardReboot}
    micro: {description: The micro-step., type: str, sample: wait_reboot}
    message: {description: What happened., type: str, sample: "it did not come into its deployed system"}
    evidence: {description: The lines that show it., type: list, elements: str, sample: ["console: error: no such device"]}
    console:
      description: What its console showed meanwhile. Null without a log.
      type: str
      sample: /srv/oneimage/deployments/d1/console-node1.log
    advice: {description: What to do about it., type: str, sample: check that the node's declared firmware is what it boots with}
    seconds:
      description: Seconds by macro-step.
      type: dict
      sample: {SetDeploymentEnv: 81.2, BroadcastEnv: 44.9, BootNewEnv: 77.0}
    steps:
      description: Its micro-steps in the order in which they ended, each with its seconds and its outcome.
      type: list
      elements: dict
      sample:
        - macro: SetDeploymentEnv
          implementation: SetDeploymentEnvUntrusted
          micro: switch_pxe
          attempt: 1
          outcome: ok
          seconds: 0.02
ok:
  description: The nodes that are V(ok).
  type: list
  elements: str
  returned: always, unless an option is wrong
  sample: [n1]
ko:
  description: The nodes that failed.
  type: list
  elements: str
  returned: always, unless an option is wrong
  sample: [n2]
brk:
  description: The nodes that stopped at the breakpoint.
  type: list
  elements: str
  returned: always, unless an option is wrong
  sample: []
discarded:
  description: The nodes that another deployment works on.
  type: list
  elements: str
  returned: always, unless an option is wrong
  sample: []
steps:
  description: By macro-step, the implementations with the micro-steps that this deployment has, their seconds and retries.
  type: dict
  returned: always, unless an option is wrong
  sample:
    BootNewEnv:
      - implementation: BootNewEnvClassical
        micros: [switch_pxe, umount_deploy_part, reboot_from_deploy_env, wait_reboot]
        timeout: 400
        retries: 0
journal:
  description: The journal.
  type: str
  returned: always, unless an option is wrong
  sample: /srv/oneimage/deployments/D-1b1bb679-0c21-4dd6-a8df-812d379a3636/journal.jsonl
key:
  description: The key that opens the deployment environment of nodes that are not V(ok), null if all are.
  type: str
  returned: always, unless an option is wrong
  sample: /srv/oneimage/deployments/D-1b1bb679-0c21-4dd6-a8df-812d379a3636/key
timeline:
  description:
    - The steps of all nodes as spans, in seconds since 1970; M(oneimage.cluster.timeline_page) and
      P(oneimage.cluster.timeline#callback) make a page of it.
  type: dict
  returned: where the deployment has a journal
  sample: {timeline: 1, title: deployment D-1b1bb679, started: 1795250432.1, ended: 1795250512.8, nodes: []}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_run as run
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_options import OPTIONS
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        made = run.prepare(module.params)
        diff = run.difference(made)
        if not module.check_mode:
            run.carry_out(made)
        answer = run.result(made)
        failed = "" if module.check_mode else run.shortfall(made, answer)
        if not module.check_mode:
            run.write_lists(module.params, answer)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in made.warnings:
        module.warn(warning)
    if module._diff:
        answer["diff"] = diff
    if failed:
        module.fail_json(msg=failed, **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
