"""Profiles are resolved with what they include; the shipped ones hold stock kernels in honour."""

from __future__ import annotations

from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="profiles are read on the controller, where Ansible brings PyYAML")

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import (
    KernelConfig,
    check,
    parse_rules,
    read_config,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._profiles import (
    SHIPPED,
    as_option,
    find_profiles,
    resolve,
)

STOCK = sorted((Path(__file__).parents[3] / "fixtures" / "kernel_config").glob("config-*.gz"))
STOCK_PROFILES = ["netboot_initrd", "nfs_overlay", "serial_console", "virtio_guest", "uefi_boot", "systemd"]
RULE = "{options: [%s], values: [y], why: it matters}"


def write(folder: Path, **profiles: str) -> list[Path]:
    for name, text in profiles.items():
        (folder / f"{name}.yml").write_text(text)
    return [folder]


def test_profiles_of_the_issue_are_there() -> None:
    wanted = {
        "netboot_initrd",
        "nfsroot_builtin",
        "nfs_overlay",
        "serial_console",
        "initrd_ramdisk",
        "kadeploy_multisite",
    }
    assert wanted | {"virtio_guest"} <= set(find_profiles([]))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_profiles_are_whole(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["summary"].endswith(".")
    rules = resolve([path.stem])
    assert rules
    assert parse_rules([as_option(rule) for rule in rules]) == rules


@pytest.mark.parametrize("profile", STOCK_PROFILES)
@pytest.mark.parametrize("path", STOCK, ids=lambda path: path.name)
def test_stock_kernels_give_no_false_alarm(path: Path, profile: str) -> None:
    assert check(read_config(path), resolve([profile])).unmet == []


@pytest.mark.parametrize("profile", STOCK_PROFILES)
def test_each_rule_misses_what_it_is_about(profile: str) -> None:
    config = read_config(STOCK[0])
    for rule in resolve([profile]):
        without = {**config.symbols, **dict.fromkeys(rule.options, "not-set")}
        unmet = [
            verdict.rule
            for verdict in check(KernelConfig(config.path, "text", without), resolve([profile])).unmet
        ]
        assert rule in unmet


def test_stock_kernels_cannot_do_without_an_initrd() -> None:
    unmet = check(read_config(STOCK[0]), resolve(["nfsroot_builtin"])).as_result()["unmet"]
    assert {"CONFIG_IP_PNP", "CONFIG_NFS_FS", "CONFIG_ROOT_NFS"} <= set(unmet)


OLD = """\
CONFIG_MODULES=y
CONFIG_BLK_DEV_RAM=y
CONFIG_BLK_DEV_RAM_COUNT=16
CONFIG_BLK_DEV_RAM_SIZE=65536
CONFIG_BLK_DEV_INITRD=y
CONFIG_CRAMFS=y
CONFIG_EXT2_FS=m
CONFIG_EXT3_FS=m
CONFIG_NFS_FS=m
CONFIG_UNIX=y
CONFIG_PACKET=m
CONFIG_SERIAL_8250=y
CONFIG_SERIAL_8250_CONSOLE=y
"""


@pytest.mark.parametrize(
    "change, unmet",
    [
        (("", ""), set()),
        (("COUNT=16", "COUNT=8"), {"CONFIG_BLK_DEV_RAM_COUNT"}),
        (("SIZE=65536", "SIZE=8192"), {"CONFIG_BLK_DEV_RAM_SIZE"}),
        (("BLK_DEV_RAM=y", "BLK_DEV_RAM=m"), {"CONFIG_BLK_DEV_RAM"}),
        (("BLK_DEV_INITRD=y", "X=y"), {"CONFIG_BLK_DEV_INITRD"}),
        (("MODULES=y", "X=y"), {"CONFIG_MODULES"}),
        (("8250_CONSOLE=y", "X=y"), {"CONFIG_SERIAL_8250_CONSOLE"}),
        (("CRAMFS=y", "CRAMFS=m"), {"CONFIG_CRAMFS", "CONFIG_EXT2_FS"}),
        (("NFS_FS=m", "X=y"), {"CONFIG_NFS_FS"}),
    ],
)
def test_kadeploy_multisite_is_what_was_checked_by_eye(
    tmp_path: Path, change: tuple[str, str], unmet: set[str]
) -> None:
    path = tmp_path / "config-2.6.15"
    path.write_text(OLD.replace(*change))
    found = set(check(read_config(path), resolve(["kadeploy_multisite"])).as_result()["unmet"])
    assert unmet <= found
    assert bool(unmet) == bool(found)


def test_includes_come_first_and_each_rule_once(tmp_path: Path) -> None:
    places = write(
        tmp_path,
        top=f"includes: [left, right]\nrules: [{RULE % 'TOP'}]",
        left=f"includes: [base]\nrules: [{RULE % 'LEFT'}]",
        right=f"includes: [base]\nrules: [{RULE % 'RIGHT'}, {RULE % 'LEFT'}]",
        base=f"rules: [{RULE % 'BASE'}]",
    )
    rules = resolve(["top", "base"], places)
    assert [(rule.options, rule.profile) for rule in rules] == [
        (("CONFIG_BASE",), "base"),
        (("CONFIG_LEFT",), "left"),
        (("CONFIG_RIGHT",), "right"),
        (("CONFIG_TOP",), "top"),
    ]


@pytest.mark.parametrize(
    "profiles, words",
    [
        ({"a": "includes: [b]", "b": "includes: [c]", "c": "includes: [a]"}, "a -> b -> c -> a"),
        ({"a": "includes: [a]"}, "a -> a"),
        (
            {"a": "includes: [nosuch]"},
            "unknown kernel profile 'nosuch', included by a; known: a, .*netboot_initrd",
        ),
        ({"b": "includes: [x]"}, "unknown kernel profile 'a'; known: b, "),
        ({"a": "rules: [\n"}, "a.yml is no YAML.*line"),
        ({"a": "- just\n- a list"}, "neither includes nor rules"),
        ({"a": ""}, "neither includes nor rules"),
        ({"a": f"rules: [{RULE % 'A'}]\nrule: []"}, "unknown field 'rule'"),
        ({"a": "rules: yes"}, "rules is no list"),
        (
            {"a": "rules: [{options: [A], values: [yes], why: x}]"},
            "a.yml: rule 1: True in values is no kernel value",
        ),
        ({"a": f"rules: [{RULE % 'A'}]", "systemd": "rules: []"}, "systemd is there twice.*rename yours"),
    ],
)
def test_a_wrong_profile_gives_one_clear_error(tmp_path: Path, profiles: dict[str, str], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        resolve(["a"], write(tmp_path, **profiles))


def test_a_missing_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"{tmp_path}/nowhere does not exist"):
        resolve(["systemd"], [tmp_path / "nowhere"])
