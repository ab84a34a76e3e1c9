# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a kernel's source tree says of itself, and the mark that tells what it was made from."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MARK = ".oneimage-source.json"
"""In the tree itself: it comes and goes with the tree, by the same rename."""

VERSION_LINE = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*([^#\n]*?)[ \t]*(?:#.*)?$", re.MULTILINE
)
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class KernelTree:
    """``number`` is (2, 4, 22), ``version`` what the Makefile alone makes of it: ``2.4.22-ltsp-2``."""

    path: Path
    number: tuple[int, int, int]
    version: str
    extra_version: str
    mark: dict[str, Any] | None

    def has(self, path: str, text: str) -> bool:
        """Whether a file of the tree contains ``text``."""
        try:
            return text in (self.path / path).read_text("utf-8", "replace")
        except OSError:
            return False


def read_tree(path: Path) -> KernelTree:
    """Raises ClusterError where ``path`` is no kernel's source tree, the oldest known being 2.4."""
    makefile = path / "Makefile"
    try:
        with makefile.open(encoding="utf-8", errors="replace") as stream:
            said = dict(VERSION_LINE.findall(stream.read(HEAD_BYTES)))
    except OSError as error:
        raise ClusterError(
            f"{path} is no source tree of a kernel: {makefile}: {error.strerror}; name the folder with the top Makefile"
        ) from error
    numbers = [said.get(name, "") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not (numbers[0].isdigit() and numbers[1].isdigit()):
        raise ClusterError(
            f"{path} is no source tree of a kernel: {makefile} does not set VERSION and PATCHLEVEL"
        )
    version, patchlevel, sublevel = (int(text) if text.isdigit() else 0 for text in numbers)
    extra = said.get("EXTRAVERSION", "")
    text = f"{version}.{patchlevel}" + (f".{numbers[2]}" if numbers[2] else "") + extra
    return KernelTree(path, (version, patchlevel, sublevel), text, extra, read_mark(path))


def read_mark(path: Path) -> dict[str, Any] | None:
    """What kernel_source made the tree from, None for a tree that it did not make."""
    try:
        mark = json.loads((path / MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and isinstance(mark.get("fingerprint"), str) else None


def check_members(tree: Path) -> None:
    """Refuse what no source tree holds and what would lead a build out of it: devices, links to elsewhere.

    Links that are followed one after the other are each judged by where they lie, without looking at what they
    lead to: a tree with links out of it is refused, whatever is there.
    """
    top = os.path.normpath(tree)
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                target = os.readlink(path)
                leads = os.path.normpath(os.path.join(folder, target))
                if target.startswith("/") or not (leads + "/").startswith(top + "/"):
                    raise ClusterError(f"unsafe: {os.path.relpath(path, top)} is a link to {target}")
            elif name in files and not os.path.isfile(path):
                raise ClusterError(f"unsafe: {os.path.relpath(path, top)} is neither a file nor a link")
