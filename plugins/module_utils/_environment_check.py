# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Check a description as Kadeploy does, and more; name all faults at once, and complete it with the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import (
    FIELDS,
    LARGEST_VERSION,
    MANDATORY_TOGETHER,
    PARTITION_TYPE_TRAPS,
    URI_SCHEMES,
    Field,
    get,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

TYPES: dict[str, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "dict": (dict, "a mapping"),
    "list": (list, "a list"),
}
OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\Z")


def check(description: Mapping[str, Any], where: str) -> list[str]:
    """Warnings about a description that is right; ``where`` names it in errors.

    Raises ClusterError with every fault: a field that is missing or has another type, a value out of its enumeration,
    a path that is not absolute. Unknown fields are warned of, since a newer Kadeploy may know them.
    """
    faults = [*field_faults(FIELDS, description, ""), *cross_faults(description)]
    if faults:
        raise ClusterError(f"{where}: {'; '.join(faults)}")
    return [*unknown_fields(FIELDS, description, ""), *traps(description)]


def field_faults(fields: Mapping[str, Field], values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, field in fields.items():
        value = values.get(name)
        if value is None or (value == "" and field.mandatory):
            if field.mandatory:
                yield f"{prefix}{name} is mandatory{choice_text(field)}"
        else:
            yield from value_faults(field, value, prefix + name)


def value_faults(field: Field, value: Any, path: str) -> Iterator[str]:
    if field.type == "compression":
        return
    kind, words = TYPES[field.type]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield f"{path} is {shown(value)} but must be {words}{quote_advice(field, value)}"
    elif field.choices and value not in field.choices:
        yield f"{path} is {shown(value)}{choice_text(field)}"
    elif field.type == "int" and not field.least <= value <= field.most:
        yield f"{path} is {value} but must lie between {field.least} and {field.most}"
    elif field.type == "str":
        yield from text_faults(field, value, path)
    elif field.type == "dict" and field.fields:
        yield from field_faults(field.fields, value, path + "/")
    elif field.type == "list":
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield from field_faults(field.fields, item, f"{path}[{index}]/")
            else:
                yield f"{path}[{index}] is {shown(item)} but must be a mapping"


def text_faults(field: Field, value: str, path: str) -> Iterator[str]:
    if field.form not in ("", "line") and value != value.strip():
        yield f"{path} {shown(value)} begins or ends with a blank"
    if field.form and re.search(r"[\x00-\x1f\x7f]", value):
        yield f"{path} {shown(value)} must be one line of printable text"
    elif field.form == "path" and value:
        yield from path_faults(value, path)
    elif field.form == "uri":
        yield from uri_faults(value, path)


def path_faults(value: str, path: str) -> Iterator[str]:
    if not value.startswith("/"):
        yield f"{path} {shown(value)} is relative; give the absolute path, such as {shown('/' + value)}"
    elif ".." in value.split("/"):
        yield f"{path} {shown(value)} has a .. in it; give the path without it"


def uri_faults(value: str, path: str) -> Iterator[str]:
    """The database joins path, kind and checksum by ``|``, and several archives by a comma, with no way to quote them."""
    scheme, colon, rest = value.partition("://")
    if any(char in value for char in "|,"):
        yield f"{path} {shown(value)} has a | or a comma in it, which corrupts Kadeploy's records; rename the file"
    if not colon:
        yield from path_faults(value, path)
    elif scheme not in URI_SCHEMES:
        yield f"{path} {shown(value)}: unknown protocol {scheme!r}; known: {', '.join(URI_SCHEMES)}, or a path alone"
    elif scheme in ("server", "local"):
        yield from path_faults(rest, path)
    elif not valid_host(value):
        yield f"{path} {shown(value)} names no host"


def valid_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def cross_faults(description: Mapping[str, Any]) -> Iterator[str]:
    for condition, needed in MANDATORY_TOGETHER:
        if all(get(description, path) == value for path, value in condition.items()):
            reason = " and ".join(f"{path} {str(value).lower()}" for path, value in condition.items())
            yield from (
                f"{path} is mandatory for {reason}"
                for path in needed
                if get(description, path) in (None, "", [])
            )
    image = description.get("image")
    if isinstance(image, dict) and image.get("compression") is not None:
        yield from compression_faults(image)
    yield from repeated_partitions(get(description, "options/partitions"))


def compression_faults(image: Mapping[str, Any]) -> Iterator[str]:
    value = image["compression"]
    if image.get("kind") == "fsa":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
            yield f"image/compression is {shown(value)}; an fsa image has a level from 0 to 9"
        return
    field = FIELDS["image"].fields["compression"]
    if value not in field.choices:
        yield f"image/compression is {shown(value)}{choice_text(field)}"


def repeated_partitions(partitions: Any) -> Iterator[str]:
    if not isinstance(partitions, list):
        return
    for key in ("id", "device"):
        values = [item.get(key) for item in partitions if isinstance(item, dict)]
        for value in sorted(
            {str(value) for value in values if value is not None and values.count(value) > 1}
        ):
            yield f"options/partitions: {key} {value} is there twice"


def unknown_fields(fields: Mapping[str, Field], values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            yield f"unknown field {prefix}{name} is kept; Kadeploy warns of it and does without"
        elif field.fields and isinstance(value, dict):
            yield from unknown_fields(field.fields, value, f"{prefix}{name}/")
        elif field.fields and isinstance(value, list):
            for index, item in enumerate(value):
                yield from unknown_fields(field.fields, item, f"{prefix}{name}[{index}]/")


def traps(description: Mapping[str, Any]) -> Iterator[str]:
    number = description.get("partition_type")
    if number in PARTITION_TYPE_TRAPS:
        meant = PARTITION_TYPE_TRAPS[number]
        yield (
            f"partition_type {number} is {number:#x} in hexadecimal; "
            f"if fdisk's type {meant:x} was meant, write {meant:#x} or {meant}"
        )


def complete(description: Mapping[str, Any]) -> dict[str, Any]:
    """``description`` with Kadeploy's defaults, without what is empty, in Kadeploy's order, unknown fields at the end.

    Two descriptions mean the same if they are equal when complete.
    """
    return completed(FIELDS, description)


def completed(fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in fields.items():
        value = values.get(name)
        if field.fields and isinstance(value, dict):
            value = completed(field.fields, value)
        elif field.fields and isinstance(value, list):
            value = [completed(field.fields, item) for item in value]
        if value in (None, "", [], {}):
            value = field.default
        if value is not None:
            found[name] = value
    return {**found, **{name: value for name, value in values.items() if name not in fields}}


def check_owner(owner: str) -> str:
    """``owner``, if it can be a user's name; raises ClusterError otherwise."""
    if not OWNER.match(owner):
        raise ClusterError(f"owner {shown(owner)} is no user's name")
    return owner


def check_version(version: int) -> int:
    """``version``, if Kadeploy can hold it; raises ClusterError otherwise."""
    if not 0 <= version <= LARGEST_VERSION:
        raise ClusterError(f"version {version} must lie between 0 and {LARGEST_VERSION}")
    return version


def choice_text(field: Field) -> str:
    return f"; allowed: {', '.join(field.choices)}" if field.choices else ""


def quote_advice(field: Field, value: Any) -> str:
    if field.type == "int" and isinstance(value, str) and value.strip().isdigit():
        return ", so write it without quotes"
    if field.type == "str" and isinstance(value, (int, float)):
        return ", so put it in quotes"
    return ""


def shown(value: Any) -> str:
    """``value`` for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
