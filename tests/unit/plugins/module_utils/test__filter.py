from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._filter import through


def test_everything_goes_through_whatever_its_size() -> None:
    pieces = [b"a" * 3_000_000, memoryview(b"b" * 3_000_000)]
    assert bytes(through(["cat"], pieces, 60)) == b"".join(pieces)
    assert bytes(through(["cat"], [], 60)) == b""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no-such-program"], "cannot run no-such-program: not found"),
        (["sh", "-c", "echo broken >&2; exit 3"], "sh failed with exit code 3: broken"),
        (["sleep", "60"], "sleep failed with exit code -9"),
    ],
)
def test_a_failure_is_one_clear_error(argv: list[str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        through(argv, [b"x" * 3_000_000], 1)
