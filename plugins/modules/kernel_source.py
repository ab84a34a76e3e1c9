#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_source
short_description: Unpack and patch the source of a kernel
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes a source tree from a distribution's package, an archive or a git repository, and applies patches to it in order.
  - The tree is made beside its place and comes there by one rename, with all patches applied. A patch that does not fit, a
    damaged archive, a full disk or a C(kill -9) leaves the old tree, or none, as it was.
  - C(.oneimage-source.json) in the tree tells what it was made from, so that nothing happens while that stays the same. When
    it changes, the whole tree is replaced. Changes made by hand in the tree are lost then; keep them as a patch.
  - A folder that this module did not make is never replaced.
  - An archive whose members or links lead out of the tree is refused, as is one with device files.
requirements:
  - GNU tar, util-linux, GNU patch for O(patches), the program of the compression
  - git for O(git)
options:
  path:
    description: The tree. Its parent folder must exist.
    type: path
    required: true
  package:
    description:
      - A Debian package that holds the source as an archive in C(/usr/src), such as V(linux-source-6.1).
      - Taken from this host where it is installed, else fetched with C(apt-get download), which installs nothing.
    type: str
  package_version:
    description:
      - The version of O(package).
      - Without it, the installed version or apt's candidate is taken for a new tree, and a tree of any version is left alone.
    type: str
  archive:
    description:
      - A tar archive, packed with xz, bzip2, gzip, zstd or not at all. A file on the target host, or an address that
        begins with C(http://), C(https://), C(ftp://) or C(file://).
    type: str
  sha256:
    description:
      - The SHA-256 sum of O(archive), which an address must have.
      - With it, a file may be missing as long as the tree is made from it.
    type: str
  cache:
    description: Where a fetched O(archive) is kept. A package is fetched into a folder beside the tree, and removed.
    type: path
    default: /var/cache/oneimage/kernel_source
  git:
    description:
      - A git repository, an address or a folder on the target host. C(.git) is not kept, since the version of a kernel
        that is built in a repository depends on its state.
    type: str
  ref:
    description: The tag, branch or full commit of O(git). A branch is asked for anew in each run.
    type: str
    default: HEAD
  patches:
    description: Patches, applied in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: The patch, packed with xz, bzip2, gzip, zstd or not at all; a file on the target host.
        type: path
        required: true
      strip:
        description: How many leading parts of the file names in the patch are left out, as C(-p) of patch.
        type: int
        default: 1
      directory:
        description:
          - The folder to apply it in, below the tree.
          - V(..) is the folder that holds the tree, which has the name there that it has in the archive, as for a patch
            that is to be applied with C(patch -p0) from C(/usr/src).
        type: str
        default: .
      sha256:
        description: The SHA-256 sum that the file must have.
        type: str
extends_documentation_fragment: [oneimage.cluster._attributes]
seealso:
  - module: oneimage.cluster.kernel_config
  - module: oneimage.cluster.kernel_build
"""

EXAMPLES = r"""
- name: Debian's source as it is
  oneimage.cluster.kernel_source:
    path: /usr/src/linux-cluster
    package: linux-source-6.1

- name: A release with two patches of our own
  oneimage.cluster.kernel_source:
    path: /usr/src/linux-6.1.90-site
    archive: https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.90.tar.xz
    sha256: 83a3d72e764fceda2c1fc68a4ea6b91253a28da56a688a2b61776b0d19788e1d
    patches:
      - src: /srv/patches/0001-nfsroot-timeout.patch
      - src: /srv/patches/0002-firmware.patch.xz
        sha256: 6f0d3f2a8f9d9d2f1b0c6f1b7c5a4c3b2a190817263544536271809facebead0

- name: openMosix, whose patch is applied from the parent folder
  oneimage.cluster.kernel_source:
    path: /usr/src/linux-2.4.22-openmosix
    archive: /srv/kernels/linux-2.4.22.tar.bz2
    patches:
      - src: /srv/kernels/openMosix-2.4.22-1.bz2
        strip: 0
        directory: ..

- name: A branch of a repository
  oneimage.cluster.kernel_source:
    path: /usr/src/linux-stable
    git: https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git
    ref: linux-6.1.y
"""

RETURN = r"""
path:
  description: The tree.
  type: str
  returned: success
  sample: /usr/src/linux-cluster
version:
  description: The version of the kernel as its Makefile tells it; null in check mode when the tree would be made.
  type: str
  returned: success
  sample: 6.1.90
reason:
  description: Why the tree was made, null where there was nothing to do.
  type: str
  returned: success
  sample: the patches are others
fingerprint:
  description: A digest of the source and of all patches.
  type: str
  returned: success
  sample: 4fbc8d900211e6a001f4a0fc4c785d52216aa1ccedec2eeacf87ed345c496a0d
source:
  description: The C(kind) of source and what fixes its content, C(package) and C(version), C(sha256) or C(commit).
  type: dict
  returned: success
  sample: {kind: package, package: linux-source-6.1, version: 6.1.90-1}
patches:
  description: The applied patches.
  type: list
  elements: dict
  returned: success
  sample:
    - {name: 0001-nfsroot-timeout.patch, sha256: 0c6f1b7c5a4c..., strip: 1, directory: .}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source import (
    carry_out,
    difference,
    make_plan,
    result,
)

PATCH = {
    "src": {"type": "path", "required": True},
    "strip": {"type": "int", "default": 1},
    "directory": {"type": "str", "default": "."},
    "sha256": {"type": "str"},
}

OPTIONS = {
    "path": {"type": "path", "required": True},
    "package": {"type": "str"},
    "package_version": {"type": "str"},
    "archive": {"type": "str"},
    "sha256": {"type": "str"},
    "cache": {"type": "path", "default": "/var/cache/oneimage/kernel_source"},
    "git": {"type": "str"},
    "ref": {"type": "str", "default": "HEAD"},
    "patches": {"type": "list", "elements": "dict", "default": [], "options": PATCH},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        mutually_exclusive=[("package", "archive", "git")],
        required_one_of=[("package", "archive", "git")],
        required_by={"package_version": "package", "sha256": "archive"},
        supports_check_mode=True,
    )
    try:
        plan = make_plan(module.params)
        if not module.check_mode:
            for warning in carry_out(plan):
                module.warn(warning)
        returned = result(plan, predicted=module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    shown = {"diff": difference(plan)} if plan.reason and module._diff else {}
    module.exit_json(**returned, **shown)


if __name__ == "__main__":
    main()
