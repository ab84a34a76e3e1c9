from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file, write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "initrd"
    write_file(target, b"old")
    write_file(target, b"new", mode=0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["initrd"]


def test_a_failure_on_the_way_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "initrd"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), partial_file(target) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["initrd"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot write .*nowhere/initrd: No such file"):
        write_file(tmp_path / "nowhere" / "initrd", b"")


def test_a_killed_run_leaves_the_old_file_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "odd[name]"
    target.write_bytes(b"old")
    script = (
        "import os, pathlib, sys\n"
        "from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file\n"
        "with partial_file(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)], check=False).returncode == -9
    assert target.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2, "the partial file of the killed run"
    write_file(target, b"new")
    assert os.listdir(tmp_path) == [target.name]
