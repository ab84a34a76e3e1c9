# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which option of a kernel's source tree builds a driver, by the tree's own Makefiles.

Options are renamed and moved from one kernel to the next, modules hardly ever: the Makefiles of each tree say which
option makes which module. Read are ``obj-$(CONFIG_X) += name.o``, folders ``obj-$(CONFIG_X) += name/``, parts
``name-objs := a.o b.o``, and those of kernels 2.4: ``subdir-$(CONFIG_X)``, ``O_TARGET``, ``ifeq ($(CONFIG_X),y)``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("Kbuild", "Makefile")
"""The first that there is in a folder is read, as the kernel's build does."""
FOREIGN_FOLDERS = {"Documentation", "arch", "samples", "scripts", "tools", "usr"}
"""Folders of the tree with Makefiles, but without modules; ``arch`` has a folder for each architecture."""
OPTION = re.compile(r"CONFIG_(\w+)")
ASSIGNMENT = re.compile(r"^\s*([^\s:=+?#]+(?:\((?:[^()]|\([^()]*\))*\))?)\s*(?:[:+?]?=)\s*(.*)$")
CONDITIONAL = re.compile(r"^(ifdef|ifndef|ifeq|ifneq|else|endif)\b(.*)$")
VARIABLE = re.compile(r"\$[({](\w+)[)}]")


@dataclass
class Drivers:
    """``options`` by driver, ``_`` for ``-``; ``parts`` has for a file that is no module the modules it is part of."""

    options: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)

    def options_of(self, driver: str) -> list[str]:
        """The options that build it, without prefix; none where the tree does not know it."""
        name = plain(driver)
        whole = [] if name in self.options else self.parts.get(name, [])
        return list(dict.fromkeys(option for one in (name, *whole) for option in self.options.get(one, ())))


def plain(name: str) -> str:
    """The kernel takes ``-`` and ``_`` for the same in the name of a module."""
    return name.replace("-", "_")


def read_drivers(tree: Path, source_folder: str) -> Drivers:
    """Walks from the tree's folders down those that the Makefiles name; ``source_folder`` is that below ``arch``."""
    drivers = Drivers()
    seen: set[Path] = set()
    names = sorted(one.name for one in os.scandir(tree) if one.is_dir() and one.name not in FOREIGN_FOLDERS)
    waiting = [(tree / name, "") for name in (f"arch/{source_folder}", *names)]
    while waiting:
        folder, option = waiting.pop()
        if folder in seen:
            continue
        seen.add(folder)
        text = read_makefile(folder)
        if "obj-" in text or "subdir-" in text:
            waiting += read_folder(drivers, folder, option, text)
    return drivers


def read_makefile(folder: Path) -> str:
    for name in NAMES:
        try:
            return (folder / name).read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        except OSError:
            continue
    return ""


def read_folder(drivers: Drivers, folder: Path, option: str, text: str) -> list[tuple[Path, str]]:
    """The folders that a Makefile goes on with, each with the option that lets it; its modules go to ``drivers``."""
    below: list[tuple[Path, str]] = []
    variables: dict[str, str] = {}
    for left, right, around in assignments(text):
        goal, _dash, suffix = left.partition("-")
        if goal not in ("obj", "subdir"):
            note_part(drivers, left, right)
            if left.isidentifier():
                variables[left] = right
            continue
        mentioned = OPTION.search(suffix)
        governing = mentioned[1] if mentioned else around or option
        for word in words(right, variables):
            if goal == "subdir" or word.endswith("/"):
                below.append((folder / word.rstrip("/"), governing))
            elif word.endswith(".o") and governing:
                add(drivers.options, word.rpartition("/")[2][:-2], governing)
    return below


def assignments(text: str) -> Iterator[tuple[str, str, str]]:
    """(left side, right side, option of the condition around it) of each assignment."""
    conditions: list[str] = []
    for line in text.split("\n"):
        conditional = CONDITIONAL.match(line.lstrip()) if line.lstrip()[:2] in ("if", "el", "en") else None
        if conditional:
            track(conditions, conditional[1], conditional[2])
            continue
        found = ASSIGNMENT.match(line) if "=" in line and line[0] != "\t" else None
        if found:
            yield found[1], found[2].partition("#")[0], next(filter(None, reversed(conditions)), "")


def track(conditions: list[str], keyword: str, rest: str) -> None:
    """Keep the stack of conditions: the option that each asks for, or nothing where it asks for something else."""
    if keyword == "endif" or keyword == "else":
        conditions[-1:] = [] if keyword == "endif" else [""]
        return
    mentioned = re.search(r"CONFIG_(\w+)", rest)
    asked = keyword == "ifdef" or (keyword == "ifeq" and re.search(r",\s*[\"']?[ym]\b", rest))
    asked = asked or (keyword == "ifneq" and re.search(r",\s*[\"']?n?[\"']?\s*\)", rest))
    conditions.append(mentioned[1] if mentioned and asked else "")


def note_part(drivers: Drivers, left: str, right: str) -> None:
    """``name-objs := a.o b.o`` and ``name-y``, ``name-$(CONFIG_X)``: a and b are in the module name."""
    module, dash, kind = left.rpartition("-")
    if dash and (kind in ("objs", "y", "m") or kind.startswith("$")):
        for word in right.split():
            if word.endswith(".o"):
                add(drivers.parts, word.rpartition("/")[2][:-2], plain(module))


def words(right: str, variables: Mapping[str, str]) -> list[str]:
    """The words of a list, variables of the same file replaced once."""
    text = VARIABLE.sub(lambda found: variables.get(found[1], ""), right) if "$" in right else right
    return text.split()


def add(table: dict[str, list[str]], name: str, entry: str) -> None:
    entries = table.setdefault(plain(name), [])
    if entry not in entries:
        entries.append(entry)
