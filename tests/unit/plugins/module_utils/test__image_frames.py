"""The node's end of a stream: nothing strays into it, and it ends with whom it serves."""

from __future__ import annotations

import signal
import subprocess
import sys

from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import (
    DATA,
    HEADER,
    RESULT,
)

PROGRAM = """
import subprocess, sys, time
sys.path[:0] = {path!r}
from ansible_collections.oneimage.cluster.plugins.module_utils import _image_frames as frames
def work(writer):
    {work}
frames.serve(work, "TOKEN")
"""


def start(work: str) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(path=sys.path, work=work)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe)


def test_frames_follow_the_token_and_nothing_else() -> None:
    process = start(
        "writer.send(b'D', memoryview(b'abc')); print('astray', flush=True);"
        " subprocess.run(['echo', 'as well']); writer.send(b'R', b'{}')"
    )
    assert process.stdout and process.stderr and process.stdin
    expected = b"TOKEN\n" + HEADER.pack(DATA, 3) + b"abc" + HEADER.pack(RESULT, 2) + b"{}"
    assert process.stdout.read(len(expected)) == expected
    assert process.stdout.read() == b""
    assert process.stderr.read() == b"astray\nas well\n"
    assert process.wait(timeout=30) == 0
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


def test_the_end_of_the_lifeline_ends_all_programs() -> None:
    process = start("print('begun', file=sys.stderr, flush=True); subprocess.run(['sleep', '600'])")
    assert process.stdin and process.stderr and process.stdout
    assert process.stderr.readline() == b"begun\n"
    process.stdin.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    # sleep held these open, so that their ends show its end
    assert process.stdout.read() == b"TOKEN\n"
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_a_silent_controller_is_given_up() -> None:
    process = start("frames.SILENCE_SECONDS = 0; time.sleep(600)")
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.communicate()


def test_a_node_that_is_busy_says_that_it_lives() -> None:
    process = start("frames.BEAT_SECONDS = 0; time.sleep(600)")
    assert process.stdout and process.stdin
    assert process.stdout.read(11) == b"TOKEN\n" + HEADER.pack(b"B", 0)
    process.communicate()
