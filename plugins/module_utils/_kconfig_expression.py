# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Dependencies of kernel options: read them, evaluate them, say which part of them fails.

The language is that of the kernel's Documentation/kbuild/kconfig-language.rst: ``A && (B || !C) && D = "x"``, with the
values n < m < y; ``&&`` is the smaller, ``||`` the greater, ``!`` the opposite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable

LEVEL = {"n": 0, "m": 1, "y": 2}
NAMES = ("n", "m", "y")

MACRO = r"\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
"""``$(cc-option,-mfoo)``: only the tree's own tools can say what it is."""
TOKEN = re.compile(
    rf"""\s*(?:(?P<op>\|\||&&|!=|<=|>=|[()=!<>])|(?P<macro>{MACRO})"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<name>[\w./-]+))"""
)
COMPARE: dict[str, Callable[[int], bool]] = {
    "=": lambda order: order == 0,
    "!=": lambda order: order != 0,
    "<": lambda order: order < 0,
    ">": lambda order: order > 0,
    "<=": lambda order: order <= 0,
    ">=": lambda order: order >= 0,
}


@dataclass(frozen=True)
class Node:
    """``kind`` is ``name``, ``text``, ``macro``, ``!``, ``&&``, ``||`` or a comparison; ``parts`` what it is made of."""

    kind: str
    parts: tuple[str | Node, ...]

    @property
    def word(self) -> str:
        return str(self.parts[0])

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(part for part in self.parts if isinstance(part, Node))


@dataclass(frozen=True)
class Values:
    """What a configuration says, by option without prefix: ``y``, ``m``, ``n``, a number or a string.

    ``unset_allows``: in kernels 2.4 a dependency on an option that the configuration does not mention does not bind.
    """

    symbols: Mapping[str, str]
    unset_allows: bool = False

    def of(self, name: str) -> str:
        return self.symbols.get(name, "" if self.unset_allows else "n")

    def level(self, name: str) -> int:
        if self.unset_allows and name not in self.symbols:
            return LEVEL["y"]
        return LEVEL.get(self.of(name), 0)


def parse(text: str) -> Node:
    """What cannot be read is a macro: nothing is known of it, and the report shows it as it is written."""
    tokens = list(tokenise(text))
    try:
        node, rest = either(tokens)
    except (IndexError, ValueError):
        return Node("macro", (text.strip(),))
    return Node("macro", (text.strip(),)) if rest else node


Tokens = list[tuple[str, str]]


def tokenise(text: str) -> Iterator[tuple[str, str]]:
    place, text = 0, text.rstrip()
    while place < len(text):
        found = TOKEN.match(text, place)
        if not found:
            yield "foreign", text[place:]
            return
        yield str(found.lastgroup), found[str(found.lastgroup)]
        place = found.end()


def either(tokens: Tokens) -> tuple[Node, Tokens]:
    return chain(tokens, "||", lambda rest: chain(rest, "&&", negated))


def chain(
    tokens: Tokens, operator: str, operand: Callable[[Tokens], tuple[Node, Tokens]]
) -> tuple[Node, Tokens]:
    node, rest = operand(tokens)
    while rest and rest[0] == ("op", operator):
        other, rest = operand(rest[1:])
        node = Node(operator, (node, other))
    return node, rest


def negated(tokens: Tokens) -> tuple[Node, Tokens]:
    if tokens[0] == ("op", "!"):
        node, rest = negated(tokens[1:])
        return Node("!", (node,)), rest
    if tokens[0] == ("op", "("):
        node, rest = either(tokens[1:])
        if rest[0] != ("op", ")"):
            raise ValueError(rest)
        return node, rest[1:]
    node, rest = atom(tokens[0]), tokens[1:]
    if rest and rest[0][0] == "op" and rest[0][1] in COMPARE:
        return Node(rest[0][1], (node, atom(rest[1]))), rest[2:]
    return node, rest


def atom(token: tuple[str, str]) -> Node:
    kind, word = token
    if kind not in ("name", "text", "macro"):
        raise ValueError(word)
    return Node(kind, (word[1:-1] if kind == "text" else word,))


def evaluate(node: Node, values: Values) -> int:
    """0, 1 or 2 for n, m and y; a macro counts as y."""
    if node.kind == "macro":
        return LEVEL["y"]
    if node.kind == "text" or (node.kind == "name" and node.word in LEVEL):
        return LEVEL.get(node.word, 0)
    if node.kind == "name":
        return values.level(node.word)
    if node.kind == "!":
        return LEVEL["y"] - evaluate(node.nodes[0], values)
    left, right = node.nodes
    if node.kind in ("&&", "||"):
        smaller_or_greater = min if node.kind == "&&" else max
        return smaller_or_greater(evaluate(left, values), evaluate(right, values))
    order = compare(operand_text(left, values), operand_text(right, values))
    return LEVEL["y"] if COMPARE[node.kind](order) else LEVEL["n"]


def operand_text(node: Node, values: Values) -> str:
    constant = node.kind != "name" or node.word in LEVEL or not node.word[0].isalpha()
    return node.word if constant else values.of(node.word)


def compare(left: str, right: str) -> int:
    """-1, 0 or 1: as tristates, as numbers, else as text."""
    for key in (LEVEL.__getitem__, lambda text: int(text, 0)):
        try:
            one, other = key(left), key(right)
        except (KeyError, ValueError):
            continue
        return (one > other) - (one < other)
    return (left > right) - (left < right)


def terms(node: Node) -> Iterator[Node]:
    """What must hold, each by itself."""
    if node.kind == "&&":
        for part in node.nodes:
            yield from terms(part)
    elif node.kind == "!" and node.nodes[0].kind == "||":
        for part in node.nodes[0].nodes:
            yield from terms(Node("!", (part,)))
    else:
        yield node


def names(node: Node) -> Iterator[str]:
    """The options that it speaks of."""
    if node.kind == "name" and node.word not in LEVEL and node.word[0].isalpha():
        yield node.word
    for part in node.nodes:
        yield from names(part)


def write(node: Node, inside: str = "") -> str:
    if node.kind in ("name", "macro"):
        return node.word
    if node.kind == "text":
        return f'"{node.word}"'
    if node.kind == "!":
        return "!" + write(node.nodes[0], "!")
    text = f" {node.kind} ".join(write(part, node.kind) for part in node.nodes)
    return f"({text})" if inside and inside != node.kind else text
