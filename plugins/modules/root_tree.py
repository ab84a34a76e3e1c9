#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: root_tree
short_description: Publish a root file system that many nodes share
version_added: 0.1.0
description:
  - Makes a Debian root from a declaration and publishes it as C(STORAGE/roots/NAME/VERSION), where V(VERSION) is a digest
    of everything declared. The link C(STORAGE/roots/NAME/current) names the version published last.
  - A root is never edited once it is published. Another declaration makes another version beside it, in a hidden folder
    that one rename publishes; a run that fails or is killed leaves the published versions as they were.
  - The distribution's packages are installed once per choice of packages and kept in a cache. Another account, file or
    service costs seconds and no network.
  - Whatever runs in the root does so in mount and process namespaces of its own. When it ends, or is killed, the kernel
    ends all that it started and undoes all that it mounted. No service is started.
  - The root is made safe to share by rules, each of which O(skip_rules) can switch off. It holds no machine id, no SSH
    host key, no host name, no name server; the node's initrd, DHCP and first boot give them.
requirements:
  - mmdebstrap or debootstrap, debian-archive-keyring, zstd and util-linux 2.33 or newer on the host that runs it
  - root
options:
  name:
    description: Name of the root, and first part of the image id C(NAME-VERSION).
    type: str
    required: true
  storage:
    description: Folder of everything that the nodes get.
    type: path
    default: /srv/oneimage
  cache:
    description: Folder where bases are kept, one archive for each choice of packages.
    type: path
    default: /var/cache/oneimage
  image:
    description:
      - A tar image to make the root from, as M(oneimage.cluster.image_archive) and M(oneimage.cluster.image_fetch) make them.
      - It takes the place of the distribution's packages, so that O(suite), O(packages), O(kernel_package), O(sources) and
        what else chooses them say nothing. Everything else is done to what is in the image.
    type: path
  suite:
    description: Release of Debian, one of V(bullseye), V(bookworm), V(trixie).
    type: str
    default: bookworm
  architecture:
    description: Debian's name of the nodes' architecture. The default is that of this host.
    type: str
  tool:
    description: Program that makes the base. V(debootstrap) makes only O(variant=minbase).
    type: str
    choices: [mmdebstrap, debootstrap]
    default: mmdebstrap
  variant:
    description: What is installed besides O(packages), in the words of mmdebstrap. V(essential) has no apt.
    type: str
    choices: [essential, apt, minbase]
    default: minbase
  slim:
    description: Whether manuals, translations and documentation are left out. Licences stay.
    type: bool
    default: true
  packages:
    description: Packages to install, C(NAME) or C(NAME=VERSION). Recommended packages are not added.
    type: list
    elements: str
    default: [dbus, iproute2, kmod, netbase, openssh-server, procps, systemd-sysv, udev]
  kernel_package:
    description:
      - Package of the kernel. The default is Debian's usual one for O(architecture), such as V(linux-image-amd64).
      - An empty text installs none, for a kernel that is put into the root by other means.
    type: str
  revision:
    description:
      - Any text. Another one fetches the packages anew, since a base that the cache has is not refreshed by itself.
      - For example the date of the last security update that matters.
    type: str
    default: ""
  mirror:
    description: Address of a Debian mirror. The default is the mirrors that the apt of this host uses, for O(suite).
    type: str
  security_mirror:
    description: Address of a mirror of Debian's security updates, where O(mirror) is set.
    type: str
  components:
    description: Components of the archive.
    type: list
    elements: str
    default: [main]
  sources:
    description:
      - Further lines of C(sources.list), used to make the root and written into it.
      - A key named by C(signed-by) is read from this host.
    type: list
    elements: str
    default: []
  proxy:
    description: Proxy for apt, while the root is made and in the root. The proxy of this host's own apt is used anyway.
    type: str
  keyring:
    description: File on this host with the keys of the mirror. The default is that of debian-archive-keyring.
    type: path
  locale:
    description: Locale of the root. Any other than V(C), V(C.UTF-8) and V(POSIX) adds the package locales.
    type: str
    default: C.UTF-8
  timezone:
    description: Time zone of the root.
    type: str
    default: Etc/UTC
  users:
    description: Accounts to add.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      uid:
        description: Number of the user; the next free one by default.
        type: int
      group:
        description: Name of the primary group; that of the user by default. It is added where it is missing.
        type: str
      gid:
        description: Number of the primary group.
        type: int
      groups:
        description: Further groups; they are added where they are missing.
        type: list
        elements: str
        default: []
      home:
        description: Home folder, made with the files of C(/etc/skel).
        type: str
      shell:
        description: Shell, which must exist in the root.
        type: str
        default: /bin/bash
      password_hash:
        description: Crypt hash of the password. Without it, no password is right.
        type: str
      authorized_keys:
        description: Public SSH keys that may log in.
        type: list
        elements: str
        default: []
  root_password_hash:
    description: Crypt hash of root's password. Without it, no password is right.
    type: str
  root_authorized_keys:
    description: Public SSH keys that may log in as root.
    type: list
    elements: str
    default: []
  files:
    description: Files to write into the root. They have the last word over the packages and over our own rules.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path in the root.
        type: str
        required: true
      content:
        description: Text of the file. Either this or O(files[].src) is needed.
        type: str
      src:
        description: File on this host whose bytes are copied.
        type: path
      mode:
        description: Octal mode.
        type: str
        default: "0644"
      owner:
        description: Name or number of the owner in the root.
        type: str
        default: root
      group:
        description: Name or number of the group in the root.
        type: str
        default: root
  hosts:
    description: Lines of C(/etc/hosts) besides those of localhost.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: IP address.
        type: str
        required: true
      names:
        description: Names, the canonical one first.
        type: list
        elements: str
        required: true
  mounts:
    description:
      - Lines of C(/etc/fstab), such as homes over NFS. C(/) is never among them.
      - With O(shared=rw), C(/tmp), C(/var/tmp) and C(/var/log) lie in memory unless they are declared here.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Folder in the root, made where it is missing.
        type: str
        required: true
      source:
        description: What is mounted, such as V(server:/home).
        type: str
        required: true
      type:
        description: Type of the file system.
        type: str
        required: true
      options:
        description: Mount options.
        type: str
        default: defaults
  services:
    description: Units of systemd; a name without a kind is a service.
    type: dict
    default: {}
    suboptions:
      enabled:
        description: Units to enable. They are never masked by our rules.
        type: list
        elements: str
        default: []
      disabled:
        description: Units to disable.
        type: list
        elements: str
        default: []
      masked:
        description: Units to mask.
        type: list
        elements: str
        default: []
  shared:
    description:
      - How the nodes share the root. With V(ro) each of them lays an overlay in memory over it.
      - With V(rw) all of them write into it. Their scratch and their logs then lie in memory; what else they write is
        everybody's, so give such a root a name of its own.
    type: str
    choices: [ro, rw]
    default: ro
  skip_rules:
    description:
      - Rules for sharing that are switched off, by name.
      - The rules are V(build_leftovers), V(machine_id), V(machine_id_dbus), V(ssh_host_keys), V(hostname), V(resolver),
        V(boot_nic_networkd), V(boot_nic_ifupdown), V(boot_nic_networkmanager), V(persistent_net), V(journal),
        V(volatile_folders), V(mtab), V(random_seed), V(needless_units), V(initrd_links), V(logs) and V(up_to_date).
    type: list
    elements: str
    default: []
  keep:
    description: How many versions are kept, the current one included.
    type: int
    default: 2
  in_use:
    description: Versions or image ids that are never removed, since nodes run from them.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [oneimage.cluster._attributes]
