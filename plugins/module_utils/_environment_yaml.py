# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read and write the YAML of environment descriptions, on nodes that have no YAML library.

Read is what ``kaenv3 -p`` prints and what people write: block and flow collections, the three kinds of quotes,
block scalars, folded lines, comments, several documents. Plain words mean what YAML 1.1 says, as for Kadeploy's own
reader: ``0x83`` is 131, ``yes`` is true. Anchors, aliases and tags are refused. What is written is deterministic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml_scalar import (
    QUOTED,
    fold_breaks,
    resolve,
    unquote,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LARGEST = 1 << 18
"""Characters of the longest text that is read; a description has a few hundred."""

LONGEST = 1 << 14
"""Characters of the longest line."""

DEEPEST = 20
"""Levels of nesting; a description has three."""

PLAIN_START = r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[-?:](?=\S))"
KEY = re.compile(
    rf"(?:(?P<quoted>{QUOTED.pattern})[ ]*|(?P<plain>{PLAIN_START}(?:(?!\s\#|:(?:\s|$)).)*)):(?=\s|$)",
    re.ASCII,
)
COMMENT = re.compile(r"(?:^|[ \t])#.*$")
BLOCK_HEADER = re.compile(r"(?P<style>[|>])(?P<chomp>[-+]?)(?:\s+#.*)?$")
SAFE_PLAIN = re.compile(r"[A-Za-z/_](?:[\w ./@+=,~()-]|:(?! |$)|%)*(?<! )", re.ASCII)
FLOW_PLAIN = re.compile(r"(?:[^,\[\]{}:#\n]|\n(?! *#)|:(?![\s,\[\]{}]|$)|(?<!\s)#)+")
FLOW_BLANK = re.compile(r"(?: |\n|(?:^|(?<=\s))#[^\n]*)*")


def read_documents(text: str, where: str) -> list[Any]:
    """Every document of ``text``; ``where`` names it in errors, which give the line.

    Raises ClusterError for what is no YAML, for a tab where YAML wants spaces, for a key that is there twice, and for
    YAML that no description needs.
    """
    if len(text) > LARGEST:
        raise ClusterError(f"{where}: longer than {LARGEST} characters, so this is no description")
    documents: list[list[str]] = [[]]
    starts = [0]
    for number, raw in enumerate(text.lstrip("\ufeff").removesuffix("\n").split("\n")):
        line = raw.rstrip("\r")
        if odd := re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise ClusterError(
                f"{where}, line {number + 1}: character {odd.group()!r} does not belong in text"
            )
        if len(line) > LONGEST:
            raise ClusterError(f"{where}, line {number + 1}: longer than {LONGEST} characters")
        if re.match(r"(?:---|\.\.\.)(?:\s|$)", line):
            rest = COMMENT.sub("", line[3:]).strip()
            if rest:
                raise ClusterError(
                    f"{where}, line {number + 1}: write {rest!r} on a line below the {line[:3]}"
                )
            documents.append([])
            starts.append(number + 1)
        else:
            documents[-1].append(line)
    parsed = (DocumentReader(lines, start, where) for lines, start in zip(documents, starts))
    return [reader.document() for reader in parsed if reader.peek() is not None]


def read_mapping(text: str, where: str) -> list[dict[str, Any]]:
    """The documents of ``text``, each of which must be a mapping."""
    documents = read_documents(text, where)
    if not documents:
        raise ClusterError(f"{where}: empty")
    for document in documents:
        if not isinstance(document, dict):
            raise ClusterError(f"{where}: no mapping of fields, but {json.dumps(document)[:60]}")
    return documents


