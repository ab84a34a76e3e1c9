"""Capabilities as krgcapset prints them, rules of flavours, descriptions of checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_capabilities as capability
from ansible_collections.oneimage.cluster.plugins.module_utils import _ssi_process_checkpoint as checkpoints
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, Said
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_flavour import check_process
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_place import place_of, reached
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_rules import (
    failure,
    out_of_bounds,
)

NAMES = [
    "CHANGE_KERRIGHED_CAP",
    "CAN_MIGRATE",
    "DISTANT_FORK",
    "FORK_DELAY",
    "CHECKPOINTABLE",
    "USE_REMOTE_MEMORY",
    "USE_INTRA_CLUSTER_KERSTREAMS",
    "USE_INTER_CLUSTER_KERSTREAMS",
    "USE_WORLD_VISIBLE_KERSTREAMS",
    "SEE_LOCAL_PROC_STAT",
    "DEBUG",
    "SYSCALL_EXIT_HOOK",
]
SHOWN = """\
Permitted Capabilities: 01067
\tCHANGE_KERRIGHED_CAP, CAN_MIGRATE, DISTANT_FORK, CHECKPOINTABLE
\tUSE_REMOTE_MEMORY, SEE_LOCAL_PROC_STAT
Effective Capabilities: 03
\tCHANGE_KERRIGHED_CAP, CAN_MIGRATE
Inheritable Permitted Capabilities: 00

