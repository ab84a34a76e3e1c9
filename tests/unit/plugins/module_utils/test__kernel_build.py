# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What make gets, what it says, what a tree's lists say of it, and what decides over another build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_expected import expected_files
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_make import (
    COMPILED,
    Progress,
    first_error,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_state import (
    Stamp,
    differing,
    find_release,
    is_written,
    read_stamp,
    write_stamp,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_target import make_target
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_tree import read_tree

NOTHING = {
    "build": None,
    "targets": None,
    "architecture": "x86_64",
    "cross_compile": None,
    "cc": None,
    "hostcc": None,
    "localversion": None,
    "make_variables": {},
}


def target(tmp_path: Path, version: str, **options: Any) -> Any:
    numbers = version.partition("-")
    lines = zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), numbers[0].split("."))
    (tmp_path / "linux").mkdir()
    text = "".join(f"{name} = {number}\n" for name, number in lines)
    (tmp_path / "linux/Makefile").write_text(f"{text}EXTRAVERSION = {numbers[1]}{numbers[2]}\n")
    return make_target(read_tree(tmp_path / "linux"), {**NOTHING, **options})


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("6.1.90", {}, "make -j4 O={}-build ARCH=x86_64 LOCALVERSION="),
    ("6.1.90", {"localversion": "-x"}, "make -j4 O={}-build ARCH=x86_64 LOCALVERSION=-x"),
    ("2.6.20", {"cc": "gcc-4.1"}, "make -j4 O={}-build ARCH=x86_64 CC=gcc-4.1 LOCALVERSION="),
    ("2.4.22-om1", {"architecture": "i686"}, "make -j4 ARCH=i386 EXTRAVERSION=-om1"),
    ("2.4.22-om1", {"localversion": "-x"}, "make -j4 ARCH=x86_64 EXTRAVERSION=-om1-x"),
    (
        "6.12.0",
        {"architecture": "arm64", "cross_compile": "aarch64-linux-gnu-", "make_variables": {"W": 1}},
        "make -j4 O={}-build ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- LOCALVERSION= W=1",
    ),
]


@pytest.mark.parametrize(("version", "options", "call"), CALLS)
def test_how_make_is_called(version: str, options: dict[str, Any], call: str, tmp_path: Path) -> None:
    found = target(tmp_path, version, **options).argv(4)
    assert " ".join(found) == call.format(tmp_path / "linux")


@pytest.mark.parametrize(
    ("version", "architecture", "targets", "image", "programs"),
    [
        ("2.4.22", "i386", ["dep", "bzImage", "modules"], "arch/x86/boot/bzImage", []),
        ("2.6.20", "x86_64", ["bzImage", "modules"], "arch/x86/boot/bzImage", []),
        ("3.16.0", "arm", ["zImage", "modules"], "arch/arm/boot/zImage", ["bc"]),
        ("6.1.0", "aarch64", ["Image.gz", "modules"], "arch/arm64/boot/Image.gz", ["bc", "bison", "flex"]),
        ("6.1.0", "ppc64le", ["vmlinux", "modules"], "vmlinux", ["bc", "bison", "flex"]),
        ("6.1.0", "riscv64", ["Image.gz", "modules"], "arch/riscv/boot/Image.gz", ["bc", "bison", "flex"]),
    ],
)
def test_what_is_built(
    version: str, architecture: str, targets: list[str], image: str, programs: list[str], tmp_path: Path
) -> None:
    found = target(tmp_path, version, architecture=architecture)
    assert list(found.targets) == targets and found.image() == image
    assert sorted(found.system.programs) == programs and found.in_tree == version.startswith("2.4")


def test_the_image_of_a_tree_from_before_arch_x86(tmp_path: Path) -> None:
    found = target(tmp_path, "2.4.22", architecture="i386")
    (found.build / "arch/i386/boot").mkdir(parents=True)
    (found.build / "arch/i386/boot/bzImage").touch()
    assert found.image() == "arch/i386/boot/bzImage"


