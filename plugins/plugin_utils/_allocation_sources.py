# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Where the nodes of a reservation are said: files, globs, the environment, inline lists, programs.

Which variable of the environment belongs to which scheduler, and what else it says of the job, is the table VARIABLES.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_command import (
    ProgramMissing,
    output,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_formats import FORMATS, parse
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import MAX_TEXT

KINDS = ("file", "glob", "env", "nodes", "command", "auto")
FIELDS = (*KINDS, "format", "job", "job_env", "optional", "timeout")
TIMEOUT = 30.0
"""Seconds that a command may take."""
PATH_STARTS = ("/", "~", "./", "../")
"""A variable whose value begins so holds a path: no list of nodes does."""


@dataclass(frozen=True)
class Variable:
    """What a scheduler's variable of the environment holds.

    ``format``: name in FORMATS. The others name variables: ``job`` holds the job's id, ``tasks`` the slots in the order
    of the nodes (as SLURM_TASKS_PER_NODE spells them), ``expires`` the end in Unix seconds.
    ``command``: the variable only says that this program knows the nodes.
    """

    scheduler: str
    format: str
    job: str
    tasks: str | None = None
    expires: str | None = None
    command: tuple[str, ...] = ()


OAR = Variable("OAR", "oar", "OAR_JOB_ID")
SLURM = Variable("Slurm", "slurm", "SLURM_JOB_ID", "SLURM_JOB_CPUS_PER_NODE", "SLURM_JOB_END_TIME")
VARIABLES: dict[str, Variable] = {
    "OAR_NODEFILE": OAR,
    "OAR_NODE_FILE": OAR,
    "OAR_FILE_NODES": OAR,
    "OAR_RESOURCE_FILE": OAR,
    "OAR_RESOURCE_PROPERTIES_FILE": Variable("OAR", "oar_properties", "OAR_JOB_ID"),
    "SLURM_JOB_NODELIST": SLURM,
    "SLURM_NODELIST": SLURM,
    "PBS_NODEFILE": Variable("PBS", "pbs", "PBS_JOBID"),
    "PE_HOSTFILE": Variable("Grid Engine", "sge", "JOB_ID"),
    "LSB_DJOB_HOSTFILE": Variable("LSF", "lsf_hostfile", "LSB_JOBID"),
    "LSB_MCPU_HOSTS": Variable("LSF", "lsf_mcpu", "LSB_JOBID"),
    "LSB_HOSTS": Variable("LSF", "lsf_hosts", "LSB_JOBID"),
    "FLUX_JOB_HOSTLIST": Variable("Flux", "flux", "FLUX_JOB_ID"),
    # Flux itself sets no list; inside an instance of it, this is how its manual gets one.
    "FLUX_URI": Variable("Flux", "flux", "FLUX_JOB_ID", command=("flux", "hostlist", "local")),
}
"""In the order in which ``auto`` tries them."""
NO_FILE = "is no regular file"
REASONS = {errno.ELOOP: "is a loop of symbolic links", errno.EISDIR: NO_FILE}

Report = Callable[[str], None]


class Absent(ClusterError):
    """There is no such source here, which is no error if the source is optional."""


@dataclass(frozen=True)
class Reading:
    """A text with what is known of it beside the text; the fields are those of ``parse`` and Allocation."""

    text: str | bytes
    origin: str
    format: str = "auto"
    job: str | None = None
    tasks: str | None = None
    expires: int | None = None


@dataclass(frozen=True)
class Place:
    """Where sources are looked for: ``folder`` for what is relative, ``environment``, and who hears of it."""

    folder: Path
    environment: Mapping[str, str]
    report: Report


def read_sources(declarations: Sequence[Mapping[str, Any]], place: Place) -> list[Allocation]:
    """The allocations of all sources, in their order.

    ``declarations``: the inventory's option ``sources``. What was found in each is told to ``place.report``.
    Raises ClusterError naming the source for one that is wrong, absent and not optional, over, or empty.
    """
    for number, declaration in enumerate(declarations, 1):
        check(declaration, f"source {number}")
    found = []
    for number, declaration in enumerate(declarations, 1):
        try:
            readings = list(read(declaration, f"source {number}", place))
        except Absent as absence:
            if not declaration.get("optional"):
                raise
            place.report(f"{absence}; left out, it is optional")
            continue
        for reading in readings:
            found += parsed(reading, place.report)
    return found


def check(declaration: Any, where: str) -> None:
    """Raise ClusterError unless ``declaration`` has exactly one kind and only known fields of the right type."""
    if not isinstance(declaration, Mapping):
        raise ClusterError(f"{where} is no mapping; give one of {', '.join(KINDS)}")
    foreign = sorted(set(map(str, declaration)) - set(FIELDS))
    if foreign:
        raise ClusterError(f"{where}: unknown key {foreign[0]!r}; known: {', '.join(FIELDS)}")
    kinds = [kind for kind in KINDS if kind in declaration]
    if len(kinds) != 1:
        given = " and ".join(kinds) or "none"
        raise ClusterError(f"{where}: give exactly one of {', '.join(KINDS)}, not {given}")
    for field, value in declaration.items():
        fault = CHECKS[field](value)
        if fault:
            raise ClusterError(f"{where}: {field} {fault}")
    if "job" in declaration and "job_env" in declaration:
        raise ClusterError(f"{where}: give either job or job_env")


def words(value: Any) -> str | None:
    """Numbers are words: YAML and templates make them of job ids."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(word, (str, int)) and str(word) for word in value)
    ):
        return None
    return "must be a list of words"


def text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() and "\0" not in value else "must be a text"


def known_format(value: Any) -> str | None:
    return None if value in ("auto", *FORMATS) else f"{value!r} is unknown; known: auto, {', '.join(FORMATS)}"


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "file": text,
    "glob": text,
    "env": text,
    "nodes": lambda value: text(value) and words(value) and "must be a text or a list of words",
    "command": words,
    "auto": lambda value: None if value is True else "can only be true; leave the source out instead",
    "format": known_format,
    "job": lambda value: None if isinstance(value, (str, int)) and str(value) else "must be a job's id",
    "job_env": text,
    "optional": lambda value: None if isinstance(value, bool) else "must be true or false",
    "timeout": lambda value: (
        None if isinstance(value, (int, float)) and value > 0 else "must be a number of seconds"
    ),
}
"""Field -> why a value is not one for it."""


def read(declaration: Mapping[str, Any], where: str, place: Place) -> Iterator[Reading]:
    """The readings of one source, with what the declaration itself says about them."""
    own: dict[str, Any] = {}
    if declaration.get("format", "auto") != "auto":
        own["format"] = declaration["format"]
    if "job" in declaration:
        own["job"] = str(declaration["job"])
    elif "job_env" in declaration:
        own["job"] = place.environment.get(declaration["job_env"])
        if not own["job"]:
            raise ClusterError(f"{where}: job_env {declaration['job_env']} is not set in the environment")
    for reading in readings(declaration, where, place):
        yield replace(reading, **own)


def readings(declaration: Mapping[str, Any], where: str, place: Place) -> Iterator[Reading]:
    timeout = float(declaration.get("timeout", TIMEOUT))
    if "file" in declaration:
        yield from_file(absolute(declaration["file"], place))
    elif "glob" in declaration:
        yield from from_glob(absolute(declaration["glob"], place))
    elif "env" in declaration:
        yield from_environment(declaration["env"], timeout, place)
    elif "nodes" in declaration:
        nodes = declaration["nodes"]
        yield Reading(nodes if isinstance(nodes, str) else "\n".join(map(str, nodes)), f"nodes of {where}")
    elif "command" in declaration:
        yield from_command([str(word) for word in declaration["command"]], timeout, place)
    else:
        yield from_environment(offered(where, place), timeout, place)


def absolute(path: str, place: Place) -> str:
    return os.path.join(place.folder, os.path.expanduser(path))


def from_file(path: str, origin: str = "file") -> Reading:
    origin = f"{origin} {path}"
    try:
        # A pipe without a writer must not hang us, nor a device never end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ClusterError(f"{origin}: {NO_FILE}")
            return Reading(file.read(MAX_TEXT + 1), origin)
    except FileNotFoundError as error:
        raise Absent(f"{origin}: does not exist; is the reservation over?") from error
    except OSError as error:
        reason = REASONS.get(error.errno or 0, f"cannot be read: {error.strerror}")
        raise ClusterError(f"{origin}: {reason}") from error


def from_glob(pattern: str) -> Iterator[Reading]:
    paths = [path for path in sorted(glob.glob(pattern, recursive=True)) if not os.path.isdir(path)]
    if not paths:
        raise Absent(f"glob {pattern}: no file matches; is the reservation over?")
    return map(from_file, paths)


def from_command(argv: Sequence[str], timeout: float, place: Place) -> Reading:
    origin = f"command {shlex.join(argv)}"
    try:
        return Reading(output(argv, timeout=timeout, limit=MAX_TEXT, cwd=str(place.folder)), origin)
    except ClusterError as error:
        absent = isinstance(error, ProgramMissing)
        raise (Absent if absent else ClusterError)(f"{origin}: {error}") from error


def from_environment(name: str, timeout: float, place: Place) -> Reading:
    """What variable ``name`` says, or the file that it names; with what the table knows of the variable."""
    origin = f"environment variable {name}"
    value = place.environment.get(name, "").strip()
    if not value:
        raise Absent(f"{origin}: is not set; is this inside a job?")
    known = VARIABLES.get(name)
    try:
        if known and known.command:
            reading = from_command(known.command, timeout, place)
        elif value.startswith(PATH_STARTS):
            reading = from_file(absolute(value, place), f"{origin}, file")
        else:
            reading = Reading(value, origin)
    except Absent as absence:  # the variable is there, so there is a job, and its nodes are missing
        raise ClusterError(str(absence)) from absence
    if known is None:
        return reading
    return replace(
        reading,
        format=known.format,
        job=place.environment.get(known.job) or None,
        tasks=place.environment.get(known.tasks or "") or None,
        expires=end(known, place),
    )


def end(known: Variable, place: Place) -> int | None:
    said = place.environment.get(known.expires or "", "")
    if said and not (said.isascii() and said.isdigit()):
        raise ClusterError(f"environment variable {known.expires}: {quoted(said)} is no time in Unix seconds")
    return int(said) or None if said else None


def offered(where: str, place: Place) -> str:
    """The first variable of the table that the environment has; says which, and which other schedulers it has."""
    names = [name for name in VARIABLES if place.environment.get(name, "").strip()]
    if not names:
        raise Absent(
            f"{where}: auto found no scheduler in the environment, none of {', '.join(VARIABLES)}; is this inside a job?"
        )
    schedulers = list(dict.fromkeys(VARIABLES[name].scheduler for name in names))
    others = f"; not taken: {', '.join(schedulers[1:])}" if schedulers[1:] else ""
    place.report(f"{where}: auto takes {schedulers[0]}, by environment variable {names[0]}{others}")
    return names[0]


def parsed(reading: Reading, report: Report) -> list[Allocation]:
    found = parse(
        reading.text, source=reading.origin, format=reading.format, job=reading.job, tasks=reading.tasks
    )
    for allocation in found:
        report(described(allocation))
    if reading.expires is None:
        return found
    return [replace(one, expires=one.expires or reading.expires) for one in found]


def described(allocation: Allocation) -> str:
    nodes, slots = len(allocation.nodes), sum(allocation.nodes.values())
    job = f"job {allocation.job}" if allocation.job else "no job known"
    state = f", {allocation.state}" if allocation.state else ""
    return f"{allocation.source}: format {allocation.format}, {nodes} nodes, {slots} slots, {job}{state}"


def identity(declarations: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """A digest of all that decides which reservation ``declarations`` stand for here, for a cache of their nodes."""
    names = {one[field] for one in declarations for field in ("env", "job_env") if field in one} | set(
        VARIABLES
    )
    names |= {
        getattr(one, field) or "" for one in VARIABLES.values() for field in ("job", "tasks", "expires")
    }
    seen = {name: environment[name] for name in sorted(names) if name in environment}
    return hashlib.sha256(json.dumps([declarations, seen], sort_keys=True).encode()).hexdigest()
