# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read Kconfig files, the language of kernels from 2.6 on (Documentation/kbuild/kconfig-language.rst).

Only what reports need is kept: types, prompts, conditions, selects, ranges, choices.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Optional

from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import (
    TYPES,
    Definition,
    SourceFiles,
)

STARTS = ("menu", "choice", "if")
ENDS = ("endmenu", "endchoice", "endif")
ATTRIBUTE_TYPES = {
    **{name: name for name in TYPES},
    "boolean": "bool",
    "def_bool": "bool",
    "def_tristate": "tristate",
}
ATTRIBUTES = {
    *ATTRIBUTE_TYPES,
    "prompt",
    "depends",
    "select",
    "range",
    "default",
    "imply",
    "option",
    "modules",
}
PROMPT = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?!if\b)\S+)\s*(?:if\s+(.*))?""")
CONDITION = re.compile(r"^(.*?)\s+if\s+(.*)$")
VARIABLE = re.compile(r"\$\((\w+)\)|\$\{(\w+)\}|\$(\w+)")
SOURCES = {
    "source": (False, False),
    "rsource": (True, False),
    "osource": (False, True),
    "orsource": (True, True),
}
"""Statement to: relative to its own file, and allowed to be missing."""


ON = re.compile(r"^on\b\s*")

Block = tuple[tuple[str, ...], Optional[int]]
"""The conditions around, and the number of the choice that it lies in."""


def read(files: SourceFiles, name: str) -> None:
    """Raises ClusterError where a file is missing that another one names."""
    Reader(files).read(name, ((), None), "its build")


class Reader:
    def __init__(self, files: SourceFiles) -> None:
        self.files = files
        tree = files.tree
        self.variables = {"SRCARCH": tree.source_folder, "ARCH": tree.architecture, "srctree": "."}

    def read(self, name: str, around: Block, named_by: str) -> None:
        """``around`` is the block that the file is named in."""
        blocks = [around]
        entry: Definition | None = None
        head = False  # of a menu or a choice, whose own conditions may still come
        for number, keyword, rest in statements(self.files.lines(name, named_by)):
            if "$(ARCH)" in rest:
                rest = rest.replace("$(ARCH)", self.variables["ARCH"])
            if keyword in ("config", "menuconfig"):
                conditions, choice = blocks[-1]
                entry = self.files.define(
                    rest.split()[0], Definition(name, number, conditions, choice=choice)
                )
            elif entry is not None and keyword in ATTRIBUTES:
                attribute(entry, keyword, rest)
            elif head and keyword == "depends":
                conditions, choice = blocks[-1]
                blocks[-1] = ((*conditions, ON.sub("", rest)), choice)
            elif keyword in STARTS:
                blocks.append(self.block(keyword, rest, blocks[-1]))
                entry, head = None, keyword != "if"
            elif keyword in ENDS:
                blocks[1:] = blocks[1:-1]
                entry, head = None, False
            elif keyword in SOURCES:
                entry, head = None, False
                for file in self.sourced(name, number, keyword, rest):
                    self.read(file, blocks[-1], f"{name}:{number}")
            elif keyword in ("comment", "mainmenu"):
                entry, head = None, False

    def block(self, keyword: str, rest: str, around: Block) -> Block:
        conditions, choice = around
        if keyword == "if":
            return (*conditions, rest), choice
        return conditions, self.files.new_choice() if keyword == "choice" else choice

    def sourced(self, name: str, number: int, keyword: str, rest: str) -> Sequence[str]:
        """The files that a statement names; a pattern may name several."""
        relative, optional = SOURCES[keyword]
        written = rest.strip().strip("\"'")
        path = VARIABLE.sub(lambda found: self.variables.get(found[1] or found[2] or found[3], ""), written)
        path = os.path.normpath(os.path.join(os.path.dirname(name) if relative else "", path))
        if path.startswith(("/", "..")):
            raise self.files.error(name, number, f"names {written}, outside the tree")
        root = self.files.tree.path
        if any(sign in path for sign in "*?["):
            return sorted(str(one.relative_to(root)) for one in root.glob(path))
        return [] if optional and not (root / path).is_file() else [path]


def statements(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(line number, first word, rest), without comments and help texts, which end where the indentation shrinks."""
    help_indent: int | None = None  # -1 until the text begins
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if not line:
            continue
        if help_indent is not None:
            indent = indentation(raw)
            if help_indent < 0:
                help_indent = indent
            if indent and indent >= help_indent:
                continue
            help_indent = None
        keyword, rest = (line.split(None, 1) + [""])[:2]
        if keyword in ("help", "---help---"):
            help_indent = -1
        elif line[0] != "#":
            yield number, keyword, rest


def indentation(raw: str) -> int:
    wide = raw.expandtabs()
    return len(wide) - len(wide.lstrip())


def attribute(entry: Definition, keyword: str, rest: str) -> None:
    """One line of an option's definition; what the reports do not need is passed over."""
    if keyword in ATTRIBUTE_TYPES:
        entry.type = entry.type or ATTRIBUTE_TYPES[keyword]
    if keyword in TYPES or keyword in ("boolean", "prompt"):
        shown = PROMPT.match(rest) if rest else None
        if shown:
            entry.prompt, entry.prompt_if = True, (shown[1] or "").strip()
    elif keyword == "depends":
        entry.depends = (*entry.depends, ON.sub("", rest))
    elif keyword == "select":
        found = CONDITION.match(rest)
        entry.selects.append((found[1].strip(), found[2]) if found else (rest.strip(), ""))
    elif keyword == "range":
        entry.ranges.append(rest)
