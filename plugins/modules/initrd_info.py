#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: initrd_info
short_description: Read anybody's initrd
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Unpacks an initrd in memory as the kernel would, and says what is in it. Nothing is written.
  - Reads cpio archives, also several one after the other such as microcode before the rest, each not compressed or by
    gzip, bzip2, lzma, xz, lzo, lz4 or zstd; and the file system of an ext2 RAM disk, compressed or not.
  - Fails for what is truncated, empty or no initrd.
extends_documentation_fragment:
  - oneimage.cluster._attributes.info
requirements:
  - the programs zstd, lz4 or lzop, for an initrd that is compressed by one of them
options:
  path:
    description: The initrd.
    type: path
    required: true
  files:
    description:
      - Shell patterns of the files that RV(files) lists, matched against the whole path; C(*) also matches slashes.
      - An empty list lists none.
    type: list
    elements: str
    default: ["*"]
seealso:
  - module: oneimage.cluster.initrd
"""

EXAMPLES = r"""
- name: Read the initrd of this host's kernel
  oneimage.cluster.initrd_info:
    path: /boot/initrd.img-{{ ansible_facts['kernel'] }}
    files: [init, "*/dhcp*"]
  register: initrd

- name: Refuse an initrd without the driver of the NIC
  ansible.builtin.assert:
    that: "'virtio_net' in initrd.modules"
"""

RETURN = r"""
path:
  description: The initrd.
  returned: success
  type: str
  sample: /boot/initrd.img-6.1.0-50-amd64
size:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 31457280
sha256:
  description: Its SHA-256 sum.
  returned: success
  type: str
  sample: 5f0d3f2a8f9d9d2f1b0c6f1b7c5a4c3b2a190817263544536271809facebead0
format:
  description: C(cpio) or C(ext2), of the segment that holds C(/init).
  returned: success
  type: str
  sample: cpio
compression:
  description: The compression of that segment.
  returned: success
  type: str
  sample: zstd
segments:
  description: The parts that the kernel unpacks one after the other, with their place and size in the file.
  returned: success
  type: list
  elements: dict
  sample:
    - {format: cpio, compression: none, offset: 0, size: 77312, files: 3}
    - {format: cpio, compression: zstd, offset: 77312, size: 31380000, files: 1204}
modules:
  description: The kernel modules inside, with underscores.
  returned: success
  type: list
  elements: str
  sample: [nfs, virtio_net]
kernel_versions:
  description: The kernels whose modules are inside.
  returned: success
  type: list
  elements: str
  sample: [6.1.0-50-amd64]
files:
  description: Files, links and devices that match O(files).
  returned: success
  type: list
  elements: dict
  sample:
    - {name: init, mode: "0100755", size: 7113}
"""

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import InitrdContent, read_initrd


def describe(content: InitrdContent, patterns: list[str]) -> dict[str, Any]:
    """The keys of RETURN."""
    return {
        "path": str(content.path),
        "size": content.size,
        "sha256": hashlib.sha256(content.path.read_bytes()).hexdigest(),
        "format": content.format,
        "compression": content.compression,
        "segments": [
            {
                "format": part.format,
                "compression": part.compression,
                "offset": part.offset,
                "size": part.size,
                "files": sum(not member.is_folder for member in part.members),
            }
            for part in content.segments
        ],
        "modules": sorted(content.modules),
        "kernel_versions": sorted(content.kernel_versions),
        "files": [
            {"name": name, "mode": f"{member.mode:07o}", "size": member.size}
            for name, member in sorted(content.files.items())
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "default": ["*"]},
        },
        supports_check_mode=True,
    )
    try:
        content = read_initrd(Path(module.params["path"]))
    except ClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **describe(content, module.params["files"]))


if __name__ == "__main__":
    main()