COUNTED = {
    b"  CC      kernel/fork.o\n": True,
    b"  CC [M]  drivers/net/ethernet/intel/e1000/e1000_main.o\n": True,
    b"  AS      arch/x86/entry/entry_64.o\n": True,
    b"gcc -D__KERNEL__ -I/x/include -O2   -c -o sched.o sched.c\n": True,
    b"gcc -D__ASSEMBLY__ -D__KERNEL__ -c head.S -o head.o\n": True,
    b"  HOSTCC  scripts/basic/fixdep\n": False,
    b"  LD [M]  drivers/net/dummy.ko\n": False,
    b"  CALL    scripts/checksyscalls.sh\n": False,
    b"make[1]: Entering directory '/x'\n": False,
    b"ld -r -o built-in.o a.o\n": False,
}


@pytest.mark.parametrize("line", COUNTED)
def test_which_lines_are_a_file(line: bytes) -> None:
    assert bool(COMPILED.search(line)) == COUNTED[line]


FAILURES = {
    "  CC      kernel/fork.o\nIn file included from kernel/fork.c:1:\n"
    "kernel/x.h:3:1: warning: unused\nkernel/fork.c:12:5: error: 'x' undeclared\nkernel/fork.c:13:1: error: more\n"
    "make[2]: *** [scripts/Makefile.build:250: kernel/fork.o] Error 1\nmake: *** [Makefile:2036: .] Error 2": (
        "kernel/fork.c:12:5: error: 'x' undeclared"
    ),
    "sched.c:7: error: parse error\nmake: *** [sched.o] Error 1": "sched.c:7: error: parse error",
    "tools/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory\ncompilation terminated.": (
        "tools/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory"
    ),
    "net/x.c:1:1: error: a\n/usr/bin/ld: final link failed: No space left on device": (
        "/usr/bin/ld: final link failed: No space left on device"
    ),
    "ld: kernel/fork.o: in function `fork':\nfork.c:(.text+0x1): undefined reference to `mqueue_file_operations'\n"
    "make: *** [Makefile:1: vmlinux] Error 1": (
        "fork.c:(.text+0x1): undefined reference to `mqueue_file_operations'"
    ),
    "drivers/net/Kconfig:12: syntax error\nmake[1]: *** [olddefconfig] Error 1": (
        "drivers/net/Kconfig:12: syntax error"
    ),
    "init/Kconfig:7:warning: leading text\nmake: *** No rule to make target 'bzImage'.  Stop.": (
        "make: *** No rule to make target 'bzImage'.  Stop."
    ),
    'ERROR: modpost: "x" [drivers/y.ko] undefined!\nmake: *** [modules] Error 1': (
        'ERROR: modpost: "x" [drivers/y.ko] undefined!'
    ),
    '***\n*** Configuration file ".config" not found!\n***\nmake: *** [.config] Error 1': (
        '*** Configuration file ".config" not found!'
    ),
    "/bin/sh: 1: bc: not found\nmake[1]: *** [timeconst.h] Error 127": "/bin/sh: 1: bc: not found",
    "gcc: fatal error: Killed signal terminated program cc1": (
        "gcc: fatal error: Killed signal terminated program cc1"
    ),
    "something else\n\n": "something else",
    "": "make said nothing",
}


@pytest.mark.parametrize("said", FAILURES)
def test_the_first_error(said: str) -> None:
    assert first_error(said.splitlines()) == FAILURES[said]


def test_an_error_as_long_as_a_command_is_cut() -> None:
    assert len(first_error(["x.c:1: error: " + "y" * 5000])) == 301