author: The oneimage.cluster founders (@oneimage)
"""

EXAMPLES = r"""
- name: Publish a small root
  oneimage.cluster.root_tree:
    name: compute
    suite: bookworm
    kernel_package: linux-image-cloud-amd64
    root_authorized_keys:
      - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
  register: compute

- name: Publish a root with accounts, homes over NFS and a file
  oneimage.cluster.root_tree:
    name: physics
    suite: trixie
    packages: [dbus, iproute2, kmod, netbase, nfs-common, openssh-server, procps, python3, systemd-sysv, udev]
    users:
      - name: alice
        uid: 1500
        group: physics
        gid: 2000
        authorized_keys: ["{{ alice_key }}"]
    mounts:
      - {path: /home, source: "10.78.0.1:/home", type: nfs, options: "rw,nfsvers=4.2"}
    files:
      - path: /etc/motd
        content: |
          Welcome to the physics cluster.
    in_use: ["{{ compute.image_id }}"]

- name: Publish what was captured from a node, safe to share
  oneimage.cluster.root_tree:
    name: captured
    image: /srv/oneimage/images/debian12-mine.tar.zst
    root_authorized_keys:
      - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
"""

RETURN = r"""
reason:
  description: Why something changed or would change, none where nothing does.
  type: str
  returned: success
  sample: compute-0c3f9a61d2b7 is not published yet; current is nothing
version:
  description: Digest of everything declared.
  type: str
  returned: success
  sample: 0c3f9a61d2b7
image_id:
  description: Name and version; the root carries them in C(/etc/os-release) as C(IMAGE_ID) and C(IMAGE_VERSION).
  type: str
  returned: success
  sample: compute-0c3f9a61d2b7
name:
  description: Name of the root.
  type: str
  returned: success
  sample: compute
path:
  description: Folder of the root.
  type: str
  returned: success
  sample: /srv/oneimage/roots/compute/0c3f9a61d2b7
current:
  description: Link to the version published last.
  type: str
  returned: success
  sample: /srv/oneimage/roots/compute/current