class DocumentReader:
    """One document; ``at`` is the index of the next line."""

    def __init__(self, lines: Sequence[str], start: int, where: str) -> None:
        self.lines = list(lines)
        self.start = start
        self.where = where
        self.at = 0
        self.depth = 0

    def fail(self, index: int, fault: str) -> NoReturn:
        raise ClusterError(f"{self.where}, line {self.start + index + 1}: {fault}")

    def peek(self) -> int | None:
        """The indentation of the next line with something on it, at which ``at`` then stands; None at the end."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            content = line.lstrip(" \t")
            if content and not content.startswith("#"):
                indent = len(line) - len(content)
                if "\t" in line[:indent]:
                    self.fail(self.at, "a tab in the indentation; YAML wants spaces")
                return indent
            self.at += 1
        return None

    def document(self) -> Any:
        value = self.block(-1)
        if self.peek() is not None:
            self.fail(self.at, "indented unlike anything above it")
        return value

    def block(self, parent: int) -> Any:
        """What starts at the next line, which is indented deeper than ``parent``."""
        indent = self.peek()
        if indent is None or indent <= parent:
            return None
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(self.at, f"nested deeper than {DEEPEST} levels")
        text = self.lines[self.at][indent:]
        if is_item(text):
            value: Any = self.sequence(indent)
        elif KEY.match(text):
            value = self.mapping(indent)
        else:
            self.at += 1
            value = self.inline(text, self.at - 1, parent)
        self.depth -= 1
        return value

    def sequence(self, indent: int) -> list[Any]:
        items = []
        while self.peek() == indent and is_item(self.lines[self.at][indent:]):
            # what follows the dash is a block of its own, which stands where it stands
            line = self.lines[self.at]
            self.lines[self.at] = line[:indent] + " " + line[indent + 1 :]
            items.append(self.block(indent))
        return items

    def mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.peek() == indent:
            line = self.at
            text = self.lines[line][indent:]
            match = KEY.match(text)
            if match is None:
                fault = (
                    "a tab where YAML wants spaces" if "\t" in text else f'no "key: value" but {text[:60]!r}'
                )
                self.fail(line, fault)
            key = unquote(match["quoted"]) if match["quoted"] else match["plain"].rstrip(" ")
            if key in found:
                self.fail(line, f"{key!r} is there twice")
            self.at += 1
            found[key] = self.value(text[match.end() :], line, indent)
        deeper = self.peek()
        if deeper is not None and deeper > indent:
            self.fail(self.at, "indented unlike anything above it")
        return found

    def value(self, text: str, line: int, indent: int) -> Any:
        """What stands behind a key: on its line, or as a block below it (a list may stand at the key's own column)."""
        if COMMENT.sub("", text).strip(" \t"):
            return self.inline(text.strip(" "), line, indent)
        following = self.peek()
        if following == indent and is_item(self.lines[self.at][indent:]):
            return self.sequence(indent)
        return self.block(indent)

    def inline(self, text: str, line: int, parent: int) -> Any:
        first = text[0]
        if first in "\"'":
            return self.quoted(text, line)
        if first in "|>":
            return self.literal(text, line, parent)
        if first in "[{":
            return self.flow(text, line)
        if first in "&*!%@`":
            self.fail(
                line, f"{text[:40]!r} starts with {first!r}, which means something in YAML; put it in quotes"
            )
        return self.plain(text, line, parent)

    def quoted(self, text: str, line: int) -> str:
        while (match := QUOTED.match(text)) is None:
            if self.at >= len(self.lines):
                self.fail(line, f"the quote {text[0]} is never closed")
            text += "\n" + self.lines[self.at]
            self.at += 1
        if rest := COMMENT.sub("", text[match.end() :]).strip():
            self.fail(line, f"{rest[:40]!r} stands behind the closing quote")
        try:
            return unquote(match.group())
        except ValueError as error:
            self.fail(line, str(error))

    def plain(self, text: str, line: int, parent: int) -> Any:
        """A scalar without quotes, with the lines below it that are indented deeper than ``parent``."""
        parts = [self.plain_line(text, line)]
        open_end = COMMENT.search(text) is None
        while open_end and (following := self.continuation(parent)) is not None:
            # one line break is a space, more are line breaks
            parts.append("\n" * (following - self.at) or " ")
            content = self.lines[following].strip(" ")
            parts.append(self.plain_line(content, following))
            open_end = COMMENT.search(content) is None
            self.at = following + 1
        return resolve(parts[0]) if len(parts) == 1 else "".join(parts)

    def plain_line(self, text: str, line: int) -> str:
        content = COMMENT.sub("", text).rstrip(" ")
        if "\t" in content:
            self.fail(line, "a tab where YAML wants spaces; put the value in quotes if it belongs to it")
        if re.search(r":(?: |$)", content):
            self.fail(line, f"a second colon in {content[:60]!r}; put the value in quotes")
        return content

    def continuation(self, parent: int) -> int | None:
        """The index of the line that continues a plain scalar, blank lines skipped; None where none does."""
        index = self.at
        while index < len(self.lines) and not self.lines[index].strip():
            index += 1
        if index == len(self.lines):
            return None
        content = self.lines[index].lstrip(" ")
        deeper = len(self.lines[index]) - len(content) > parent
        return index if deeper and not content.startswith("#") else None

    def literal(self, text: str, line: int, parent: int) -> str:
        header = BLOCK_HEADER.match(text)
        if header is None:
            self.fail(line, f"{text[:40]!r} is not read here; write |, |-, > or >- alone on the line")
        taken: list[str] = []
        while self.at < len(self.lines):
            raw = self.lines[self.at]
            if raw.strip(" ") and len(raw) - len(raw.lstrip(" ")) <= parent:
                break
            taken.append(raw)
            self.at += 1
        margin = min((len(raw) - len(raw.lstrip(" ")) for raw in taken if raw.strip(" ")), default=0)
        body = [raw[margin:] for raw in taken]
        while body and not body[-1].strip():
            body.pop()
        joined = "\n".join(body) if header["style"] == "|" else folded(body)
        ends = {"": 1, "-": 0, "+": 1 + len(taken) - len(body)}
        return joined + "\n" * ends[header["chomp"]] if body else ""

    def flow(self, text: str, line: int) -> Any:
        buffer = text
        while True:
            reader = FlowReader(buffer)
            try:
                value = reader.value(0)
            except IncompleteError:
                if self.at >= len(self.lines):
                    self.fail(line, f"the bracket {text[0]} is never closed")
                buffer += "\n" + self.lines[self.at]
                self.at += 1
                continue
            except ValueError as error:
                self.fail(line, str(error))
            if rest := COMMENT.sub("", buffer[reader.at :]).strip():
                self.fail(line, f"{rest[:40]!r} stands behind the closing bracket")
            return value


def is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def folded(lines: Sequence[str]) -> str:
    """A line break becomes a space, n + 1 of them n line breaks; those beside lines indented further all stay."""
    text, previous, breaks = "", None, 0
    for line in lines:
        if not line:
            breaks += 1
            continue
        if previous is None:
            text = "\n" * breaks
        elif previous.startswith(" ") or line.startswith(" "):
            text += "\n" * (breaks + 1)
        else:
            text += "\n" * breaks or " "
        text, previous, breaks = text + line, line, 0
    return text


class IncompleteError(Exception):
    """The text of a flow collection ends before its bracket is closed."""


class FlowReader:
    """``[a, b]`` and ``{a: b}``; raises ValueError with the fault."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def space(self) -> str:
        """The next character that is neither blank nor part of a comment."""
        blank = FLOW_BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        if self.at == len(self.text):
            raise IncompleteError
        return self.text[self.at]

    def value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        first = self.space()
        if first == "[":
            return list(self.members("]", depth))
        if first == "{":
            found: dict[str, Any] = {}
            for key, value in self.members("}", depth):
                if key in found:
                    raise ValueError(f"{key!r} is there twice")
                found[key] = value
            return found
        return self.scalar()

    def members(self, closing: str, depth: int) -> Iterator[Any]:
        self.at += 1
        while self.space() != closing:
            yield self.pair(depth) if closing == "}" else self.value(depth + 1)
            if self.space() == ",":
                self.at += 1
            elif self.text[self.at] != closing:
                raise ValueError(f"expected , or {closing} before {self.text[self.at :][:40]!r}")
        self.at += 1

    def pair(self, depth: int) -> tuple[str, Any]:
        start = self.at
        self.scalar()
        raw = self.text[start : self.at].strip(" ")
        key = unquote(raw) if raw[0] in "\"'" else raw
        if self.space() != ":":
            return key, None
        self.at += 1
        return key, None if self.space() in ",}" else self.value(depth + 1)

    def scalar(self) -> Any:
        if self.text[self.at] in "\"'":
            match = QUOTED.match(self.text, self.at)
            if match is None:
                raise IncompleteError
            self.at = match.end()
            return unquote(match.group())
        plain = FLOW_PLAIN.match(self.text, self.at)
        if plain is None or plain.group()[0] in "&*!%@`|>\t?":
            raise ValueError(f"{self.text[self.at :][:40]!r} does not belong here; put it in quotes")
        self.at = plain.end()
        word = plain.group().strip(" \n")
        return fold_breaks(word) if "\n" in word else resolve(word)


def write_document(fields: Mapping[str, Any]) -> str:
    """``fields`` as one YAML document, in their order; equal values give equal bytes, and no line is ever folded."""
    return "\n".join(["---", *block_lines(fields), ""])


def block_lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for key, item in value.items() for line in pair_lines(write_scalar(str(key)), item)]
    if isinstance(value, list) and value:
        return [
            ("  " if index else "- ") + line for item in value for index, line in enumerate(block_lines(item))
        ]
    return [write_scalar(value)]


def pair_lines(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [f"{key}:", *("  " + line for line in block_lines(value))]
    if isinstance(value, list) and value:
        return [f"{key}:", *block_lines(value)]
    return [f"{key}: {write_scalar(value)}"]


def write_scalar(value: Any) -> str:
    """A scalar, or an empty collection. A string stays plain only if no reader of YAML can take it for anything else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if SAFE_PLAIN.fullmatch(value) and isinstance(resolve(value), str) and value.lower() not in ("y", "n"):
        return value
    # JSON's escapes are YAML's; what YAML calls not printable is escaped too
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]",
        lambda match: f"\\u{ord(match.group()):04x}",
        json.dumps(value, ensure_ascii=False),
    )
