# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""deployment_environment with the programs of this host; what it built is unpacked, and its programs run in it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import deployment_case
import pytest
from conftest import Run, snapshot, start_module
from fixtures.kernel_tree import VERSION, make_root, set_config

pytestmark = pytest.mark.skipif(
    bool(deployment_case.MISSING), reason=f"not installed: {', '.join(deployment_case.MISSING)}"
)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    make_root(tmp_path / "root")
    set_config(tmp_path / "root", "BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD")
    (tmp_path / "boot").mkdir()
    return {
        "path": str(tmp_path / "boot/deploy"),
        "root": str(tmp_path / "root"),
        "programs_root": "/",
        "compression": "gzip",
    }


def test_it_is_built_once_and_the_same_everywhere(module: Run, options: dict[str, Any]) -> None:
    before = snapshot(Path(options["path"]).parent)
    predicted = module("deployment_environment", options, check=True)
    assert predicted["changed"] and snapshot(Path(options["path"]).parent) == before
    first = module("deployment_environment", options)
    assert first["changed"] and first["reason"].endswith("does not exist")
    assert first["sha256"] == predicted["sha256"]
    assert first["kernel_version"] == VERSION
    assert first["builtin"] == ["af_packet"]
    assert "virtio_net" in first["modules"] and "nfs" not in first["modules"]
    assert {"sh", "dropbear", "tar", "sfdisk", "mkfs.ext4"} <= set(first["programs"])
    assert first["bytes"] == Path(options["path"]).stat().st_size < first["unpacked_bytes"]
    before = snapshot(Path(options["path"]).parent)
    second = module("deployment_environment", options)
    assert (second["changed"], second["reason"], second["sha256"]) == (False, None, first["sha256"])
    assert snapshot(Path(options["path"]).parent) == before


def test_diff_shows_a_program_that_comes(module: Run, options: dict[str, Any]) -> None:
    module("deployment_environment", options)
    change = module("deployment_environment", {**options, "programs": ["ldconfig", "/usr/bin/env"]})
    assert " bin/ldconfig\n" in change["diff"]["after"] and " bin/ldconfig\n" not in change["diff"]["before"]
    assert {"ldconfig", "env"} <= set(change["programs"])


def test_every_program_finds_its_libraries(module: Run, options: dict[str, Any], tmp_path: Path) -> None:
    if not deployment_case.is_root():
        pytest.skip("chroot needs root")
    built = module("deployment_environment", options)
    root = tmp_path / "unpacked"
    deployment_case.unpack(Path(options["path"]), root)
    for program in built["programs"]:
        argv = ["chroot", root, "/lib64/ld-linux-x86-64.so.2", "--list", f"/usr/bin/{program}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "not a dynamic executable" in done.stderr + done.stdout, done
        assert "not found" not in done.stdout
    said = subprocess.run(
        ["chroot", root, "/bin/sh", "-c", "tar --version; sed --version"], capture_output=True, check=False
    ).stdout
    assert b"GNU tar" in said, "the shell prefers applets of busybox to real programs"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"programs": ["no-such-program"]}, "programs_root / lacks no-such-program"),
        ({"modules": ["no_such_driver"]}, "has no module no_such_driver"),
        ({"root": "/nowhere"}, "root: the folder /nowhere does not exist"),
        ({"programs_root": "/nowhere"}, "programs_root: the folder /nowhere does not exist"),
        ({"path": "/nowhere/deploy"}, "path: the folder /nowhere does not exist"),
        ({"kernel_version": "1.0"}, "kernel_version 1.0"),
        ({"busybox": "/bin/ls"}, "busybox: /bin/ls needs shared libraries"),
    ],
)
def test_bad_input_is_one_error_and_touches_nothing(
    change: dict[str, Any], says: str, module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    module("deployment_environment", options)
    before = snapshot(tmp_path)
    failed = module("deployment_environment", {**options, **change})
    assert failed["failed"] and says in failed["msg"]
    assert snapshot(tmp_path) == before


def test_missing_programs_are_named_together_with_their_packages(
    module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    failed = module("deployment_environment", {**options, "programs_root": str(tmp_path / "empty")})
    assert "dropbear (package dropbear-bin)" in failed["msg"] and "sfdisk (package fdisk)" in failed["msg"]


def test_a_library_that_is_not_there_is_named(module: Run, options: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "tools/bin/ls"
    program.parent.mkdir(parents=True)
    program.write_bytes(Path("/bin/ls").resolve().read_bytes())
    from ansible_collections.oneimage.cluster.plugins.module_utils import (
        _deployment_environment_programs as programs,
    )
    from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

    found = programs.Collection(tmp_path / "tools", folders=programs.library_folders(tmp_path / "tools"))
    with pytest.raises(ClusterError, match=r"lacks the library ld-linux-.* of .*/bin/ls"):
        programs.add_program(found, "ls")


def test_a_kill_leaves_the_old_one(module: Run, options: dict[str, Any]) -> None:
    old = module("deployment_environment", options)["sha256"]
    changed = {**options, "programs": ["ldconfig"]}
    new = module("deployment_environment", changed, check=True)["sha256"]
    for delay in (0.2, 0.6, 1.0, 1.4):
        process = start_module("deployment_environment", changed)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert module("deployment_environment", options, check=True)["sha256"] == old
        there = subprocess.run(["sha256sum", options["path"]], capture_output=True, text=True, check=True)
        assert there.stdout.split()[0] in (old, new)
    assert module("deployment_environment", changed)["sha256"] == new
    assert [path.name for path in Path(options["path"]).parent.iterdir()] == ["deploy"]
