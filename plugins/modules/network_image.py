#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_image
short_description: Put kernel, initrd and kernel parameters into one file that boots from the network
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes one file for firmware and loaders that take no more than one. DHCP names it as the boot file, and there is neither a
    loader's configuration nor a second download.
  - V(uki) is a unified kernel image, a program for UEFI. The firmware itself starts it, by TFTP, HTTP or from a disk. One
    signature then covers kernel, initrd and parameters, which Secure Boot proves before it starts them.
  - V(multiboot) is an ELF program after the Multiboot Specification, for loaders on PC BIOS such as iPXE, GRUB and
    C(mboot.c32) of SYSLINUX. It does what Etherboot's C(mknbi-linux) did.
  - The same inputs make the same bytes, so the image is simply made again, in memory, and published by one rename where it
    differs. Signatures hold the time. A signed image stays while its parts are the same and O(signing_certificate) verifies it.
  - Refuses a kernel that the format cannot boot, an initrd that is damaged or for another kernel, and parameters that are
    longer than the kernel reads.
requirements:
  - binutils, for V(multiboot) those of an x86 host
  - for V(uki), the stub of systemd (Debian package systemd-boot-efi)
  - for O(signing_key), sbsigntool
options:
  path:
    description: Where the image goes. Its folder must exist.
    type: path
    required: true
  format:
    description: What the image is.
    type: str
    choices: [uki, multiboot]
    default: uki
  kernel:
    description: The kernel for x86, a C(bzImage). V(uki) needs its EFI stub, V(multiboot) Linux 2.6.31 or later.
    type: path
    required: true
  initrd:
    description: The initrds, in the order in which the kernel unpacks them.
    type: list
    elements: path
    default: []
  parameters:
    description:
      - The kernel parameters, as O(oneimage.cluster.boot_entry#module:entries[].parameters) has them.
      - All nodes that boot the image get the same ones, and C(BOOTIF) is not among them, since no loader adds it.
    type: list
    elements: str
    default: []
  os_release:
    description: The C(os-release) of the root, for V(uki). Boot menus show its name.
    type: path
  stub:
    description: The EFI stub for V(uki).
    type: path
    default: /usr/lib/systemd/boot/efi/linuxx64.efi.stub
  signing_key:
    description: PEM file on the target host with the private key, not encrypted, that signs V(uki) for Secure Boot.
    type: path
  signing_certificate:
    description: PEM file with the certificate of O(signing_key). The firmware's C(db) or shim's MOK list must hold it.
    type: path
extends_documentation_fragment:
  - oneimage.cluster._attributes
  - ansible.builtin.files
seealso:
  - module: oneimage.cluster.boot_entry
  - module: oneimage.cluster.initrd
  - module: oneimage.cluster.netboot_check
"""

EXAMPLES = r"""
- name: One file for UEFI machines that boot without a loader
  oneimage.cluster.network_image:
    path: /srv/oneimage/boot/compute.efi
    kernel: /srv/oneimage/boot/images/compute-3f2a91c07be4/vmlinuz
    initrd: [/srv/oneimage/boot/images/compute-3f2a91c07be4/initrd-native]
    os_release: /srv/oneimage/roots/compute/3f2a91c07be4/usr/lib/os-release
    parameters:
      - ip=dhcp
      - root=/dev/nfs
      - nfsroot=10.77.0.1:/srv/oneimage/roots/compute/3f2a91c07be4,vers=3
      - ro
      - console=ttyS0

- name: The same for machines with Secure Boot
  oneimage.cluster.network_image:
    path: /srv/oneimage/boot/compute-signed.efi
    kernel: /srv/oneimage/boot/images/compute-3f2a91c07be4/vmlinuz
    initrd: [/srv/oneimage/boot/images/compute-3f2a91c07be4/initrd-native]
    parameters: [ip=dhcp, "nfsroot=10.77.0.1:/srv/oneimage/roots/compute/3f2a91c07be4,vers=3", ro]
    signing_key: /etc/oneimage/secure-boot.key
    signing_certificate: /etc/oneimage/secure-boot.pem

- name: One file for iPXE on PC BIOS
  oneimage.cluster.network_image:
    path: /srv/oneimage/boot/compute.elf
    format: multiboot
    kernel: /srv/oneimage/boot/images/compute-3f2a91c07be4/vmlinuz
    initrd: [/srv/oneimage/boot/images/compute-3f2a91c07be4/initrd-native]
    parameters: [ip=dhcp, "nfsroot=10.77.0.1:/srv/oneimage/roots/compute/3f2a91c07be4,vers=3", ro]
"""

RETURN = r"""
file:
  description: The image.
  returned: success
  type: str
  sample: /srv/oneimage/boot/compute.efi
format:
  description: What it is.
  returned: success
  type: str
  sample: uki
sha256:
  description: Its SHA-256 sum; null in check mode where it would be signed.
  returned: success
  type: str
  sample: 5f0d3f2a8f9d9d2f1b0c6f1b7c5a4c3b2a190817263544536271809facebead0
image_size:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 18237952
kernel_version:
  description: The release of its kernel, as C(uname -r) will print it.
  returned: success
  type: str
  sample: 6.1.0-50-amd64
parameters:
  description: Its kernel command line.
  returned: success
  type: str
  sample: ip=dhcp root=/dev/nfs nfsroot=10.77.0.1:/srv/oneimage/roots/compute/3f2a91c07be4,vers=3 ro
signed:
  description: Whether it is signed.
  returned: success
  type: bool
  sample: false
reason:
  description: Why it was made, null where there was nothing to do.
  returned: success
  type: str
  sample: /srv/oneimage/boot/compute.efi does not exist
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.413
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._network_image import (
    FORMATS,
    ImageRequest,
    ensure_image,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "format": {"type": "str", "choices": list(FORMATS), "default": "uki"},
            "kernel": {"type": "path", "required": True},
            "initrd": {"type": "list", "elements": "path", "default": []},
            "parameters": {"type": "list", "elements": "str", "default": []},
            "os_release": {"type": "path"},
            "stub": {"type": "path", "default": "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"},
            "signing_key": {"type": "path", "no_log": False},
            "signing_certificate": {"type": "path"},
        },
        required_together=[("signing_key", "signing_certificate")],
        add_file_common_args=True,
        supports_check_mode=True,
    )
    options = module.params
    request = ImageRequest(
        path=Path(options["path"]),
        format=options["format"],
        kernel=Path(options["kernel"]),
        initrd=[Path(path) for path in options["initrd"]],
        parameters=options["parameters"],
        os_release=Path(options["os_release"]) if options["os_release"] else None,
        stub=Path(options["stub"]),
        signing_key=Path(options["signing_key"]) if options["signing_key"] else None,
        signing_certificate=Path(options["signing_certificate"]) if options["signing_certificate"] else None,
        diff=module._diff,
    )
    try:
        result = ensure_image(request, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if result["diff"] is None:
        del result["diff"]
    if request.path.exists():
        attributes = module.load_file_common_arguments(options)
        result["changed"] = module.set_fs_attributes_if_different(attributes, result["changed"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
