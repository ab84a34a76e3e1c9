#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_build
short_description: Build a kernel and install it into a root
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Compiles a kernel of any version from 2.4 on from its source tree and a configuration, on all cores and out of the tree
    where the tree can do that.
  - Compiles only where the source, its patches, the configuration, the toolchain or the options changed since the last
    build came to its end, and then what make finds to be changed. Another source, toolchain or architecture starts afresh
    with C(make mrproper) in O(build).
  - A build that failed or was killed is never taken for a finished one; the next run goes on with it.
  - With O(root), installs the kernel as C(/boot/vmlinuz-RELEASE), C(System.map-RELEASE) and C(config-RELEASE), and its
    modules in C(/lib/modules/RELEASE), of which depmod makes the lists. The modules come there by one rename, the bootable
    file comes last. A kernel of the same release that came by other means is not replaced.
  - While it compiles, the controller prints how many files are done of how many, as many as the last build of the same
    configuration had, else as the tree's own lists tell, which is right to about a tenth. When only what changed is compiled
    again, nobody knows how many files that will be, and only those that are done are printed.
  - Of a failed build, the first error is shown with its file and line; the whole log stays in C(.oneimage-build.log) in
    O(build).
  - Variables of the environment do not reach make, except C(PATH), C(HOME), C(TMPDIR) and those of ccache.
requirements:
  - make, a compiler and binutils; bc, flex and bison for kernels of this decade, and what their configuration asks for,
    such as libelf-dev and libssl-dev
  - util-linux, kmod
  - dpkg-dev, fakeroot, rsync and cpio for O(packages)
options:
  source:
    description: The source tree.
    type: path
    required: true
  config:
    description:
      - The configuration, a C(.config) file. What it does not say gets the tree's default.
      - The one that lies in O(build) unless given.
    type: path
  build:
    description:
      - The folder to build in. Its parent must exist. Kernels before 2.6 can only be built in their source tree.
      - Beside O(source) with C(-build) added to its name unless given, or O(source) itself for a kernel before 2.6.
    type: path
  root:
    description: The tree to install into, V(/) being this host itself. Nothing is installed without it.
    type: path
  targets:
    description:
      - What make is told to build. V(modules) is left out when the configuration has no modules, and V(modules_install) is
        understood as O(root) being given.
      - The bootable kernel of O(architecture) and V(modules) unless given, before 2.6 after V(dep). Before 2.6, make is called
        for each target by itself.
    type: list
    elements: str
  architecture:
    description:
      - The architecture of the kernel as C(uname -m) says it, one of V(x86_64), V(i386), V(aarch64), V(arm), V(ppc64le),
        V(riscv64), V(s390x).
      - That of this host unless given.
    type: str
  cross_compile:
    description: The prefix of the programs of another toolchain, such as V(aarch64-linux-gnu-).
    type: str
  cc:
    description: The compiler, such as V(gcc-3.3), V(clang) or V(ccache gcc).
    type: str
  hostcc:
    description: The compiler of programs that run during the build.
    type: str
  localversion:
    description: Added to the kernel's version, such as V(-cluster). Kernels before 2.6 get it through C(EXTRAVERSION).
    type: str
  make_variables:
    description: Further variables for make, such as C(KCFLAGS) or C(KBUILD_BUILD_TIMESTAMP).
    type: dict
    default: {}
  jobs:
    description: How many commands make runs at once. As many as this host has cores unless given.
    type: int
  strip_modules:
    description: Whether installed modules lose their debugging symbols, by C(INSTALL_MOD_STRIP=1), from 2.6.18 on.
    type: bool
    default: true
  headers:
    description:
      - Whether O(root) gets in C(/usr/src/linux-headers-RELEASE) what modules of others are compiled against.
      - Otherwise C(build) and C(source) in C(/lib/modules/RELEASE) are left out.
    type: bool
    default: false
  packages:
    description: A folder that exists, for Debian packages of the kernel, made with C(make bindeb-pkg).
    type: path
  progress:
    description:
      - Seconds between two lines of progress, which the controller prints. The build goes on in the background meanwhile, so
        that it survives a broken connection; the next run waits for it for a minute.
      - V(0) prints nothing and builds in the foreground.
    type: int
    default: 10
extends_documentation_fragment: [oneimage.cluster._attributes]
notes:
  - An external module below C(/lib/modules/RELEASE) is lost when another build of the same release is installed.
seealso:
  - module: oneimage.cluster.kernel_source
  - module: oneimage.cluster.kernel_config
  - module: oneimage.cluster.initrd
