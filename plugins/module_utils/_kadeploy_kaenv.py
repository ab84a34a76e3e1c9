# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy through its command line, on a frontend: ``kaenv3``, as argv lists.

Options and outputs as recorded of 3.3.11. The long forms with ``=`` keep a name that begins with a dash from being taken
for an option.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import read_mapping
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_client import (
    EnvironmentClient,
    Record,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import (
    KadeployError,
    client_refusal,
)

TIMEOUT = 900
"""Seconds for one command: the server reads a whole image when it notes its checksum."""

NONE_FOUND = "No environment has been found"
LEAST_NAME = 21
"""The width of the column of names; longer names push the others to the right."""

ROW = re.compile(r" +(?P<version>\d+) +(?P<owner>\w+)(?: |$)")
SERVER_VERSION = re.compile(r"(\d+\.\d+\S*)")


def run_client(argv: Sequence[str], what: str) -> str:
    """What a Kadeploy client printed; raises KadeployError saying that ``what`` failed, and why.

    An exit code of 0 means that the server took the request, and nothing about nodes.
    """
    done = run(argv, timeout=TIMEOUT, accept=range(256))
    out, error = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    if done.returncode:
        raise client_refusal(what, done.returncode, error.strip() or out.strip())
    return out


class Kaenv(EnvironmentClient):
    """``server`` is a name of the client's configuration, None for its default."""

    exports_files = True

    def __init__(self, program: str, server: str | None, user: str) -> None:
        self.argv = [program, *(["--server", server] if server else [])]
        self.title = " ".join(self.argv)
        self.user = user

    def run(self, what: str, *options: str) -> str:
        return run_client([*self.argv, *options], f"{self.title}: cannot {what}")

    def server_version(self) -> str:
        output = self.run("ask for the version", "--version")
        match = SERVER_VERSION.search(output)
        if match is None:
            raise ClusterError(f"{self.title}: no version in {output.strip()!r}; set registry.target")
        return match[1]

    def records(self, name: str | None, owner: str | None, version: int | None = None) -> list[Record]:
        if owner is None:
            # what it prints of several owners does not tell whose it is
            everybody = dict.fromkeys(self.owners(name, version))
            return [found for one in everybody for found in self.records(name, one, version)]
        which = ["--all-versions"] if version is None else [f"--env-version={version}"]
        what = f"print {name or 'the environments'} of {owner}"
        try:
            output = self.run(what, f"--print={name or '%'}", f"--env-user={owner}", *which)
        except KadeployError as error:
            if error.not_found:
                return []
            raise
        if output.strip() in ("", NONE_FOUND):
            return []
        return [Record(owner, found) for found in read_mapping(output, f"{self.title} --print={name or '%'}")]

    def owners(self, name: str | None, version: int | None = None) -> list[str]:
        which = ["--all-versions"] if version is None else [f"--env-version={version}"]
        try:
            output = self.run("list environments", f"--list={name or '%'}", *which)
        except KadeployError as error:
            if error.not_found:
                return []
            raise
        rows = output.splitlines()[2:]
        return [match["owner"] for row in rows if (match := ROW.search(row, min(LEAST_NAME, len(row))))]

    def add(self, description: Mapping[str, Any], text: str) -> None:
        with tempfile.TemporaryDirectory(prefix="oneimage-") as folder:
            file = Path(folder) / "environment.yml"
            file.write_text(text, encoding="utf-8")
            self.run(f"add {description['name']}", f"--add={file}")

    def change(self, what: str, option: str, name: str, owner: str, version: int, *more: str) -> None:
        self.run(
            f"{what} {name}, version {version}",
            f"--{option}={name}",
            f"--env-user={owner}",
            f"--env-version={version}",
            *more,
        )

    def delete(self, name: str, owner: str, version: int) -> None:
        self.change("delete", "delete", name, owner, version)

    def set_visibility(self, name: str, owner: str, version: int, visibility: str) -> None:
        more = f"--visibility-tag={visibility}"
        self.change(f"make {visibility}", "set-visibility-tag", name, owner, version, more)

    def toggle_destructive(self, name: str, owner: str, version: int) -> None:
        self.change("change destructive of", "toggle-destructive-tag", name, owner, version)

    def update_checksum(self, name: str, owner: str, version: int, kind: str) -> None:
        self.change(f"update the {kind} checksum of", f"update-{kind}-checksum", name, owner, version)
