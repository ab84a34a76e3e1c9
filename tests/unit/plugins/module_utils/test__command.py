from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def test_output_and_input_are_bytes() -> None:
    assert run(["cat"], stdin=b"\xff\x00").stdout == b"\xff\x00"


def test_no_word_is_read_by_a_shell() -> None:
    assert run(["echo", "$HOME; false"]).stdout == b"$HOME; false\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-program"], "cannot run no-such-program: not found"),
        (["false"], "false failed with exit code 1: it printed nothing"),
        (["sh", "-c", "echo one; echo two >&2; exit 7"], "sh failed with exit code 7: two"),
        (["sleep", "30"], "sleep gave no answer within 0.1 s"),
    ],
)
def test_a_failure_is_one_clear_error(argv: list[str], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        run(argv, timeout=0.1 if argv[0] == "sleep" else None)


def test_an_accepted_exit_code_is_no_failure() -> None:
    assert run(["sh", "-c", "exit 3"], accept=(0, 3)).returncode == 3


def test_every_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(ClusterError, match="no-such-one, no-such-two; install the package some-package$"):
        require("sh", "no-such-one", "no-such-two", package="some-package")
