# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy 3.1: one ``key : value`` a line, exactly one blank on each side of the colon."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import CODES, get
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import (
    Loss,
    Reading,
    Written,
    bare_path,
    losses,
    one_line,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LINE = re.compile(r"(\w+) : (.+)", re.ASCII)
"""Kadeploy's own expression; what does not match is ignored without a word."""

PLAIN = {
    "name": "name",
    "description": "description",
    "author": "author",
    "visibility": "visibility",
    "filesystem": "filesystem",
    "environment_kind": "os",
    "kernel": "boot/kernel",
    "kernel_params": "boot/kernel_params",
    "initrd": "boot/initrd",
    "hypervisor": "boot/hypervisor",
    "hypervisor_params": "boot/hypervisor_params",
}
"""Keys whose value is that of a field."""

KEYS = (
    "name", "version", "description", "author", "tarball", "preinstall", "postinstall", "kernel", "kernel_params",
    "initrd", "hypervisor", "hypervisor_params", "fdisktype", "filesystem", "environment_kind", "visibility",
    "demolishing_env",
)  # fmt: skip
"""All keys, in the order in which they are written; another one is fatal."""

MANDATORY = {
    "linux": ("kernel", "fdisktype", "filesystem"),
    "xen": ("kernel", "fdisktype", "filesystem", "hypervisor"),
    "other": ("fdisktype",),
}
"""By ``environment_kind``, besides name and tarball."""

NO_TEXT = {"author": "no author", "description": "no description"}
"""What Kadeploy 3.1 records where there is none."""

TRUE = ("1", "true")


def read_31(text: str, where: str) -> list[Reading]:
    """The one description of ``text``. Raises ClusterError for an attribute or a value that Kadeploy 3.1 refuses."""
    values: dict[str, str] = {}
    warnings: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip("\r")
        match = LINE.fullmatch(line)
        if match is None:
            warnings.extend(ignored_line(line, f"{where}, line {number}"))
            continue
        key, value = match[1], match[2].strip()
        if key not in KEYS:
            raise ClusterError(
                f"{where}, line {number}: {key} is an invalid attribute; known: {', '.join(KEYS)}"
            )
        if key in values:
            warnings.append(f"{where}, line {number}: {key} is there twice; the last one counts")
        values[key] = value
    return [Reading(description_of(values, where), tuple(warnings))]


def ignored_line(line: str, where: str) -> Iterator[str]:
    """Kadeploy says nothing of these lines, which is how a kernel gets lost to a missing blank."""
    if not line.strip() or line.lstrip().startswith("#"):
        return
    key = re.match(r"\s*(\w+)\s*:", line, re.ASCII)
    if key and key[1] in KEYS:
        fault = (
            "has no value" if not line[key.end() :].strip() else "has not one blank on each side of its colon"
        )
        yield f'{where}: Kadeploy 3.1 ignores {key[1]}, which {fault}; write "{key[1]} : VALUE"'
    else:
        yield f"{where}: Kadeploy 3.1 ignores {line.strip()[:60]!r}"


def description_of(values: Mapping[str, str], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {"version": number(values, "version", 10, where) if "version" in values else 0}
    # these two differ from the defaults of the YAML format, so that they must be said
    found["visibility"] = "shared"
    found["destructive"] = values.get("demolishing_env", "0").lower() in TRUE
    for key, path in PLAIN.items():
        if key in values and values[key] != NO_TEXT.get(key):
            put(found, path, values[key])
    if "tarball" in values:
        path, code, _script = archive_parts(values["tarball"], "tarball", where)
        found["image"] = {
            "file": path,
            **dict(zip(("kind", "compression"), image_code(code, "tarball", where))),
        }
    if "preinstall" in values:
        found["preinstall"] = archive(values["preinstall"], "preinstall", where)
    if "postinstall" in values:
        found["postinstalls"] = [
            archive(item, "postinstall", where) for item in values["postinstall"].split(",")
        ]
    if "fdisktype" in values:
        found["partition_type"] = number(values, "fdisktype", 16, where)
    return found


def put(found: dict[str, Any], path: str, value: Any) -> None:
    group, _slash, name = path.rpartition("/")
    (found.setdefault(group, {}) if group else found)[name] = value


def number(values: Mapping[str, str], key: str, base: int, where: str) -> int:
    try:
        return int(values[key], base)
    except ValueError as error:
        kind = "hexadecimal" if base == 16 else "whole"
        raise ClusterError(f"{where}: {key} {values[key]!r} is no {kind} number") from error


def archive_parts(text: str, key: str, where: str) -> tuple[str, str, str]:
    parts = [part.strip() for part in text.split("|", 2)]
    if len(parts) < 2 or not parts[0]:
        raise ClusterError(f"{where}: {key} {text!r} must be PATH|KIND, such as /images/x.tgz|tgz")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else "none"


def image_code(code: str, key: str, where: str) -> tuple[str, Any]:
    if code not in CODES:
        raise ClusterError(f"{where}: {key} has the kind {code!r}; known: {', '.join(CODES)}")
    return CODES[code]


def archive(text: str, key: str, where: str) -> dict[str, Any]:
    path, code, script = archive_parts(text, key, where)
    kind, compression = image_code(code, key, where)
    if kind != "tar":
        raise ClusterError(f"{where}: {key} has the kind {code!r}; an archive is tgz, tbz2 or txz")
    return {"archive": path, "compression": compression, "script": script or "none"}


def write_31(description: Mapping[str, Any]) -> Written:
    """``description``, complete, as text; each value one line."""
    values = {key: value for key, path in PLAIN.items() if (value := get(description, path))}
    found = [*losses(description, "3.1"), *one_line(values, PLAIN), *script_losses(description)]
    image = description["image"]
    values["version"] = str(description["version"])
    values["tarball"] = f"{bare_path(image['file'])}|{code_of(image['kind'], image['compression'])}"
    values["fdisktype"] = f"{description['partition_type']:x}"
    values["demolishing_env"] = str(int(description["destructive"]))
    if "preinstall" in description:
        values["preinstall"] = archive_text(description["preinstall"])
    if description.get("postinstalls"):
        values["postinstall"] = ",".join(map(archive_text, description["postinstalls"]))
    if description["partition_type"] > 0xFF:
        found.append(Loss("partition_type", "Kadeploy 3.1 keeps two hexadecimal digits", True))
    for key in MANDATORY[description["os"]]:
        if key not in values:
            reason = f"Kadeploy 3.1 demands {key} for {description['os']}, whatever the image"
            found.append(Loss(PLAIN.get(key, key), reason, True))
    return Written("".join(f"{key} : {values[key]}\n" for key in KEYS if key in values), tuple(found))


def script_losses(description: Mapping[str, Any]) -> Iterator[Loss]:
    for index, item in enumerate(description.get("postinstalls", [])):
        if "," in item["script"]:
            reason = "Kadeploy 3.1 takes the comma for the end of this post-install"
            yield Loss(f"postinstalls[{index}]/script", reason, True)


def code_of(kind: str, compression: Any) -> str:
    """The short code; one that Kadeploy 3.1 does not know is a loss, and is written so that it is refused, not guessed."""
    codes = {value: code for code, value in CODES.items()}
    return codes.get((kind, compression), f"{'t' if kind == 'tar' else kind}{compression}")


def archive_text(item: Mapping[str, Any]) -> str:
    return f"{bare_path(item['archive'])}|{code_of('tar', item['compression'])}|{item['script']}"
