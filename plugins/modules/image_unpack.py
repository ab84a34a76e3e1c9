#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_unpack
short_description: Unpack a tar image into a root that nodes can boot from
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Unpacks a tar image into a folder that does not exist yet, with owners, extended attributes, ACLs and capabilities.
  - The image is verified and its list of members is checked first. Absolute paths, paths that lead out of the folder,
    also by way of links, and devices outside C(/dev) are refused before anything is written.
  - The folder appears by one rename when it is complete. A run that fails or is killed leaves nothing at O(dest).
  - A folder that was unpacked from another image is never replaced, since nodes may run from it. Give each image a folder
    of its own, such as one named by the image's sha256. C(.NAME.image.json) beside the folder tells which image it was.
requirements:
  - GNU tar 1.29 or newer, util-linux 2.33 or newer, the program of the compression
  - root
options:
  src:
    description: The image.
    type: path
    required: true
  dest:
    description: The folder.
    type: path
    required: true
  sha256:
    description: SHA-256 that the image must have. That of a manifest beside it is compared anyway.
    type: str
  signature:
    description: Unpack only with a good signature beside the image.
    type: dict
    suboptions:
      tool:
        description: Program that verifies it.
        type: str
        choices: [gpg, minisign]
        required: true
      key:
        description: File of the public key; for gpg a keyring or an exported key.
        type: path
        required: true
  devices:
    description: Where the image may have device files, only in C(/dev) or anywhere.
    type: str
    choices: [dev, any]
    default: dev
extends_documentation_fragment: [oneimage.cluster._attributes]
seealso:
  - module: oneimage.cluster.image_archive
  - module: oneimage.cluster.image_info
"""

EXAMPLES = r"""
- name: Read an image
  oneimage.cluster.image_info:
    path: /srv/images/compute.tar.zst
  register: image

- name: Unpack it as a root for diskless nodes
  oneimage.cluster.image_unpack:
    src: /srv/images/compute.tar.zst
    dest: /srv/oneimage/roots/compute/{{ image.sha256[:12] }}
    sha256: "{{ image.sha256 }}"
"""

RETURN = r"""
path:
  description: The folder.
  type: str
  returned: success
  sample: /srv/oneimage/roots/compute/4fbc8d900211
sha256:
  description: SHA-256 of the image.
  type: str
  returned: success
  sample: 4fbc8d900211e6a001f4a0fc4c785d52216aa1ccedec2eeacf87ed345c496a0d
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_unpack import carry_out, make_plan

OPTIONS = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "sha256": {"type": "str"},
    "signature": {
        "type": "dict",
        "options": {
            "tool": {"type": "str", "choices": ["gpg", "minisign"], "required": True},
            # the file of a public key
            "key": {"type": "path", "required": True, "no_log": False},
        },
    },
    "devices": {"type": "str", "choices": ["dev", "any"], "default": "dev"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        plan = make_plan(module.params)
        if plan.changed and not module.check_mode:
            carry_out(plan)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    shown = {"diff": {"before": "", "after": f"{plan.dest} from {plan.image} ({plan.sha256})\n"}}
    module.exit_json(
        changed=plan.changed,
        path=str(plan.dest),
        sha256=plan.sha256,
        **(shown if plan.changed and module._diff else {}),
    )


if __name__ == "__main__":
    main()
