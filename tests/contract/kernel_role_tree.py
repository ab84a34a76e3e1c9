# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ruff: noqa: E101  # tabs are part of the files that stand here
"""A small source tree that is configured, built and installed as a kernel 6.x, quick enough for every test of the role.

A stand-in of Kbuild compiles a few files with the real compiler; what comes out has the header, the modules and the lists
that boot loaders, depmod and initrds read. Options are settled by kconfiglib, as in ``kconfig_trees``.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "fixtures")]

import kconfig_trees
import netboot_case

VERSION = "6.1.90"
NEEDED = (
    *(
        "BINFMT_ELF",
        "BINFMT_SCRIPT",
        "PROC_FS",
        "SYSFS",
        "DEVTMPFS",
        "TMPFS",
        "TMPFS_XATTR",
        "UNIX",
        "PACKET",
    ),
    *("BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD", "NFS_V3", "NFS_V4", "OVERLAY_FS", "EFI", "EFI_STUB"),
)
"""What a boot from the network asks of the configuration, and is in the kernel by default."""
DRIVERS = {
    "CONFIG_E1000E": "drivers/net/e1000e/e1000e",
    "CONFIG_IGB": "drivers/net/igb/igb",
    "CONFIG_MLX5_CORE": "drivers/net/mlx5_core",
    "CONFIG_BLK_DEV_SD": "drivers/scsi/sd_mod",
    "CONFIG_SATA_AHCI": "drivers/ata/ahci",
    "CONFIG_NFS_FS": "fs/nfs/nfs",
    "CONFIG_NFS_V3": "fs/nfs/nfsv3",
    "CONFIG_NFS_V4": "fs/nfs/nfsv4",
    "CONFIG_OVERLAY_FS": "fs/overlayfs/overlay",
    "CONFIG_PACKET": "net/packet/af_packet",
}

MAKEFILE = """VERSION = 6
PATCHLEVEL = 1
SUBLEVEL = 90
EXTRAVERSION =
KERNELRELEASE = $(VERSION).$(PATCHLEVEL).$(SUBLEVEL)$(EXTRAVERSION)$(LOCALVERSION)
O ?= .
CC = gcc
KBUILD = @PYTHON scripts/kbuild.py $(O) $(KERNELRELEASE) "$(CC)"
%config:
\t@test ! -e .config || test "$(O)" = . || { echo 'The source tree is not clean, please run make mrproper'; exit 1; }
\t@cd $(O) && srctree=$(CURDIR) SRCARCH=x86 ARCH=x86_64 KCONFIG_CONFIG=.config \\
\t\tPYTHON -m $(patsubst defconfig,alldefconfig,$(patsubst tinyconfig,allnoconfig,$@)) $(CURDIR)/Kconfig
\t@mkdir -p $(O)/include/config && echo $(KERNELRELEASE) > $(O)/include/config/kernel.release
bzImage:
\t$(KBUILD) kernel
modules:
\t$(KBUILD) modules
modules_install:
\t$(KBUILD) install $(INSTALL_MOD_PATH)
mrproper:
\tcd $(O) && rm -rf .config include arch vmlinux System.map drivers fs net init
"""

KBUILD = """
import re, shutil, subprocess, sys
from pathlib import Path
build, release, cc, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(), sys.argv[4]
config = dict(re.findall(r"^(CONFIG_\\w+)=(.*)$", (build / ".config").read_text(), re.M))
modules = [path for option, path in DRIVERS.items() if config.get(option) == "m"]

def compile(kind, path, text):
    file = build / f"{path}.o"
    file.parent.mkdir(parents=True, exist_ok=True)
    made_from = file.with_suffix(".c")
    if not made_from.is_file() or made_from.read_text() != text:
        print(f"  {kind.ljust(8)}{path}.o", flush=True)
        subprocess.run([*cc, "-x", "c", "-c", "-o", file, "-"], input=text, text=True, check=True)
        made_from.write_text(text)
    return file

if what == "kernel":
    core = compile("CC", "init/main", Path("init/main.c").read_text())
    shutil.copy(core, build / "vmlinux")
    (build / "System.map").write_bytes(subprocess.run(["nm", core], check=True, stdout=subprocess.PIPE).stdout)
    boot = build / "arch/x86/boot"
    boot.mkdir(parents=True, exist_ok=True)
    (boot / "bzImage").write_bytes(vmlinuz(release))
for path in modules if what == "modules" else ():
    facts = f'__attribute__((section(".modinfo"), used)) static const char magic[] = "vermagic={release} SMP";'
    (build / f"{path}.ko").write_bytes(compile("CC [M]", path, facts).read_bytes())
if what == "install":
    folder = Path(sys.argv[5], "lib/modules", release)
    for path in modules:
        place = folder / f"kernel/{path}.ko"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(build / f"{path}.ko", place)
    builtin = [path for option, path in DRIVERS.items() if config.get(option) == "y"]
    (folder / "modules.order").write_text("".join(f"kernel/{path}.ko\\n" for path in modules))
    (folder / "modules.builtin").write_text("".join(f"kernel/{path}.ko\\n" for path in builtin))
    (folder / "modules.builtin.modinfo").touch()
"""

TOP = 'source "fs/Kconfig"\nconfig FANCY\n\ttristate "A NIC that needs what nobody sets"\n\tdepends on KEYS\n'


def files() -> dict[str, str]:
    """Of ``kconfig_trees.NEW``, with what is built and what a boot from the network needs."""
    script = f"import struct\nDRIVERS = {DRIVERS!r}\n\n{inspect.getsource(netboot_case.vmlinuz)}\n{KBUILD}"
    return {
        **kconfig_trees.NEW,
        "Makefile": MAKEFILE,
        "Kconfig": kconfig_trees.NEW["Kconfig"] + TOP,
        "drivers/net/Makefile": kconfig_trees.NEW["drivers/net/Makefile"]
        + "obj-$(CONFIG_FANCY) += fancy.o\n",
        "fs/Kconfig": "".join(f'config {name}\n\tbool "{name}"\n\tdefault y\n' for name in NEEDED),
        "scripts/kbuild.py": f"from __future__ import annotations\n{script}",
        "init/main.c": "int start_kernel(void) { return 0; }\n",
        "init/Makefile": "obj-y := main.o\n",
    }


def make_tree(folder: Path) -> Path:
    return kconfig_trees.make_tree(folder, files())
