# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which field of a record becomes which variable of a node: JMESPath expressions, given or from a ready-made map."""

from __future__ import annotations

import datetime
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._node_facts_files import Record

SHIPPED = Path(__file__).resolve().parents[2] / "profiles" / "facts"
MAP_FIELDS = {"summary", "records", "name", "per_node", "variables"}
NAME_FIELDS = ("name", "hostname", "host", "node", "fqdn")
"""Where a record's name is looked for when no expression says it."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OWN_PREFIX = "node_"
"""Without a map a record sets only such variables: a file must not set ansible_ssh_common_args."""
VALUE_LIMIT = 10_000
"""Scalars, lists and mappings in one value; YAML aliases can spell billions in a few lines."""
DEPTH_LIMIT = 30
"""Levels of one value; a YAML alias can hold itself."""


@dataclass(frozen=True)
class Expression:
    """A compiled JMESPath expression and what it is for, such as ``facts 1, map, node_mac``."""

    purpose: str
    text: str
    compiled: Any

    def search(self, data: Any, origin: str) -> Any:
        try:
            return self.compiled.search(data)
        except (ValueError, TypeError) as error:  # jmespath's errors are ValueErrors
            raise ClusterError(f"{self.purpose}: {self.text} fails on {origin}: {error}") from error


@dataclass(frozen=True)
class FactMap:
    """per_node: whether the expressions see the list of all records of a node, as where each is one core."""

    expressions: Mapping[str, Expression]
    together: Expression | None
    name: Expression | None
    records: Expression | None
    per_node: bool = False

    @property
    def select(self) -> Any:
        return self.records.search if self.records else None

    def name_of(self, record: Record, origin: str) -> str:
        if self.name is not None:
            found = self.name.search(record.data, origin)
        else:
            found = record.key or next(filter(None, map(record.data.get, NAME_FIELDS)), None)
        if not isinstance(found, str) or not found:
            said = (
                f"{self.name.text} gives {found!r}"
                if self.name
                else f"it has none of {', '.join(NAME_FIELDS)}"
            )
            raise ClusterError(f"{origin} has no node's name: {said}; say with name where it is")
        return found

    def variables(self, records: Sequence[Any], origin: str) -> dict[str, Any]:
        """The variables that one node's ``records`` give; what they do not say is left out."""
        if self.together is None:
            found = own_variables(records[0], origin)
        else:
            data = records if self.per_node else records[0]
            try:
                found = self.together.search(data, origin)
            except ClusterError:
                found = {name: one.search(data, origin) for name, one in self.expressions.items()}
        return {name: plain(value, f"{origin}: {name}") for name, value in found.items() if value is not None}


def own_variables(record: Mapping[Any, Any], origin: str) -> dict[str, Any]:
    """What a record sets without a map: only ``node_*``, and nothing nested, such as a BMC with commands to run."""
    found = {str(key): value for key, value in record.items() if str(key).startswith(OWN_PREFIX)}
    for key, value in found.items():
        check_variable(key, origin)
        if isinstance(value, (Mapping, list)):
            raise ClusterError(
                f"{origin}: {key} is no plain value; to take it as it is, say so with map: {{{key}: {key}}}"
            )
    return found


def fact_map(declaration: Mapping[str, Any], where: str) -> FactMap:
    """The map of one declaration; its own ``name`` and ``records`` go before those of a ready-made map."""
    given = declaration.get("map")
    if given is None:
        said: Mapping[str, Any] = {}
    elif isinstance(given, str):
        said, where = ready_made(given, where), f"{where}, map {given}"
    elif isinstance(given, Mapping) and given:
        said = {"variables": given}
    else:
        raise ClusterError(f"{where}: map is neither a map's name nor a mapping of variables to expressions")
    said = {**said, **{field: declaration[field] for field in ("name", "records") if declaration.get(field)}}
    expressions = {
        check_variable(str(variable), where): compiled(text, f"{where}, {variable}")
        for variable, text in (said.get("variables") or {}).items()
    }
    single = {
        field: compiled(said[field], f"{where}, {field}") for field in ("name", "records") if field in said
    }
    return FactMap(
        expressions,
        joint(expressions, where),
        single.get("name"),
        single.get("records"),
        bool(said.get("per_node")),
    )


def joint(expressions: Mapping[str, Expression], where: str) -> Expression | None:
    """All expressions as one, which is searched in a fraction of the time."""
    if not expressions:
        return None
    members = ", ".join(f"{variable}: {one.text}" for variable, one in expressions.items())
    return compiled(f"{{{members}}}", where)


def compiled(text: Any, purpose: str) -> Expression:
    try:
        import jmespath
    except ImportError as error:
        raise ClusterError(
            f"{purpose}: JMESPath expressions need the Python package jmespath beside Ansible on the controller; "
            "install it (pip install jmespath, or Debian's python3-jmespath)"
        ) from error
    if not isinstance(text, str) or not text.strip():
        raise ClusterError(f"{purpose}: {text!r} is no JMESPath expression")
    try:
        return Expression(purpose, text, jmespath.compile(text))
    except jmespath.exceptions.JMESPathError as error:
        position = getattr(error, "lex_position", getattr(error, "position", None))
        at = "" if position is None else f" at character {position + 1}"
        raise ClusterError(f"{purpose}: {text!r} is no JMESPath expression{at}") from error


def check_variable(name: str, where: str) -> str:
    if not VARIABLE.fullmatch(name) or keyword.iskeyword(name):
        raise ClusterError(f"{where}: {name!r} is no name of a variable; use letters, digits and underscores")
    return name


def ready_made(name: str, where: str) -> Mapping[str, Any]:
    known = {path.stem: path for path in SHIPPED.glob("*.yml")}
    if name not in known:
        raise ClusterError(
            f"{where}: unknown map {name!r}; known: {', '.join(sorted(known))}, or give a mapping"
        )
    said: Mapping[str, Any] = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    return said


def plain(value: Any, origin: str) -> Any:
    """``value`` as types that are JSON; raises ClusterError for others and for more than VALUE_LIMIT of them."""
    budget = VALUE_LIMIT

    def copy(item: Any, depth: int = 0) -> Any:
        nonlocal budget
        budget -= 1
        if budget < 0 or depth > DEPTH_LIMIT:
            raise ClusterError(
                f"{origin} holds more than {VALUE_LIMIT} values or is nested deeper than {DEPTH_LIMIT}"
            )
        if item is None or isinstance(item, (str, bool, int, float)):
            return item
        if isinstance(item, Mapping):
            return {str(key): copy(member, depth + 1) for key, member in item.items()}
        if isinstance(item, list):
            return [copy(member, depth + 1) for member in item]
        if isinstance(item, datetime.date):
            return item.isoformat()
        raise ClusterError(f"{origin} is a {type(item).__name__}, which is no fact")

    return copy(value)
