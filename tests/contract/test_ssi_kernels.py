# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ruff: noqa: E101  # tabs are part of the files that stand here
"""Kernels of the old flavours as far as they go without the old sources.

Small trees have the shapes of Linux 2.6.20, 2.6.30 and 2.4.22 (Makefile, Kconfig or Config.in), the SSI system comes as a
patch, and the flavour's data goes through the modules that the role ``kernel`` calls: source, configuration, build.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kernel_trees
import pytest
import yaml
from adhoc import run_task
from conftest import Run
from ssi_case import flavour

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import kconfig_trees

PROFILES = Path(__file__).parents[2] / "profiles/kernel"
SCRIPTS = ("BINFMT_ELF", "PROC_FS", "SYSFS", "TMPFS", "INET", "UNIX")

CONFIG_RULE_26 = """oldconfig defconfig alldefconfig:
\t@mkdir -p $(B)/include/config $(B)/scripts
\t@cd $(B) && srctree=$(CURDIR) ARCH=$(ARCH) KCONFIG_CONFIG=.config \\
\t\tPYTHON -m $(patsubst defconfig,alldefconfig,$@) $(CURDIR)/arch/FOLDER/Kconfig
\t@cmp -s $(B)/.config $(B)/include/config/stamp || cp $(B)/.config $(B)/include/config/stamp
\t@echo $(KERNELRELEASE) > $(B)/include/config/kernel.release
\t@printf '#!/bin/sh\\n' > $(B)/scripts/sign; touch $(B)/Module.symvers

"""
CONFIG_RULE_24 = """oldconfig:
\t@ARCH=$(ARCH) bash scripts/Configure -d arch/$(ARCH)/config.in
\t@mkdir -p include/config; cmp -s .config include/config/stamp || cp .config include/config/stamp

"""


def prompted(*names: str, more: str = "") -> str:
    return "".join(f'config {name}\n\tbool "{name}"\n{more}' for name in names)


def selected(condition: str, *names: str) -> str:
    return "".join(f"config {name}\n\tbool\n\tdefault y\n\tdepends on {condition}\n" for name in names)


KCONFIG = (
    """mainmenu "Linux Kernel Configuration"
config X86_64
\tbool
\tdefault y
config MODULES
\tbool "Enable loadable module support"
\toption modules
\tdefault y
choice
\tprompt "Preemption Model"
\tdefault PREEMPT
config PREEMPT_NONE
\tbool "No Forced Preemption (Server)"
config PREEMPT
\tbool "Preemptible Kernel"
endchoice
config IA32_EMULATION
\tbool "IA32 Emulation"
\tdefault y
config COMPAT
\tbool
\tdepends on IA32_EMULATION
\tdefault y
config KEYS
\tbool "Enable access key retention support"
\tdefault y
config CIFS_UPCALL
\tbool "Kerberos/SPNEGO advanced session setup"
\tselect KEYS
config IP_PNP_DHCP
\tbool "IP: DHCP support"
\tdepends on IP_PNP
config ROOT_NFS
\tbool "Root file system on NFS"
\tdepends on NFS_FS && IP_PNP
config FAST
\ttristate "A driver"
"""
    + prompted(*SCRIPTS, more="\tdefault y\n")
    + prompted("POSIX_MQUEUE", "TASKSTATS", "IP_PNP", "NFS_FS", "NFS_V3", "PACKET", "BLK_DEV_INITRD")
)
NAMESPACES = prompted("NAMESPACES") + prompted("UTS_NS", "IPC_NS", "PID_NS", more="\tdepends on NAMESPACES\n")
KERRIGHED = 'config KERRIGHED\n\tbool "Kerrighed support"\n\tselect KRG_TOOLS\nconfig KRG_TOOLS\n\tbool\n'
PARTS = {
    "kerrighed_3_0": KERRIGHED.replace(
        "\tselect", "\tdepends on X86_64 && PREEMPT_NONE && !KEYS && !COMPAT\n\tselect"
    )
    + selected("KERRIGHED && IPC_NS", "KRG_IPC")
    + selected("KERRIGHED && PID_NS", "KRG_PROC", "KRG_EPM")
    + selected("KERRIGHED", "KRG_CAP")
    + prompted(
        "KRG_AUTONODEID",
        "KRG_HOTPLUG_DEL",
        "KRG_SCHED_COMPAT",
        "CLUSTER_WIDE_PROC",
        more="\tdepends on KERRIGHED\n",
    )
    + 'comment "No migration without PID_NS"\n\tdepends on KERRIGHED && !PID_NS\n',
    "kerrighed_2_4": KERRIGHED.replace("\tselect", "\tdepends on PREEMPT_NONE && !KEYS\n\tselect")
    + selected(
        "KERRIGHED",
        "KRG_CAP",
        "KRG_PROCFS",
        "KRG_MM",
        "KRG_DVFS",
        "KRG_FAF",
        "KRG_IPC",
        "KRG_PROC",
        "KRG_EPM",
    )
    + prompted("KRG_AUTONODEID", "KRG_SCHED_CONFIG", "KRG_SCHED_LEGACY", more="\tdepends on KERRIGHED\n"),
}
FOLDERS = {"kerrighed_3_0": "x86", "kerrighed_2_4": "x86_64"}

CONFIG_IN = (
    kconfig_trees.OPENMOSIX["arch/i386/config.in"]
    .replace("source hpc/Config.in\n", "")
    .replace(
        "source drivers",
        "".join(
            f"bool '{name}' CONFIG_{name}\n" for name in (*SCRIPTS, "PACKET", "BLK_DEV_RAM", "BLK_DEV_INITRD")
        )
        + "tristate 'A driver' CONFIG_FAST\ntristate 'NFS' CONFIG_NFS_FS\n"
        + "dep_mbool 'NFS 3' CONFIG_NFS_V3 $CONFIG_NFS_FS\nsource drivers",
        1,
    )
    .replace("bool 'SYSFS' CONFIG_SYSFS\n", "")
)


def make_trees(folder: Path, name: str) -> tuple[Path, Path]:
    """The tree as it was published and as the SSI system's patch makes it, both named as an archive has them."""
    version = flavour(name)["kernel"]["version"]
    style = "2.4" if name == "openmosix_2_4" else "2.6"
    trees = []
    for variant in ("published", "patched"):
        tree = kernel_trees.make_tree(folder / variant / f"linux-{version}", style)
        if name != "kerrighed_3_0":
            shutil.rmtree(tree / "arch/x86")  # there since 2.6.24
        trees.append(kconfig_trees.make_tree(tree, additions(tree, name, variant == "patched")))
    return trees[0], trees[1]


