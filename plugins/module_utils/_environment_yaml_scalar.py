# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a scalar of YAML 1.1 means: quotes and their escapes, and what a plain word resolves to."""

from __future__ import annotations

import re
from typing import Any

QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'(?!')", re.DOTALL)

WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    **{
        form: value
        for value, words in (
            (True, ("true", "yes", "on")),
            (False, ("false", "no", "off")),
            (None, ("null",)),
        )
        for word in words
        for form in (word, word.capitalize(), word.upper())
    },
}

INTEGERS = (
    (re.compile(r"[-+]?0b[01_]+"), 2),
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+"), 16),
    (re.compile(r"[-+]?0[0-7_]+"), 8),
    (re.compile(r"[-+]?(?:0|[1-9][0-9_]*)"), 10),
)
FLOAT = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?")

ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
ESCAPE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<one>.))", re.DOTALL
)


def resolve(word: str) -> Any:
    """A plain word as YAML 1.1 takes it; dates stay strings, since no field of a description is one."""
    if word in WORDS:
        return WORDS[word]
    for pattern, base in INTEGERS:
        if pattern.fullmatch(word):
            return int(word.replace("_", ""), base)
    if FLOAT.fullmatch(word):
        return float(word.replace("_", ""))
    return word


def unquote(text: str) -> str:
    """The string that a quoted scalar means, over several lines if it has them; raises ValueError for a wrong escape."""
    quote, body = text[0], text[1:-1]
    if quote == "'":
        return fold_breaks(body).replace("''", "'")
    # a backslash at the end of a line joins it to the next without a space
    body = re.sub(r"(?<!\\)((?:\\\\)*)\\\n[ \t]*", r"\1", body)
    return ESCAPE.sub(character, fold_breaks(body))


def fold_breaks(text: str) -> str:
    """One line break is a space, n + 1 of them are n line breaks; blanks around them do not count."""
    return re.sub(
        r"[ \t]*\n(?:[ \t]*\n)*[ \t]*", lambda match: "\n" * (match.group().count("\n") - 1) or " ", text
    )


def character(match: re.Match[str]) -> str:
    code = match["x"] or match["u"] or match["U"]
    if code and int(code, 16) < 0x110000:
        return chr(int(code, 16))
    if code or match["one"] not in ESCAPES:
        raise ValueError(f"{match.group()} is no escape that YAML knows; use single quotes for a backslash")
    return ESCAPES[match["one"]]
