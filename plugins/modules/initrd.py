#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: initrd
short_description: Build an initrd that boots nodes from the network, and prove what is in it
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Builds the initrd of a kernel whose modules lie in a root. The initrd brings a NIC up and mounts the root of the
    node by NFS, read-write or read-only with an overlay in RAM.
  - The generator V(native) writes kernel modules, busybox and a small init straight into an archive. The same inputs
    make the same bytes, so it is simply built again, which takes less than a second, and published where it differs.
  - The generators V(initramfs_tools) and V(dracut) run the distribution's own tool inside the root, with scripts that
    read the same kernel parameters. The root is not changed by it, and no mount outlives the run, not even after a
    C(kill -9). They run again only where their inputs changed, which a file C(PATH.json) beside the initrd remembers.
  - One initrd can serve the O(hardware) of many sites. RV(coverage) tells for each of them which drivers are inside.
  - With O(format=ext2) the initrd is the image of a RAM disk, as old kernels and LTSP's C(buildk) have it. It is made
    without root and without a mount. A kernel boots it only where C(CONFIG_BLK_DEV_RAM) and C(CONFIG_EXT2_FS), or
    C(CONFIG_EXT4_USE_FOR_EXT2), are built in, which Debian's kernels have as modules. M(oneimage.cluster.netboot_check) tells.
  - Whatever was built is read back. Where a module that was asked for, or one that it depends on, is neither inside
    nor built into the kernel, the module fails and the old file stays.
  - "Kernel parameters that the initrd reads, besides C(ro), C(rw), C(init=) and C(BOOTIF=):"
  - C(ip=dhcp), or C(ip=CLIENT:SERVER:GATEWAY:MASK:HOSTNAME:DEVICE:off). DHCP where there is no C(ip=).
  - C(nfsroot=[SERVER:]PATH[,OPTIONS]), for example with C(vers=4.2) among the options. Without C(vers) the native
    initrd tries 3, 4.1 and 4.2 in turn. Without C(nfsroot) the root is what DHCP names as root-path. The server
    must be a numeric address.
  - C(oneimage.root_mode=nfs_ro|nfs_rw), C(oneimage.image=NAME-VERSION), C(oneimage.report=URL),
    C(oneimage.overlay_size=50%) of the RAM.
  - Read by V(native) alone, in seconds, C(oneimage.network_timeout=120), C(oneimage.root_timeout=120),
    C(oneimage.boot_timeout=600), and C(oneimage.shell_timeout=60), which is how long a node that cannot go on offers a
    shell on its consoles before it reboots.
  - The node finds facts about its boot in C(/run/oneimage/), namely C(image_id), C(mac), C(interface), C(address)
    and C(root_mode). Its machine-id is the MD5 sum of its MAC address.
requirements:
  - e2fsprogs for O(format=ext2)
  - a static busybox (Debian package busybox-static), in the root or on the host that builds
  - zstd, or igzip, pigz or gzip
  - util-linux for the generators V(initramfs_tools) and V(dracut)
