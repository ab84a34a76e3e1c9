# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small source trees that are built as kernels 2.4, 2.6 and 6.x are: the targets, files and words of the real ones.

The compiler, the linker, depmod and dpkg-deb are the real programs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

VERSIONS = {"2.4": (2, 4, 22, "-om1"), "2.6": (2, 6, 20, ""), "6.x": (6, 1, 7, "")}
CONFIG = "CONFIG_MODULES=y\nCONFIG_FAST=m\nCONFIG_SMP=y\n"

SOURCES = {
    "init/main.c": "int start_kernel(void) { return 0; }\n",
    "init/Makefile": "obj-y := main.o\n",
    "kernel/sched.c": "int schedule(void)\n{\n\treturn 1;\n}\n",
    "kernel/fork.c": "int do_fork(void) { return 2; }\n",
    "kernel/Makefile": "obj-y := sched.o \\\n\tfork.o # the rest\n",
    "drivers/Makefile": "obj-y += net/\n",
    "drivers/net/fast.c": "int fast_probe(void) { return 3; }\n",
    "drivers/net/Makefile": "obj-$(CONFIG_FAST) += fast.o\nobj-$(CONFIG_ABSENT) += absent.o\n",
    "include/linux/sched.h": "int schedule(void);\n",
    "scripts/mkcompile_h": "#!/bin/sh\n",
    "arch/x86/Makefile": "# nothing of its own\n",
    "arch/x86/include/asm/page.h": "#define PAGE_SIZE 4096\n",
}

HEAD = """\
VERSION = {0}
PATCHLEVEL = {1}
SUBLEVEL = {2}
EXTRAVERSION = {3}
KERNELRELEASE = $(VERSION).$(PATCHLEVEL).$(SUBLEVEL)$(EXTRAVERSION)$(LOCALVERSION)
CC = $(CROSS_COMPILE)gcc
LD = $(CROSS_COMPILE)ld
CORE = init/main.o kernel/sched.o kernel/fork.o
MODS = $(shell grep -q '^CONFIG_FAST=m' $(B)/.config 2>/dev/null && echo drivers/net/fast.ko)
"""

LINK = """\
\t$(LD) -r -o $(B)/vmlinux $(addprefix $(B)/,$(CORE))
\tnm $(B)/vmlinux > $(B)/System.map
\tmkdir -p $(B)/arch/$(BOOT)/boot
\tcp $(B)/vmlinux $(B)/arch/$(BOOT)/boot/bzImage
"""

INSTALL = """\
modules_install:
\t@rm -rf $(M)/kernel
\t@mkdir -p $(M)
\t@for ko in $(MODS); do mkdir -p $(M)/kernel/$$(dirname $$ko) && cp $(B)/$$ko $(M)/kernel/$$ko \\
\t  && { test -z "$(INSTALL_MOD_STRIP)" || strip --strip-debug $(M)/kernel/$$ko; }; done
\t@ln -sfn $(CURDIR) $(M)/source; ln -sfn $(B) $(M)/build
"""

# no output folder, every command shown whole, dependencies made by a target of their own
OLD = (
    """\
TOPDIR := $(shell if [ "$$PWD" != "" ]; then echo $$PWD; else pwd; fi)
ARCH := $(shell uname -m)
BOOT = $(ARCH)
B = $(TOPDIR)
M = $(INSTALL_MOD_PATH)/lib/modules/$(KERNELRELEASE)
DEPMOD = /sbin/depmod

oldconfig:
\t@grep -q '^CONFIG_NEW=' .config || { printf 'A new option (CONFIG_NEW) [Y/n/?] (NEW) '; \\
\t  read answer || { echo 'end of input'; exit 1; }; echo CONFIG_NEW=y >> .config; }
\t@mkdir -p include/config; cmp -s .config include/config/stamp || cp .config include/config/stamp

dep: include/linux/version.h
\ttouch .depend
include/linux/version.h: ./Makefile
\techo '#define UTS_RELEASE "$(KERNELRELEASE)"' > $@

bzImage: $(CORE)
\t@test -e $(TOPDIR)/.depend || { echo 'make: *** no dependencies, run make dep'; exit 1; }
"""
    + LINK
    + """\
modules: $(MODS)
%.ko: %.o
\t$(LD) -r -o $@ $<
%.o: %.c include/config/stamp
\t$(CC) -D__KERNEL__ -I$(TOPDIR)/include $(KCFLAGS) -g   -c -o $@ $<
mrproper:
\tfind . -name '*.o' -o -name '*.ko' | xargs rm -f
\trm -rf .config .depend vmlinux System.map include/linux/version.h include/config arch/*/boot
"""
    + INSTALL
    + "\t@if [ -r System.map ]; then $(DEPMOD) -ae -F System.map -b $(INSTALL_MOD_PATH) $(KERNELRELEASE); fi\n"
)

