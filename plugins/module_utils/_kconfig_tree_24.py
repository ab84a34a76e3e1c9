# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read Config.in files, the language of kernels 2.4 (Documentation/kbuild/config-language.txt in such a tree).

A shell runs them; here their conditions become expressions as later kernels write them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import (
    TYPES,
    Definition,
    SourceFiles,
)

PREFIX = "CONFIG_"
PROMPTS = {
    **{name: name for name in TYPES},
    "dep_bool": "bool",
    "dep_mbool": "bool",
    "dep_tristate": "tristate",
}
"""Statements ``KIND 'prompt' CONFIG_X [default or dependencies]``."""
DEFINES = {f"define_{name}": name for name in TYPES}
"""Statements ``KIND CONFIG_X value``: set without asking."""
OPERATORS = {"-a": "&&", "-o": "||", "!": "!", "=": "=", "==": "=", "!=": "!=", "(": "(", ")": ")"}
BRACKETS = re.compile(r"\[\s+(.*?)\s+\]")
BETWEEN = re.compile(r"(\[\s+.*?\s+\])|(&&|\|\|)")


def read(files: SourceFiles, name: str) -> None:
    """Raises ClusterError where a file is missing that another one names."""
    read_file(files, name, (), "its build")


def read_file(files: SourceFiles, name: str, around: tuple[str, ...], named_by: str) -> None:
    """``around`` are the conditions under which the file is read."""
    blocks = [around]
    for number, line in enumerate(files.lines(name, named_by), start=1):
        words = split(line)
        keyword, rest = (words[0], words[1:]) if words else ("", [])
        if keyword == "if":
            blocks.append((*blocks[-1], condition(line)))
        elif keyword == "else" and len(blocks) > 1:
            blocks[-1] = (*blocks[-1][:-1], f"!({blocks[-1][-1]})")
        elif keyword == "elif" and len(blocks) > 1:
            blocks[-1] = (*blocks[-1][:-1], f"!({blocks[-1][-1]}) && ({condition(line)})")
        elif keyword == "fi":
            blocks[1:] = blocks[1:-1]
        elif keyword in (".", "source") and rest:
            read_file(files, rest[0], blocks[-1], f"{name}:{number}")
        elif keyword == "choice" and len(rest) > 1:
            number_of_choice = files.new_choice()
            for option in rest[1].split()[1::2]:
                definition = Definition(name, number, blocks[-1], "bool", True, choice=number_of_choice)
                files.define(option.removeprefix(PREFIX), definition)
        elif keyword in PROMPTS and len(rest) > 1:
            depends = dependencies(keyword, rest[2:])
            definition = Definition(name, number, (*blocks[-1], *depends), PROMPTS[keyword], True)
            files.define(rest[1].removeprefix(PREFIX), definition)
        elif keyword in DEFINES and rest:
            files.define(rest[0].removeprefix(PREFIX), Definition(name, number, blocks[-1], DEFINES[keyword]))


def split(line: str) -> Sequence[str]:
    """The words as a shell has them; a line with an open quote is split at its blanks."""
    line = line.strip()
    if not line or line[0] == "#":
        return ()
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def dependencies(keyword: str, words: Sequence[str]) -> list[str]:
    """``$CONFIG_A $CONFIG_B`` behind a ``dep_`` statement; what is not mentioned in the configuration does not bind."""
    if not keyword.startswith("dep_"):
        return []
    options = [operand(word) for word in words if word.startswith("$")]
    if keyword == "dep_tristate":
        return [*options, *(word for word in words if word in ("m", "n"))]
    if keyword == "dep_mbool":
        return [f'{option} != "n"' for option in options]
    return [f'{option} != "n" && {option} != "m"' for option in options]


def condition(line: str) -> str:
    """``[ "$CONFIG_A" = "y" -a "$CONFIG_B" != "n" ]`` as ``A = "y" && B != "n"``; as it stands where it is another test."""
    parts = BETWEEN.findall(line)
    if not parts:
        return line.strip()
    return " ".join(operator or f"({test(bracket)})" for bracket, operator in parts)


def test(bracket: str) -> str:
    inside = BRACKETS.fullmatch(bracket)
    words = shlex.split(inside[1] if inside else bracket, posix=False)
    return " ".join(OPERATORS.get(word) or operand(word) for word in words)


def operand(word: str) -> str:
    bare = word.strip("\"'")
    if bare.startswith("$"):
        return bare[1:].strip("{}").removeprefix(PREFIX)
    return f'"{bare}"'