def test_progress_counts_and_tells(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress", expected=9)
    progress.enter("compiling")
    for line in COUNTED:
        progress.see(line)
    progress.enter("ended")
    told = json.loads((tmp_path / "progress").read_text())
    assert told == {"phase": "ended", "done": 5, "expected": 9}
    Progress(tmp_path / "no/such/progress").enter("nobody reads this")


LISTS = {
    "init/Makefile": "obj-y := main.o version.o \\\n\tmounts.o\nmounts-y := do_mounts.o\n"
    "mounts-$(CONFIG_INITRD) += do_initrd.o\nmounts-$(CONFIG_RAID) += do_md.o # not here\n",
    "drivers/Makefile": "obj-$(CONFIG_NET) += net/\nobj-$(CONFIG_SCSI) += scsi/\nobj-y\t\t\t+= base/\n",
    "drivers/net/Kbuild": "obj-$(CONFIG_NIC) += nic.o\nnic-objs := a.o b.o\nobj-$(CONFIG_DUMMY) += dummy.o\n",
    "drivers/net/Makefile": "obj-y += never_read.o\n",
    "drivers/scsi/Makefile": "obj-y += scsi.o\n",
    "drivers/base/Makefile": "obj-$(subst m,y,$(CONFIG_NIC)) += glue.o\nobj-y += $(more).o\n",
    "lib/Makefile": "lib-y := ctype.o string.o\nobj-y += ctype.o\n",
    "arch/x86/Kbuild": "obj-y += kernel/\n",
    "arch/x86/kernel/Makefile": "obj-y := head.o\nobj-y += head.o\n",
    "arch/x86/Makefile": "head-y := arch/x86/kernel/head.o\n",
}


def test_how_many_files_are_expected(tmp_path: Path) -> None:
    for path, text in LISTS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    config = "CONFIG_INITRD=y\n# CONFIG_RAID is not set\nCONFIG_NET=y\nCONFIG_NIC=m\nCONFIG_DUMMY=y\n"
    # init: main, version, do_mounts, do_initrd; net: a, b, the module's own, dummy; glue; ctype, string; head
    assert expected_files(tmp_path, "x86", config) == 4 + 4 + 1 + 2 + 1
    assert expected_files(tmp_path / "nothing", "x86", config) is None


RELEASES = {
    ("include/config/kernel.release", "6.1.90-x\n"): "6.1.90-x",
    (".kernelrelease", "2.6.18\n"): "2.6.18",
    ("include/generated/utsrelease.h", '#define UTS_RELEASE "2.6.33"\n'): "2.6.33",
    (
        "include/linux/version.h",
        '#define LINUX_VERSION_CODE 1\n#define UTS_RELEASE "2.4.22-om1"\n',
    ): "2.4.22-om1",
}


@pytest.mark.parametrize(("path", "text"), RELEASES)
def test_the_release(path: str, text: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert find_release(tmp_path) == RELEASES[path, text]


@pytest.mark.parametrize("text", ["", "../../etc", "6.1 x", "-rf"])
def test_a_release_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / ".kernelrelease").write_text(text)
    with pytest.raises(ClusterError, match="does not tell the release"):
        find_release(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"state": "finished"}', '{"image_state": 1}'])
def test_a_stamp_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / ".oneimage-build.json").write_text(text)
    assert read_stamp(tmp_path) is None


def test_a_stamp_comes_back(tmp_path: Path) -> None:
    stamp = Stamp("finished", {"source": "a"}, "6.1", "vmlinux", (1, 2), "c", 3, ("x.deb",))
    write_stamp(tmp_path, stamp)
    assert read_stamp(tmp_path) == stamp


def test_a_configuration_may_be_what_it_was_completed_to() -> None:
    stamp = Stamp("finished", {"configuration": "given", "files": "f"}, configured="completed")
    for digest, expected in (("given", []), ("completed", []), ("other", ["configuration"])):
        assert differing({"configuration": digest, "files": "f"}, stamp) == expected


WRITTEN = {
    "kernel/sched.c": True,
    "arch/i386/kernel/entry.S": True,
    "include/linux/sched.h": True,
    "drivers/net/Config.in": True,
    "Makefile": True,
    "kernel/sched.o": False,
    "include/linux/version.h": False,
    "include/linux/autoconf.h": False,
    "System.map": False,
}


@pytest.mark.parametrize("path", WRITTEN)
def test_what_people_write(path: str) -> None:
    assert is_written(path) == WRITTEN[path]
