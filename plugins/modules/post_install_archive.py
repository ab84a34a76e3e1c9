#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: post_install_archive
short_description: Build, lint and try the archives that Kadeploy runs after an image is written
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes an archive of a directory, the same bytes for the same names, contents and execute bits, whoever owns them and whenever
    they were written.
  - Refuses one that Kadeploy, or the nodes, would stumble over. The script is missing, not executable, or names no interpreter;
    the archive is too large; a member would be unpacked elsewhere. All faults are named at once, before anything is written.
  - With O(try_root) the script runs as on a node, with Kadeploy's variables, in a copy of that root in memory. It has neither
    network nor disks, and nothing of what it does is left. That guards against mistakes, not against malice.
extends_documentation_fragment: [oneimage.cluster._attributes]
requirements:
  - tar, util-linux 2.33 or newer and the overlay file system, for O(try_root), which takes root
  - zstd, for O(compression=zstd)
options:
  src:
    description: The directory to pack, or an archive to lint and try.
    type: path
    required: true
  dest:
    description: The archive. Mandatory if O(src) is a directory, not allowed otherwise.
    type: path
  script:
    description:
      - The command line that Kadeploy runs, whose program lies in the archive, for example V(traitement.ash /rambin).
      - V(none) for an archive that is only unpacked.
    type: str
    required: true
  compression:
    description: Of the archive that is built. Kadeploy 3.3 knows no V(zstd).
    type: str
    choices: [gzip, bzip2, xz, zstd]
    default: gzip
  size_limit:
    description: Largest size of the archive in MiB. V(20) is what Kadeploy takes.
    type: int
    default: 20
  try_root:
    description:
      - A root with what the deployment system offers to scripts. Where it is given, the script must end well in a copy of it.
    type: path
  target_root:
    description: The root of the deployed system, which the script sees at C(/mnt/dest). O(try_root) without it.
    type: path
  variables:
    description:
      - Variables for the script, over those of an ordinary deployment, which are set anyway, for example C(KADEPLOY_ENV_KERNEL),
        C(KADEPLOY_DEPLOY_PART), C(KADEPLOY_FS_TYPE).
    type: dict
    default: {}
  timeout:
    description: Seconds after which the script is ended.
    type: int
    default: 300
seealso:
  - module: oneimage.cluster.environment
"""

EXAMPLES = r"""
- name: Build the post-install of a site, and see that it works on the image
  oneimage.cluster.post_install_archive:
    src: /srv/postinstalls/site
    dest: /srv/postinstalls/site.tgz
    script: traitement.ash /rambin
    try_root: /srv/oneimage/roots/deployment/current
    target_root: /srv/oneimage/roots/debian-12/current
    variables:
      KADEPLOY_CLUSTER: c1
  register: built

- name: Add it to an environment
  oneimage.cluster.environment:
    registry:
      path: /srv/oneimage/registry
    base: debian12-mine
    description:
      postinstalls: ["{{ built.postinstall }}"]

- name: Lint an archive of somebody else
  oneimage.cluster.post_install_archive:
    src: /grid5000/postinstalls/post4all.tgz
    script: traitement.ash /rambin
"""

RETURN = r"""
postinstall:
  description: The archive as an element of C(postinstalls) in a description.
  type: dict
  returned: success
  sample: {archive: "server:///srv/postinstalls/site.tgz", compression: gzip, script: traitement.ash /rambin}
size:
  description: Bytes of the archive.
  type: int
  returned: success
  sample: 5120
sha256:
  description: SHA-256 of the archive.
  type: str
  returned: success
  sample: 0f343b0931126a20f133d67c2b018a3b94b3a5ae9b0b0d1a4a5f3b0c2f0e1d2c
md5:
  description: MD5 of the archive.
  type: str
  returned: success
  sample: 9d5ed678fe57bcca610140957afab571
members:
  description: What is in it.
  type: list
  elements: str
  returned: success
  sample: [files, files/fstab, traitement.ash]
trial:
  description: What the script printed, with its exit code C(rc). Null without O(try_root).
  type: dict
  returned: success
  sample: {rc: 0, stdout: "fstab written\n", stderr: ""}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._post_install_archive import provide


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path"},
            "script": {"type": "str", "required": True},
            "compression": {"type": "str", "choices": ["gzip", "bzip2", "xz", "zstd"], "default": "gzip"},
            "size_limit": {"type": "int", "default": 20},
            "try_root": {"type": "path"},
            "target_root": {"type": "path"},
            "variables": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 300},
        },
        required_by={"target_root": ["try_root"]},
        supports_check_mode=True,
    )
    try:
        result = provide(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        del result["diff"]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
