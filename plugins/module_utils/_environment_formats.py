# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Every format of a description: recognise, read, write, convert in any direction through one dict."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check, complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_format_31 import read_31, write_31
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_format_kadeploy2 import (
    read_kadeploy2,
    write_kadeploy2,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_format_yaml import (
    read_yaml,
    write_33,
    write_current,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import Reading, Written
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@dataclass(frozen=True)
class Format:
    """How one generation of Kadeploy reads and writes descriptions; ``mark`` is a line that only it has."""

    read: Callable[[str, str], list[Reading]]
    write: Callable[[Mapping[str, Any]], Written]
    mark: re.Pattern[str] | None = None


FORMATS: dict[str, Format] = {
    "kadeploy2": Format(
        read_kadeploy2,
        write_kadeploy2,
        re.compile(r"^\s*(?:filebase|filesite|kernelpath|initrdpath|fdisktype)\s*=", re.MULTILINE),
    ),
    "3.1": Format(
        read_31,
        write_31,
        re.compile(r"^(?:tarball|environment_kind|fdisktype|demolishing_env)\s*:", re.MULTILINE),
    ),
    "3.3": Format(read_yaml, write_33),
    "current": Format(read_yaml, write_current),
}


def recognise(text: str) -> str:
    """The name of the format of ``text``; what has the marks of no other is current YAML."""
    return next((name for name, form in FORMATS.items() if form.mark and form.mark.search(text)), "current")


def read(text: str, name: str = "auto", where: str = "description") -> list[Reading]:
    """Every description in ``text``; raises ClusterError if there is none, or with the place of what cannot be read."""
    readings = FORMATS[recognise(text) if name == "auto" else name].read(text, where)
    if not readings:
        raise ClusterError(f"{where}: there is no description in it")
    return readings


def latest(readings: list[Reading], version: int | None = None, where: str = "description") -> Reading:
    """The reading of ``version``, or of the highest; raises ClusterError if two of one version differ."""
    versions = [reading.description.get("version", 1) for reading in readings]
    if len(readings) == 1 and version is None:
        return readings[0]
    numbers = [number for number in versions if isinstance(number, int)]
    wanted = max(numbers, default=1) if version is None else version
    found = [reading for reading, number in zip(readings, versions) if number == wanted]
    if not found:
        raise ClusterError(f"{where}: no version {wanted} in it; there are {', '.join(map(str, versions))}")
    if any(other.description != found[0].description for other in found):
        raise ClusterError(f"{where}: several descriptions with version {wanted}; give one of them")
    return found[0]


def write(description: Mapping[str, Any], name: str) -> Written:
    """``description``, which must be right, for target ``name``; raises ClusterError as ``check`` does."""
    check(description, f"environment {description.get('name', '')}".strip())
    return FORMATS[name].write(complete(description))