# an output folder, quiet commands
NEW = (
    """\
B := $(if $(O),$(O),$(CURDIR))
BOOT = x86
M = $(INSTALL_MOD_PATH)/lib/modules/$(KERNELRELEASE)
DEPMOD = /sbin/depmod

{config}:
\t@test -z "$(O)" -o ! -e .config || {{ echo '***'; echo '*** The source tree is not clean, please run make mrproper'; exit 1; }}
\t@grep -q '^CONFIG_NEW=' $(B)/.config || {{ {question}; echo CONFIG_NEW=y >> $(B)/.config; }}
\t@mkdir -p $(B)/include/config $(B)/scripts
\t@cmp -s $(B)/.config $(B)/include/config/stamp || cp $(B)/.config $(B)/include/config/stamp
\t@echo $(KERNELRELEASE) > $(B)/include/config/kernel.release
\t@echo '  HOSTCC  scripts/sign'; printf '#!/bin/sh\\n' > $(B)/scripts/sign; touch $(B)/Module.symvers

bzImage: $(addprefix $(B)/,$(CORE))
"""
    + LINK.replace("\t", "\t@").replace("{", "{{")
    + """\
modules: $(addprefix $(B)/,$(MODS))
$(B)/%.ko: $(B)/%.o
\t@echo '  LD [M]  $*.ko'; $(LD) -r -o $@ $<
$(B)/drivers/%.o: drivers/%.c $(B)/include/config/stamp
\t@mkdir -p $(@D); echo '  CC [M]  drivers/$*.o'; $(CC) $(KCFLAGS) -g -c -o $@ $<
$(B)/%.o: %.c $(B)/include/config/stamp
\t@mkdir -p $(@D); echo '  CC      $*.o'; $(CC) $(KCFLAGS) -g -c -o $@ $<
mrproper:
\t@echo '  CLEAN   $(B)'; cd $(B) && find . -name '*.o' -o -name '*.ko' | xargs rm -f && \\
\t  rm -rf .config vmlinux System.map include/config scripts/sign Module.symvers arch/*/boot
"""
    + INSTALL.replace("{", "{{").replace("}", "}}")
    + """\
\t@if test -r $(B)/System.map -a -x $(DEPMOD); then $(DEPMOD) -ae -F $(B)/System.map -b $(INSTALL_MOD_PATH) $(KERNELRELEASE); fi

bindeb-pkg: bzImage modules
\t@mkdir -p $(B)/debian/content/DEBIAN
\t@printf 'Package: linux-image-$(KERNELRELEASE)\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: a\\n' \\
\t  > $(B)/debian/content/DEBIAN/control
\t@dpkg-deb --root-owner-group --build $(B)/debian/content $(B)/../linux-image-$(KERNELRELEASE)_1_all.deb
\t@touch $(B)/../linux-upstream_1_all.buildinfo $(B)/../linux-upstream_1_all.changes
\t@printf '%s kernel optional\\n' linux-image-$(KERNELRELEASE)_1_all.deb linux-upstream_1_all.buildinfo > $(B)/debian/files
"""
)

QUESTION = "printf 'A new option (NEW) [Y/n/?] (NEW) '; read answer || {{ echo 'Error in reading or end of file.'; exit 1; }}"
MAKEFILES = {
    "2.4": OLD,
    "2.6": NEW.format(config="oldconfig", question=QUESTION.format()),
    "6.x": NEW.format(config="olddefconfig", question="true"),
}


def make_tree(folder: Path, style: str) -> Path:
    """A tree of the style ``2.4``, ``2.6`` or ``6.x`` in ``folder``, which must not exist."""
    for path, text in SOURCES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    head = "".join(f"{line}\n" for line in HEAD.splitlines()).format(*VERSIONS[style])
    (folder / "Makefile").write_text(head + MAKEFILES[style].lstrip())
    if style == "6.x":
        (folder / "scripts/kconfig").mkdir()
        (folder / "scripts/kconfig/Makefile").write_text("simple-targets := oldconfig olddefconfig\n")
    return folder


def pack(tree: Path, archive: Path) -> Path:
    """``tree`` as an archive, compressed as its name says."""
    subprocess.run(["tar", "--auto-compress", "-cf", archive, "-C", tree.parent, tree.name], check=True)
    return archive
