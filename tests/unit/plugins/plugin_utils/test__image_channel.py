"""Whatever a node or its login shell says, the stream is taken from it or one clear error."""

from __future__ import annotations

import shlex
from contextlib import closing
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import DATA, HEADER, RESULT
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_channel import (
    Channel,
    Refused,
    check_connection,
    routes,
)

STREAM = HEADER.pack(DATA, 5) + b"hello" + HEADER.pack(RESULT, 2) + b"{}"


def octal(content: bytes) -> str:
    """For ``printf``."""
    return "".join(f"\\{byte:03o}" for byte in content)


def frames(script: str, patience: float = 30) -> list[tuple[bytes, bytes]]:
    argv = ["/bin/sh", "-c", script]
    channel = Channel(argv, become=None, token="TOKEN", patience=patience, tick=lambda: None)
    found = []
    with closing(channel):
        for kind, body in channel.frames(b"program\n"):
            found.append((kind, body))
            if kind == RESULT:
                break
    return found


def test_greetings_come_before_the_stream() -> None:
    script = f"read program; echo Welcome; echo mail >&2; echo TOKEN; printf '{octal(STREAM)}'"
    assert frames(script) == [(DATA, b"hello"), (RESULT, b"{}")]


def test_pieces_arrive_as_they_please() -> None:
    pieces = "; sleep 0.05; ".join(f"printf '{octal(bytes([byte]))}'" for byte in STREAM)
    found = frames(f"echo TOKEN; {pieces}")
    assert b"".join(body for kind, body in found if kind == DATA) == b"hello" and found[-1] == (RESULT, b"{}")


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (
            "echo no route >&2; exit 255",
            Refused,
            "the node did not start the capture.*exit code 255: no route",
        ),
        ("echo only greetings", Refused, "only greetings"),
        ("while :; do echo greetings without end; done", Refused, "prints without end"),
        ("echo TOKEN", ClusterError, "the stream was cut off"),
        (
            f"echo TOKEN; printf '{octal(STREAM[:8])}'; echo lost >&2; exit 3",
            ClusterError,
            "exit code 3: lost",
        ),
        (
            f"echo TOKEN; printf '{octal(HEADER.pack(RESULT, 1 << 30))}'",
            ClusterError,
            "this is no image stream",
        ),
    ],
)
def test_what_is_no_stream(script: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        frames(script)


def test_a_silent_node_is_given_up() -> None:
    with pytest.raises(ClusterError, match="nothing came from the node for 1 s"):
        frames("echo TOKEN; exec sleep 600", patience=1)


class Ssh:
    """What ``routes`` asks of the ssh connection plugin, which builds its argv from a play's variables."""

    transport = "ssh"

    def __init__(self, words: list[str], **options: Any) -> None:
        self.words, self.options = words, {"ssh_executable": "ssh", "host": "n1", "password": None, **options}

    def get_option(self, name: str) -> Any:
        return self.options[name]

    def _build_command(self, *words: str) -> list[bytes]:
        program, subsystem, *rest = words
        assert subsystem == "ssh"
        return [word.encode() for word in [*self.words, *rest]]


@pytest.mark.parametrize(
    ("words", "options", "own", "count"),
    [
        (["ssh", "-C", "-J", "jump"], {}, True, 2),
        (["ssh", "-C", "-J", "jump"], {}, False, 1),
        (["sshpass", "-d9", "ssh", "-C", "-J", "jump"], {"password": "secret"}, True, 1),
    ],
)
def test_the_plays_argv_is_taken(words: list[str], options: dict[str, Any], own: bool, count: int) -> None:
    *first, shared = routes(Ssh(words, **options), "capture it", own=own)
    assert shared == shlex.split("ssh -o BatchMode=yes -T -C -J jump n1 'capture it'")
    assert len(first) == count - 1
    for one in first:
        assert "-C" not in one and "ControlPath=none" in one and one[-3:] == ["jump", "n1", "capture it"]


def test_other_connections_are_refused() -> None:
    connection = Ssh([])
    connection.transport = "winrm"
    with pytest.raises(ClusterError, match="ssh and local"):
        check_connection(connection)
