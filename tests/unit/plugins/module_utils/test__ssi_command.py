# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import (
    CommandTimeout,
    Entry,
    EntryLost,
    Said,
    fill,
)

HERE = Entry()
SHELL = Entry(("sh", "-c"))
"""As ssh gives one: the command comes as one word."""


@pytest.mark.parametrize("entry", [HERE, SHELL], ids=["here", "behind an entry"])
def test_words_arrive_as_they_are_and_any_code_is_an_answer(entry: Entry) -> None:
    said = entry.run(
        ["sh", "-c", 'printf "%s\\n" "$@"; echo no >&2; exit 255', "x", "a b", "{c}", "$d'", "*"]
    )
    assert said == Said(255, "a b\n{c}\n$d'\n*\n", "no\n")
    assert said.text.endswith("*\nno\n")
    assert entry.run(["cat"], stdin=b"given").out == "given"


def test_a_daemon_that_is_left_behind_is_not_waited_for() -> None:
    assert HERE.run(["sh", "-c", "sleep 3 & echo started"], timeout=2).out == "started\n"


def test_what_gives_no_answer_is_ended() -> None:
    with pytest.raises(CommandTimeout, match="^sleep 30 gave no answer within 1 s and was ended"):
        HERE.run(["sleep", "30"], timeout=1)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ClusterError, match="cannot run no-such: not found on this host"):
        HERE.run(["no-such"])
    with pytest.raises(ClusterError, match="cannot run /: Permission denied"):
        HERE.run(["/"])
    with pytest.raises(ClusterError, match="cannot run no-such: not found on the entry node"):
        SHELL.run(["no-such"])


@pytest.mark.parametrize(
    "words, gone, may_come",
    [
        ("ssh: connect to host n1 port 22: No route to host", True, True),
        ("ssh: connect to host n1 port 22: Connection refused", False, True),
        ("root@n1: Permission denied (publickey).", False, False),
    ],
)
def test_sshs_own_failure_is_another(words: str, gone: bool, may_come: bool) -> None:
    with pytest.raises(EntryLost) as lost:
        Entry(("sh", "-c", f"echo '{words}' >&2; exit 255")).run(["true"])
    assert str(lost.value).endswith(words)
    assert (lost.value.gone, lost.value.may_come) == (gone, may_come)


def test_fields_are_filled_in() -> None:
    assert fill(["add", "--nodes", "{nodes}", "{{x}}"], nodes="1-3") == ["add", "--nodes", "1-3", "{x}"]
