"""Every kind of source, what is said when it is absent, and bad declarations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_formats import FORMATS
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_sources import (
    VARIABLES,
    Place,
    identity,
    read_sources,
)


def found(
    folder: Path, *sources: Any, environment: Mapping[str, str] | None = None, said: list[str] | None = None
) -> list[Allocation]:
    return read_sources(sources, Place(folder, environment or {}, ([] if said is None else said).append))


def refusal(folder: Path, *sources: Any, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ClusterError) as raised:
        found(folder, *sources, environment=environment)
    return str(raised.value)


def test_files_are_relative_to_the_folder_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path in (tmp_path / "list", tmp_path / "home" / "list"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("n1\nn1\n")
    sources = [{"file": "list"}, {"file": "~/list"}, {"file": str(tmp_path / "list")}]
    allocations = found(tmp_path, *sources)
    paths = ["list", "home/list", "list"]
    assert [one.source for one in allocations] == [f"file {tmp_path}/{path}" for path in paths]
    assert all(one.nodes == {"n1": 2} for one in allocations)


def test_a_glob_takes_files_in_order_and_no_folders(tmp_path: Path) -> None:
    for path in ("b.list", "a/c.list", "a/d.list/e"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("n1\n")
    sources = [one.source for one in found(tmp_path, {"glob": "**/*.list"})]
    assert sources == [f"file {tmp_path}/a/c.list", f"file {tmp_path}/b.list"]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"HOSTS": "n[1-2]"}, {"n1": 1, "n2": 1}),
        ({"HOSTS": "{folder}/list"}, {"n7": 1}),
        ({"HOSTS": "./list"}, {"n7": 1}),
        ({"HOSTS": "  ~/list\n"}, {"n7": 1}),
    ],
)
def test_a_variable_holds_a_path_or_a_list(
    environment: dict[str, str], expected: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "list").write_text("n7\n")
    environment = {name: value.format(folder=tmp_path) for name, value in environment.items()}
    assert found(tmp_path, {"env": "HOSTS"}, environment=environment)[0].nodes == expected


def test_a_known_variable_brings_format_job_slots_and_end(tmp_path: Path) -> None:
    environment = {
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_CPUS_PER_NODE": "8(x2),4",
        "SLURM_JOB_END_TIME": "1795250709",
    }
    assert found(tmp_path, {"env": "SLURM_JOB_NODELIST"}, environment=environment) == [
        Allocation(
            "environment variable SLURM_JOB_NODELIST",
            "slurm",
            {"n1": 8, "n2": 8, "n3": 4},
            "42",
            1795250709,
        )
    ]


@pytest.mark.parametrize(
    "said, expected",
    [
        ({"job": 7}, "7"),
        ({"job_env": "MINE"}, "8"),
        ({}, "42"),
    ],
)
def test_the_job_is_the_declared_one_or_the_schedulers(
    said: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    environment = {"LSB_HOSTS": "h1 h1", "LSB_JOBID": "42", "MINE": "8"}
    (allocation,) = found(tmp_path, {"env": "LSB_HOSTS", **said}, environment=environment)
    assert (allocation.job, allocation.nodes) == (expected, {"h1": 2})


@pytest.mark.parametrize("name", [name for name, known in VARIABLES.items() if not known.command])
def test_auto_takes_each_known_variable_and_says_so(name: str, tmp_path: Path) -> None:
    known = VARIABLES[name]
    (tmp_path / "text").write_text(FORMATS[known.format].sample)
    value = FORMATS[known.format].sample.strip()
    said: list[str] = []
    path_or_list = str(tmp_path / "text") if "\n" in value else value
    found(tmp_path, {"auto": True}, environment={name: path_or_list}, said=said)
    assert said[0] == f"source 1: auto takes {known.scheduler}, by environment variable {name}"
    assert f": format {known.format}, " in said[1]


def test_auto_asks_the_program_that_a_variable_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "flux"
    stand_in.write_text('#!/bin/sh\n[ "$*" = "hostlist local" ] && echo "tioga[1-2]"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    environment = {"FLUX_URI": "local:///run/flux/local", "FLUX_JOB_ID": "f3"}
    (allocation,) = found(tmp_path, {"auto": True}, environment=environment)
    assert allocation == Allocation("command flux hostlist local", "flux", {"tioga1": 1, "tioga2": 1}, "f3")


def test_auto_names_the_schedulers_that_it_does_not_take(tmp_path: Path) -> None:
    said: list[str] = []
    environment = {"LSB_HOSTS": "h1", "SLURM_NODELIST": "n1", "SLURM_JOB_NODELIST": "n1", "OAR_NODEFILE": " "}
    (allocation,) = found(tmp_path, {"auto": True}, environment=environment, said=said)
    assert list(allocation.nodes) == ["n1"]
    assert said[0].endswith("auto takes Slurm, by environment variable SLURM_JOB_NODELIST; not taken: LSF")


def test_every_format_of_the_table_exists() -> None:
    assert {known.format for known in VARIABLES.values()} <= set(FORMATS)


def test_a_command_runs_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "42").write_text("n1\n")
    (allocation,) = found(tmp_path, {"command": ["cat", 42], "job": 1})
    assert (allocation.source, allocation.job) == ("command cat 42", "1")


def test_an_absent_source_may_be_optional(tmp_path: Path) -> None:
    sources = [
        {"file": "gone"},
        {"glob": "*.gone"},
        {"env": "GONE"},
        {"auto": True},
        {"command": ["no-such-program"]},
    ]
    said: list[str] = []
    assert found(tmp_path, *({**source, "optional": True} for source in sources), said=said) == []
    assert len(said) == len(sources)
    assert all(line.endswith("; left out, it is optional") for line in said)
    for source, line in zip(sources, said):
        assert (
            refusal(tmp_path, {**source, "optional": False}).split(": ")[1:]
            == (line.removesuffix("; left out, it is optional").split(": ")[1:])
        )


BAD = {
    "a variable whose file has gone": (
        {"env": "FILE", "optional": True},
        "environment variable FILE, file {folder}/gone: does not exist; is the reservation over?",
    ),
    "an empty file": (
        {"file": "empty", "optional": True},
        "file {folder}/empty: no node in it: is the reservation over?",
    ),
    "a folder": ({"file": "."}, "file {folder}/.: is no regular file"),
    "a pipe that nobody writes to": ({"file": "pipe"}, "file {folder}/pipe: is no regular file"),
    "a device without an end": ({"file": "/dev/zero"}, "file /dev/zero: is no regular file"),
    "a loop of links": ({"file": "loop"}, "file {folder}/loop: is a loop of symbolic links"),
    "a path through a file": ({"file": "empty/x"}, "file {folder}/empty/x: cannot be read: Not a directory"),
    "a command that fails": (
        {"command": ["sh", "-c", "echo no job 42 >&2; exit 3"], "optional": True},
        "command sh -c 'echo no job 42 >&2; exit 3': failed with exit code 3: no job 42",
    ),
    "a command that prints nothing": (
        {"command": ["true"]},
        "command true: no node in it: is the reservation over?",
    ),
    "a command that is one text": ({"command": "oarstat -J"}, "source 1: command must be a list of words"),
    "a command of no words": ({"command": []}, "source 1: command must be a list of words"),
    "nodes of a wrong type": ({"nodes": 3}, "source 1: nodes must be a text or a list of words"),
    "no mapping": ("n1", "source 1 is no mapping; give one of file, glob, env, nodes, command, auto"),
    "an unknown key": (
        {"fil": "x"},
        "source 1: unknown key 'fil'; known: file, glob, env, nodes, command, auto, format, job, job_env, optional, timeout",
    ),
    "no kind": (
        {"job": 1},
        "source 1: give exactly one of file, glob, env, nodes, command, auto, not none",
    ),
    "two kinds": (
        {"file": "x", "nodes": "y"},
        "source 1: give exactly one of file, glob, env, nodes, command, auto, not file and nodes",
    ),
    "auto: false": ({"auto": False}, "source 1: auto can only be true; leave the source out instead"),
    "an unknown format": (
        {"file": "x", "format": "lsff"},
        "source 1: format 'lsff' is unknown; known: auto, oar",
    ),
    "optional: maybe": ({"file": "x", "optional": "maybe"}, "source 1: optional must be true or false"),
    "no time": ({"command": ["true"], "timeout": 0}, "source 1: timeout must be a number of seconds"),
    "two jobs": ({"nodes": "x", "job": 1, "job_env": "FILE"}, "source 1: give either job or job_env"),
    "a job that is not set": (
        {"nodes": "x", "job_env": "GONE"},
        "source 1: job_env GONE is not set in the environment",
    ),
    "an end that is no time": (
        {"env": "SLURM_JOB_NODELIST"},
        'environment variable SLURM_JOB_END_TIME: "soon" is no time in Unix seconds',
    ),
    "binary data": ({"file": "binary"}, "file {folder}/binary, line 1: binary data"),
    "a long line": ({"file": "long"}, "file {folder}/long, line 1: the line is longer than the limit"),
    "an unfinished range": ({"nodes": "node[1-"}, "nodes of source 1, line 1: "),
    "more names than memory": ({"nodes": "node[1-99999999999]"}, "nodes of source 1, line 1: "),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sources(case: str, tmp_path: Path) -> None:
    source, expected = BAD[case]
    for name, content in {
        "empty": b"\n# nothing\n\n",
        "binary": b"\x7fELF\x00\x01",
        "long": b"n" * 10_000_000,
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    environment = {
        "FILE": str(tmp_path / "gone"),
        "SLURM_JOB_NODELIST": "n1",
        "SLURM_JOB_END_TIME": "soon",
    }
    assert refusal(tmp_path, source, environment=environment).startswith(expected.format(folder=tmp_path))


def test_a_cache_is_of_one_job() -> None:
    sources = [{"env": "HOSTS"}]
    one = identity(sources, {"HOSTS": "n1", "OAR_JOB_ID": "1", "PWD": "/a"})
    assert one == identity(sources, {"HOSTS": "n1", "OAR_JOB_ID": "1", "PWD": "/b"})
    for environment in ({"HOSTS": "n1", "OAR_JOB_ID": "2"}, {"HOSTS": "n2", "OAR_JOB_ID": "1"}, {}):
        assert one != identity(sources, environment)
    assert one != identity([{"env": "HOSTS", "job": 1}], {"HOSTS": "n1", "OAR_JOB_ID": "1"})