def additions(tree: Path, name: str, patched: bool) -> Mapping[str, str]:
    makefile = (tree / "Makefile").read_text()
    head, _rule, rest = makefile.partition("oldconfig:\n")
    rest = rest[rest.index("\n\n") + 2 :]
    if name == "openmosix_2_4":
        return openmosix(head + CONFIG_RULE_24 + rest, patched)
    folder = FOLDERS[name]
    sublevel = flavour(name)["kernel"]["version"].rpartition(".")[2]
    head = head.replace("SUBLEVEL = 20", f"SUBLEVEL = {sublevel}").replace(
        "EXTRAVERSION = \n", "EXTRAVERSION =\n"
    )
    kconfig = KCONFIG + (NAMESPACES if name == "kerrighed_3_0" else "")
    found = {
        "Makefile": (head + CONFIG_RULE_26 + rest)
        .replace("FOLDER", folder)
        .replace("BOOT = x86\n", f"BOOT = {folder}\n"),
        f"arch/{folder}/Kconfig": kconfig,
        "scripts/kconfig/Makefile": "oldconfig: conf\n\t$< -o arch/$(ARCH)/Kconfig\n",
    }
    if patched:
        found["Makefile"] = found["Makefile"].replace("EXTRAVERSION =\n", "EXTRAVERSION = -krg\n")
        found[f"arch/{folder}/Kconfig"] += 'source "kerrighed/Kconfig.Kerrighed"\n'
        found["kerrighed/Kconfig.Kerrighed"] = PARTS[name]
    return found


def openmosix(makefile: str, patched: bool) -> Mapping[str, str]:
    found = {name: text for name, text in kconfig_trees.OPENMOSIX.items() if not name.startswith("hpc/")}
    found["Makefile"] = makefile.replace("ARCH := $(shell uname -m)", "ARCH := i386").replace("-om1", "")
    found["arch/i386/config.in"] = CONFIG_IN
    if patched:
        found["Makefile"] = found["Makefile"].replace("EXTRAVERSION = \n", "EXTRAVERSION = -openmosix1\n")
        found["arch/i386/config.in"] = CONFIG_IN.replace(
            "source drivers", "source hpc/Config.in\nsource drivers", 1
        )
        found["hpc/Config.in"] = kconfig_trees.OPENMOSIX["hpc/Config.in"]
    return found


