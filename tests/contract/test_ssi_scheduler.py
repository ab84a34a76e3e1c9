"""The module ssi_scheduler on a plain folder, and on a file system that behaves as configfs with Kerrighed's scheduler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
import yaml
from adhoc import run_task
from conftest import Run, snapshot, start_module

CHECKOUT = Path(__file__).parents[2]
KERRIGHED: dict[str, Any] = yaml.safe_load(
    (CHECKOUT / "roles/ssi_cluster/vars/flavours/kerrighed_3_0.yml").read_text()
)
BALANCER = "schedulers/mosix/mosix_load_balancer"
Task = Callable[..., "dict[str, Any]"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The mounted stand-in; ``stat -f`` says of it what it says of configfs."""
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs /dev/fuse, in which the stand-in for configfs is made")
    if find_library("fuse") is None:
        pytest.skip("needs libfuse2, by which the stand-in for configfs is made")
    mountpoint = tmp_path / "krg_scheduler"
    mountpoint.mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "stat"
    program.write_text(
        f'#!/bin/sh\n[ "$1 $4" = "-f {mountpoint}" ] && exec echo 62656570\nexec /usr/bin/stat "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("FUSE_LIBRARY_NAME", "fuse")
    with subprocess.Popen([sys.executable, CHECKOUT / "tests/stand_ins/configfs.py", mountpoint]) as process:
        until = time.monotonic() + 90
        while not mountpoint.is_mount():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        yield mountpoint
        subprocess.run(["umount", str(mountpoint)], check=True)


def checked(module: Run, root: Path, options: dict[str, Any]) -> Task:
    """Run the module and hold it to the contract: check mode touches nothing and predicts what then happens."""

    def run(**more: Any) -> dict[str, Any]:
        given = {**options, "root": str(root), **more}
        before = snapshot(root)
        predicted = module("ssi_scheduler", given, check=True)
        assert snapshot(root) == before
        done = module("ssi_scheduler", given)
        for key in ("changed", "made", "linked", "removed", "msg"):
            if not done.get("failed"):
                assert predicted.get(key) == done.get(key), (predicted, done)
        return done

    return run


@pytest.fixture
def kernel(module: Run, config: Path) -> Task:
    return checked(module, config, {"flavour": KERRIGHED})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plain"
    made.mkdir()
    return made


@pytest.fixture
def plain(module: Run, folder: Path) -> Task:
    return checked(module, folder, {})


@pytest.mark.root
def test_the_legacy_scheduler(kernel: Task, config: Path) -> None:
    done = kernel(preset="legacy")
    assert done["changed"] and not kernel(preset="legacy")["changed"]
    values = {
        "schedulers/rr/process_set/handle_all": "1",
        "schedulers/mosix/process_set/handle_all": "1",
        f"{BALANCER}/local_load/freq_limit_filter/min_interval": "2000000000",
        f"{BALANCER}/local_load/freq_limit_filter/threshold_filter/threshold": "375",
        f"{BALANCER}/remote_load/remote_cache_filter/polling_period": "1000",
    }
    assert done["written"] == values
    assert {path: (config / path).read_text().strip() for path in values} == values
    links = {
        "local_load/freq_limit_filter/last_event/migration": "migration_probe/last_migration",
        "process_load/mosix": "mosix_probe/process_load",
        "remote_load/remote_cache_filter/mosix_upper": "mosix_probe/norm_upper_load",
        "single_process_load/remote_cache_filter/mosix": "mosix_probe/norm_single_process_load",
        "local_load/freq_limit_filter/threshold_filter/mosix_mean": "mosix_probe/norm_mean_load",
    }
    for link, source in links.items():
        assert (config / BALANCER / link).resolve() == config / "probes" / source
    assert done["diff"]["before"] == "" and "probes/mosix_probe/\n" in done["diff"]["after"]


@pytest.mark.root
def test_one_preset_instead_of_two(kernel: Task, config: Path) -> None:
    kernel(preset="legacy")
    assert not kernel(preset="round_robin")["changed"], "what else is there is left alone"
    done = kernel(preset="round_robin", exact=True)
    assert done["removed"][0].count("/") >= done["removed"][-1].count("/")
    assert sorted(path.name for path in (config / "schedulers").iterdir()) == ["rr"]
    assert not list((config / "probes").iterdir())
    assert not kernel(preset="round_robin", exact=True)["changed"]
    assert kernel(tree={}, exact=True)["removed"] == ["schedulers/rr/round_robin_balancer", "schedulers/rr"]
    assert sorted(path.name for path in config.iterdir()) == ["probes", "schedulers"]


@pytest.mark.root
def test_a_value_and_a_link_of_ones_own(kernel: Task, config: Path) -> None:
    kernel(preset="legacy")
    interval = f"{BALANCER}/local_load/freq_limit_filter/min_interval"
    link = f"{BALANCER}/process_load/mosix"
    tree = {"values": {interval: 5000000000}, "links": {link: "probes/mosix_probe/mean_load"}}
    done = kernel(preset="legacy", tree=tree, exact=True)
    assert (done["made"], done["linked"], done["removed"]) == ([], [link], [])
    assert done["written"] == {interval: "5000000000"}
    assert f"{link} -> probes/mosix_probe/process_load\n" in done["diff"]["before"]
    assert (config / link).resolve() == config / "probes/mosix_probe/mean_load"
    assert not kernel(preset="legacy", tree=tree, exact=True)["changed"]


@pytest.mark.root
def test_from_all_processes_to_single_ones_and_back(kernel: Task, config: Path) -> None:
    kernel(preset="round_robin")
    tree = {
        "directories": ["schedulers/rr/process_set/single_processes/6291475"],
        "values": {"schedulers/rr/process_set/handle_all": "0"},
    }
    assert kernel(preset="round_robin", tree=tree)["changed"]
    assert not kernel(preset="round_robin", tree=tree, exact=True)["changed"]
    back = kernel(preset="round_robin", exact=True)
    assert back["removed"] == tree["directories"]
    assert (config / "schedulers/rr/process_set/handle_all").read_text() == "1\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"directories": ["probes/no_probe"]}, "No such file or directory"),
        ({"directories": ["elsewhere"]}, "Operation not permitted"),
        ({"values": {"probes/value": "1"}}, "cannot write 1 to probes/value: tee:"),
        (
            {"directories": ["probes/mosix_probe"], "links": {"probes/x": "probes/mosix_probe/mean_load"}},
            "cannot link probes/x to probes/mosix_probe/mean_load: ln:",
        ),
        (
            {
                "directories": [
                    "schedulers/a",
                    "schedulers/a/mosix_load_balancer/remote_load/remote_cache_filter",
                ],
                "values": {
                    "schedulers/a/mosix_load_balancer/remote_load/remote_cache_filter/polling_period": "1001"
                },
            },
            "polling_period: the kernel made '1004' of '1001'; declare what it makes of it",
        ),
    ],
)
def test_what_the_kernel_refuses(kernel: Task, tree: dict[str, Any], said: str) -> None:
    refused = kernel(tree=tree)
    assert refused["failed"] and said in refused["msg"] and "\n" not in refused["msg"]


