#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssi_process
short_description: Capabilities, migration, checkpoints and restarts of a process in an SSI cluster
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Brings one process of a session into a state, by the commands that the session's flavour has for it.
  - What cannot be is refused before anything is changed, with the reason. A process without the capability that the
    state needs, of several threads, or with a process group that only its node knows, does not even reach the command.
  - Capabilities are compared before and after a change, as krgcapset reports no failure. All changes of a task are one
    command, so that a kill leaves the old capabilities or the new ones.
  - A run that was ended on the way leaves the process where the cluster has it. The next run says where, and goes on
    from there.
  - With O(node_id=balance) the cluster chooses the node, at a time of its own. Check mode then takes it for a change,
    and a second run is one if the process moved once more.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  flavour:
    description: The kind of SSI cluster. A name, as C(kerrighed_3_0), the path of a YAML file on the controller, or a mapping.
    type: raw
    required: true
  entry:
    description:
      - How the session's entry node is reached from the host that this module runs on, as words of a command to which
        the flavour's command is added as one word, for example V([ssh, -p, "2222", root@n1]).
      - Without it this host is the entry node.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) changes O(capabilities) and O(locked) alone.
      - V(migrated) has the process run on O(node_id).
      - V(checkpointed) keeps the application that the process belongs to, under O(description).
      - V(restarted) restarts an application that does not run from a checkpoint, on the node of O(entry) where the
        flavour does not decide otherwise. Its processes have the capabilities that they had.
    type: str
    choices: [present, migrated, checkpointed, restarted]
    default: present
  pid:
    description: Number of the process in the whole session. Required but for O(state=restarted) with an O(identifier).
    type: int
  capabilities:
    description:
      - Capabilities to give (V(true)) or take (V(false)), by set. Those that are not named stay as they are.
      - What a set has, the set around it must have. Effective and inheritable permitted ones must be permitted,
        inheritable effective ones inheritable permitted.
    type: dict
    suboptions:
      effective:
        description: What the process itself may do now, as V(CAN_MIGRATE), V(DISTANT_FORK) or V(CHECKPOINTABLE).
        type: dict
      permitted:
        description: What it may make effective. Kerrighed lets a process lose these, but not gain any.
        type: dict
      inheritable_permitted:
        description: What its children will be permitted.
        type: dict
      inheritable_effective:
        description: What will be effective in its children.
        type: dict
  locked:
    description: Keep the process on its home node, or let it go. Flavours with a lock only, as openMosix.
    type: bool
  node_id:
    description:
      - Number of the node that the process shall run on.
      - With openMosix also V(home), or V(balance) for the node that the kernel finds best.
    type: str
  description:
    description:
      - Names the checkpoint. A second run with the same description keeps the one that exists, even if the process has
        ended since; another description makes another version.
    type: str
  signal:
    description: Number of a signal that all processes of the application get right after the checkpoint, for example V(9).
    type: int
  ignore_unsupported_files:
    description: Checkpoint even if the application has files open that a checkpoint cannot hold.
    type: bool
    default: false
  no_callbacks:
    description: Do not run the functions that the application wants to be run before and after a checkpoint.
    type: bool
    default: false
  identifier:
    description:
      - The application to restart, which is the number of its first process.
      - With O(pid) instead, it is the one whose checkpoint has that process.
    type: int
  version:
    description: The version to restart from. The newest without it.
    type: int
  require_shared:
    description: Refuse a folder of checkpoints that is on no file system of those that the flavour takes for shared.
    type: bool
    default: true
  timeout:
    description: Seconds for a migration, a checkpoint or a restart.
    type: float
    default: 120
seealso:
  - module: oneimage.cluster.ssi_cluster
  - module: oneimage.cluster.ssi_scheduler
"""

EXAMPLES = r"""
- name: Let a process and all that it will start migrate and be checkpointed
  oneimage.cluster.ssi_process:
    flavour: kerrighed_3_0
    entry: [ssh, -p, "2222", root@10.11.12.101]
    pid: 6291475
    capabilities:
      effective: {CAN_MIGRATE: true, CHECKPOINTABLE: true}
      inheritable_effective: {CAN_MIGRATE: true, CHECKPOINTABLE: true, USE_REMOTE_MEMORY: false}

- name: Have it run on node 2
  oneimage.cluster.ssi_process:
    flavour: mainline
    pid: 16500
    state: migrated
    node_id: 2

- name: Keep it before an upgrade
  oneimage.cluster.ssi_process:
    flavour: mainline
    pid: 16500
    state: checkpointed
    description: before the upgrade
  register: kept

- name: Go back to what was kept, on whichever node this runs
  oneimage.cluster.ssi_process:
    flavour: mainline
    state: restarted
    identifier: "{{ kept.checkpoint.identifier }}"
    version: "{{ kept.checkpoint.version }}"

- name: Bring an openMosix process home, whatever kept it away
  oneimage.cluster.ssi_process:
    flavour: openmosix_2_4
    entry: [ssh, root@10.11.12.1]
    pid: 812
    state: migrated
    node_id: home
"""

RETURN = r"""
pid:
  description: The process that was asked for.
  type: int
  returned: success
  sample: 6291475
node_id:
  description:
    - The node that the process runs on. With openMosix V(0) is its home.
    - In check mode, where it would be.
  type: str
  returned: if the process runs
  sample: "2"
capabilities:
  description: The capabilities by set, in the order of their bits.
  type: dict
  returned: if they were asked for, or needed by the state
  sample:
    permitted: [CHANGE_KERRIGHED_CAP, CAN_MIGRATE, DISTANT_FORK, CHECKPOINTABLE]
    effective: [CHANGE_KERRIGHED_CAP, CAN_MIGRATE]
    inheritable_permitted: [CHANGE_KERRIGHED_CAP, CAN_MIGRATE, DISTANT_FORK, CHECKPOINTABLE]
    inheritable_effective: [CHANGE_KERRIGHED_CAP]
locked:
  description: Whether it is locked to its home node.
  type: bool
  returned: if O(locked) is given
  sample: false
checkpoint:
  description:
    - The checkpoint that was made or that exists, or that the application was restarted from. Its C(date) is in Unix seconds.
    - Of a checkpoint that check mode would make only the C(description) is known.
  type: dict
  returned: with O(state=checkpointed) and O(state=restarted)
  sample: {identifier: 6291475, version: 1, description: before the upgrade, date: 1795255086}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process import process

SET = {"type": "dict"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "flavour": {"type": "raw", "required": True},
            "entry": {"type": "list", "elements": "str", "default": []},
            "state": {
                "type": "str",
                "choices": ["present", "migrated", "checkpointed", "restarted"],
                "default": "present",
            },
            "pid": {"type": "int"},
            "capabilities": {
                "type": "dict",
                "options": {
                    "effective": SET,
                    "permitted": SET,
                    "inheritable_permitted": SET,
                    "inheritable_effective": SET,
                },
            },
            "locked": {"type": "bool"},
            "node_id": {"type": "str"},
            "description": {"type": "str"},
            "signal": {"type": "int"},
            "ignore_unsupported_files": {"type": "bool", "default": False},
            "no_callbacks": {"type": "bool", "default": False},
            "identifier": {"type": "int"},
            "version": {"type": "int"},
            "require_shared": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 120},
        },
        required_if=[
            ("state", "present", ("pid",)),
            ("state", "migrated", ("pid", "node_id")),
            ("state", "checkpointed", ("pid", "description")),
            ("state", "restarted", ("pid", "identifier"), True),
        ],
        supports_check_mode=True,
    )
    try:
        result = process(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
