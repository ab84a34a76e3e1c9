#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_environment
short_description: Build the small system in RAM from which nodes are deployed
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Builds one initrd that is a whole system. It brings a NIC up, fetches the public keys of its deployment, starts an
    ssh server, and holds what is needed to partition disks, to make file systems, to unpack images with all their
    attributes, to install bootloaders and to start another kernel.
  - Its programs are those of a root, such as one that M(oneimage.cluster.root_tree) made, each with its shared libraries.
    Its kernel modules are the drivers of NICs and disks, and the file systems, of the kernel that will boot it.
  - The same inputs make the same bytes, so it is simply built again, which takes about a second, and published where it
    differs. A missing program, library or kernel module is an error, and the old file stays.
  - "Kernel parameters that it reads, besides C(ip=), C(BOOTIF=), C(oneimage.report=) and the time limits of the native
    initrd (M(oneimage.cluster.initrd)):"
  - C(oneimage.deploy=URL), the deployment's folder by plain HTTP. C(URL/authorized_keys) holds the keys that open the
    ssh server on port 22. There are no passwords; the server's own key is made at each boot.
  - It reports the stages C(initrd) and C(deploy), and leaves the same facts in C(/run/oneimage/) as the native initrd.
requirements:
  - a static busybox (Debian package busybox-static), in O(programs_root) or on the host that builds
  - zstd, or igzip, pigz or gzip
options:
  path:
    description: Where the environment goes. Its folder must exist.
    type: path
    required: true
  root:
    description: The tree that holds C(/lib/modules/VERSION) of the kernel that will boot it.
    type: path
    default: /
  programs_root:
    description:
      - The tree that the programs are taken from. O(root) unless given.
      - "It needs the Debian packages bzip2, curl, dosfstools, dash, dropbear-bin, e2fsprogs, fdisk, gzip, tar,
        util-linux, xz-utils and zstd. Taken along where they are there: btrfs-progs, efibootmgr, extlinux, kexec-tools, parted,
        pigz and xfsprogs; for bootloaders, syslinux-common and grub-efi-amd64-bin."
    type: path
  kernel_version:
    description:
      - The kernel, as its folder below C(/lib/modules) is called.
      - The only one in O(root) unless given.
    type: str
  modules:
    description:
      - The drivers of the nodes' NICs and disk controllers, and any other kernel module that must be inside. Each must exist.
      - Those of the usual server and virtual hardware that the kernel has, unless given.
    type: list
    elements: str
  programs:
    description: More programs that must be inside, by name or by path in O(programs_root), such as C(aria2c).
    type: list
    elements: str
    default: []
  compression:
    description:
      - V(auto) takes zstd, else gzip, else none, whichever the kernel's configuration in O(root) says it can unpack;
        without a configuration there, gzip.
      - One that the kernel cannot unpack is refused.
    type: str
    choices: [auto, gzip, zstd, none]
    default: auto
  firmware:
    description: Whether to take along the firmware that the modules name, as far as O(root) has it.
    type: bool
    default: true
  busybox:
    description: A static busybox. C(/bin/busybox) of O(programs_root) unless given, or this host's where that is not static.
    type: path
extends_documentation_fragment:
  - oneimage.cluster._attributes
  - ansible.builtin.files
seealso:
  - module: oneimage.cluster.initrd
  - module: oneimage.cluster.root_tree
"""

EXAMPLES = r"""
- name: Build the environment from a root that holds its kernel and its programs
  oneimage.cluster.deployment_environment:
    path: /srv/oneimage/boot/images/deploy/initrd
    root: /srv/oneimage/roots/deploy/current

- name: Build a small one for one cluster's hardware, which can join a BitTorrent swarm
  oneimage.cluster.deployment_environment:
    path: /srv/oneimage/boot/images/deploy/initrd-paradent
    root: /srv/oneimage/roots/deploy/current
    modules: [e1000e, ahci]
    programs: [aria2c]
"""

RETURN = r"""
file:
  description: The environment.
  returned: success
  type: str
  sample: /srv/oneimage/boot/images/deploy/initrd
sha256:
  description: Its SHA-256 sum.
  returned: success
  type: str
  sample: 5f0d3f2a8f9d9d2f1b0c6f1b7c5a4c3b2a190817263544536271809facebead0
bytes:
  description: Its size, which is what each node fetches.
  returned: success
  type: int
  sample: 22815457
unpacked_bytes:
  description: What it holds, which is the RAM that it takes on a node.
  returned: success
  type: int
  sample: 55269788
kernel_version:
  description: The kernel that it is for.
  returned: success
  type: str
  sample: 6.1.0-50-amd64
compression:
  description: How it is compressed.
  returned: success
  type: str
  sample: zstd
compressor:
  description: The program that compressed it.
  returned: success
  type: str
  sample: zstd
modules:
  description: The kernel modules inside, in an order in which they can be loaded.
  returned: success
  type: list
  elements: str
  sample: [virtio, virtio_ring, virtio_blk]
builtin:
  description: What was asked for and is built into the kernel.
  returned: success
  type: list
  elements: str
  sample: [ext4]
programs:
  description: The programs inside, besides those of busybox.
  returned: success
  type: list
  elements: str
  sample: [curl, dropbear, sfdisk, tar]
missing_firmware:
  description: Firmware that the modules name and the root does not have; many drivers work without.
  returned: success
  type: list
  elements: str
  sample: [tigon/tg3.bin]
reason:
  description: Why it was built, null where there was nothing to do.
  returned: success
  type: str
  sample: /srv/oneimage/boot/images/deploy/initrd does not exist
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 1.392
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_environment import (
    EnvironmentRequest,
    ensure_environment,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "root": {"type": "path", "default": "/"},
            "programs_root": {"type": "path"},
            "kernel_version": {"type": "str"},
            "modules": {"type": "list", "elements": "str"},
            "programs": {"type": "list", "elements": "str", "default": []},
            "compression": {"type": "str", "choices": ["auto", "gzip", "zstd", "none"], "default": "auto"},
            "firmware": {"type": "bool", "default": True},
            "busybox": {"type": "path"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    options = module.params
    request = EnvironmentRequest(
        path=Path(options["path"]),
        root=Path(options["root"]),
        programs_root=Path(options["programs_root"] or options["root"]),
        kernel_version=options["kernel_version"],
        modules=options["modules"],
        programs=options["programs"],
        compression=options["compression"],
        firmware=options["firmware"],
        busybox=Path(options["busybox"]) if options["busybox"] else None,
        diff=module._diff,
    )
    try:
        result = ensure_environment(request, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if not (request.diff and result["changed"]):
        del result["diff"]
    if request.path.exists():
        attributes = module.load_file_common_arguments(options)
        result["changed"] = module.set_fs_attributes_if_different(attributes, result["changed"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
