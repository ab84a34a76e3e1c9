#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: environment
short_description: Register environments, derive them from others, hold and remove them
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - An environment is a description, in Kadeploy's terms, of an image and of how to boot it, known by name, version and owner.
  - The description is merged from O(base), the image file, O(src) or O(content), and O(description), each over the one before,
    then checked as Kadeploy checks it. Every fault is named at once, before anything is written.
  - "A registry of kind V(directory) has C(environments/OWNER/NAME/VERSION.yml) in Kadeploy's current YAML, and each image once,
    under its sha256. A version appears by one rename, when its image is complete: who reads sees all of it or nothing, and a
    kill on the way leaves what was there before. The next run collects what the killed one left."
  - "A registry of kind V(kadeploy) changes visibility and destructiveness in place. Anything else is a new version, or, with
    O(on_change=replace), is deleted and added, which leaves none if the module is killed in between, until the next run. An
    environment that is as it should be has the checksums of its files brought up to date, before a deployment fails on them."
  - The highest version is the default everywhere. To go back to an earlier one, register it anew (see the examples), so that the
    registry tells what happened, and nodes and servers that know nothing of it boot the right one.
extends_documentation_fragment: [oneimage.cluster._attributes, oneimage.cluster._registry]
options:
  state:
    description:
      - V(present) makes sure that the environment is there. If its highest version (or O(version)) says the same, nothing
        happens. If it differs in visibility or destructiveness only, it is changed in place. Else see O(on_change).
      - V(absent) removes O(version), or all versions. Refused, naming the holders, while one of them is in use.
      - V(held) notes that O(holder) uses a version, so that it is not removed or replaced; V(released) ends that.
    type: str
    choices: [present, absent, held, released]
    default: present
  name:
    description: The environment's name. Without it, that of O(description), of O(content) or of O(base).
    type: str
  version:
    description:
      - The version that is meant. Without it, and without one in O(description) or O(content), the highest, and a change makes
        the next one, from 1 on.
    type: int
  owner:
    description:
      - The environment's owner. Without it O(registry.user), else the user that runs the module. V(kadeploy) records
        environments for these only.
    type: str
  visibility:
    description:
      - V(public) is found by everybody under its name, V(shared) by who names the owner, V(private) by its owner.
      - A private description, and a private image, is readable by its owner and root only.
      - V(private) without it, or what O(description), O(content) or an earlier version under O(base) says.
    type: str
    choices: [public, shared, private]
  base:
    description:
      - The environment to derive from, C(NAME), C(NAME@OWNER), C(NAME:VERSION) or C(NAME@OWNER:VERSION%ARCH). Without a version
        the highest; without an owner one's own, else a public one.
      - Its version is never inherited, its visibility and alias only by another version of itself.
    type: str
  src:
    description:
      - File with a description on the controller, relative to C(files/), in any format. Of several versions in it the highest
        is taken.
    type: path
  content:
    description: The text of such a file. Excludes O(src).
    type: str
  format:
    description: What O(src) or O(content) is written for. V(auto) tells it by its fields.
    type: str
    choices: [auto, kadeploy2, "3.1", "3.3", current]
    default: auto
  description:
    description:
      - Fields of Kadeploy's current YAML. Mappings merge with what is below, anything else replaces it, null removes it.
      - Unknown fields are kept, with a warning.
    type: dict
  image:
    description:
      - The image file, on the host that the module runs on. Kind, compression and checksums come from the manifest beside it,
        which M(oneimage.cluster.image_archive) writes, else from its name and its bytes.
    type: path
  store_image:
    description:
      - Whether the registry keeps a copy of O(image), with manifest and signatures, and describes that. Blocks are shared where
        the file system can. Otherwise, and always for V(kadeploy), C(image.file) of the description is left, and O(image) only
        tells what to expect there.
    type: bool
    default: true
  on_change:
    description: What to do if the environment is there and differs. V(replace) is refused while the version is in use.
    type: str
    choices: [new_version, replace]
    default: new_version
  keep:
    description: How many of the highest versions to leave, 1 at least. Others go, unless in use. All are left without it.
    type: int
  collect:
    description: Whether images that no description names any more are removed from a registry of kind V(directory).
    type: bool
    default: true
  check_image:
    description:
      - Whether the image is looked into before it is registered. Kernel, initrd and hypervisor must be files inside, kind,
        compression and architecture as described. An image that is not on this host gives a warning.
    type: bool
    default: true
  check_url:
    description: Whether an image described by its URL must answer there, with its size if that is known.
    type: bool
    default: true
  check_url_content:
    description: Whether O(check_url) downloads the image, and compares its checksums.
    type: bool
    default: false
  holder:
    description: What uses the environment, for example V(deployment 42). Mandatory for O(state=held) and O(state=released).
    type: str