kernel:
  description: The newest kernel in the root; none in check mode before the root is made, and where it holds none.
  type: dict
  returned: success
  contains:
    version:
      description: Version, as C(uname -r) says it.
      type: str
      sample: 6.1.0-56-cloud-amd64
    vmlinuz:
      description: Path of the bootable file on this host.
      type: str
      sample: /srv/oneimage/roots/compute/0c3f9a61d2b7/boot/vmlinuz-6.1.0-56-cloud-amd64
    config:
      description: Path of the kernel's configuration on this host.
      type: str
      sample: /srv/oneimage/roots/compute/0c3f9a61d2b7/boot/config-6.1.0-56-cloud-amd64
package_count:
  description: How many packages are installed; none in check mode before the root is made.
  type: int
  returned: success
  sample: 155
size_bytes:
  description: Bytes of all files; none in check mode before the root is made.
  type: int
  returned: success
  sample: 301465600
kept_paths:
  description: The folders of the versions that are kept, this one first, then from the newest to the oldest.
  type: list
  elements: str
  returned: success
  sample: [/srv/oneimage/roots/compute/0c3f9a61d2b7, /srv/oneimage/roots/compute/91be20aa47f5]
removed:
  description: The versions that were removed.
  type: list
  elements: str
  returned: success
  sample: []
seconds:
  description: Seconds that each step took; empty where nothing was done.
  type: dict
  returned: success
  sample: {base: 31.2, unpack: 2.4, customise: 1.1, publish: 0.8, prune: 0.0}
"""

import platform

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_tree import (
    carry_out,
    difference,
    make_plan,
    result,
)

DEFAULT_PACKAGES = ["dbus", "iproute2", "kmod", "netbase", "openssh-server", "procps", "systemd-sysv", "udev"]
STRINGS = {"type": "list", "elements": "str", "default": []}

USER = {
    "name": {"type": "str", "required": True},
    "uid": {"type": "int"},
    "group": {"type": "str"},
    "gid": {"type": "int"},
    "groups": STRINGS,
    "home": {"type": "str"},
    "shell": {"type": "str", "default": "/bin/bash"},
    "password_hash": {"type": "str", "no_log": True},
    "authorized_keys": {**STRINGS, "no_log": False},
}

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "src": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}

HOST = {
    "address": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
}

MOUNT = {
    "path": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "type": {"type": "str", "required": True},
    "options": {"type": "str", "default": "defaults"},
}

OPTIONS = {
    "name": {"type": "str", "required": True},
    "storage": {"type": "path", "default": "/srv/oneimage"},
    "cache": {"type": "path", "default": "/var/cache/oneimage"},
    "image": {"type": "path"},
    "suite": {"type": "str", "default": "bookworm"},
    "architecture": {"type": "str"},
    "tool": {"type": "str", "choices": ["mmdebstrap", "debootstrap"], "default": "mmdebstrap"},
    "variant": {"type": "str", "choices": ["essential", "apt", "minbase"], "default": "minbase"},
    "slim": {"type": "bool", "default": True},
    "packages": {"type": "list", "elements": "str", "default": DEFAULT_PACKAGES},
    "kernel_package": {"type": "str"},
    "revision": {"type": "str", "default": ""},
    "mirror": {"type": "str"},
    "security_mirror": {"type": "str"},
    "components": {"type": "list", "elements": "str", "default": ["main"]},
    "sources": STRINGS,
    "proxy": {"type": "str"},
    "keyring": {"type": "path", "no_log": False},
    "locale": {"type": "str", "default": "C.UTF-8"},
    "timezone": {"type": "str", "default": "Etc/UTC"},
    "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
    "root_password_hash": {"type": "str", "no_log": True},
    "root_authorized_keys": {**STRINGS, "no_log": False},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
    "hosts": {"type": "list", "elements": "dict", "default": [], "options": HOST},
    "mounts": {"type": "list", "elements": "dict", "default": [], "options": MOUNT},
    "services": {
        "type": "dict",
        "default": {},
        "options": {"enabled": STRINGS, "disabled": STRINGS, "masked": STRINGS},
    },
    "shared": {"type": "str", "choices": ["ro", "rw"], "default": "ro"},
    "skip_rules": STRINGS,
    "keep": {"type": "int", "default": 2},
    "in_use": STRINGS,
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    # a task may pass an empty text for what it does not set
    options = {
        name: None if value == "" and name not in ("kernel_package", "revision") else value
        for name, value in module.params.items()
    }
    try:
        plan = make_plan(options, platform.machine())
        shown = difference(plan) if plan.reason and module._diff else {}
        done = {"warnings": [], "seconds": {}} if module.check_mode else carry_out(plan)
        returned = result(plan, done, predicted=module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    for warning in returned.pop("warnings"):
        module.warn(warning)
    module.exit_json(**returned, **({"diff": shown} if shown else {}))


if __name__ == "__main__":
    main()
