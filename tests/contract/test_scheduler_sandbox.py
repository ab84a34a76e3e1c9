# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A scheduler's sandbox touches nothing of this machine, and nothing is left of it, however the test run ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scheduler_sandbox import Unavailable, sandbox, scheduler_root, wait_for
from scheduler_slurm import PACKAGES

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOLDER = """
import sys
from pathlib import Path
from scheduler_sandbox import sandbox
from scheduler_slurm import PACKAGES
with sandbox(PACKAGES, Path(sys.argv[1])) as made:
    print(made.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def root() -> Path:
    try:
        return scheduler_root(PACKAGES)
    except Unavailable as reason:
        pytest.skip(f"no sandbox can be had here: {reason}")


def test_what_is_written_inside_is_gone_outside(root: Path, tmp_path: Path) -> None:
    with sandbox(PACKAGES, tmp_path) as made:
        made.script("echo written > /etc/motd; sleep 900 > /dev/null 2>&1 &")
        assert (made.root / "etc/motd").read_text() == "written\n"
        assert made.run("hostname") == "frontend\n"
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()

    # The kernel ends the first process of the namespace a moment after its parent.
    assert wait_for("the sandbox's end", lambda: not made.root.exists())
    assert list(tmp_path.iterdir()) == []
    assert "written" not in (root / "etc/motd").read_text()


def test_it_ends_with_the_test_run(root: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        argv, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        first = Path(f"/proc/{int(holder.stdout.readline())}/root/etc")
        assert first.exists()
        holder.kill()

    assert wait_for("the sandbox's end", lambda: not first.exists())
    assert list(tmp_path.iterdir()) == []
