# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""How many files a configuration will compile, read from the tree's own lists of objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

LIST = re.compile(
    r"^[ \t]*(?P<name>[\w-]+?)-(?:\$\((?P<option>CONFIG_\w+)\)|\$\(subst m,y,\$\((?P<module>CONFIG_\w+)\)\)"
    r"|(?P<always>[ym]|objs))[ \t]*[:+]?=[ \t]*(?P<words>.*)$",
    re.MULTILINE,
)
FOLDERS = {"obj", "lib", "core", "drivers", "net", "libs", "init", "head", "virt"}
"""The lists that hold objects and folders; any other ``NAME-y`` tells what ``NAME.o`` is put together from."""
CONTINUED = re.compile(r"\\\n[ \t]*")
SETTING = re.compile(r"^(CONFIG_\w+)=([ym])$", re.MULTILINE)
COMMENT = re.compile(r"[ \t]+#.*$", re.MULTILINE)
STARTS = (
    "init",
    "kernel",
    "mm",
    "fs",
    "ipc",
    "security",
    "crypto",
    "block",
    "drivers",
    "sound",
    "net",
    "lib",
    "usr",
)
"""The folders that every kernel's top Makefile goes into, whether or not it has a Kbuild that says so."""


def expected_files(source: Path, folder: str, config: str) -> int | None:
    """A close guess, None where the tree says nothing: conditions in Makefiles are not looked at.

    ``folder`` is the architecture's below ``arch/``, ``config`` the text of the configuration. Every module has one
    more file, ``NAME.mod.c``, which kernels from 2.6 on make for it.
    """
    options = dict(SETTING.findall(config))
    pending = [
        *(source / name for name in STARTS),
        source / "arch" / folder,
        source / "arch" / folder / "lib",
    ]
    seen: set[Path] = set()
    count = 0
    while pending:
        here = pending.pop()
        if here in seen:
            continue
        seen.add(here)
        files, folders = objects(here, options)
        count += files
        pending += folders
    return count or None


def objects(folder: Path, options: Mapping[str, str]) -> tuple[int, list[Path]]:
    """The number of files that are compiled in ``folder``, and the folders below that it goes into."""
    parts: dict[str, set[str]] = {}
    wanted: dict[str, str] = {}
    folders = []
    for name, value, words in lists(folder, options):
        for word in words:
            if word.endswith("/") and "$" not in word:
                folders.append(folder / word.rstrip("/"))
            elif word.endswith(".o") and "$" not in word:
                if name in FOLDERS:
                    wanted[word] = value
                else:
                    parts.setdefault(f"{name}.o", set()).add(word)
    files: set[str] = set()
    modules = 0
    for word, value in wanted.items():
        files |= parts.get(word, {word})
        modules += value == "m"
    return len(files) + modules, folders


def lists(folder: Path, options: Mapping[str, str]) -> Iterator[tuple[str, str, list[str]]]:
    for file in ("Kbuild", "Makefile"):
        try:
            text = (folder / file).read_text("utf-8", "replace")
        except OSError:
            continue
        for match in LIST.finditer(COMMENT.sub("", CONTINUED.sub(" ", text))):
            value = match["always"] or options.get(match["option"] or match["module"], "")
            if match["module"] and value:
                value = "y"
            if value:
                yield match["name"], value, match["words"].split()
        return
