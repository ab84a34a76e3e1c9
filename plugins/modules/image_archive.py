#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_archive
short_description: Make one image file of a root or of a block device
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Captures a root as a compressed tar archive, or a block device as a compressed raw image, with a manifest beside it.
  - Of a root, C(/) of a running machine among them, exactly its own file system is archived. What is mounted on top is
    not, but the folders under it are, such as the static C(/dev). The mounts for that exist in a namespace of the
    module's own, so that nothing is left however the module ends.
  - An archive holds numeric owners, extended attributes, ACLs, capabilities, hard links and sparse files. Members are
    named without a leading C(./) or C(/), and there is none for the root folder itself. Sockets are left out.
  - The same tree and options give the same bytes. Holes of sparse files count as part of the tree, times of access and
    change do not.
  - Hygiene rules leave out or neutralise what belongs to one machine. They apply to the archive, never to the source.
  - The capture fails where the image would hold secrets, unless they are allowed by name.
  - Of a device with ext2, ext3 or ext4, only used blocks are read; free blocks become zeros. The image is a raw stream in
    any case, restored by C(zcat IMAGE | dd of=DEVICE).
  - A second run changes nothing while the source stays as it is, which is told by names, sizes, times and attributes. A
    device without ext2, ext3 or ext4 is read in whole for that, in check mode too.
requirements:
  - GNU tar 1.29 or newer, util-linux 2.33 or newer, the program of the compression
  - e2fsprogs for ext2, ext3 and ext4
  - root, for O(kind=tar)
options:
  src:
    description: Folder of the root, block device, or raw image file.
    type: path
    required: true
  dest:
    description:
      - The image file. It is renamed into place when it is complete, with its manifest C(DEST.manifest.json).
      - When a run is killed between the two, the image is complete and has no manifest; the next run makes it anew.
    type: path
    required: true
  kind:
    description: Kind of image. The default is V(tar) for a folder, else V(dd).
    type: str
    choices: [tar, dd]
  compression:
    description:
      - How it is compressed. The default is what the name of O(dest) says, else V(gzip).
      - For V(gzip) the best of igzip, pigz and gzip is used that the host has; RV(tools) says which.
    type: str
    choices: [gzip, zstd, xz, bzip2]
  level:
    description: Level of the compression. With one, V(gzip) is done by pigz or gzip, whose levels are the usual ones.
    type: int
  clamp_mtime:
    description:
      - Members that were modified later than this time, in Unix seconds, get this time.
      - Trees that were built at different times from the same input then give the same bytes.
    type: int
  skip_hygiene:
    description:
      - Hygiene rules that are switched off, by name.
      - The rules are V(persistent_net), V(machine_id), V(ssh_host_keys), V(random_seed), V(leases), V(logs),
        V(apt_caches), V(temporary_files), V(mtab), V(shell_history) and V(ansible_files).
    type: list
    elements: str
    default: []
  exclude:
    description: Further paths of the root to leave out. C(*) stays within one name, C(**) at the end is all below.
    type: list
    elements: str
    default: []
  allow_secrets:
    description:
      - Secrets that the image may hold, by the name of the rule or by an absolute path in the root.
      - The rules are V(ssh_private_key), V(ssh_host_key), V(tls_private_key), V(pgp_private_key), V(shadow_hash),
        V(wireguard_key), V(wifi_password), V(network_manager_password), V(kerberos_keytab), V(munge_key),
        V(ppp_secret), V(aws_credentials), V(docker_login), V(kubernetes_login), V(git_login), V(netrc),
        V(database_login), V(package_registry_token), V(vault_token) and V(apt_login).
    type: list
    elements: str
    default: []
  allow_mounted:
    description: Whether a device may be captured whose file system is mounted read-write. The image may be torn.
    type: bool
    default: false
  signature:
    description: Sign the image; the signature lies beside it as C(DEST.asc) (gpg) or C(DEST.minisig).
    type: dict
    suboptions:
      tool:
        description: Program that signs.
        type: str
        choices: [gpg, minisign]
        required: true
      key:
        description:
          - Name or fingerprint of the key for gpg, whose agent must have the passphrase; file of a secret key without
            password for minisign.
        type: str
        required: true
  derived_from:
    description: What the root was derived from, such as the name and version of an environment; kept in the manifest.
    type: str
  mode:
    description: Octal mode of the files that are written. An image holds all that its root holds.
    type: str
    default: "0600"
extends_documentation_fragment: [oneimage.cluster._attributes]
seealso:
  - module: oneimage.cluster.image_info
  - module: oneimage.cluster.image_unpack