Inheritable Effective Capabilities: 020
\tCHECKPOINTABLE
"""
SETS = {
    "permitted": r"^Permitted Capabilities: 0(?P<octal>[0-7]+)$",
    "effective": r"^Effective Capabilities: 0(?P<octal>[0-7]+)$",
    "inheritable_permitted": r"^Inheritable Permitted Capabilities: 0(?P<octal>[0-7]+)$",
    "inheritable_effective": r"^Inheritable Effective Capabilities: 0(?P<octal>[0-7]+)$",
}
CAPABILITIES: dict[str, Any] = {
    "names": NAMES,
    "unsupported": {"USE_REMOTE_MEMORY": "mainline has none"},
    "needs": ["CHANGE_KERRIGHED_CAP"],
    "only_lose": ["permitted"],
    "within": {"effective": "permitted"},
    "set": {
        "argv": ["krgcapset", "-f", "-k", "{pid}", "{flag}", "{change}"],
        "flags": {"permitted": "-p", "effective": "-e"},
    },
}


def test_sets_as_they_were_recorded() -> None:
    found = capability.parse_shown(SHOWN, SETS, NAMES)
    assert sorted(found["permitted"]) == [
        "CAN_MIGRATE",
        "CHANGE_KERRIGHED_CAP",
        "CHECKPOINTABLE",
        "DISTANT_FORK",
        "SEE_LOCAL_PROC_STAT",
        "USE_REMOTE_MEMORY",
    ]
    assert found["effective"] == {"CHANGE_KERRIGHED_CAP", "CAN_MIGRATE"}
    assert (found["inheritable_permitted"], found["inheritable_effective"]) == (
        frozenset(),
        {"CHECKPOINTABLE"},
    )


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (SHOWN.replace("Effective", "Effectual"), "no effective capabilities in the output"),
        (
            SHOWN.replace("03\n\tCHANGE", "02\n\tCHANGE"),
            "CHANGE_KERRIGHED_CAP listed, but not in the octal number",
        ),
    ],
)
def test_output_that_does_not_fit_the_flavour(shown: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        capability.parse_shown(shown, SETS, NAMES)


@pytest.mark.parametrize(
    ("octal", "names"),
    [
        ("0", []),
        ("", []),
        ("2", ["CAN_MIGRATE"]),
        ("10002", ["CAN_MIGRATE", "bit 12"]),
        ("4000", ["SYSCALL_EXIT_HOOK"]),
    ],
)
def test_names_of_an_octal_number(octal: str, names: list[str]) -> None:
    assert sorted(capability.names_of(octal, NAMES)) == names


def held(**sets: str) -> dict[str, frozenset[str]]:
    return {kind: frozenset(names.split()) for kind, names in sets.items()}


def test_one_command_for_all_changes() -> None:
    now = held(permitted="CHANGE_KERRIGHED_CAP CAN_MIGRATE DEBUG", effective="DEBUG")
    then = capability.wished(
        now,
        {
            "effective": {"DEBUG": False, "CAN_MIGRATE": True},
            "permitted": {"DEBUG": False, "FORK_DELAY": False},
        },
    )
    assert capability.change_argv(CAPABILITIES, 7, now, then) == [
        *("krgcapset", "-f", "-k", "7"),
        *("-p", "-DEBUG", "-e", "+CAN_MIGRATE", "-e", "-DEBUG"),
    ]
    assert capability.listed(CAPABILITIES, now)["permitted"] == [
        "CHANGE_KERRIGHED_CAP",
        "CAN_MIGRATE",
        "DEBUG",
    ]


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        (
            held(permitted="DEBUG", effective=""),
            held(permitted="", effective=""),
            "it lacks CHANGE_KERRIGHED_CAP",
        ),
        (
            held(permitted="", effective="CHANGE_KERRIGHED_CAP"),
            held(permitted="DEBUG", effective="CHANGE_KERRIGHED_CAP"),
            "permitted capabilities can only be lost, and DEBUG would be gained",
        ),
        (
            held(permitted="CHANGE_KERRIGHED_CAP", effective="CHANGE_KERRIGHED_CAP"),
            held(permitted="CHANGE_KERRIGHED_CAP", effective="CHANGE_KERRIGHED_CAP DEBUG"),
            "effective would have DEBUG, which permitted has not",
        ),
    ],
)
def test_changes_that_the_kernel_does_not_take(
    now: dict[str, frozenset[str]], then: dict[str, frozenset[str]], said: str
) -> None:
    with pytest.raises(ClusterError, match=said):
        capability.check_change(CAPABILITIES, 7, now, then)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (
            {"effective": {"CAN_FLY": True}},
            "effective.CAN_FLY: unknown capability; flavour f has CHANGE_KERRIGHED_CAP",
        ),
        ({"effective": {"USE_REMOTE_MEMORY": True}}, "flavour f does not support it: mainline has none"),
        ({"inheritable_effective": {"DEBUG": True}}, "flavour f has no such set of capabilities"),
        ({"effective": {"DEBUG": 1}}, "must be true or false, not 1"),
    ],
)
def test_wishes_that_a_flavour_does_not_have(wishes: Any, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        capability.check_wishes(CAPABILITIES, "f", wishes)


def test_what_a_program_says_counts_whatever_its_exit_code() -> None:
    known = [{"match": r"errno (?P<number>\d+)\)", "means": "errno {number} of process {pid}"}]
    assert failure(Said(0, "fine\n", ""), known, {"pid": 7}) is None
    said = failure(Said(0, "Unable to set (res is -1, errno 1)\n", ""), known, {"pid": 7})
    assert said == "errno 1 of process 7 (Unable to set (res is -1, errno 1))"
    assert failure(Said(3, "", "a\nb\n"), known, {"pid": 7}) == "exit code 3: a | b"


@pytest.mark.parametrize(
    ("rule", "groups", "beyond"),
    [
        ({}, {}, True),
        ({"at_most": {"threads": 1}}, {"threads": "1"}, False),
        ({"at_most": {"threads": 1}}, {"threads": "2"}, True),
        ({"at_least": {"group": 2097152, "session": 2097152}}, {"group": "6291475", "session": "1"}, True),
        (
            {"at_least": {"group": 2097152, "session": 2097152}},
            {"group": "6291475", "session": "6291475"},
            False,
        ),
    ],
)
def test_bounds(rule: dict[str, Any], groups: dict[str, str], beyond: bool) -> None:
    assert out_of_bounds({"at_least": {}, "at_most": {}, **rule}, groups) is beyond


@pytest.mark.parametrize(
    ("target", "place"), [("2", "2"), ("02", "2"), ("home", "0"), ("balance", None), ("0", "0")]
)
def test_targets(target: str, place: str | None) -> None:
    assert reached({"targets": {"home": "0", "balance": None}}, target) == place


@pytest.mark.parametrize("target", ["", "node2", "-1", "1.5", "Home"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ClusterError, match="take a node's number or home or balance"):
        reached({"targets": {"home": "0", "balance": None}}, target)


@pytest.mark.parametrize(
    ("script", "place"),
    [
        ("echo 2", "2"),
        ("echo ssi-ps: No such process: pid 7 runs on no node >&2; exit 1", None),
        ("true", None),
    ],
)
def test_a_place_that_a_command_tells(script: str, place: str | None) -> None:
    where = {
        "file": None,
        "argv": ["sh", "-c", script],
        "match": r"^(?P<node_id>\d+)$",
        "none": "No such process",
    }
    assert place_of(Entry(), where, 7) == place


def test_a_command_that_cannot_tell_the_place() -> None:
    where = {
        "file": None,
        "argv": ["sh", "-c", "echo lost >&2; exit 1"],
        "match": "x",
        "none": "No such process",
    }
    with pytest.raises(ClusterError, match="cannot tell where process 7 is: lost"):
        place_of(Entry(), where, 7)


KEYS = {
    "identifier": r"^Identifier: (?P<value>\d+)$",
    "version": r"^Version: (?P<value>\d+)$",
    "description": r"^Description: (?P<value>.*)$",
    "date": r"^Date: (?P<value>.+)$",
}


@pytest.mark.parametrize(("text", "date"), [("1795255086", 1795255086), ("Sat Nov 21 09:58:06 2026\n", None)])
def test_a_description_in_a_file_and_on_standard_output(text: str, date: int | None) -> None:
    said = f"Freezing ...\nIdentifier: 6291475\nVersion: 1\nDescription: No description\nDate: {text}\n"
    made = checkpoints.Checkpoint(6291475, 1, "No description", date)
    assert checkpoints.parse_description(KEYS, said) == made


@pytest.mark.parametrize(
    "torn", ["", "Identifier: 6291475\nVersion: 1\nDescr", "Identifier: x\nVersion: 1\nDescription: y"]
)
def test_a_torn_description(torn: str) -> None:
    assert checkpoints.parse_description(KEYS, torn) is None


def test_which_checkpoint_to_take() -> None:
    found = [
        checkpoints.Checkpoint(5, 1, "a", 1),
        checkpoints.Checkpoint(5, 2, "b", 2),
        checkpoints.Checkpoint(6, 9, "", 3),
    ]
    assert checkpoints.choose(found, {5}, None, "/c").version == 2
    assert checkpoints.choose(found, {5}, 1, "/c").description == "a"
    with pytest.raises(ClusterError, match="application 5 has no whole checkpoint of version 3, only 1, 2"):
        checkpoints.choose(found, {5}, 3, "/c")
    with pytest.raises(ClusterError, match="/c has no whole checkpoint of application 7"):
        checkpoints.choose(found, {7}, None, "/c")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "process: where is missing"),
        ({"where": {"file": "/x", "match": "("}}, "process.where.match: .* is no regular expression"),
        ({"where": {"file": "/{pit}", "match": "x"}}, "unknown field {pit}"),
        ({"where": {"file": "/x", "match": "x"}, "migrate": {"argv": []}}, "the command is empty"),
        ({"where": {"file": "/x", "match": "x"}, "migrat": {}}, "did you mean migrate"),
    ],
)
def test_sections_that_are_wrong(section: Any, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        check_process(section)
