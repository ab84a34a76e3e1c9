"""kernel_config makes configurations: what is wanted is in, what was dropped is told, and nothing else is touched."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_task
from conftest import Run, snapshot, start_module

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import debian_source
import kconfig_trees

FIXTURES = Path(__file__).parents[1] / "fixtures"
STOCK = FIXTURES / "kernel_config" / "config-6.1.0-56-amd64.gz"
GRID5000 = Path(__file__).parents[2] / "inventories/grid5000/facts"
FOUND_TEXT = "CONFIG_MODULES=y\nCONFIG_KEYS=y\nCONFIG_NR_CPUS=8\n"


@pytest.fixture
def new(tmp_path: Path) -> dict[str, Any]:
    """The options for a tree as of today and an own base."""
    tree = kconfig_trees.make_tree(tmp_path / "linux", kconfig_trees.NEW)
    (tmp_path / "base").write_text(FOUND_TEXT)
    return {
        "source": str(tree),
        "build": str(tmp_path / "build"),
        "base": str(tmp_path / "base"),
        "architecture": "x86_64",
    }


@pytest.fixture
def kerrighed(tmp_path: Path) -> dict[str, Any]:
    tree = kconfig_trees.make_tree(tmp_path / "linux-2.6.20", kconfig_trees.KERRIGHED)
    build = str(tmp_path / "build")
    return {"source": str(tree), "build": build, "base": "defconfig", "architecture": "x86_64"}


@pytest.fixture
def openmosix(tmp_path: Path) -> dict[str, Any]:
    tree = str(kconfig_trees.make_tree(tmp_path / "linux-2.4.22", kconfig_trees.OPENMOSIX))
    return {"source": tree, "build": tree, "base": "defconfig", "architecture": "i386"}


def lines(options: dict[str, Any]) -> list[str]:
    return Path(options["build"], ".config").read_text().splitlines()


def test_it_makes_what_is_wanted_once(module: Run, new: dict[str, Any], tmp_path: Path) -> None:
    wanted = {
        "NFS_FS": "y",
        "CONFIG_IP_PNP": "y",
        "ROOT_NFS": "y",
        "HZ_100": "y",
        "KEYS": "n",
        "NR_CPUS": 128,
        "PHYSICAL_START": "0x200000",
        "LOCALVERSION": '-my "own"',
    }
    options = {**new, "options": wanted}
    tree = snapshot(Path(new["source"]))
    predicted = module("kernel_config", options, check=True)
    assert predicted["changed"] is True
    assert not Path(new["build"]).exists()
    first = module("kernel_config", options)
    assert (first["changed"], first["ok"], first["dropped"]) == (True, True, [])
    assert {
        "CONFIG_NFS_FS=y",
        "CONFIG_ROOT_NFS=y",
        "CONFIG_HZ_100=y",
        "# CONFIG_HZ_250 is not set",
        "# CONFIG_KEYS is not set",
        "CONFIG_NR_CPUS=128",
        "CONFIG_PHYSICAL_START=0x200000",
        'CONFIG_LOCALVERSION="-my \\"own\\""',
    } <= set(lines(new))
    assert "+CONFIG_ROOT_NFS=y" in first["diff"]["prepared"]
    assert predicted["diff"] == first["diff"]
    before = snapshot(tmp_path)
    for check in (False, True):
        again = module("kernel_config", options, check=check)
        assert (again["changed"], again["ok"], "diff" in again) == (False, True, False)
    assert snapshot(tmp_path) == before
    assert snapshot(Path(new["source"])) == tree


def test_a_change_shows_as_one_line(module: Run, new: dict[str, Any]) -> None:
    module("kernel_config", new)
    changed = module("kernel_config", {**new, "options": {"NR_CPUS": 16}})
    differing = [line for line in changed["diff"]["prepared"].splitlines()[2:] if line[0] in "+-"]
    assert differing == ["-CONFIG_NR_CPUS=8", "+CONFIG_NR_CPUS=16"]


def test_a_configuration_changed_by_hand_is_put_right(module: Run, new: dict[str, Any]) -> None:
    module("kernel_config", new)
    config = Path(new["build"], ".config")
    made = config.read_text()
    config.write_text(made.replace("CONFIG_NR_CPUS=8", "CONFIG_NR_CPUS=9"))
    assert module("kernel_config", new)["changed"] is True
    assert config.read_text() == made


def test_what_the_tree_dropped_is_told_with_the_dependency(module: Run, new: dict[str, Any]) -> None:
    options = {**new, "options": {"ROOT_NFS": "y", "DEBUG_KERNEL": "n", "EXPERT": "y", "NR_CPUS": 1000}}
    refused = module("kernel_config", options)
    assert refused["failed"] is True
    assert not Path(new["build"]).exists()
    result = module("kernel_config", {**options, "strict": False})
    assert (result.get("failed"), result["changed"], result["ok"]) == (None, True, False)
    reasons = {one["option"]: one["reason"] for one in result["dropped"]}
    assert reasons == {
        "CONFIG_ROOT_NFS": "depends on NFS_FS = y, NFS_FS=m; IP_PNP, IP_PNP=n",
        "CONFIG_DEBUG_KERNEL": "selected by EXPERT",
        "CONFIG_NR_CPUS": "it must be in the range 2 512",
    }
    assert all(reason in refused["msg"] for reason in reasons.values())
    assert result["dropped"][0]["dependencies"] == [
        {"condition": "NFS_FS = y", "values": {"NFS_FS": "m"}},
        {"condition": "IP_PNP", "values": {"IP_PNP": "n"}},
    ]
    assert module("kernel_config", {**options, "strict": False})["dropped"] == result["dropped"]
    assert module("kernel_config", options)["failed"] is True


def test_a_rule_may_be_met_in_another_way_than_was_tried(module: Run, new: dict[str, Any]) -> None:
    rules = [{"options": ["ROOT_NFS", "NET"], "values": ["y"], "why": "one of both is enough"}]
    result = module("kernel_config", {**new, "rules": rules})
    assert (result["changed"], result["ok"], result["dropped"]) == (True, True, [])
    assert "CONFIG_ROOT_NFS=y" not in lines(new)


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"options": {"NFSFS": "y"}},
            "CONFIG_NFSFS does not exist in Linux 6.1.90 for x86_64 (TREE); close to it are CONFIG_NFS_FS",
        ),
        ({"options": {"nfs_fs": "y"}}, "close to it are CONFIG_NFS_FS"),
        ({"options": {"NOT_AN_OPTION": "y"}}, "CONFIG_NOT_AN_OPTION does not exist"),
        ({"options": {"INET": "m"}}, "CONFIG_INET is of type bool: 'm' does not fit; give y or n"),
        ({"options": {"NR_CPUS": "many"}}, "is of type int: 'many' does not fit"),
        ({"options": {"INET": True}}, "CONFIG_INET: write y, not true"),
        ({"options": {"LOCALVERSION": "a\nCONFIG_INET=n"}}, "does not fit; give text on one line"),
        ({"source": "/nowhere"}, "source: /nowhere is no kernel source tree: cannot read its Makefile"),
        ({"build": "/nowhere/build"}, "build: /nowhere does not exist"),
        ({"base": "../config"}, "base: '../config' is neither an absolute path"),
        ({"base": "/nowhere/config"}, "cannot read the kernel configuration /nowhere/config"),
        ({"base": "no_such_config"}, "make no_such_config failed with exit code 2"),
        ({"architecture": "vax"}, "has no arch/vax; it has: x86"),
        ({"cc": "no-such-cc"}, "cannot run no-such-cc: not found on this host"),
        ({"hardware": [{"site": "a"}]}, "hardware: entry 1 (a) names no hardware"),
        ({"hardware": [{"drivers": ["../x"]}]}, "'../x' in drivers is no name of a driver"),
        (
            {"hardware": [{"devices": ["pci:v1"]}], "modules_folder": "/nowhere"},
            "cannot read /nowhere/modules.alias",
        ),
        ({"hardware": [{"devices": ["pci:v1"]}]}, "set modules_folder"),
        ({"hardware": [{"file": "x.json"}]}, "call the module by its full name"),
    ],
)
def test_bad_input_gives_one_error_and_nothing_is_written(
    module: Run, new: dict[str, Any], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    before = snapshot(tmp_path)
    result = module("kernel_config", {**new, **options})
    assert result["failed"] is True
    assert words.replace("TREE", new["source"]) in result["msg"]
    assert snapshot(tmp_path) == before


def test_a_faulty_kconfig_is_named(module: Run, new: dict[str, Any]) -> None:
    with Path(new["source"], "net/Kconfig").open("a") as file:
        file.write("config BROKEN\n\tbool bool bool\n")
    result = module("kernel_config", new)
    assert result["failed"] is True
    assert "make olddefconfig failed with exit code 2" in result["msg"]
    assert "net/Kconfig:22" in result["msg"]


def test_options_without_a_tree_are_refused(module: Run) -> None:
    result = module("kernel_config", {"path": str(STOCK), "options": {"INET": "y"}})
    assert "missing parameter(s) required by 'options': source" in result["msg"]


@pytest.mark.parametrize("base", ["defconfig", "tinyconfig"])
def test_a_target_of_make_is_a_base(module: Run, new: dict[str, Any], base: str) -> None:
    module("kernel_config", {**new, "base": base})
    assert ("CONFIG_NET=y" in lines(new)) is (base == "defconfig")


def test_the_running_kernel_is_a_base(module: Run, new: dict[str, Any]) -> None:
    release = os.uname().release
    if not any(Path(place).exists() for place in ("/proc/config.gz", f"/boot/config-{release}")):
        result = module("kernel_config", {**new, "base": "running"})
        assert f"the running kernel {release} shows no configuration" in result["msg"]
    else:
        assert module("kernel_config", {**new, "base": "running"})["changed"] is True


def test_a_tree_that_was_configured_itself_stays_as_it_is(module: Run, new: dict[str, Any]) -> None:
    tree = Path(new["source"])
    (tree / ".config").write_text(FOUND_TEXT)
    before = snapshot(tree)
    result = module("kernel_config", {**new, "options": {"NR_CPUS": 4}})
    assert (result["changed"], result["ok"]) == (True, True)
    assert "CONFIG_NR_CPUS=4" in lines(new)
    assert snapshot(tree) == before


def test_hardware_of_all_sites_becomes_options_of_this_tree(
    module: Run, new: dict[str, Any], tmp_path: Path
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "modules.alias").write_text(
        "alias pci:v00008086d000010C9sv*sd*bc*sc*i* igb\nalias pci:v*d*sv*sd*bc01sc06i01* ahci\n"
    )
    hardware = [
        {"site": "nancy", "drivers": ["e1000e", "mlx5_core", "sd"]},
        {"site": "rennes", "drivers": ["e1000e"], "as": "builtin"},
        {"site": "sophia", "devices": ["02:00.0 0200: 8086:10c9 (rev 01)", "00:1f.2 0106: 8086:2922"]},
    ]
    result = module("kernel_config", {**new, "hardware": hardware, "modules_folder": str(modules)})
    assert result["ok"] is True
    assert [(row["site"], row["driver"], row["options"], row["value"]) for row in result["hardware"]] == [
        ("nancy", "e1000e", ["CONFIG_E1000E"], "y"),
        ("nancy", "mlx5_core", ["CONFIG_MLX5_CORE", "CONFIG_MLX5_CORE_EN"], "m"),
        ("nancy", "sd", ["CONFIG_BLK_DEV_SD"], "m"),
        ("rennes", "e1000e", ["CONFIG_E1000E"], "y"),
        ("sophia", "ahci", ["CONFIG_SATA_AHCI"], "m"),
        ("sophia", "igb", ["CONFIG_IGB"], "m"),
    ]
    assert result["hardware_table"][:2] == [
        "site    driver     option                                wanted  got",
        "nancy   e1000e     CONFIG_E1000E                         m       y",
    ]


def test_drivers_that_the_tree_does_not_know_are_told_with_their_sites(
    module: Run, new: dict[str, Any]
) -> None:
    hardware = [
        {"site": "nancy", "drivers": ["bnx2", "gone"]},
        {"site": "rennes", "drivers": ["bnx2", "igb"]},
    ]
    result = module("kernel_config", {**new, "hardware": hardware})
    assert result["failed"] is True
    assert (
        f"driver bnx2 is built by no Makefile of Linux 6.1.90 in {new['source']}; needed by nancy, rennes"
        in (result["msg"])
    )
    assert "driver gone is built by no Makefile" in result["msg"]
    result = module("kernel_config", {**new, "hardware": hardware, "strict": False})
    assert [row["value"] for row in result["hardware"]] == ["missing", "missing", "missing", "m"]


def test_a_driver_whose_dependency_is_off_is_missing(module: Run, new: dict[str, Any]) -> None:
    options = {
        **new,
        "hardware": [{"site": "nancy", "drivers": ["igb"]}],
        "options": {"PCI": "n"},
        "strict": False,
    }
    result = module("kernel_config", options)
    assert result["hardware"][0]["value"] == "missing"
    assert result["dropped"][0]["origin"] == "hardware: igb of nancy"
    assert result["dropped"][0]["reason"] == "depends on PCI, PCI=n"


def test_the_reference_api_tells_of_two_sites(new: dict[str, Any], tmp_path: Path) -> None:
    hardware = [{"file": str(GRID5000 / f"{site}.json")} for site in ("nancy", "rennes")]
    options = {**new, "hardware": hardware, "profiles": ["nfsroot_builtin"], "strict": False}
    result = run_task("oneimage.cluster.kernel_config", options, tmp_path)
    assert result["changed"] is True
    found = {(row["site"], row["driver"]): row["value"] for row in result["hardware"]}
    assert found[("nancy", "igb")] == "m"
    assert found[("rennes", "ixgbe")] == "missing"
    assert {"CONFIG_NFS_FS=y", "CONFIG_IP_PNP=y", "CONFIG_ROOT_NFS=y"} <= set(lines(new))
    unmet = {name for name in result["unmet"] if name in ("CONFIG_ROOT_NFS", "CONFIG_PACKET")}
    assert unmet == {"CONFIG_PACKET"}
    assert "CONFIG_PACKET does not exist in Linux 6.1.90" in result["msg"]


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "is no JSON"),
        ('{"items": [{"uid": "a"}]}', "holds no node with network_adapters or storage_devices"),
        (None, "cannot read"),
    ],
)
def test_a_bad_hardware_file_is_named(
    new: dict[str, Any], tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "site.json").write_text(content)
    result = run_task(
        "oneimage.cluster.kernel_config", {**new, "hardware": [{"file": "site.json"}]}, tmp_path
    )
    assert words in result["msg"]
    assert "site.json" in result["msg"]


def test_killed_on_the_way_the_old_configuration_stays(
    module: Run, new: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    module("kernel_config", new)
    old = Path(new["build"], ".config").read_bytes()
    changed = {**new, "options": {"NR_CPUS": 99}}
    for delay in (0.15, 0.3, 0.45, 0.6):
        process = start_module("kernel_config", changed)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        text = Path(new["build"], ".config").read_bytes()
        assert text == old or b"CONFIG_NR_CPUS=99" in text
    time.sleep(2)  # make outlives the killed module for a moment
    Path(new["build"], ".config").write_bytes(old)
    assert module("kernel_config", changed)["changed"] is True
    assert "CONFIG_NR_CPUS=99" in lines(new)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert module("kernel_config", changed)["changed"] is False
    assert not list(Path(new["build"]).glob(".oneimage-partial-*"))


def test_kerrighed_needs_keys_off(module: Run, kerrighed: dict[str, Any]) -> None:
    options = {**kerrighed, "options": {"KERRIGHED": "y"}}
    result = module("kernel_config", options)
    assert result["failed"] is True
    assert result["dropped"][0]["reason"] == "depends on !KEYS, KEYS=y; !COMPAT, COMPAT=y"
    result = module(
        "kernel_config", {**options, "options": {"KERRIGHED": "y", "KEYS": "n", "IA32_EMULATION": "n"}}
    )
    assert (result["changed"], result["version"]) == (True, "2.6.20-krg")
    assert {"CONFIG_KERRIGHED=y", "CONFIG_KRG_TOOLS=y", "CONFIG_NEW_QUESTION=y"} <= set(lines(kerrighed))


def test_the_profile_kerrighed_makes_one(kerrighed: dict[str, Any], tmp_path: Path) -> None:
    options = {**kerrighed, "profiles": ["kerrighed"], "hardware": [{"drivers": ["tg3"], "as": "builtin"}]}
    result = run_task("oneimage.cluster.kernel_config", options, tmp_path)
    assert (result.get("failed"), result["ok"]) == (None, True), result["msg"]
    assert {"CONFIG_KERRIGHED=y", "CONFIG_IP_PNP_DHCP=y", "CONFIG_TIGON3=y"} <= set(lines(kerrighed))
    trapped = {**options, "options": {"CIFS_UPCALL": "y"}}
    result = run_task("oneimage.cluster.kernel_config", trapped, tmp_path)
    assert "CONFIG_KERRIGHED is n, wanted y (profile kerrighed): depends on !KEYS, KEYS=y" in result["msg"]
    assert "CONFIG_KEYS is y, wanted n (profile kerrighed): selected by CIFS_UPCALL" in result["msg"]


def test_the_profile_openmosix_makes_one_in_its_tree(openmosix: dict[str, Any], tmp_path: Path) -> None:
    tree = Path(openmosix["source"])
    before = snapshot(tree)
    options = {**openmosix, "profiles": ["openmosix"], "options": {"EXPERIMENTAL": "y", "M386": "y"}}
    hardware = {"hardware": [{"drivers": ["e1000"]}, {"drivers": ["tg3"], "as": "builtin"}]}
    off = run_task("oneimage.cluster.kernel_config", {**options, **hardware}, tmp_path)
    assert "CONFIG_TIGON3 is n, wanted y (hardware: tg3 of all): depends on PCI, PCI=n" in off["msg"]
    assert snapshot(tree) == before
    options["options"]["PCI"] = "y"
    result = run_task("oneimage.cluster.kernel_config", {**options, **hardware}, tmp_path)
    assert (result.get("failed"), result["version"]) == (None, "2.4.22-openmosix"), result["msg"]
    assert {
        "CONFIG_MOSIX=y",
        "CONFIG_MOSIX_MAXTOPOLOGY=4",
        "CONFIG_MOSIX_DFSA=y",
        "CONFIG_openMosix_NO_OOM=y",
        "CONFIG_M386=y",
        "# CONFIG_MPENTIUMIII is not set",
        "CONFIG_E1000=m",
        "CONFIG_TIGON3=y",
    } <= set(lines(openmosix))
    touched = set(snapshot(tree)) - set(before)
    assert touched == {".config", ".oneimage-config.json"}
    assert run_task("oneimage.cluster.kernel_config", {**options, **hardware}, tmp_path)["changed"] is False


def test_a_kernel_24_is_configured_in_its_tree_only(
    module: Run, openmosix: dict[str, Any], tmp_path: Path
) -> None:
    result = module("kernel_config", {**openmosix, "build": str(tmp_path / "build")})
    assert "Linux 2.4.22-openmosix is configured and built in its tree; set build to" in result["msg"]


def test_a_kernel_24_without_defconfig_needs_a_base(module: Run, openmosix: dict[str, Any]) -> None:
    Path(openmosix["source"], "arch/i386/defconfig").unlink()
    result = module("kernel_config", openmosix)
    assert result["msg"].endswith("arch/i386/defconfig does not exist; give a configuration as base")


@pytest.mark.parametrize("at_end", ["exit 1", "ans=?"], ids=["ends with its input", "asks for ever"])
def test_an_oldconfig_that_never_stops_to_ask_is_ended(
    module: Run, openmosix: dict[str, Any], at_end: str
) -> None:
    """The stand-in takes no empty answer, as the real ones do for a number without default."""
    script = Path(openmosix["source"], "scripts/Configure")
    script.write_text(script.read_text().replace("read -r ans || exit 1;", f"read -r ans || {at_end};"))
    before = snapshot(Path(openmosix["source"]))
    Path(openmosix["source"], "arch/i386/config.in").write_text(
        'while :; do readln "Asked again and again and again and again and again" "" ""; done\n'
    )
    result = module("kernel_config", openmosix)
    assert "make oldconfig failed with exit code 2" in result["msg"]
    assert "Asked again and again" in result["msg"]
    assert snapshot(Path(openmosix["source"])).keys() == before.keys()


def test_a_torn_configuration_is_replaced(module: Run, new: dict[str, Any]) -> None:
    module("kernel_config", new)
    config = Path(new["build"], ".config")
    made = config.read_bytes()
    config.write_bytes(b"\xff\x00CONFIG_N")
    assert module("kernel_config", new)["changed"] is True
    assert config.read_bytes() == made


@pytest.fixture(scope="session")
def debian_tree() -> Path:
    tree = debian_source.unpack()
    if isinstance(tree, str):
        pytest.skip(tree)
    return tree


@pytest.mark.slow
def test_debians_kernel_for_two_sites_without_an_initrd(debian_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(gzip.decompress(debian_source.stock_config(debian_tree).read_bytes()))
    options = {
        "source": str(debian_tree),
        "build": str(tmp_path / "build"),
        "base": str(tmp_path / "base"),
        "architecture": "x86_64",
        "profiles": ["nfsroot_builtin", "kadeploy_multisite", "serial_console"],
        "hardware": [
            {"file": str(GRID5000 / f"{site}.json"), "as": "builtin"} for site in ("nancy", "rennes")
        ],
        "options": {
            "SYSTEM_TRUSTED_KEYS": "",
            "LOCALVERSION": "-cluster",
            **dict.fromkeys(("ATA", "SCSI"), "y"),  # what the disks' drivers need is a module in Debian's
        },
    }
    result = run_task("oneimage.cluster.kernel_config", options, tmp_path)
    assert (result.get("failed"), result["changed"], result["dropped"]) == (None, True, []), result["msg"]
    assert {(row["site"], row["driver"], row["value"]) for row in result["hardware"]} == {
        ("nancy", "ahci", "y"),
        ("nancy", "igb", "y"),
        ("nancy", "mlx4_core", "y"),
        ("rennes", "bnxt_en", "y"),
        ("rennes", "ixgbe", "y"),
        ("rennes", "megaraid_sas", "y"),
        ("rennes", "nvme", "y"),
    }
    assert "CONFIG_ROOT_NFS=y" in lines(options)
    again = run_task("oneimage.cluster.kernel_config", options, tmp_path)
    assert (again["changed"], again["hardware"]) == (False, result["hardware"])


@pytest.mark.slow
def test_debians_tree_tells_why_it_drops(module: Run, debian_tree: Path, tmp_path: Path) -> None:
    options = {"source": str(debian_tree), "build": str(tmp_path / "build"), "base": "tinyconfig"}
    wanted = {"ROOT_NFS": "y", "64BIT": "y", "MODULES": "y", "CRYPTO": "y"}
    hardware = [{"site": "lab", "drivers": ["virtio_net", "e1000e"]}]
    result = module(
        "kernel_config",
        {**options, "architecture": "x86_64", "options": wanted, "hardware": hardware, "strict": False},
    )
    reasons = {one["option"]: one["reason"] for one in result["dropped"]}
    assert reasons["CONFIG_ROOT_NFS"].endswith("NFS_FS = y, NFS_FS=n; IP_PNP, IP_PNP=n")
    assert reasons["CONFIG_VIRTIO_NET"].startswith("depends on NETDEVICES, NETDEVICES=n")
    assert {"CONFIG_64BIT=y", "CONFIG_MODULES=y", "CONFIG_CRYPTO=y"} <= set(lines(options))
    stamp = json.loads(Path(options["build"], ".oneimage-config.json").read_text())
    assert {"inputs", "config"} <= set(stamp)
