# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Files of the entry node of a session, asked for by programs that every node has, since the node may be behind ssh."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, Said

ANSWER_SECONDS = 60.0
"""How long a program that only reads or writes a file may take."""
GONE = ("No such file or directory", "No such process", "Not a directory")


def ask(entry: Entry, argv: Sequence[str], stdin: bytes | None = None) -> Said:
    """Run a program that answers at once, whatever its exit code."""
    return entry.run(argv, timeout=ANSWER_SECONDS, stdin=stdin)


def read_text(entry: Entry, path: str) -> str | None:
    """The text of a file, None where it is not there or the process that it is about just ended."""
    said = ask(entry, ["env", "LC_ALL=C", "cat", path])  # the remote end may speak another language
    if said.code and any(reason in said.err for reason in GONE):
        return None
    if said.code:
        raise ClusterError(f"cannot read {path}: {said.err.strip()}")
    return said.out


def read_lines(entry: Entry, paths: Sequence[str]) -> dict[str, list[str]]:
    """The lines of many files with one command; a file that is not there has none."""
    found: dict[str, list[str]] = {path: [] for path in paths}
    said = ask(entry, ["grep", "-sH", "", "/dev/null", *paths])
    for line in said.out.splitlines():
        path, _colon, text = line.partition(":")
        found.setdefault(path, []).append(text)
    return found


def find(entry: Entry, folder: str, *tests: str) -> list[str]:
    """Paths in ``folder`` that pass the ``tests`` of find, sorted; what cannot be entered is left out."""
    return sorted(ask(entry, ["find", "-H", folder, *tests]).out.splitlines())


def file_system(entry: Entry, path: str) -> str:
    """The type of the file system of ``path`` as ``stat -f`` names it: nfs, tmpfs, ext2/ext3, UNKNOWN (0x62656570)."""
    said = ask(entry, ["stat", "-f", "-c", "%T", path])
    if said.code:
        raise ClusterError(f"cannot look at {path}: {said.err.strip()}")
    return said.out.strip()
