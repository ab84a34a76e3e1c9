# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a declaration in YAML may hold, as a tree of checks: each takes a value and where it stands, and returns it checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from string import Formatter
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

Check = Callable[[Any, str], Any]
"""``(value, where) -> value``, with what is left out filled in; raises ClusterError that begins with ``where``."""

REQUIRED = object()


def text(pattern: str = r"[^\0]+", meaning: str = "text") -> Check:
    """Text that ``pattern`` matches as a whole; a number is taken for its text."""
    known = re.compile(pattern, re.DOTALL)

    def check(value: Any, where: str) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ClusterError(f"{where}: {shown(value)} is no {meaning}{quoting(value)}")
        if not known.fullmatch(str(value)):
            raise ClusterError(f"{where}: {shown(value)} is no {meaning}")
        return str(value)

    return check


def integer(lowest: int, highest: int) -> Check:
    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ClusterError(f"{where}: {shown(value)} is no whole number")
        if not lowest <= value <= highest:
            raise ClusterError(f"{where}: {value} lies outside {lowest} to {highest}")
        return value

    return check


def flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ClusterError(f"{where}: {shown(value)} is neither true nor false")
    return value


def option_value(value: Any, where: str) -> str | int:
    """A kernel option's value: y, m, n, a number or a text."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ClusterError(
            f"{where}: {shown(value)} is no value of an option; write y, m, n, a number or a text"
        )
    return value


def anything(value: Any, where: str) -> Any:
    """Of which another part of the collection knows what it must be."""
    return value


def maybe(inner: Check) -> Check:
    """Null is taken as well."""
    return lambda value, where: None if value is None else inner(value, where)


def listing(inner: Check) -> Check:
    def check(value: Any, where: str) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise ClusterError(f"{where}: {shown(value)} is no list")
        return [inner(item, f"{where}[{number}]") for number, item in enumerate(value)]

    return check


def mapping(inner: Check) -> Check:
    """Any keys, each with a value that ``inner`` takes."""

    def check(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ClusterError(f"{where}: {shown(value)} is no mapping")
        return {str(key): inner(item, f"{where}.{key}") for key, item in value.items()}

    return check


def section(**fields: Any) -> Check:
    """A mapping of known fields: each a check where it must be there, or ``(check, default)``."""
    known = {name: field if isinstance(field, tuple) else (field, REQUIRED) for name, field in fields.items()}

    def check(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ClusterError(f"{where}: {shown(value)} is no mapping of {', '.join(known)}")
        for name in value:
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                meant = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
                raise ClusterError(f"{where}: unknown field {shown(name)}{meant}")
        checked = {}
        for name, (inner, default) in known.items():
            if name in value:
                checked[name] = inner(value[name], f"{where}.{name}")
            elif default is REQUIRED:
                raise ClusterError(f"{where}: {name} is missing")
            else:
                checked[name] = default
        return checked

    return check


def pair(lowest: int, highest: int) -> Check:
    """``[from, to]``."""
    inner = listing(integer(lowest, highest))

    def check(value: Any, where: str) -> list[int]:
        numbers: list[int] = inner(value, where)
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            raise ClusterError(f"{where}: {shown(value)} is no range; write [lowest, highest]")
        return numbers

    return check


def regex(*groups: str) -> Check:
    """A regular expression that has all the named ``groups``."""

    def check(value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise ClusterError(f"{where}: {shown(value)} is no regular expression")
        try:
            found = re.compile(value)
        except re.error as error:
            raise ClusterError(f"{where}: {shown(value)} is no regular expression: {error}") from error
        missing = [group for group in groups if group not in found.groupindex]
        if missing:
            raise ClusterError(f"{where}: {shown(value)} has no group (?P<{missing[0]}>...)")
        return value

    return check


def template(*fields: str) -> Check:
    """Text with ``{fields}``, of these only."""

    def check(value: Any, where: str) -> str:
        word: str = text()(value, where)
        try:
            used = [
                field for _literal, field, _form, _conversion in Formatter().parse(word) if field is not None
            ]
        except ValueError as error:
            raise ClusterError(f"{where}: {shown(word)}: {error}; write {{{{ for a brace") from error
        unknown = [field for field in used if field not in fields]
        if unknown:
            known = f"known: {', '.join(fields)}" if fields else "none is known here"
            raise ClusterError(f"{where}: {shown(word)} has the unknown field {{{unknown[0]}}}; {known}")
        return word

    return check


def argv(*fields: str) -> Check:
    """A command as a list of words with ``{fields}``."""
    words = listing(template(*fields))

    def check(value: Any, where: str) -> list[str]:
        command: list[str] = words(value, where)
        if not command:
            raise ClusterError(f"{where}: the command is empty")
        return command

    return check


def commands(*fields: str) -> Check:
    """One command, or several as a list of lists; always returned as the latter."""
    one = argv(*fields)

    def check(value: Any, where: str) -> list[list[str]]:
        several = isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple))
        if several:
            found: list[list[str]] = listing(one)(value, where)
            return found
        return [one(value, where)]

    return check


def shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def quoting(value: Any) -> str:
    """YAML's commonest trap: a word that it takes for true or false."""
    return "; put it in quotes" if isinstance(value, bool) else ""
