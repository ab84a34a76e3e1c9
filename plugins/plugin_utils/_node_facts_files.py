# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Records about nodes in YAML, CSV and JSON files, each with its position for messages."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SIZE_LIMIT = 512 << 20
"""Bytes of one file: four times the Grid'5000 reference API's documents of 10,000 nodes."""
CSV_FIELD_LIMIT = 1 << 20
"""Characters of one field."""
SUFFIXES = {".json": "json", ".yml": "yaml", ".yaml": "yaml", ".csv": "csv", ".tsv": "csv"}
DEPTH_LIMIT = 100
"""Levels of a YAML document."""
MERGE_LIMIT = 10_000
"""Keys that one mapping of YAML merges; a few lines of aliases can spell billions."""
DELIMITERS = ",;\t|"

Select = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Record:
    """position: where it is in the file, ``record 3``, ``line 3`` or ``key node-1``; key: null unless it has one."""

    position: str
    data: Any
    key: str | None = None


class CoreLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain YAML 1.2 scalars: YAML 1.1 makes a number of the MAC 52:54:00:00:00:11 and true of OAR's YES.

    Refuses keys that are there twice, merges that grow without end, and a depth at which libyaml would crash.
    """

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.flat: set[int] = set()
        self.depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Called for each node on the way down."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            mark = current_node.start_mark if current_node else None
            raise yaml.constructor.ConstructorError(None, None, f"deeper than {DEPTH_LIMIT} levels", mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if id(node) in self.flat:
            return
        self.flat.add(id(node))
        names: set[str] = set()
        for key in (key for key, _value in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                problem = f"the key {key.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            names.add(key.value)
        own = len(node.value)
        super().flatten_mapping(node)
        if len(node.value) - own > MERGE_LIMIT:
            problem = f"a mapping merges more than {MERGE_LIMIT} keys"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-+0123456789"),
    ("merge", r"<<", "<"),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))


def read_records(path: Path, kind: str, select: Select | None) -> list[Record]:
    """The records in the file ``path`` of format ``kind``; ``select`` finds them in a document of unknown shape."""
    text = read_text(path)
    if kind == "auto":
        kind = SUFFIXES.get(path.suffix.lower()) or recognise(text)
    document = FORMATS[kind](text, str(path))
    if select is not None:
        return listed(select(document, str(path)), path)
    return listed(document, path)


def read_text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClusterError(f"{path} is no regular file, so no facts are read from it")
        if status.st_size > SIZE_LIMIT:
            raise ClusterError(f"{path} has {status.st_size} bytes, the limit is {SIZE_LIMIT}; split it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ClusterError(f"cannot read the facts in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path} is no UTF-8 text at byte {error.start}") from error


def recognise(text: str) -> str:
    """The format of a file whose name does not say it."""
    start = text.lstrip()
    if start[:1] in ("{", "["):
        return "json"
    header = start.split("\n", 1)[0]
    return "csv" if ":" not in header and any(sign in header for sign in DELIMITERS) else "yaml"


def parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=without_twins, parse_constant=no_number)
    except ClusterError as error:
        raise ClusterError(f"{source}: {error}") from error
    except json.JSONDecodeError as error:
        raise ClusterError(f"{source}, line {error.lineno} column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ClusterError(f"{source} is nested too deeply for facts about nodes") from error


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _value in pairs).items() if count > 1)
        raise ClusterError(f"the key {twice!r} is there twice in one object")
    return found


def no_number(word: str) -> None:
    raise ClusterError(f"{word} is no JSON")


def parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ClusterError(f"{source}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ClusterError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ClusterError(f"{source} is nested too deeply for facts about nodes") from error


def parse_csv(text: str, source: str) -> list[Record]:
    """Rows under a header; an empty field is no fact."""
    header_line = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header_line.count)
    csv.field_size_limit(CSV_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records = []
    try:
        header = [field.strip() for field in next(reader, [])]
        check_header(header, source)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ClusterError(
                    f"{source}, line {reader.line_num}: {len(row)} fields under a header of {len(header)}"
                )
            data = {name: field.strip() or None for name, field in zip(header, row)}
            records.append(Record(f"line {reader.line_num}", data))
    except csv.Error as error:
        raise ClusterError(f"{source}, line {reader.line_num}: {error}") from error
    return records


def check_header(header: Sequence[str], source: str) -> None:
    if not all(header):
        raise ClusterError(f"{source}, line 1: the header is empty or has a column without a name")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ClusterError(f"{source}, line 1: the header has two columns {twice[0]!r}")


FORMATS: Mapping[str, Callable[[str, str], Any]] = {"yaml": parse_yaml, "csv": parse_csv, "json": parse_json}


def listed(document: Any, path: Path) -> list[Record]:
    """The records of ``document``: a list, the API's ``items``, an object keyed by name, or one record."""
    if isinstance(document, Mapping) and isinstance(document.get("items"), list):
        document = document["items"]
    if isinstance(document, list):
        records = [
            item if isinstance(item, Record) else Record(f"record {number}", item)
            for number, item in enumerate(document, 1)
        ]
    elif (
        isinstance(document, Mapping) and document and all(isinstance(v, Mapping) for v in document.values())
    ):
        records = [Record(f"key {key}", value, str(key)) for key, value in document.items()]
    elif isinstance(document, Mapping) and document:
        records = [Record("record 1", document)]
    else:
        records = []
    if not records:
        raise ClusterError(f"{path} holds no facts: neither a list of records, nor an object keyed by name")
    for record in records:
        if not isinstance(record.data, Mapping):
            raise ClusterError(
                f"{path}, {record.position}: {type(record.data).__name__} where a record should be"
            )
    return records
