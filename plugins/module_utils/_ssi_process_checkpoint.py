# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Checkpoints of applications in the folder that all nodes share, and restarts from them.

``FOLDER/IDENTIFIER/vVERSION/description.txt`` says what a checkpoint is (Kerrighed's tools/checkpoint.c): it is written
last, so that a version without it is one that was cut short. An application is named by the pid of its first process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import CommandTimeout, Entry, fill
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import (
    ask,
    file_system,
    find,
    read_lines,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_rules import Fields, failure
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import search

MARKER = ".oneimage-restarted"
"""A link in an application's folder to the version that it was restarted from, so that a second run can tell."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint; ``date`` in Unix seconds where the program left it in a file."""

    identifier: int
    version: int
    description: str
    date: int | None

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


def folder_of(entry: Entry, checkpoint: Mapping[str, Any], shared: bool) -> str:
    """The folder of checkpoints; raises ClusterError where it is missing or, if ``shared`` is asked for, not shared."""
    folder = str(checkpoint["folder"])
    kind = file_system(entry, folder)
    if shared and kind not in checkpoint["shared"]:
        raise ClusterError(
            f"{folder} is on {kind}, which the nodes do not share, so that no other node could restart from it; "
            f"mount one of {', '.join(checkpoint['shared'])} there, or set require_shared to false"
        )
    return folder


def parse_description(checkpoint: Mapping[str, Any], text: str) -> Checkpoint | None:
    """What a description.txt, or the output of the program, says; None where a line of it is missing or torn."""
    found = {key: search(checkpoint[key], text) for key in ("identifier", "version", "description")}
    identifier, version, description = (match and match["value"] for match in found.values())
    if identifier is None or version is None or description is None:
        return None
    date = search(checkpoint["date"], text)
    seconds = int(date["value"]) if date and date["value"].isdigit() else None
    return Checkpoint(int(identifier), int(version), description, seconds)


def list_checkpoints(entry: Entry, checkpoint: Mapping[str, Any], folder: str) -> list[Checkpoint]:
    """The whole checkpoints in ``folder``, sorted; those that were cut short, or lie in a wrong place, are left out."""
    name = checkpoint["description_file"]
    paths = find(entry, folder, "-mindepth", "3", "-maxdepth", "3", "-name", name)
    found = []
    for path, lines in read_lines(entry, paths).items():
        made = parse_description(checkpoint, "\n".join(lines))
        if made and path == f"{_version_folder(checkpoint, folder, made.identifier, made.version)}/{name}":
            found.append(made)
    return sorted(found, key=lambda made: (made.identifier, made.version))


def identifiers_of(entry: Entry, checkpoint: Mapping[str, Any], folder: str, pid: int) -> set[int]:
    """The applications that process ``pid`` belongs to: that of its own number, and those with a checkpoint of it."""
    member = checkpoint["member"].format(pid=pid)
    paths = find(entry, folder, "-mindepth", "3", "-maxdepth", "3", "-name", member)
    return {pid} | {int(part) for path in paths for part in [path.split("/")[-3]] if part.isdigit()}


def members_of(entry: Entry, checkpoint: Mapping[str, Any], folder: str, chosen: Checkpoint) -> list[int]:
    """The processes of a checkpoint, the first of the application first."""
    before, after = checkpoint["member"].split("{pid}")
    where = _version_folder(checkpoint, folder, chosen.identifier, chosen.version)
    names = (path.rsplit("/", 1)[1] for path in find(entry, where, "-name", f"{before}*{after}"))
    numbers = {name[len(before) : len(name) - len(after)] for name in names}
    others = {int(number) for number in numbers if number.isdigit()} - {chosen.identifier}
    return [chosen.identifier, *sorted(others)]


def make(
    entry: Entry,
    checkpoint: Mapping[str, Any],
    folder: str,
    fields: Fields,
    options: Sequence[str],
    timeout: float,
) -> Checkpoint:
    """Checkpoint the application of process ``pid`` of ``fields``; raises ClusterError with the reason where it fails.

    The description file tells what was made; standard output is the fallback of a flavour that writes none.
    """
    program, *rest = checkpoint["argv"]
    try:
        said = entry.run([program, *fill([*options, *rest], **fields)], timeout=timeout)
    except CommandTimeout:
        if checkpoint["unfreeze"]:
            ask(entry, fill(checkpoint["unfreeze"], **fields))
        raise
    failed = failure(said, checkpoint["failures"], fields)
    if failed:
        raise ClusterError(f"cannot checkpoint process {fields['pid']}: {failed}")
    printed = parse_description(checkpoint, said.out)
    if printed is None:
        raise ClusterError(
            f"cannot tell which checkpoint was made of process {fields['pid']}: {said.out.strip()!r}"
        )
    path = f"{_version_folder(checkpoint, folder, printed.identifier, printed.version)}/{checkpoint['description_file']}"
    written = parse_description(checkpoint, "\n".join(read_lines(entry, [path])[path]))
    return written or printed


def choose(
    checkpoints: Sequence[Checkpoint], identifiers: set[int], version: int | None, folder: str
) -> Checkpoint:
    """The checkpoint to restart from, the newest where no ``version`` is given; raises ClusterError if there is none."""
    those = [made for made in checkpoints if made.identifier in identifiers]
    if not those:
        named = ", ".join(str(identifier) for identifier in sorted(identifiers))
        raise ClusterError(f"{folder} has no whole checkpoint of application {named}")
    if version is None:
        return those[-1]
    for made in those:
        if made.version == version:
            return made
    have = ", ".join(str(made.version) for made in those)
    raise ClusterError(
        f"{folder}: application {those[0].identifier} has no whole checkpoint of version {version}, only {have}"
    )


def restarted_from(entry: Entry, folder: str, identifier: int) -> int | None:
    """The version that ``restart`` last began to restart the application from."""
    said = ask(entry, ["readlink", f"{folder}/{identifier}/{MARKER}"])
    version = said.out.strip().lstrip("v")
    return int(version) if version.isdigit() else None


def restart(
    entry: Entry, section: Mapping[str, Any], folder: str, chosen: Checkpoint, timeout: float
) -> None:
    """Restart an application that does not run; raises ClusterError with the reason where it fails.

    The marker is set before: a run that is killed after the application came up is then known to have restarted it.
    """
    fields = {"identifier": chosen.identifier, "version": chosen.version}
    marker = f"{folder}/{chosen.identifier}/{MARKER}"
    said = ask(entry, ["ln", "-sfn", f"v{chosen.version}", marker])
    if said.code:
        raise ClusterError(f"cannot write {marker}: {said.err.strip()}")
    said = entry.run(fill(section["restart"]["argv"], **fields), timeout=timeout)
    failed = failure(said, section["restart"]["failures"], fields)
    done = section["restart"]["done"]
    if failed is None and done and not search(done, said.out):
        failed = f"it printed {said.out.strip()!r} instead of its success"
    if failed:
        ask(entry, ["rm", "-f", marker])
        raise ClusterError(
            f"cannot restart application {chosen.identifier} from version {chosen.version}: {failed}"
        )


def _version_folder(checkpoint: Mapping[str, Any], folder: str, identifier: int, version: int) -> str:
    return f"{folder}/" + str(checkpoint["version_folder"]).format(identifier=identifier, version=version)
