#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_image
short_description: Put a kernel and its initrds into the boot tree
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Copies a kernel and the initrds that were made for it into a folder C(images/NAME-VERSION) of the boot tree, where boot
    entries name them.
  - C(VERSION) is the first 12 digits of a checksum of all the files. Other files make another folder beside it, so that
    nodes which boot meanwhile never get a kernel with the initrd of another one.
  - The folder appears by one rename, with everything in it.
options:
  directory:
    description: The boot tree, what TFTP and HTTP serve. Made if it is missing.
    type: path
    required: true
  name:
    description: The name of the image.
    type: str
    required: true
  kernel:
    description: The bootable kernel, which is called C(vmlinuz) in the image.
    type: path
    required: true
  initrds:
    description: The initrds by name; each is called C(initrd-) and its name in the image.
    type: dict
    default: {}
extends_documentation_fragment: [oneimage.cluster._attributes]
seealso:
  - module: oneimage.cluster.boot_entry
  - module: oneimage.cluster.kernel_build
  - module: oneimage.cluster.initrd
notes:
  - Images of other versions stay; somebody may boot them.
"""

EXAMPLES = r"""
- name: Publish what was built
  oneimage.cluster.boot_image:
    directory: /srv/oneimage/boot
    name: multisite
    kernel: /var/cache/oneimage/kernels/multisite/build/arch/x86/boot/bzImage
    initrds:
      native: /var/cache/oneimage/kernels/multisite/root/boot/initrd-native
  register: image

- name: Let the nodes boot it
  oneimage.cluster.boot_entry:
    directory: /srv/oneimage/boot
    base_url: http://10.0.0.1/
    entries:
      - name: "{{ image.image_id }}"
        kernel: "{{ image.kernel }}"
        initrd: ["{{ image.initrds.native }}"]
        parameters: [root=/dev/nfs, "nfsroot=10.0.0.1:/srv/root,vers=3", ip=dhcp, ro]
    default: {entry: "{{ image.image_id }}"}
"""

RETURN = r"""
image_id:
  description: The image id.
  type: str
  returned: success
  sample: multisite-3f2a91c07be4
folder:
  description: The folder below the boot tree.
  type: str
  returned: success
  sample: images/multisite-3f2a91c07be4
kernel:
  description: The kernel below the boot tree, as O(oneimage.cluster.boot_entry#module:entries) takes it.
  type: str
  returned: success
  sample: images/multisite-3f2a91c07be4/vmlinuz
initrds:
  description: The initrds below the boot tree by name.
  type: dict
  returned: success
  sample: {native: images/multisite-3f2a91c07be4/initrd-native}
digests:
  description: The SHA-256 sums of the files by their names in the folder.
  type: dict
  returned: success
  sample: {vmlinuz: 0c6f1b7c5a4c3b2a190817263544536271809facebead0016f0d3f2a8f9d9d2f}
reason:
  description: Why it was published, null where it is there already.
  type: str
  returned: success
  sample: /srv/oneimage/boot/images/multisite-3f2a91c07be4 does not exist
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_image import (
    difference,
    make_plan,
    publish,
    result,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

OPTIONS = {
    "directory": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "kernel": {"type": "path", "required": True},
    "initrds": {"type": "dict", "default": {}},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    given = module.params
    try:
        plan = make_plan(Path(given["directory"]), given["name"], Path(given["kernel"]), given["initrds"])
        reason = plan.reason()
        shown = {"diff": difference(plan)} if reason and module._diff else {}
        if reason and not module.check_mode:
            publish(plan)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result(plan, reason), **shown)


if __name__ == "__main__":
    main()
