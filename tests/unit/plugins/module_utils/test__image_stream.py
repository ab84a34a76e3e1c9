# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import shutil

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_stream as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row, take

pytestmark = pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not here")


def output(*argvs: list[str], stdin: object = -3, prefix: bytes = b"") -> bytes:
    with row([Stage(argv) for argv in argvs], stdin=stdin, prefix=prefix) as stream:
        return stream.read()


def test_programs_in_a_row() -> None:
    assert output(["printf", "b\na\n"], ["sort"], ["tr", "a", "c"]) == b"c\nb\n"


def test_the_start_is_replaced() -> None:
    assert output(["printf", "0123456789"], ["cat"], prefix=b"ABC") == b"ABC3456789"


@pytest.mark.parametrize(
    ("argvs", "message"),
    [
        ((["false"], ["cat"]), "false failed with exit code 1: it printed nothing"),
        ((["yes"], ["sh", "-c", "head -c 9; echo full >&2; exit 3"]), "sh failed with exit code 3: full"),
        ((["yes"], ["true"]), "yes could not write all that it read"),
        ((["does-not-exist-here"],), "does-not-exist-here"),
        ((["sh", "-c", "kill -9 $$"], ["cat"]), "sh failed by signal 9"),
    ],
)
def test_the_program_at_fault_is_named(argvs: tuple[list[str], ...], message: str) -> None:
    with pytest.raises(ClusterError, match=message.replace("$", r"\$")):
        output(*argvs)


def test_all_end_with_the_block() -> None:
    stages = [Stage(["yes"]), Stage(["cat"])]
    with pytest.raises(KeyError), row(stages) as stream:
        stream.read(1)
        raise KeyError
    assert all(stage.process and stage.process.returncode is not None for stage in stages)


def test_a_stage_can_run_again() -> None:
    stage = Stage(["sh", "-c", "echo out; echo said >&2"])
    for _number in range(2):
        with row([stage]) as stream:
            assert stream.read() == b"out\n"
            stage.finish()
            assert stage.said() == b"said\n"


@pytest.mark.parametrize("size", [0, 1, subject.PIECE, subject.PIECE * 2 + 7])
def test_what_is_taken_is_hashed_and_counted(size: int) -> None:
    content, pieces = b"x" * size, io.BytesIO()
    taken = take(io.BytesIO(content), pieces.write)
    assert pieces.getvalue() == content and taken.size == size
    assert taken.sha256 == hashlib.sha256(content).hexdigest()
    assert taken.md5 == hashlib.md5(content).hexdigest()