"""

EXAMPLES = r"""
- name: Capture a root for deployments
  oneimage.cluster.image_archive:
    src: /srv/oneimage/roots/compute/current
    dest: /srv/images/compute.tar.zst

- name: Capture the machine itself, with the passwords that were set on it
  oneimage.cluster.image_archive:
    src: /
    dest: /srv/images/{{ inventory_hostname }}.tgz
    exclude: [/srv/images, /scratch/**]
    allow_secrets: [shadow_hash]
    derived_from: debian12-x64-std 2026070112

- name: Capture a partition that is not mounted
  oneimage.cluster.image_archive:
    src: /dev/sda3
    dest: /srv/images/root.dd.gz
"""

RETURN = r"""
reason:
  description: Why something changed or would change, none where nothing does.
  type: str
  returned: success
  sample: /srv/images/compute.tar.zst does not exist yet
image:
  description: The file of the image.
  type: str
  returned: success
  sample: /srv/images/compute.tar.zst
manifest_path:
  description: The manifest beside it.
  type: str
  returned: success
  sample: /srv/images/compute.tar.zst.manifest.json
kind:
  description: Kind of image.
  type: str
  returned: success
  sample: tar
compression:
  description: How it is compressed.
  type: str
  returned: success
  sample: zstd
size:
  description: Bytes of the image; this, RV(uncompressed_size), RV(sha256) and RV(md5) are none in check mode before it is made.
  type: int
  returned: success
  sample: 232783872
uncompressed_size:
  description: Bytes of the archive or raw stream in it.
  type: int
  returned: success
  sample: 756350976
sha256:
  description: SHA-256 of the image.
  type: str
  returned: success
  sample: 4fbc8d900211e6a001f4a0fc4c785d52216aa1ccedec2eeacf87ed345c496a0d
md5:
  description: MD5 of the image, as descriptions of environments carry it.
  type: str
  returned: success
  sample: 9d5ed678fe57bcca610140957afab571
architecture:
  description: Architecture of the programs in the root, as C(uname -m) says it; none where none was found.
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
hygiene:
  description: The hygiene rules that acted, V(exclude) for patterns of O(exclude).
  type: list
  elements: str
  returned: success
  sample: [apt_caches, logs, machine_id]
omitted:
  description: What is not in the image as it is in the root, and the rule; V(socket) and V(neutralised) among them.
  type: list
  elements: dict
  returned: success
  sample: [{path: /var/log/dpkg.log, reason: logs}, {path: /etc/machine-id, reason: neutralised}]
tools:
  description: The programs that made the image, and their versions.
  type: dict
  returned: success
  sample: {tar: "1.34", zstd: "1.5.4"}
derived_from:
  description: As O(derived_from).
  type: str
  returned: success
  sample: debian12-x64-std 2026070112
partition_size:
  description: Bytes of the device, of which the target must have as many; none for O(kind=tar).
  type: int
  returned: success
  sample: 4294967296
filesystem:
  description: Type, label, UUID and size of the file system; none where it is not known.
  type: dict
  returned: O(kind=dd)
  sample: {type: ext4, label: null, uuid: 6a2b3c4d-0000-4000-8000-00112233aabb, size: 4294967296}
bootloader:
  description:
    - What the boot sector holds, the configuration of the boot loader, and the kernels and initrds that it names in vain.
  type: dict
  returned: O(kind=dd)
  sample: {signature: true, loader: grub, configuration: /boot/grub/grub.cfg, missing: []}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_archive import (
    carry_out,
    difference,
    make_plan,
    result,
)

STRINGS = {"type": "list", "elements": "str", "default": []}

OPTIONS = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "kind": {"type": "str", "choices": ["tar", "dd"]},
    "compression": {"type": "str", "choices": ["gzip", "zstd", "xz", "bzip2"]},
    "level": {"type": "int"},
    "clamp_mtime": {"type": "int"},
    "skip_hygiene": STRINGS,
    "exclude": STRINGS,
    "allow_secrets": {**STRINGS, "no_log": False},
    "allow_mounted": {"type": "bool", "default": False},
    "signature": {
        "type": "dict",
        "options": {
            "tool": {"type": "str", "choices": ["gpg", "minisign"], "required": True},
            # the name of a key or of its file
            "key": {"type": "str", "required": True, "no_log": False},
        },
    },
    "derived_from": {"type": "str"},
    "mode": {"type": "str", "default": "0600"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        plan = make_plan(module.params)
        shown = {"diff": difference(plan)} if plan.reason and module._diff else {}
        manifest = carry_out(plan) if plan.reason and not module.check_mode else None
        returned = result(plan, manifest)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in returned.pop("warnings"):
        module.warn(warning)
    module.exit_json(**returned, **shown)


if __name__ == "__main__":
    main()