options:
  path:
    description: Where the initrd goes. Its folder must exist.
    type: path
    required: true
  root:
    description: The tree that holds C(/lib/modules/VERSION), and in which the distribution's generators run.
    type: path
    default: /
  kernel_version:
    description:
      - The kernel, as its folder below C(/lib/modules) is called.
      - The only one in O(root) unless given.
    type: str
  generator:
    description:
      - What builds the initrd.
      - V(initramfs_tools) needs the package initramfs-tools in O(root) and mounts NFS version 3 only.
      - V(dracut) needs in O(root) the packages dracut-network and nfs-common and a network handler of dracut's, of which the
        one that asks for least needs isc-dhcp-client, iputils-arping and procps. NFS version 3 needs netbase.
    type: str
    choices: [native, initramfs_tools, dracut]
    default: native
  modules:
    description:
      - The drivers of the nodes' NICs, and any other kernel module that must be inside. Each must exist.
      - V(native) loads drivers where the hardware is there, and modules that belong to no hardware always.
      - Those of the usual server and virtual NICs that the kernel has, unless given here or by O(hardware); with V(disk)
        among O(root_modes) those of the usual disk controllers too.
    type: list
    elements: str
  hardware:
    description:
      - What the nodes have, one entry or more for each site. The drivers of all sites are inside, besides O(modules).
      - RV(coverage) tells for each site where each driver is.
    type: list
    elements: dict
    default: []
    suboptions:
      site:
        description: Name of the site for the report; V(all), or what O(hardware[].file) says, where it is left out.
        type: str
      drivers:
        description: Names of modules, such as C(igb).
        type: list
        elements: str
      devices:
        description:
          - Devices as C(/sys/bus/*/devices/*/modalias) or a line of C(lspci -n) names them, as M(oneimage.cluster.hardware_info)
            collects both. The kernel's own C(modules.alias) tells their drivers.
        type: list
        elements: str
      file:
        description:
          - A JSON file on the controller, relative to the playbook. A node of Grid'5000's reference API, a list of nodes, or
            the API's answer with C(items). Its C(network_adapters[].driver) and C(storage_devices[].driver) are taken.
        type: path
      as:
        description: How a kernel's configuration wants the drivers; it changes nothing here.
        type: str
        choices: [module, builtin]
        default: module
  strict:
    description:
      - Whether a driver of O(hardware) that the kernel lacks, and a NIC or a disk's controller without a driver in it, fail
        the task. V(false) only reports them in RV(coverage).
    type: bool
    default: true
  format:
    description:
      - What the initrd is. V(cpio) is the archive that every kernel since 2.6 unpacks.
      - V(ext2) is the image of a file system for a RAM disk, by the generator V(native) alone. Boot it with RV(parameters),
        and say one of O(root_modes) by C(oneimage.root_mode), V(nfs_ro) unless said, since C(rw) is about the RAM disk then.
    type: str
    choices: [cpio, ext2]
    default: cpio
  size_kb:
    description: Size of the file system for V(ext2), in KB; as large as is needed unless given. What does not fit is refused.
    type: int
  inodes:
    description: Inodes of the file system for V(ext2); as many as are needed unless given. Too few are refused.
    type: int
  root_modes:
    description:
      - How nodes may get their root with this initrd. V(nfs_ro) needs the kernel's overlay file system.
      - V(disk) is for a root on a local disk, of which C(root=UUID=...), C(root=LABEL=...) or C(root=/dev/...) names the
        file system, ext2 to ext4, XFS or btrfs. The generator V(native) has it; those of the distributions always mount disks.
    type: list
    elements: str
    choices: [nfs_ro, nfs_rw, disk]
    default: [nfs_ro, nfs_rw]
  compression:
    description:
      - V(auto) takes zstd, else gzip, else none, whichever the kernel's configuration in O(root) says it can unpack;
        without a configuration there, gzip.
      - One that the kernel cannot unpack is refused.
    type: str
    choices: [auto, gzip, zstd, none]
    default: auto
  firmware:
    description: Whether V(native) takes along the firmware that the modules name, as far as O(root) has it.
    type: bool
    default: true
  busybox:
    description: A static busybox. C(/bin/busybox) of O(root) unless given, or this host's where that is not static.
    type: path
extends_documentation_fragment:
  - oneimage.cluster._attributes
  - ansible.builtin.files
seealso:
  - module: oneimage.cluster.initrd_info
  - module: oneimage.cluster.netboot_check
"""

EXAMPLES = r"""
- name: Build the initrd of the only kernel in a root
  oneimage.cluster.initrd:
    path: /srv/oneimage/boot/images/compute-3f2a91c07be4/initrd-native
    root: /srv/oneimage/roots/compute/3f2a91c07be4

- name: Build a small one for nodes whose NIC is known, for a read-only root alone
  oneimage.cluster.initrd:
    path: /srv/oneimage/boot/initrd-ixgbe
    root: /srv/oneimage/roots/compute/current
    kernel_version: 6.1.0-50-amd64
    modules: [ixgbe]
    root_modes: [nfs_ro]

- name: Build one for the hardware of two sites
  oneimage.cluster.initrd:
    path: /srv/oneimage/boot/initrd-sites
    root: /srv/oneimage/roots/compute/current
    hardware:
      - file: facts/nancy.json
      - site: rennes
        drivers: [ixgbe, megaraid_sas]
  register: initrd

- name: Show which site's drivers are inside
  ansible.builtin.debug:
    var: initrd.coverage

- name: Build a RAM disk of a fixed size, as LTSP's buildk does
  oneimage.cluster.initrd:
    path: /srv/oneimage/boot/initrd-2500
    root: /srv/oneimage/roots/small/current
    modules: [e1000]
    root_modes: [nfs_rw]
    firmware: false
    format: ext2
    size_kb: 2500
    inodes: 300
  register: ram_disk

- name: Boot all machines from it
  oneimage.cluster.boot_entry:
    directory: /srv/oneimage/boot
    base_url: http://10.77.0.1/
    entries:
      - name: ram-disk
        kernel: vmlinuz-small
        initrd: [initrd-2500]
        parameters: "{{ ram_disk.parameters + ['ip=dhcp', 'nfsroot=10.77.0.1:/srv/roots/small', 'oneimage.root_mode=nfs_rw'] }}"
    default:
      entry: ram-disk

