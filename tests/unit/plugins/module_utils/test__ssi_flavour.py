# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import check_flavour, refuse

SMALL: dict[str, Any] = {
    "name": "mine",
    "summary": "the least that a flavour says",
    "limits": {"session": [1, 9], "node_id": [0, 99], "nodes": [2, 9]},
    "commands": {"nodes": {"argv": ["list"], "line": r"^(?P<node_id>\d+)$"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """``SMALL`` with ``value`` at ``path``."""
    first, dot, rest = path.partition(".")
    return {**SMALL, first: {**SMALL.get(first, {}), rest: value} if dot else value}


def test_what_is_left_out_is_filled_in() -> None:
    found = check_flavour(SMALL)
    assert (found["kernel"], found["files"], found["entry_port"], found["modules_on"]) == (
        None,
        [],
        22,
        "node",
    )
    assert found["commands"]["form"] is None
    assert check_flavour(found) == found


def test_a_command_may_be_several() -> None:
    one = check_flavour(changed("commands.stop", {"argv": ["off"]}))
    two = check_flavour(changed("commands.stop", {"argv": [["expel"], ["off", "{nodes}"]]}))
    assert one["commands"]["stop"]["argv"] == [["off"]]
    assert two["commands"]["stop"]["argv"] == [["expel"], ["off", "{nodes}"]]


@pytest.mark.parametrize(
    "flavour, words",
    [
        ("kerrighed", "flavour 'kerrighed' is no mapping"),
        ({}, "flavour without a name: name is missing"),
        (changed("name", "My One"), "flavour My One.name: 'My One' is no name of a flavour"),
        (changed("sumary", "x"), "unknown field 'sumary'; did you mean summary?"),
        (changed("limits", {"session": [1, 9], "nodes": [2, 9]}), "limits: node_id is missing"),
        (changed("limits.session", [9, 1]), r"limits.session: \[9, 1\] is no range"),
        (changed("limits.nodes", [0, 9]), r"limits.nodes\[0\]: 0 lies outside 1 to 65535"),
        (changed("commands", {}), "commands: nodes is missing"),
        (changed("commands.nodes", {"argv": [], "line": "x"}), "commands.nodes.argv: the command is empty"),
        (
            changed("commands.nodes", {"argv": ["l"], "line": "("}),
            "line: '\\(' is no regular expression: missing",
        ),
        (changed("commands.nodes", {"argv": ["l"], "line": "x"}), r"has no group \(\?P<node_id>...\)"),
        (changed("commands.form", {"argv": "start"}), "commands.form.argv: 'start' is no list"),
        (changed("commands.form", {"argv": ["{node}"]}), r"unknown field \{node\}; known: nodes, session"),
        (changed("commands.form", {"argv": ["{"]}), r"write \{\{ for a brace"),
        (changed("parameters", ["id={nodeid}"]), r"parameters\[0\]: 'id=\{nodeid\}' has the unknown field"),
        (changed("join_parameters", ["id={node_id}"]), r"unknown field \{node_id\}; known: session"),
        (changed("services", [True]), r"services\[0\]: True is no text; put it in quotes"),
        (
            changed("kernel", {"version": "2.6.30", "options": {"KEYS": True}}),
            "kernel.options.KEYS: True is no value",
        ),
        (
            changed("kernel", {"version": "2.6.30", "options": {"KEYS": "y"}, "forbidden": ["KEYS"]}),
            "kernel: KEYS is both in options and forbidden",
        ),
        (changed("files", [{"path": "etc/x", "content": ""}]), "files.0..path: 'etc/x' is no absolute path"),
        (changed("files", [{"path": "/etc/x"}]), "file /etc/x needs either content or src"),
        (
            changed("files", [{"path": "/x", "content": "", "mode": 420}]),
            'mode: 420 is no mode in quotes, such as "0644"',
        ),
        (changed("modules_on", "moon"), "modules_on: 'moon' is no place for the modules"),
        (changed("entry_port", "ssh"), "entry_port: 'ssh' is no whole number"),
    ],
)
def test_the_field_that_is_wrong_is_named(flavour: Any, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        check_flavour(flavour)


def test_the_file_is_named_where_it_is_known() -> None:
    with pytest.raises(ClusterError, match="^flavour flavours/mine.yml: unknown field"):
        check_flavour({**SMALL, "x": 1}, "flavours/mine.yml")


def test_what_it_cannot_is_refused_in_its_words() -> None:
    flavour = check_flavour(changed("cannot", {"grow": "it is full"}))
    assert str(refuse(flavour, "grow", "session 1")) == "session 1: it is full"
    assert str(refuse(flavour, "stop", "session 1")) == "session 1: the flavour mine has no command for it"