@pytest.mark.root
def test_a_group_of_the_kernels_that_the_flavour_does_not_know(module: Run, config: Path) -> None:
    flavour = {
        **KERRIGHED,
        "scheduler": {**KERRIGHED["scheduler"], "kernel_groups": ["probes", "schedulers"]},
    }
    options = {"flavour": flavour, "root": str(config), "preset": "round_robin", "exact": True}
    refused = module("ssi_scheduler", {**options, "exact": False})
    refused = module("ssi_scheduler", options)
    assert "belongs into kernel_groups of the flavour" in refused["msg"]
    assert module("ssi_scheduler", {**options, "preset": None, "tree": {}})["changed"], (
        "it goes with its parent"
    )


TREE = {
    "directories": ["probes/p", "schedulers/s/policy"],
    "links": {"schedulers/s/policy/load/one": "probes/p"},
    "values": {
        "probes/p/value": 250,
        "schedulers/s/threshold": {"from": "probes/p/value", "multiply": 3, "divide": 2},
    },
}


def test_a_plain_folder(plain: Task, folder: Path) -> None:
    done = plain(tree=TREE)
    assert done["changed"] and done["written"]["schedulers/s/threshold"] == "375"
    assert (folder / "schedulers/s/policy/load/one").resolve() == folder / "probes/p"
    assert (folder / "schedulers/s/threshold").read_text() == "375\n"
    assert not plain(tree=TREE)["changed"] and not plain(tree=TREE, exact=True)["changed"]
    smaller = {"directories": ["probes/p"]}
    assert plain(tree=smaller, exact=True)["removed"] == [
        "schedulers/s/policy/load/one",
        "schedulers/s/policy/load",
        "schedulers/s/policy",
        "schedulers/s",
        "schedulers",
    ]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "probes",
        "probes/p",
        "probes/p/value",
    ]