seealso:
  - module: oneimage.cluster.environment_info
  - module: oneimage.cluster.image_archive
  - plugin: oneimage.cluster.environment_convert
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Register an image that was captured
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    name: debian12-mine
    owner: alice
    image: /srv/images/debian12-mine.tar.zst
    description:
      os: linux
      boot: {kernel: /vmlinuz, initrd: /initrd.img, kernel_params: console=ttyS0}
      filesystem: ext4
      partition_type: 0x83

- name: Derive from the latest version of a public one, and leave three versions
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
      url: http://boot.example.org/registry
    base: debian12-min@deploy
    name: debian12-verbose
    visibility: shared
    keep: 3
    description:
      description: Debian 12 that says what it does
      boot: {kernel_params: debug}

- name: Go back to version 3, which becomes the highest version again
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    owner: alice
    base: debian12-mine@alice:3

- name: Take over an environment of Kadeploy 3.1 whose image stays where it is
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    src: squeeze-x64-base.dsc
    check_image: false

- name: Keep a version from being removed while nodes boot it
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    name: debian12-mine
    owner: alice
    version: 3
    state: held
    holder: boot entry of cluster c1

- name: Register it with Kadeploy too, from its frontend
  oneimage.cluster.environment:
    registry:
      kind: kadeploy
    name: debian12-mine
    description:
      os: linux
      image: {file: http://public.site1.example.org/~alice/debian12-mine.tar.gz, kind: tar, compression: gzip}
      boot: {kernel: /vmlinuz, initrd: /initrd.img}
      filesystem: ext4
      partition_type: 0x83

- name: Share it, through the REST API
  oneimage.cluster.environment:
    registry:
      kind: kadeploy
      url: https://kadeploy.site1.example.org:25300
      user: alice
      password: "{{ kadeploy_password }}"
    base: debian12-mine@alice
    visibility: shared

- name: Remove all versions
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    name: debian12-verbose
    state: absent
"""

RETURN = r"""
action:
  description:
    - What was done, V(created) for a new version, V(altered) for visibility or destructiveness, V(replaced), V(removed), V(held),
      V(released), V(refreshed) for checksums that Kadeploy keeps, V(none).
  type: str
  returned: success
  sample: created
owner:
  description: The owner. Null for O(state=absent), as are name, version, file and description.
  type: str
  returned: success
  sample: alice
name:
  description: The name.
  type: str
  returned: success
  sample: debian12-mine
version:
  description: The version that is, or became, the right one.
  type: int
  returned: success
  sample: 4
file:
  description: The file that holds the description. Null for V(kadeploy).
  type: str
  returned: success
  sample: /srv/oneimage/registry/environments/alice/debian12-mine/4.yml
description:
  description: The complete description. Its C(oneimage) has size and checksums of the image, owner and base.
  type: dict
  returned: success
  sample: {name: debian12-mine, version: 4, visibility: private, destructive: false, os: linux}
holders:
  description: What uses this version.
  type: list
  elements: str
  returned: success
  sample: [boot entry of cluster c1]
differences:
  description: Fields in which the version that was there differed.
  type: list
  elements: str
  returned: success
  sample: [boot/kernel_params, oneimage/sha256]
removed:
  description: Versions that were removed.
  type: list
  elements: str
  returned: success
  sample: ["debian12-mine@alice:1"]
refreshed:
  description: Whose checksum Kadeploy was told to note anew, V(image), V(preinstall) or V(postinstalls).
  type: list
  elements: str
  returned: for O(state=present)
  sample: [image]
collected:
  description: Files of images that were removed, since no description names them.
  type: list
  elements: str
  returned: success
  sample: [/srv/oneimage/registry/images/0f343b0931126a20f133d67c2b018a3b94b3a5ae9b0b0d1a4a5f3b0c2f0e1d2c.tar.zst]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._environment import REGISTRY_SPEC, apply
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["present", "absent", "held", "released"],
                "default": "present",
            },
            "registry": {"type": "dict", "required": True, "options": REGISTRY_SPEC},
            "name": {"type": "str"},
            "version": {"type": "int"},
            "owner": {"type": "str"},
            "visibility": {"type": "str", "choices": ["public", "shared", "private"]},
            "base": {"type": "str"},
            "src": {"type": "path"},
            "content": {"type": "str"},
            "format": {
                "type": "str",
                "choices": ["auto", "kadeploy2", "3.1", "3.3", "current"],
                "default": "auto",
            },
            "description": {"type": "dict"},
            "image": {"type": "path"},
            "store_image": {"type": "bool", "default": True},
            "on_change": {"type": "str", "choices": ["new_version", "replace"], "default": "new_version"},
            "keep": {"type": "int"},
            "collect": {"type": "bool", "default": True},
            "check_image": {"type": "bool", "default": True},
            "check_url": {"type": "bool", "default": True},
            "check_url_content": {"type": "bool", "default": False},
            "holder": {"type": "str"},
        },
        mutually_exclusive=[("src", "content")],
        supports_check_mode=True,
    )
    try:
        if module.params["src"]:
            raise ClusterError(
                "src was not read: call the module by its full name oneimage.cluster.environment"
            )
        result = apply(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
