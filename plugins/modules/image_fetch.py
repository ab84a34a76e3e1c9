#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_fetch
short_description: Stream an image of a node to the controller
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Captures a root or a block device of a node as M(oneimage.cluster.image_archive) does, byte for byte the same, and
    streams it to the controller. The node keeps no copy and needs no space for one.
  - The stream is hashed on its way, compared with what the node sent, and renamed into place when it is complete, with its
    manifest C(DEST.manifest.json). One that is cut off leaves what was there before, and an error that says where it ended.
  - It takes the play's own way to the node, with its jump hosts, keys, agent and host keys, since the command line is the
    one of the connection plugin. The memory that it takes does not grow with the image.
  - The node runs it from memory, in a namespace of its own for mounts. When the controller, the connection or the node's
    side dies, the kernel and a watch over the connection end all that was started there within seconds.
  - A second run changes nothing while the source stays as it is. A device without ext2, ext3 or ext4 is streamed in whole
    to tell, in check mode too.
requirements:
  - On the node, what M(oneimage.cluster.image_archive) needs, but for the program of the compression
  - ansible_connection ssh or local
  - For an ssh that asks for a password, ControlPersist, which Ansible has by default
options:
  src:
    description: Folder of the root, block device, or raw image file on the node. V(/) is the running system.
    type: path
    required: true
  dest:
    description:
      - The image file on the controller. A relative path begins at the playbook.
      - Each host of a play needs a file of its own.
    type: path
    required: true
  method:
    description:
      - V(tgz-g5k) has that program make the archive, on nodes that have it; O(src) must be V(/). It has rules of its own,
        so that hygiene is not known and the bytes differ between runs; the secret scan is done before.
    type: str
    choices: [native, tgz-g5k]
    default: native
  compress_on:
    description:
      - Who compresses. V(controller) spares the node's processor and needs no program there, and sends more.
      - V(auto) is the node, unless the controller has a better program, such as igzip instead of gzip.
    type: str
    choices: [auto, node, controller]
    default: auto
  own_connection:
    description:
      - Try a connection of its own first, without the compression of ssh, which Ansible asks for by default and which holds
        a stream at some 50 MB/s. Where the node does not let it in without a password, and with V(false), the stream takes the
        play's shared connection.
    type: bool
    default: true
  timeout:
    description: Seconds without any sign of life from the node, which sends one every ten, after which the stream is given up.
    type: int
    default: 120
  progress:
    description: Seconds between two lines that tell how much came and how fast, V(0) for none.
    type: int
    default: 5
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
  - module: oneimage.cluster.image_archive
  - module: oneimage.cluster.image_info
"""

EXAMPLES = r"""
- name: Fetch the system of a node that was customised
  oneimage.cluster.image_fetch:
    src: /
    dest: images/{{ inventory_hostname }}.tar.zst
    allow_secrets: [shadow_hash]
    derived_from: debian12-x64-std 2026070112
  become: true

- name: Fetch a partition of a node that booted from the network
  oneimage.cluster.image_fetch:
    src: /dev/sda3
    dest: /srv/images/root.dd.gz
    compress_on: node

- name: Let the site's own program decide what is in the image
  oneimage.cluster.image_fetch:
    src: /
    dest: /srv/images/site.tgz
    method: tgz-g5k
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
from ansible_collections.oneimage.cluster.plugins.module_utils._image_fetch import look

STRINGS = {"type": "list", "elements": "str", "default": []}

OPTIONS = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "method": {"type": "str", "choices": ["native", "tgz-g5k"], "default": "native"},
    "compress_on": {"type": "str", "choices": ["auto", "node", "controller"], "default": "auto"},
    "own_connection": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 120},
    "progress": {"type": "int", "default": 5},
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
    """The action calls this on the node before it streams; it only reads."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        module.exit_json(changed=False, capture=look(module.params), options=module.params)
    except ClusterError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