"""

EXAMPLES = r"""
- name: Build and install the kernel of all sites
  oneimage.cluster.kernel_build:
    source: /usr/src/linux-cluster
    config: /srv/kernels/multisite.config
    localversion: -multisite
    root: /srv/roots/compute
  register: kernel

- name: Build its initrd
  oneimage.cluster.initrd:
    path: /srv/roots/compute/boot/initrd.img-{{ kernel.release }}
    root: /srv/roots/compute
    kernel_version: "{{ kernel.release }}"

- name: A kernel 2.4 with the compiler of its time
  oneimage.cluster.kernel_build:
    source: /usr/src/linux-2.4.22-openmosix
    architecture: i386
    cc: gcc-3.3
    targets: [dep, bzImage, modules]
    root: /srv/roots/openmosix

- name: An arm64 kernel as Debian packages, cross-compiled
  oneimage.cluster.kernel_build:
    source: /usr/src/linux-cluster
    build: /var/tmp/linux-arm64
    config: /srv/kernels/arm64.config
    architecture: aarch64
    cross_compile: aarch64-linux-gnu-
    make_variables: {KCFLAGS: -O2, KDEB_PKGVERSION: 6.1.90-1}
    packages: /srv/packages
"""

RETURN = r"""
release:
  description: What C(uname -r) will say; null in check mode when the kernel would be built.
  type: str
  returned: success
  sample: 6.1.90-multisite
reason:
  description: Why something was done, null where there was nothing to do.
  type: str
  returned: success
  sample: "changed: configuration, toolchain"
built:
  description: Whether the kernel was compiled, or in check mode would be.
  type: bool
  returned: success
  sample: true
image:
  description: The bootable kernel in the build folder.
  type: str
  returned: success
  sample: /usr/src/linux-cluster-build/arch/x86/boot/bzImage
build:
  description: The build folder.
  type: str
  returned: success
  sample: /usr/src/linux-cluster-build
log:
  description: All that make said in the last build.
  type: str
  returned: success
  sample: /usr/src/linux-cluster-build/.oneimage-build.log
files:
  description: How many files were compiled.
  type: int
  returned: success
  sample: 2417
installed:
  description: Where in O(root) the kernel lies; null without O(root), and in check mode when it would be built.
  type: dict
  returned: success
  sample:
    kernel: /srv/roots/compute/boot/vmlinuz-6.1.90-multisite
    system_map: /srv/roots/compute/boot/System.map-6.1.90-multisite
    config: /srv/roots/compute/boot/config-6.1.90-multisite
    modules: /srv/roots/compute/lib/modules/6.1.90-multisite
    headers: null
packages:
  description: The Debian packages.
  type: list
  elements: str
  returned: success
  sample: [/srv/packages/linux-image-6.1.90-multisite_6.1.90-1_amd64.deb]
toolchain:
  description: What the compilers and the linker call themselves.
  type: dict
  returned: success
  sample: {cc: gcc (Debian 12.2.0-14) 12.2.0, hostcc: gcc (Debian 12.2.0-14) 12.2.0, ld: GNU ld (GNU Binutils for Debian) 2.40}
seconds:
  description: How long the compilation and all of it took; empty where there was nothing to do.
  type: dict
  returned: success
  sample: {build: 402.11, total: 410.32}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build import (
    carry_out,
    difference,
    make_plan,
    result,
)

OPTIONS = {
    "source": {"type": "path", "required": True},
    "config": {"type": "path"},
    "build": {"type": "path"},
    "root": {"type": "path"},
    "targets": {"type": "list", "elements": "str"},
    "architecture": {"type": "str"},
    "cross_compile": {"type": "str"},
    "cc": {"type": "str"},
    "hostcc": {"type": "str"},
    "localversion": {"type": "str"},
    "make_variables": {"type": "dict", "default": {}},
    "jobs": {"type": "int"},
    "strip_modules": {"type": "bool", "default": True},
    "headers": {"type": "bool", "default": False},
    "packages": {"type": "path"},
    "progress": {"type": "int", "default": 10},
}


def main() -> None:
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    done = None
    try:
        plan = make_plan(module.params)
        if plan.reason and not module.check_mode:
            done = carry_out(plan)
            for warning in done["warnings"]:
                module.warn(warning)
        returned = result(plan, done)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    shown = {"diff": difference(plan)} if plan.reason and module._diff else {}
    module.exit_json(**returned, **shown)


if __name__ == "__main__":
    main()
