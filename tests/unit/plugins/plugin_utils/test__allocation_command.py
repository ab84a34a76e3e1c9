"""A command's output within limits, and nothing of it left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_command import (
    ProgramMissing,
    output,
)


def ask(script: str, folder: Path, timeout: float = 60, limit: int = 1 << 20) -> bytes:
    return output(["sh", "-c", script], timeout=timeout, limit=limit, cwd=str(folder))


def test_what_it_prints_is_returned_and_complaints_are_not(tmp_path: Path) -> None:
    assert ask("pwd; echo warning >&2; cat", tmp_path) == f"{tmp_path}\n".encode()


def test_much_on_both_outputs_does_not_block(tmp_path: Path) -> None:
    script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
    assert len(ask(script, tmp_path)) == 300_000


@pytest.mark.parametrize(
    "script, expected",
    [
        ("echo no such job >&2; exit 3", "failed with exit code 3: no such job"),
        ("echo said here; exit 1", "failed with exit code 1: said here"),
        ("kill -9 $$", "was ended by signal 9: it printed nothing"),
    ],
)
def test_a_failure_is_told_with_its_reason(script: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as raised:
        ask(script, tmp_path)
    assert str(raised.value) == expected


def test_a_missing_program_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program was not found on this host"):
        output(["no-such-program"], timeout=60, limit=1, cwd=str(tmp_path))


def test_too_much_output_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="printed more than 1000 bytes and was ended"):
        ask("yes", tmp_path, limit=1000)


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & echo $! > child; wait",
        # the program itself ends, and leaves one behind that holds its output open
        "sleep 600 & echo $! > child",
        # its outputs are closed, and it goes on
        "exec >&- 2>&-; sleep 600 & echo $! > child; wait",
    ],
)
def test_one_that_hangs_is_ended_with_all_that_it_started(script: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="gave no answer within 1 s and was ended"):
        ask(script, tmp_path, timeout=1)
    child = int((tmp_path / "child").read_text())
    try:
        assert gone(child)
    finally:
        if not gone(child):
            os.kill(child, signal.SIGKILL)


def gone(process: int) -> bool:
    """Whether ``process`` has ended, waited for or not; its end may take the kernel a moment."""
    for _attempt in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
