# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Patches of a kernel: read, unpacked, applied in order; the first hunk that does not fit is named."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run, tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PATCH = ("patch", "--batch", "--forward", "--no-backup-if-mismatch", "--reject-file=-")

FAULTS = (
    # the names of the fields are those of ``explain``
    (re.compile(r"^Hunk #(?P<hunk>\d+) (?:FAILED|NOT MERGED) at (?P<line>\d+)"), "does not fit"),
    (re.compile(r"^Reversed \(or previously applied\) patch detected"), "is already in the source"),
    (re.compile(r"^can't find file to patch at input line (?P<input>\d+)"), "names a file that is not there"),
    (re.compile(r"^Ignoring potentially dangerous file name (?P<file>.*)"), "leads out of the tree"),
    (re.compile(r"^File (?P<file>.*) is not a regular file"), "would write through what is no file"),
    (re.compile(r"^patch: \*\*\*\* (?P<words>.*)"), ""),
    (re.compile(r"^File (?P<file>.*): git binary diffs are not supported"), "is a binary difference"),
)
FILE = re.compile(r"^(?:patching|checking) (?:file|symbolic link) '?(.*?)'?(?: \(.*\))?$")
NAMED = re.compile(r"^\|(?:---|\+\+\+) (\S+)")
HUNK = re.compile(rb"^(?:--- (\S+)|\+\+\+ (\S+)|(@@ -\S+ \+\S+ @@).*)", re.MULTILINE)
FUZZ = re.compile(r"^Hunk #\d+ succeeded at .* with fuzz \d", re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """``directory`` is relative to the tree, ``..`` the folder that holds it; ``sha256`` of the file as it is."""

    path: Path
    sha256: str
    strip: int
    directory: str

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.path.name,
            "sha256": self.sha256,
            "strip": self.strip,
            "directory": self.directory,
        }


def read_patches(declared: Sequence[Mapping[str, Any]]) -> list[Patch]:
    """Check every declaration and read every file; raises ClusterError naming the element."""
    found = []
    for number, one in enumerate(declared, 1):
        field = f"patches: element {number}"
        directory = str(one["directory"]).rstrip("/") or "."
        parts = directory.split("/")
        if directory.startswith("/") or (directory != ".." and ".." in parts):
            raise ClusterError(
                f"{field}: directory {directory!r} is neither inside the tree nor '..', the folder that holds the tree"
            )
        if one["strip"] < 0:
            raise ClusterError(f"{field}: strip {one['strip']} is less than 0")
        path = Path(one["src"])
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ClusterError(f"{field}: cannot read {path}: {error.strerror}") from error
        if one.get("sha256") and one["sha256"].lower() != sha256:
            raise ClusterError(
                f"{field}: the sha256 of {path} is {sha256}, not {one['sha256']}; fetch it again"
            )
        found.append(Patch(path, sha256, one["strip"], directory))
    return found


def text_of(patch: Patch) -> bytes:
    """The patch itself; raises ClusterError where it is damaged."""
    try:
        data = patch.path.read_bytes()
    except OSError as error:
        raise ClusterError(f"cannot read the patch {patch.path}: {error.strerror}") from error
    compression = _image_compress.recognise(data[:8])
    if compression == "none":
        return data
    try:
        return run(_image_compress.decompressor(compression), stdin=data).stdout
    except ClusterError as error:
        raise ClusterError(f"the patch {patch.path} cannot be unpacked: {error}; fetch it again") from error


def apply(patches: Sequence[Patch], tree: Path) -> list[str]:
    """Apply all to ``tree``, which nobody else sees; returns warnings about hunks that only nearly fit."""
    warnings = []
    for number, patch in enumerate(patches, 1):
        title = f"patch {number} of {len(patches)}, {patch.path}"
        folder = tree.parent if patch.directory == ".." else tree / patch.directory
        if not folder.is_dir():
            raise ClusterError(f"{title}: the tree has no folder {patch.directory}")
        text = text_of(patch)
        done = apply_one(text, folder, patch.strip)
        said = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        if done.returncode:
            raise ClusterError(f"{title}, {explain(said, text)} (strip {patch.strip} in {patch.directory})")
        fuzzy = len(FUZZ.findall(said))
        if fuzzy:
            warnings.append(
                f"{title}: {fuzzy} of its hunks fit only when their context is not looked at closely"
            )
    return warnings


def apply_one(text: bytes, folder: Path, strip: int) -> subprocess.CompletedProcess[bytes]:
    argv = [*PATCH, f"--strip={strip}", f"--directory={folder}"]
    return run(argv, stdin=text, accept=(0, 1, 2))


def explain(said: str, text: bytes) -> str:
    """The first fault that patch told, with the file and the hunk."""
    file = "?"
    lines = said.splitlines()
    for number, line in enumerate(lines):
        file = match.group(1) if (match := FILE.match(line)) else file
        for pattern, words in FAULTS:
            if found := pattern.match(line):
                told = found.groupdict()
                file = told.get("file") or (named(lines[number:]) if "input" in told else file)
                if "hunk" in told:
                    place = f"hunk #{told['hunk']} of {file} at line {told['line']}"
                    return f"{place} {header(text, file, int(told['hunk']))}{words}"
                return told.get("words") or f"{file} {words}"
    return tail(said.encode())


def named(lines: Sequence[str]) -> str:
    """The file that a patch names where patch itself finds none."""
    names = [match.group(1) for line in lines[:12] if (match := NAMED.match(line))]
    return next((name for name in reversed(names) if name != "/dev/null"), "?")


def header(text: bytes, file: str, hunk: int) -> str:
    """The line with which the hunk begins, so that it is found in the patch: ``(@@ -1,3 +1,4 @@) ``."""
    here, count = False, 0
    for match in HUNK.finditer(text):
        old, new, line = (part.decode("utf-8", "replace") if part else "" for part in match.groups())
        if line:
            count += 1
            if here and count == hunk:
                return f"({line}) "
        elif new:
            here, count = here or matches(new, file), 0
        else:
            here, count = matches(old, file), 0
    return ""


def matches(name: str, file: str) -> bool:
    return name == file or name.endswith("/" + file)
