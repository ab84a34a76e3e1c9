#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_info
short_description: Read and verify any image
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Says what an image file is and holds, whatever its name and whoever made it, and whether it is what was promised.
  - An image with a manifest that its checksum proves is not read again. Any other one is decompressed as a stream; its
    members are never unpacked, and memory grows with their number only.
  - The files of a raw image with ext2, ext3 or ext4 are read by debugfs from a scratch file without a name, which takes
    as much room as its used blocks.
  - Fails for what cannot be read, is corrupt or cut off. What does not fit a promise is told in RV(problems).
requirements:
  - util-linux 2.33 or newer, the program of the compression
  - debugfs of e2fsprogs, for the files of raw images
  - gpgv or minisign, for signatures
options:
  path:
    description: The image.
    type: path
    required: true
  verify:
    description: Whether its checksums are computed and compared with the manifest and with O(sha256) and O(md5).
    type: bool
    default: true
  scan:
    description: Whether it is read even though its manifest is proven.
    type: bool
    default: false
  kernel:
    description: Path that must be a file in the image, links followed inside it.
    type: str
  initrd:
    description: Path that must be a file in the image, links followed inside it.
    type: str
  size:
    description: Bytes that the image must have.
    type: int
  sha256:
    description: SHA-256 that the image must have.
    type: str
  md5:
    description: MD5 that the image must have, as descriptions of environments carry it.
    type: str
  keys:
    description: Files of public keys. With one, a good signature of that tool must lie beside the image.
    type: dict
    default: {}
    suboptions:
      gpg:
        description: Keyring or exported key, verifies C(PATH.asc) or C(PATH.sig).
        type: path
      minisign:
        description: Public key, verifies C(PATH.minisig).
        type: path
extends_documentation_fragment: [oneimage.cluster._attributes.info]
seealso:
  - module: oneimage.cluster.image_archive
"""

EXAMPLES = r"""
- name: See whether an image can be deployed as it is described
  oneimage.cluster.image_info:
    path: /srv/images/compute.tgz
    kernel: /vmlinuz
    initrd: /initrd.img
    md5: 9d5ed678fe57bcca610140957afab571
  register: image
  failed_when: not image.valid

- name: Verify who signed an image
  oneimage.cluster.image_info:
    path: /srv/images/compute.tar.zst
    keys:
      minisign: /etc/oneimage/minisign.pub
"""

RETURN = r"""
path:
  description: The image.
  type: str
  returned: success
  sample: /srv/images/compute.tgz
valid:
  description: Whether there are no problems.
  type: bool
  returned: success
  sample: true
problems:
  description: What is not as it was promised, or not safe.
  type: list
  elements: str
  returned: success
  sample: ["the kernel /boot/bzImage is not in the image; it holds /boot/vmlinuz-6.1.0-56-amd64"]
verified:
  description: Whether checksums were computed and there was something that proved them right.
  type: bool
  returned: success
  sample: true
kind:
  description: V(tar) or V(dd).
  type: str
  returned: success
  sample: tar
compression:
  description: V(gzip), V(zstd), V(xz), V(bzip2) or V(none).
  type: str
  returned: success
  sample: gzip
size:
  description: Bytes of the image.
  type: int
  returned: success
  sample: 232783872
uncompressed_size:
  description: Bytes of the archive or raw stream in it.
  type: int
  returned: success
  sample: 756350976
partition_size:
  description: Bytes that the target device must have at least; none for kind V(tar).
  type: int
  returned: success
  sample: 4294967296
sha256:
  description: SHA-256, none where it was not computed and no manifest says it.
  type: str
  returned: success
  sample: 4fbc8d900211e6a001f4a0fc4c785d52216aa1ccedec2eeacf87ed345c496a0d
md5:
  description: MD5, none where it was not computed and no manifest says it.
  type: str
  returned: success
  sample: 9d5ed678fe57bcca610140957afab571
manifest:
  description: The manifest beside the image as it is, none where there is none.
  type: dict
  returned: success
  sample: null
architecture:
  description: Architecture of the programs in the image, as C(uname -m) says it; none where none was found.
  type: str
  returned: success
  sample: x86_64
distribution:
  description: The fields C(id), C(version_id) and C(pretty_name) of os-release; none where there is none.
  type: dict
  returned: success
  sample: {id: debian, version_id: "12", pretty_name: Debian GNU/Linux 12 (bookworm)}
kernels:
  description: Kernels in C(/boot) and C(/), links among them, and their versions.
  type: list
  elements: dict
  returned: success
  sample: [{path: /boot/vmlinuz-6.1.0-56-amd64, version: 6.1.0-56-amd64}]
initrds:
  description: Initrds in C(/boot) and C(/), links among them, and the versions in their names.
  type: list
  elements: dict
  returned: success
  sample: [{path: /boot/initrd.img-6.1.0-56-amd64, version: 6.1.0-56-amd64}]
kernel:
  description: Whether O(kernel) is in the image; C(found) is none where nobody can tell. None without O(kernel).
  type: dict
  returned: success
  sample: {path: /vmlinuz, found: true, version: 6.1.0-56-amd64}
initrd:
  description: As RV(kernel), for O(initrd).
  type: dict
  returned: success
  sample: {path: /initrd.img, found: true, version: 6.1.0-56-amd64}
signatures:
  description: The signatures beside the image; C(good) is none without a key in O(keys).
  type: list
  elements: dict
  returned: success
  sample: [{tool: minisign, path: /srv/images/compute.tgz.minisig, good: true}]
members:
  description: How many members the archive has.
  type: int
  returned: when an archive was read
  sample: 26169
devices:
  description: Device files in the archive.
  type: list
  elements: str
  returned: when an archive was read
  sample: [dev/console, dev/null]
filesystem:
  description: Type, label, UUID and size of the file system; none where it is not known.
  type: dict
  returned: when a raw image was read
  sample: {type: ext4, label: null, uuid: 6a2b3c4d-0000-4000-8000-00112233aabb, size: 4294967296}
boot_sector:
  description: Whether the BIOS would start it, and whose boot loader it is.
  type: dict
  returned: when a raw image was read
  sample: {signature: true, loader: grub}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_info import inspect

OPTIONS = {
    "path": {"type": "path", "required": True},
    "verify": {"type": "bool", "default": True},
    "scan": {"type": "bool", "default": False},
    "kernel": {"type": "str"},
    "initrd": {"type": "str"},
    "size": {"type": "int"},
    "sha256": {"type": "str"},
    "md5": {"type": "str"},
    # public keys
    "keys": {
        "type": "dict",
        "default": {},
        "no_log": False,
        "options": {"gpg": {"type": "path"}, "minisign": {"type": "path"}},
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        found = inspect(module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
