# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The options that a kernel's source tree knows: the model that the readers of both description languages fill."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

TYPES = ("bool", "tristate", "int", "hex", "string")


@dataclass
class Definition:
    """One place where an option is defined; ``depends`` holds all conditions around and in it, each as written."""

    file: str
    line: int
    depends: tuple[str, ...] = ()
    type: str = ""
    prompt: bool = False
    prompt_if: str = ""
    ranges: list[str] = field(default_factory=list)
    selects: list[tuple[str, str]] = field(default_factory=list)
    choice: int | None = None


@dataclass
class KernelTree:
    """``options`` has every option's definitions by name without prefix; ``fingerprint`` is of all that was read."""

    path: Path
    version: str
    architecture: str
    source_folder: str
    legacy: bool
    """2.4: Config.in, no build folder apart from the tree."""
    options: dict[str, list[Definition]] = field(default_factory=dict)
    fingerprint: str = ""

    def type_of(self, option: str) -> str:
        """The type of an option; an empty one for what is defined without."""
        return next((one.type for one in self.options[option] if one.type), "")

    def choice_of(self, option: str) -> list[str]:
        """The other options of the choice that ``option`` is one of."""
        numbers = {one.choice for one in self.options[option]} - {None}
        return [name for number in numbers for name in self._choices.get(number, ()) if name != option]

    @cached_property
    def _choices(self) -> dict[int | None, list[str]]:
        found: dict[int | None, list[str]] = {}
        for name, definitions in self.options.items():
            for one in definitions:
                if one.choice is not None:
                    found.setdefault(one.choice, []).append(name)
        return found

    @cached_property
    def selectors(self) -> dict[str, list[tuple[str, str]]]:
        """Option to those that select it, each with the condition."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, definitions in self.options.items():
            for one in definitions:
                for target, condition in one.selects:
                    found.setdefault(target, []).append((name, condition))
        return found

    def close_names(self, option: str) -> list[str]:
        """Up to three options that are spelled alike: same letters but for case, a part of the name, or nearly the same."""
        upper = option.upper()
        same = [name for name in self.options if name.upper() == upper]
        first = [name for name in self.options if name[:1].upper() == upper[:1]]
        near = difflib.get_close_matches(option, first, n=3, cutoff=0.75)
        within = sorted((name for name in first if upper in name.upper()), key=len)
        return list(dict.fromkeys([*same, *near, *within]))[:3]


class SourceFiles:
    """The files of a tree, as the readers of its options want them; ``digest`` is of all that were read."""

    def __init__(self, tree: KernelTree) -> None:
        self.tree = tree
        self.digest = hashlib.sha256(f"{tree.version} {tree.architecture}".encode())
        self.choices = 0

    def lines(self, name: str, named_by: str) -> list[str]:
        """The lines of a file in the tree, those that a backslash continues as one."""
        try:
            data = (self.tree.path / name).read_bytes()
        except OSError as error:
            raise ClusterError(
                f"kernel source tree {self.tree.path}: {named_by} needs {name}: {error.strerror}; "
                "unpack the source again"
            ) from error
        self.digest.update(data)
        text = data.decode("utf-8", "replace")
        return (text.replace("\\\n", " ") if "\\\n" in text else text).split("\n")

    def define(self, name: str, definition: Definition) -> Definition:
        self.tree.options.setdefault(name, []).append(definition)
        return definition

    def new_choice(self) -> int:
        self.choices += 1
        return self.choices

    def error(self, name: str, number: int, problem: str) -> ClusterError:
        return ClusterError(f"kernel source tree {self.tree.path}: {name}:{number} {problem}")
