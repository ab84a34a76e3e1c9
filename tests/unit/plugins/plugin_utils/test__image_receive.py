"""What comes from a node is stored and hashed as it came, and told in words that are few."""

from __future__ import annotations

import gzip
import hashlib
from contextlib import closing

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_receive import (
    Compression,
    Progress,
    Store,
    readable,
)

PIECES = [b"", b"one", bytes(range(256)) * 5000, b"two"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (5000 << 40, "5000.0 TiB")],
)
def test_bytes_are_readable(count: int, text: str) -> None:
    assert readable(count) == text


def test_what_is_stored_is_hashed() -> None:
    stored: list[bytes] = []
    store = Store(stored.append)
    for piece in PIECES:
        store.write(piece)
    content = b"".join(PIECES)
    assert stored == PIECES
    assert store.size == len(content)
    assert store.sha256 == hashlib.sha256(content).hexdigest()
    assert store.md5 == hashlib.md5(content).hexdigest()


def test_a_compressor_between_the_node_and_the_disk() -> None:
    pieces: list[bytes] = []
    store = Store(pieces.append)
    with closing(Compression(["gzip", "-n", "-c"], store.write)) as compression:
        for piece in PIECES:
            compression.write(piece)
        compression.finish()
    stored = b"".join(pieces)
    assert gzip.decompress(stored) == b"".join(PIECES)
    assert store.sha256 == hashlib.sha256(stored).hexdigest()


def test_a_compressor_that_fails_is_named_with_its_words() -> None:
    argv = ["sh", "-c", "read line; echo no space >&2; exit 3"]
    fails = pytest.raises(ClusterError, match="sh failed with exit code 3: no space")
    with fails, closing(Compression(argv, lambda _piece: None)) as compression:
        for _round in range(1000):
            compression.write(b"line\n" * 10000)


def test_a_full_disk_ends_the_compressor() -> None:
    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    with closing(Compression(["cat"], full)) as compression, pytest.raises(OSError, match="No space left"):
        for _round in range(1000):
            compression.write(b"x" * 100000)


def test_progress_speaks_once_an_interval_and_knows_the_share() -> None:
    seconds = iter([0.0, 0.5, 2.0, 2.5, 4.0, 6.0])
    lines: list[str] = []
    progress = Progress(lines.append, "n1", interval=2, clock=lambda: next(seconds))
    progress.update(1 << 20)
    progress.update(4 << 20, 30, 100)
    progress.update(5 << 20)
    progress.update(6 << 20, 500, 100)
    assert lines == ["n1: 4.0 MiB, 2.0 MiB/s, 30 %", "n1: 6.0 MiB, 1.0 MiB/s, 99 %"]
    assert progress.seconds == 6.0


def test_no_interval_is_no_progress() -> None:
    seconds = iter([0.0, 100.0])
    lines: list[str] = []
    Progress(lines.append, "n1", interval=0, clock=lambda: next(seconds)).update(1)
    assert lines == []
