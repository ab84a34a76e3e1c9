"""The options of trees of any age, with their types and conditions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "fixtures"))
import kconfig_trees

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_tree import (
    kernel_architecture,
    read_tree,
)

BARE = {"Makefile": "VERSION = 6\nPATCHLEVEL = 1\n", "arch/x86/Makefile": ""}


def test_a_tree_of_today(tmp_path: Path) -> None:
    tree = read_tree(kconfig_trees.make_tree(tmp_path, kconfig_trees.NEW), "amd64")
    assert (tree.version, tree.architecture, tree.source_folder, tree.legacy) == (
        "6.1.90",
        "x86_64",
        "x86",
        False,
    )
    types = {
        name: tree.type_of(name) for name in ("64BIT", "NR_CPUS", "PHYSICAL_START", "LOCALVERSION", "NFS_FS")
    }
    assert list(types.values()) == ["bool", "int", "hex", "string", "tristate"]
    assert "NOT_AN_OPTION" not in tree.options
    assert tree.options["64BIT"][0].prompt_if == '"x86_64" = "x86"'
    assert tree.options["E1000E"][0].depends == ("NET", "PCI")
    assert tree.options["NFS_FS"][0].depends == ("NET", "INET && (MODULES ||  \t\t!EXPERT)")
    assert tree.options["MLX5_CORE_EN"][0].depends == ("NET", "MLX5_CORE && INET")
    assert tree.options["EXPERT_ONLY"][0].prompt_if == "EXPERT"
    assert (tree.options["HIDDEN"][0].prompt, tree.options["NR_CPUS"][0].ranges) == (False, ["2 512"])
    assert tree.choice_of("HZ_100") == ["HZ_250"]
    assert tree.choice_of("NET") == []
    assert tree.selectors["HIDDEN"] == [("E1000E", "")]
    assert (tree.options["KEYS"][0].file, tree.options["KEYS"][0].line) == ("security/Kconfig", 1)


def test_kerrigheds_tree(tmp_path: Path) -> None:
    tree = read_tree(kconfig_trees.make_tree(tmp_path, kconfig_trees.KERRIGHED), "x86_64")
    assert (tree.version, tree.source_folder, tree.legacy) == ("2.6.20-krg", "x86_64", False)
    assert tree.options["KERRIGHED"][0].depends == ("X86_64 && PREEMPT_NONE && !KEYS && !COMPAT",)
    assert (tree.type_of("COMPAT"), tree.type_of("KRG_AUTONODEID")) == ("bool", "bool")


def test_openmosixs_tree(tmp_path: Path) -> None:
    tree = read_tree(kconfig_trees.make_tree(tmp_path, kconfig_trees.OPENMOSIX), "i686")
    assert (tree.version, tree.source_folder, tree.legacy) == ("2.4.22-openmosix", "i386", True)
    assert tree.options["MOSIX_DFSA"][0].depends == (
        '(MOSIX = "y")',
        '(MOSIX_FS = "y" && EXPERIMENTAL != "n")',
    )
    assert tree.options["MOSIX_NONE"][0].depends == ('!((MOSIX = "y"))',)
    assert tree.options["MOSIX_NONE"][0].prompt is False
    assert tree.options["TIGON3"][0].depends == ("PCI",)
    assert tree.options["DUMMY"][0].depends == ("m",)
    assert tree.options["E1000_NAPI"][0].depends == ('E1000 != "n"',)
    assert (tree.type_of("openMosix_NO_OOM"), tree.type_of("MOSIX_MAXTOPOLOGY")) == ("bool", "int")
    assert tree.choice_of("M386") == ["MPENTIUMIII"]


def test_sources_may_be_patterns_relative_and_missing(tmp_path: Path) -> None:
    files = {
        **BARE,
        "Kconfig": 'source "sub/*.conf"\nosource "not/there"\nrsource "sub/Kconfig"\nmenu "x"\ndepends on A\nif B\n'
        'source "sub/inner"\nendif\nendmenu\nconfig LAST\n\tbool',
        "sub/a.conf": "config ONE\n\tbool\n",
        "sub/b.conf": "config TWO\n\tbool\n",
        "sub/Kconfig": 'rsource "below"\n',
        "sub/below": "config THREE\n\tdef_tristate m\n",
        "sub/inner": "config FOUR\n\tint\n\tdepends on C\n",
    }
    tree = read_tree(kconfig_trees.make_tree(tmp_path, files), "x86_64")
    assert list(tree.options) == ["ONE", "TWO", "THREE", "FOUR", "LAST"]
    assert tree.options["FOUR"][0].depends == ("A", "B", "C")
    assert tree.options["LAST"][0].depends == ()


def test_an_option_may_be_defined_twice(tmp_path: Path) -> None:
    kconfig = "config A\n\tbool\n\tdepends on B\nconfig A\n\tdepends on C\n\tselect D if E\n"
    tree = read_tree(kconfig_trees.make_tree(tmp_path, {**BARE, "Kconfig": kconfig}), "x86_64")
    assert [one.depends for one in tree.options["A"]] == [("B",), ("C",)]
    assert tree.type_of("A") == "bool"
    assert tree.selectors == {"D": [("A", "E")]}


@pytest.mark.parametrize(
    "files, words",
    [
        ({}, "is no kernel source tree: cannot read its Makefile: No such file or directory"),
        ({"Makefile": "all:\n"}, "its Makefile says no VERSION"),
        ({"Makefile": "VERSION = 6\nPATCHLEVEL = 1\n"}, "has no arch/x86; it has: none"),
        (
            {"Makefile": "VERSION = 6\nPATCHLEVEL = 1\n", "arch/x86/Kconfig": 'source "gone/Kconfig"\n'},
            "arch/x86/Kconfig:1 needs gone/Kconfig: No such file or directory",
        ),
        (
            {
                "Makefile": "VERSION = 6\nPATCHLEVEL = 1\n",
                "arch/x86/Kconfig": '\nsource "../../etc/passwd"\n',
            },
            "arch/x86/Kconfig:2 names ../../etc/passwd, outside the tree",
        ),
        (
            {"Makefile": "VERSION = 2\nPATCHLEVEL = 4\n", "arch/i386/Makefile": ""},
            "has no arch/x86; it has: i386",
        ),
    ],
)
def test_a_bad_tree_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(ClusterError, match="kernel source tree") as error:
        read_tree(kconfig_trees.make_tree(tmp_path, files), "x86_64")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "machine, architecture",
    [
        ("i686", "i386"),
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("aarch64", "arm64"),
        ("armv7l", "arm"),
        ("ppc64le", "powerpc"),
        ("s390x", "s390"),
        ("riscv64", "riscv"),
        ("um", "um"),
    ],
)
def test_architectures_have_the_kernels_names(machine: str, architecture: str) -> None:
    assert kernel_architecture(machine) == architecture


@pytest.mark.parametrize(
    "wrong, close",
    [
        ("nfs_fs", "NFS_FS"),
        ("NFSFS", "NFS_FS"),
        ("E1000", "E1000E"),
        ("ROOTNFS", "ROOT_NFS"),
        ("XYZZY", None),
    ],
)
def test_close_names_are_offered(tmp_path: Path, wrong: str, close: str | None) -> None:
    tree = read_tree(kconfig_trees.make_tree(tmp_path, kconfig_trees.NEW), "x86_64")
    assert (close in tree.close_names(wrong)) if close else tree.close_names(wrong) == []


def test_the_fingerprint_is_of_all_that_was_read(tmp_path: Path) -> None:
    kconfig_trees.make_tree(tmp_path, kconfig_trees.NEW)
    first = read_tree(tmp_path, "x86_64").fingerprint
    assert read_tree(tmp_path, "x86_64").fingerprint == first
    (tmp_path / "net/Kconfig").write_text("config NET\n\tbool\n")
    assert read_tree(tmp_path, "x86_64").fingerprint != first
