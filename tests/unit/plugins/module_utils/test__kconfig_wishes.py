"""What rules and options want of a configuration, and why a tree does not grant it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "fixtures"))
import kconfig_trees

from ansible_collections.oneimage.cluster.plugins.module_utils import _kconfig
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_dropped import dropped
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_tree import read_tree
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_wishes import (
    Wish,
    apply,
    explicit_wishes,
    rule_wishes,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> KernelTree:
    return read_tree(kconfig_trees.make_tree(tmp_path_factory.mktemp("linux"), kconfig_trees.NEW), "x86_64")


def config_of(text: str) -> _kconfig.KernelConfig:
    path = Path("config")
    return _kconfig.KernelConfig(
        path, "text", _kconfig.parse(path, text.replace(" ", "\n") + "\nCONFIG_X86=y\n")
    )


@pytest.mark.parametrize(
    "base, options, values, wanted",
    [
        ("CONFIG_NFS_FS=m", "NFS_FS", ["y", "m"], None),
        ("", "NFS_FS", ["y", "m"], ("NFS_FS", "y")),
        ("", "NFS_FS", ["m", "y"], ("NFS_FS", "m")),
        ("", "INET", ["m", "y"], ("INET", "y")),
        ("CONFIG_NR_CPUS=8", "NR_CPUS", [">=16"], ("NR_CPUS", "16")),
        ("CONFIG_NR_CPUS=8", "NR_CPUS", [">16"], ("NR_CPUS", "17")),
        ("CONFIG_NR_CPUS=8", "NR_CPUS", ["<8"], ("NR_CPUS", "7")),
        ("CONFIG_NR_CPUS=32", "NR_CPUS", [">=16"], None),
        ("CONFIG_KEYS=y", "KEYS", ["not-set"], ("KEYS", "n")),
        ("", "KEYS", ["not-set"], ("KEYS", "n")),
        ("", "DEVTMPFS", ["y", "absent"], None),
        ("", "DEVTMPFS", ["not-set"], None),
        ("", "KEYS", ["absent", "y"], ("KEYS", "y")),
        ("", ["DEVTMPFS", "NET"], ["y"], ("NET", "y")),
        ("", "LOCALVERSION", ["-x"], ("LOCALVERSION", "-x")),
    ],
)
def test_what_a_rule_wants_set(
    tree: KernelTree, base: str, options: Any, values: list[str], wanted: tuple[str, str] | None
) -> None:
    rules = _kconfig.parse_rules([{"options": options, "values": values, "why": "it matters"}])
    wishes, hopeless = rule_wishes(tree, rules, config_of(base))
    assert [(wish.option, wish.value) for wish in wishes] == ([wanted] if wanted else [])
    assert hopeless == {}


def test_a_rule_for_what_the_tree_has_not_is_hopeless(tree: KernelTree) -> None:
    rules = _kconfig.parse_rules([{"options": "NFSFS", "values": "y", "why": "x", "profile": "own"}])
    wishes, hopeless = rule_wishes(tree, rules, config_of(""))
    assert wishes == []
    assert hopeless["CONFIG_NFSFS"].endswith("close to it are CONFIG_NFS_FS (profile own)")


@pytest.mark.parametrize(
    "name, value, line",
    [
        ("INET", "y", "CONFIG_INET=y"),
        ("CONFIG_INET", "n", "# CONFIG_INET is not set"),
        ("INET", "not-set", "# CONFIG_INET is not set"),
        ("NFS_FS", "m", "CONFIG_NFS_FS=m"),
        ("NR_CPUS", 12, "CONFIG_NR_CPUS=12"),
        ("PHYSICAL_START", "0xFF", "CONFIG_PHYSICAL_START=0xFF"),
        ("LOCALVERSION", "", 'CONFIG_LOCALVERSION=""'),
        ("LOCALVERSION", 'a"b\\c', 'CONFIG_LOCALVERSION="a\\"b\\\\c"'),
        ("LOCALVERSION", "n", 'CONFIG_LOCALVERSION="n"'),
        ("LOCALVERSION", 5, 'CONFIG_LOCALVERSION="5"'),
    ],
)
def test_options_become_lines(tree: KernelTree, name: str, value: Any, line: str) -> None:
    text = apply(tree, {"CONFIG_X86": "y", "CONFIG_INET": "y"}, explicit_wishes(tree, {name: value}))
    assert line in text.splitlines()
    assert text.count(name.replace("CONFIG_", "")) == 1


@pytest.mark.parametrize(
    "name, value", [("INET", "m"), ("INET", 1), ("NR_CPUS", "x"), ("PHYSICAL_START", 5), ("NFS_FS", "yes"),
                    ("LOCALVERSION", "a\nb"), ("LOCALVERSION", None), ("LOCALVERSION", ["a"]), ("INET", False)],
)  # fmt: skip
def test_values_of_another_type_are_refused(tree: KernelTree, name: str, value: Any) -> None:
    with pytest.raises(ClusterError, match=f"options: CONFIG_{name}"):
        explicit_wishes(tree, {name: value})


def test_one_of_a_choice_puts_the_others_out(tree: KernelTree) -> None:
    text = apply(tree, {"CONFIG_HZ_250": "y"}, [Wish("HZ_100", "y", "options")])
    assert text == "# CONFIG_HZ_250 is not set\nCONFIG_HZ_100=y\n"


@pytest.mark.parametrize(
    "config, wish, reason",
    [
        ("CONFIG_NET=y CONFIG_NFS_FS=m", Wish("NFS_FS", "m", "x"), None),
        ("CONFIG_NET=y CONFIG_NFS_FS=y", Wish("NFS_FS", "m", "x", at_least=True), None),
        ("CONFIG_PHYSICAL_START=0x100", Wish("PHYSICAL_START", "0x0100", "x"), None),
        ("CONFIG_NET=y CONFIG_NFS_FS=y", Wish("NFS_FS", "m", "x"), "this option cannot be a module here"),
        ("", Wish("INET", "y", "x"), "depends on NET, NET=n"),
        ("CONFIG_NET=y", Wish("E1000E", "m", "x"), "depends on PCI, PCI=n"),
        (
            "CONFIG_NET=y CONFIG_EXPERT=y",
            Wish("NFS_FS", "y", "x"),
            "depends on INET, INET=n; MODULES || !EXPERT, MODULES=n, EXPERT=y",
        ),
        ("CONFIG_HZ_250=y", Wish("HZ_100", "y", "x"), "one of a choice, in which HZ_250 is set"),
        ("", Wish("HIDDEN", "y", "x"), "it cannot be set by hand, only by its default or by E1000E"),
        ("CONFIG_E1000E=m CONFIG_HIDDEN=m", Wish("HIDDEN", "n", "x"), "selected by E1000E"),
        ("CONFIG_EXPERT_ONLY=n", Wish("EXPERT_ONLY", "y", "x"), "depends on EXPERT, EXPERT=n"),
        ("CONFIG_KEYS=y", Wish("BIG_KEYS", "y", "x"), "depends on $(shell,echo y), which the tree found out itself"),
        ("CONFIG_NR_CPUS=64", Wish("NR_CPUS", "1", "x"), "it must be in the range 2 512"),
        ("", Wish("KEYS", "y", "x"), "the tree's own make dropped it"),
    ],
)  # fmt: skip
def test_why_it_was_dropped(tree: KernelTree, config: str, wish: Wish, reason: str | None) -> None:
    assert [one.reason for one in dropped(tree, config_of(config), [wish])] == ([reason] if reason else [])


def test_of_several_wishes_for_one_option_the_last_counts(tree: KernelTree) -> None:
    wishes = [Wish("KEYS", "y", "profile a"), Wish("KEYS", "n", "options")]
    assert dropped(tree, config_of(""), wishes) == []
