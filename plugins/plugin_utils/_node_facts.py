# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Facts about nodes from files on the controller, joined by name with the nodes that are reserved.

What the files say is foreign data: the values are plain (str, int, float, bool, list, dict), never templates, and the
caller marks them as such.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._node_facts_files import FORMATS, read_records
from ansible_collections.oneimage.cluster.plugins.plugin_utils._node_facts_maps import FactMap, fact_map

FIELDS = ("file", "glob", "format", "map", "name", "records")


@dataclass(frozen=True)
class Source:
    """What one file says of one node: its ``records`` there, and the map that makes variables of them."""

    origin: str
    records: Sequence[Any]
    map: FactMap

    def variables(self) -> dict[str, Any]:
        return self.map.variables(self.records, self.origin)


@dataclass(frozen=True)
class JoinedFacts:
    """The facts of the nodes that were asked for.

    variables: node as it was asked for -> variable -> plain value; only nodes of which a file says anything
    origins: node -> variable -> where the value was read, ``FILE, record N``
    missing: nodes of which no file says anything, in the order in which they were asked for
    """

    variables: dict[str, dict[str, Any]]
    origins: dict[str, dict[str, str]]
    missing: list[str]


@dataclass(frozen=True)
class NodeFacts:
    """All that the files say: node name as they spell it -> sources. Variables are made when nodes are joined."""

    sources: Mapping[str, Sequence[Source]]

    def join(self, nodes: Iterable[str]) -> JoinedFacts:
        """The facts of ``nodes``; facts about other nodes are ignored.

        A name matches itself, and a short name the one full name that begins with it: ``node-1`` and
        ``node-1.site.example.org``, unless the files or the nodes hold a second ``node-1.*``.
        Raises ClusterError naming both files where two say different things of one variable of a node.
        """
        wanted = list(nodes)
        full_names = short_to_full(self.sources)
        shorts = Counter(map(short, wanted))
        joined = JoinedFacts({}, {}, [])
        for node in wanted:
            names = [node]
            if "." in node and shorts[short(node)] == 1:
                names.append(short(node))
            elif "." not in node and len(full_names.get(node, ())) == 1:
                names += full_names[node]
            sources = [source for name in names for source in self.sources.get(name, ())]
            if not sources:
                joined.missing.append(node)
                continue
            joined.variables[node], joined.origins[node] = merge(node, sources)
        return joined


def short(name: str) -> str:
    return name.partition(".")[0]


def short_to_full(names: Iterable[str]) -> dict[str, list[str]]:
    full: dict[str, list[str]] = {}
    for name in names:
        if "." in name:
            full.setdefault(short(name), []).append(name)
    return full


def merge(node: str, sources: Sequence[Source]) -> tuple[dict[str, Any], dict[str, str]]:
    variables: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        for variable, value in source.variables().items():
            if variable in variables and variables[variable] != value:
                raise ClusterError(
                    f"{origins[variable]} says {variable} of {node} is {variables[variable]!r}, "
                    f"{source.origin} says {value!r}; correct one or leave {variable} out of its map"
                )
            if variable not in variables:
                variables[variable], origins[variable] = value, source.origin
    return variables, origins


def load_facts(declarations: Sequence[Mapping[str, Any]], base_folder: Path) -> NodeFacts:
    """Read the files that ``declarations`` name.

    Each declaration is a mapping with ``file`` or ``glob`` (relative to ``base_folder``), and optionally ``format``
    (auto, yaml, csv, json), ``map`` (name of a ready-made map, or variable -> JMESPath expression), ``name``
    (JMESPath expression for the node's name in a record) and ``records`` (JMESPath expression for the list of records
    in the document). Raises ClusterError, one sentence naming the file and its line or record.
    """
    sources: dict[str, list[Source]] = {}
    for number, declaration in enumerate(declarations, 1):
        where = f"facts {number}"
        check(declaration, where)
        facts = fact_map(declaration, where)
        for path in paths(declaration, base_folder, where):
            records = read_records(path, declaration.get("format") or "auto", facts.select)
            for name, source in by_name(path, records, facts):
                sources.setdefault(name, []).append(source)
    return NodeFacts(sources)


def check(declaration: Mapping[str, Any], where: str) -> None:
    if not isinstance(declaration, Mapping):
        raise ClusterError(f"{where} is no mapping; give file or glob, and map")
    foreign = sorted(set(map(str, declaration)) - set(FIELDS))
    if foreign:
        raise ClusterError(f"{where}: unknown field {foreign[0]!r}; known: {', '.join(FIELDS)}")
    if bool(declaration.get("file")) == bool(declaration.get("glob")):
        raise ClusterError(f"{where}: give either file or glob")
    if (declaration.get("format") or "auto") not in ("auto", *FORMATS):
        raise ClusterError(
            f"{where}: unknown format {declaration['format']!r}; known: auto, {', '.join(FORMATS)}"
        )
    for field in ("file", "glob", "name", "records"):
        if not isinstance(declaration.get(field) or "", str):
            raise ClusterError(f"{where}: {field} is no string")


def paths(declaration: Mapping[str, Any], base_folder: Path, where: str) -> list[Path]:
    pattern = os.path.join(base_folder, os.path.expanduser(declaration.get("file") or declaration["glob"]))
    if declaration.get("file"):
        return [Path(pattern)]
    found = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    if not found:
        raise ClusterError(f"{where}: no file matches the glob {pattern}")
    return found


def by_name(path: Path, records: Sequence[Any], facts: FactMap) -> Iterable[tuple[str, Source]]:
    """The sources of one file, one per node where the map takes all records of a node together."""
    together: dict[str, list[Any]] = {}
    for record in records:
        name = facts.name_of(record, f"{path}, {record.position}")
        if facts.per_node:
            together.setdefault(name, []).append(record.data)
        else:
            yield name, Source(f"{path}, {record.position}", [record.data], facts)
    for name, several in together.items():
        yield name, Source(f"{path}, {len(several)} records of {name}", several, facts)