- name: Let the distribution's own generator build one
  oneimage.cluster.initrd:
    path: /srv/oneimage/boot/initrd-initramfs-tools
    root: /srv/oneimage/roots/compute/current
    generator: initramfs_tools
    modules: [virtio_net, e1000e]
"""

RETURN = r"""
path:
  description: The initrd.
  returned: success
  type: str
  sample: /srv/oneimage/boot/initrd-ixgbe
sha256:
  description: Its SHA-256 sum; null in check mode where a distribution's generator would run.
  returned: success
  type: str
  sample: 5f0d3f2a8f9d9d2f1b0c6f1b7c5a4c3b2a190817263544536271809facebead0
size:
  description: Its size in bytes; null in check mode where a distribution's generator would run.
  returned: success
  type: int
  sample: 4198123
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
format:
  description: The format of the initrd.
  returned: success
  type: str
  sample: ext2
parameters:
  description: The kernel parameters that the format needs, for the boot entry; none for V(cpio).
  returned: success
  type: list
  elements: str
  sample: [root=/dev/ram0, rw, init=/linuxrc, ramdisk_size=2500]
ram_disk:
  description: How full the RAM disk is, in KB and inodes.
  returned: with O(format=ext2)
  type: dict
  sample: {size_kb: 2500, used_kb: 2387, inodes: 304, used_inodes: 131}
generator:
  description: What built it.
  returned: success
  type: str
  sample: native
kernel_version:
  description: The kernel that it is for.
  returned: success
  type: str
  sample: 6.1.0-50-amd64
modules:
  description: The kernel modules that it must hold, in an order in which they can be loaded.
  returned: success
  type: list
  elements: str
  sample: [virtio, virtio_ring, virtio_net]
coverage:
  description:
    - Where the drivers that each site of O(hardware) needs are. C(initrd) are modules inside, C(builtin) what the kernel has
      built in, C(missing) what this kernel has not at all, C(unknown) NICs and disks' controllers that no driver of it takes.
  returned: success
  type: dict
  sample:
    nancy: {initrd: [igb, ahci], builtin: [], missing: [], unknown: []}
    rennes: {initrd: [ixgbe], builtin: [], missing: [hpsa], unknown: []}
builtin:
  description: What was asked for and is built into the kernel.
  returned: success
  type: list
  elements: str
  sample: [af_packet]
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
  sample: /srv/oneimage/boot/initrd-ixgbe does not exist
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.413
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd import (
    FORMATS,
    GENERATORS,
    InitrdRequest,
    ensure_initrd,
)

HARDWARE = {
    "site": {"type": "str"},
    "drivers": {"type": "list", "elements": "str"},
    "devices": {"type": "list", "elements": "str"},
    "file": {"type": "path"},
    "as": {"type": "str", "choices": ["module", "builtin"], "default": "module"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "root": {"type": "path", "default": "/"},
            "kernel_version": {"type": "str"},
            "generator": {"type": "str", "choices": list(GENERATORS), "default": "native"},
            "modules": {"type": "list", "elements": "str"},
            "hardware": {"type": "list", "elements": "dict", "options": HARDWARE, "default": []},
            "strict": {"type": "bool", "default": True},
            "format": {"type": "str", "choices": list(FORMATS), "default": "cpio"},
            "size_kb": {"type": "int"},
            "inodes": {"type": "int"},
            "root_modes": {
                "type": "list",
                "elements": "str",
                "choices": ["nfs_ro", "nfs_rw", "disk"],
                "default": ["nfs_ro", "nfs_rw"],
            },
            "compression": {"type": "str", "choices": ["auto", "gzip", "zstd", "none"], "default": "auto"},
            "firmware": {"type": "bool", "default": True},
            "busybox": {"type": "path"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    options = module.params
    request = InitrdRequest(
        path=Path(options["path"]),
        root=Path(options["root"]),
        kernel_version=options["kernel_version"],
        generator=options["generator"],
        modules=options["modules"],
        root_modes=options["root_modes"],
        compression=options["compression"],
        firmware=options["firmware"],
        busybox=Path(options["busybox"]) if options["busybox"] else None,
        diff=module._diff,
        hardware=options["hardware"],
        strict=options["strict"],
        format=options["format"],
        size_kb=options["size_kb"],
        inodes=options["inodes"],
    )
    try:
        if any(entry["file"] for entry in request.hardware):
            raise ClusterError(
                "files of hardware were not read: call the module by its full name oneimage.cluster.initrd"
            )
        result = ensure_initrd(request, module.check_mode)
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