def test_a_folder_that_is_not_there_yet(module: Run, folder: Path) -> None:
    options = {"root": str(folder / "new" / "root"), "tree": TREE}
    assert module("ssi_scheduler", options, check=True)["changed"] and not list(folder.iterdir())
    assert module("ssi_scheduler", options)["changed"] and not module("ssi_scheduler", options)["changed"]


def test_behind_a_command_as_ssh_is_one(plain: Task, folder: Path) -> None:
    tree = {"values": {"it's $HOME/value": "a b"}}
    assert plain(tree=tree, entry=["sh", "-c"])["changed"]
    assert (folder / "it's $HOME/value").read_text() == "a b\n"
    assert not plain(tree=tree, entry=["sh", "-c"])["changed"]


def test_a_killed_run_is_finished_by_the_next(module: Run, folder: Path) -> None:
    tree = {
        "directories": [f"d{number}" for number in range(12)],
        "values": {f"d{number}/value": number for number in range(12)},
    }
    old, new = dict(tree), {**tree, "values": {path: f"{text}00" for path, text in tree["values"].items()}}
    module("ssi_scheduler", {"root": str(folder), "tree": old})
    for delay in (0.3, 0.36, 0.42):
        process = start_module("ssi_scheduler", {"root": str(folder), "tree": new})
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path, text in tree["values"].items():
            assert (folder / path).read_text() in (f"{text}\n", f"{text}00\n")
        module("ssi_scheduler", {"root": str(folder), "tree": old, "exact": True})
        assert all((folder / path).read_text() == f"{text}\n" for path, text in tree["values"].items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to do: give a tree, or a preset"),
        ({"preset": "x"}, "without a flavour there are no presets"),
        ({"tree": {"directories": ["../x"]}}, "tree.directories[0]: '../x' is no path below the root"),
        ({"tree": {"directories": ["/etc"]}}, "tree.directories[0]"),
        ({"tree": {"links": {"a": "b/../../c"}}}, "tree.links.a"),
        ({"tree": {"values": {"a": "1\n2"}}}, "tree.values.a"),
        ({"tree": {"values": {"a": {"from": "b", "times": 2}}}}, "unknown field 'times'"),
        (
            {"tree": {"values": {"a": "1"}, "directories": ["a"]}},
            "a is a directory, and cannot be a value too",
        ),
        (
            {"tree": {"values": {"a": "1"}, "links": {"a/b": "c"}}},
            "a is a directory, and cannot be a value too",
        ),
        ({"flavour": KERRIGHED, "preset": "nice"}, "no preset nice; there are round_robin, mosix, legacy"),
        (
            {"flavour": KERRIGHED, "preset": "mosix"},
            "instead of 62656570 (stat -f -c %t): mount the right one",
        ),
        (
            {"flavour": KERRIGHED, "preset": "mosix", "root": "/nonexistent"},
            "is configfs mounted, and does the running kernel have this scheduler?",
        ),
        ({"flavour": {"name": "f", "scheduler": None}, "preset": "x"}, "flavour f: it has no scheduler"),
        ({"tree": {"values": {"taken/value": "1"}}}, "taken shall be a directory, but is a file"),
        ({"tree": {"values": {"folder": "1"}}}, "folder shall be a value, but something else has this name"),
    ],
)
def test_bad_input_is_one_clear_error_and_touches_nothing(
    module: Run, folder: Path, options: dict[str, Any], said: str
) -> None:
    (folder / "taken").write_text("x")
    (folder / "folder").mkdir()
    before = snapshot(folder)
    refused = module("ssi_scheduler", {"root": str(folder), **options})
    assert refused["failed"] and said in refused["msg"] and "\n" not in refused["msg"]
    assert snapshot(folder) == before


def test_a_flavour_by_its_name(tmp_path: Path) -> None:
    options = {"flavour": "kerrighed_2_4", "preset": "none", "root": str(tmp_path)}
    refused = run_task("oneimage.cluster.ssi_scheduler", options, tmp_path)
    assert "flavour kerrighed_2_4: scheduler: no preset none" in refused["msg"]