@pytest.fixture(params=["kerrighed_3_0", "kerrighed_2_4", "openmosix_2_4"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def source(name: str, tmp_path: Path, module: Run) -> Path:
    """The archive unpacked and patched as the flavour says."""
    published, patched = make_trees(tmp_path, name)
    archive = kernel_trees.pack(published, tmp_path / f"{published.name}.tar.gz")
    difference = subprocess.run(
        ["diff", "-Naur", f"published/{published.name}", f"patched/{patched.name}"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert difference.returncode == 1
    # as those of the SSI systems: one folder before each name
    text = difference.stdout.replace(b"published/", b"").replace(b"patched/", b"")
    (tmp_path / "999_ssi.patch").write_bytes(text)
    strip = flavour(name)["kernel"]["patch_strip"]
    patch = {"src": str(tmp_path / "999_ssi.patch"), "strip": strip}
    (tmp_path / "made").mkdir()
    options = {"path": str(tmp_path / "made/source"), "archive": str(archive), "patches": [patch]}
    wrong = module("kernel_source", {**options, "patches": [{**patch, "strip": strip + 1}]})
    assert wrong["failed"] is True
    assert not (tmp_path / "made/source").exists()
    made = module("kernel_source", options)
    assert (made.get("msg"), made["changed"]) == (None, True)
    return tmp_path / "made/source"


def config_options(source: Path, name: str) -> dict[str, Any]:
    """As the role ``ssi_cluster`` hands them to the role ``kernel``, and that to the module."""
    kernel = flavour(name)["kernel"]
    build = source if name == "openmosix_2_4" else source.parent / "build"
    return {
        "source": str(source),
        "build": str(build),
        "profiles": [*kernel["profiles"], "netboot_initrd" if kernel["initrds"] else "nfsroot_builtin"],
        "options": {**kernel["options"], **dict.fromkeys(kernel["forbidden"], "n"), "FAST": "m"},
        "architecture": kernel["make"]["target"].get("architecture", "x86_64"),
    }


def test_from_source_to_kernel(name: str, source: Path, module: Run, tmp_path: Path) -> None:
    kernel = flavour(name)["kernel"]
    options = config_options(source, name)
    configured = run_task("oneimage.cluster.kernel_config", options, tmp_path)
    assert configured.get("ok") is True and configured["dropped"] == [], configured["msg"]
    config = Path(options["build"], ".config").read_text().splitlines()
    for option, value in kernel["options"].items():
        assert f"CONFIG_{option}={value}" in config
    for option in kernel["forbidden"]:
        assert not [line for line in config if line.startswith(f"CONFIG_{option}=")]
    (tmp_path / "root").mkdir()
    given = {
        "source": options["source"],
        "build": options["build"],
        "root": str(tmp_path / "root"),
        "targets": kernel["make"]["targets"],
        "architecture": options["architecture"],
        "jobs": 1,
        "progress": 0,
    }
    built = module("kernel_build", given)
    suffix = "-openmosix1" if name == "openmosix_2_4" else "-krg"
    assert (built.get("msg"), built["release"]) == (None, kernel["version"] + suffix)
    assert (tmp_path / f"root/boot/vmlinuz-{built['release']}").is_file()
    assert (tmp_path / f"root/lib/modules/{built['release']}/kernel/drivers/net/fast.ko").is_file()


@pytest.mark.parametrize("name", ["kerrighed_3_0"], indirect=True)
def test_what_silently_drops_kerrighed_is_named(name: str, source: Path, tmp_path: Path) -> None:
    options = config_options(source, name)
    wanted = options["options"]
    trapped = {**options, "profiles": [], "options": {**wanted, "CIFS_UPCALL": "y", "IA32_EMULATION": "y"}}
    result = run_task("oneimage.cluster.kernel_config", {**trapped, "strict": False}, tmp_path)
    reasons = {one["option"]: one["reason"] for one in result["dropped"]}
    assert reasons["CONFIG_KERRIGHED"] == "depends on !KEYS, KEYS=y; !COMPAT, COMPAT=y"
    assert reasons["CONFIG_KEYS"] == "selected by CIFS_UPCALL"
    refused = run_task("oneimage.cluster.kernel_config", trapped, tmp_path)
    assert "CONFIG_KERRIGHED is n, wanted y (options): depends on !KEYS, KEYS=y" in refused["msg"]
    alone = {**options, "options": {**wanted, "PID_NS": "n"}, "strict": False}
    result = run_task("oneimage.cluster.kernel_config", alone, tmp_path)
    assert {one["option"] for one in result["dropped"]} >= {"CONFIG_KRG_PROC", "CONFIG_KRG_EPM"}
    assert "PID_NS" in next(one["reason"] for one in result["dropped"] if one["option"] == "CONFIG_KRG_EPM")


def test_the_flavours_options_meet_the_profiles(name: str) -> None:
    """Whoever checks a kernel by the profile alone asks for nothing that the flavour does not set."""
    kernel = flavour(name)["kernel"]
    known = {**kernel["options"], **dict.fromkeys(kernel["forbidden"], "n")}
    for profile in kernel["profiles"]:
        for rule in yaml.safe_load((PROFILES / f"{profile}.yml").read_text())["rules"]:
            options = [rule["options"]] if isinstance(rule["options"], str) else rule["options"]
            asked = [rule["values"]] if not isinstance(rule["values"], list) else rule["values"]
            unmentioned = {"absent", "not-set"} & set(asked)
            assert set(options) & set(known) or unmentioned, f"{name} sets none of {options}"
            values = {known[option] for option in options if option in known}
            assert "n" not in values or "not-set" in asked
