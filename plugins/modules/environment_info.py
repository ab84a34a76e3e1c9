#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_info
short_description: List, look up and verify environments
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Shows the environments of a registry as a user sees them, by Kadeploy's rules. Without O(owner) one's own, and others' public
    ones. With it, that user's public and shared ones. The highest version of each, unless told otherwise.
  - In the order of Kadeploy, public, private, shared, then by name.
  - Descriptions that cannot be read, or describe something else than their place says, are left out with a warning.
extends_documentation_fragment: [oneimage.cluster._attributes.info, oneimage.cluster._registry]
options:
  name:
    description:
      - A name is looked up as a deployment does, so that one's own environment hides others' public ones.
      - With C(%) in it, which stands for any text, it is a pattern that lists all that fit, as the list without a name does.
    type: str
  owner:
    description: Only environments of this user.
    type: str
  user:
    description: Who asks. O(owner) without it, so that all of his own is shown, else O(registry.user), else the user
      that runs the module.
    type: str
  version:
    description: Only this version.
    type: int
  arch:
    description: Only environments for this architecture.
    type: str
  all_versions:
    description: Whether all versions are shown, and not only the highest of each.
    type: bool
    default: false
  verify:
    description:
      - Whether the images are read, and compared with the checksums and sizes in the descriptions. An image that is described by
        its URL is downloaded.
      - Of a registry of kind V(kadeploy), whether the files are those whose checksums it noted, as O(registry.notes) tell. What
        they do not tell is a problem too.
    type: bool
    default: false
seealso:
  - module: oneimage.cluster.environment
"""

EXAMPLES = r"""
- name: What would be deployed by this name
  oneimage.cluster.environment_info:
    registry:
      path: /srv/oneimage/registry
    name: debian12-min
  register: found

- name: Every version of everything that deploy shares
  oneimage.cluster.environment_info:
    registry:
      path: /srv/oneimage/registry
    owner: deploy
    user: alice
    all_versions: true

- name: Read all images, and fail if a byte has changed
  oneimage.cluster.environment_info:
    registry:
      path: /srv/oneimage/registry
    all_versions: true
    verify: true
  register: verified
  failed_when: verified.environments | rejectattr('verified') | length > 0
"""

RETURN = r"""
environments:
  description: The environments.
  type: list
  elements: dict
  returned: success
  contains:
    owner: {description: The owner., type: str, sample: alice}
    name: {description: The name., type: str, sample: debian12-mine}
    version: {description: The version., type: int, sample: 4}
    visibility: {description: "V(public), V(shared) or V(private).", type: str, sample: private}
    description:
      description: The complete description, in the shape of Kadeploy's current YAML.
      type: dict
      sample: {name: debian12-mine, version: 4, os: linux}
    text: {description: The same as YAML., type: str, sample: "---\nname: debian12-mine\n..."}
    file:
      description: The file that holds the description.
      type: str
      sample: /srv/oneimage/registry/environments/alice/debian12-mine/4.yml
    image:
      description: The image in the registry, null if it is kept elsewhere.
      type: str
      sample: /srv/oneimage/registry/images/private/alice/0f343b0931126a20f133d67c2b018a3b94b3a5ae9b0b0d1a4a5f3b0c2f0e1d2c.tar.zst
    holders: {description: What uses it., type: list, elements: str, sample: [deployment 42]}
    verified: {description: Whether the image is as described. Null without O(verify)., type: bool, sample: true}
    problems:
      description: What is wrong with the image.
      type: list
      elements: str
      sample: ["image /srv/x.tgz: size is 5, promised is 14267"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._environment import REGISTRY_SPEC
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_info import look
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": REGISTRY_SPEC},
            "name": {"type": "str"},
            "owner": {"type": "str"},
            "user": {"type": "str"},
            "version": {"type": "int"},
            "arch": {"type": "str"},
            "all_versions": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
