# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a reader understood and what a writer could not write: the results of conversions between formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import (
    FIELDS,
    TARGETS,
    Target,
    default_of,
    get,
)


@dataclass(frozen=True)
class Reading:
    """A description in the shape of Kadeploy's current YAML, and what its file's owner should know."""

    description: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """A field that the target cannot hold. ``refused``: what is left is refused, or does not deploy the same."""

    field: str
    reason: str
    refused: bool = False


@dataclass(frozen=True)
class Written:
    """A description as text, and what is not in it."""

    text: str
    losses: tuple[Loss, ...] = ()

    @property
    def lost(self) -> list[dict[str, Any]]:
        return [asdict(loss) for loss in self.losses]


def losses(description: Mapping[str, Any], name: str) -> Iterator[Loss]:
    """What target ``name`` of TARGETS cannot hold of a complete ``description``, whatever its writer does."""
    target = TARGETS[name]
    for path in target.lacks:
        if get(description, path) not in (None, default_of(path)):
            yield Loss(path, f"{target.title} has no such field", path == "multipart")
    yield from image_losses(description["image"], target)
    for path, archive in archives(description):
        if archive["compression"] not in target.archives:
            reason = f"{target.title} unpacks {', '.join(target.archives)}, not {archive['compression']}"
            yield Loss(f"{path}/compression", reason, True)
        yield from scheme_losses(f"{path}/archive", archive["archive"], target)
    for path, length in target.lengths.items():
        if len(get(description, path) or "") > length:
            yield Loss(path, f"longer than {length} characters, at which {target.title}'s database ends")
    if name != "current":
        unknown = [field for field in description if field not in FIELDS or field == "oneimage"]
        yield from (Loss(field, f"{target.title} does not know it") for field in unknown)


def image_losses(image: Mapping[str, Any], target: Target) -> Iterator[Loss]:
    yield from scheme_losses("image/file", image["file"], target)
    if image["kind"] not in target.kinds:
        yield Loss("image/kind", f"{target.title} has no kind {image['kind']}", True)
        return
    known = target.kinds[image["kind"]]
    if known is not None and image["compression"] not in known:
        advice = f"{target.title} unpacks {', '.join(known)}; recompress the image"
        yield Loss("image/compression", f"{image['compression']} is unknown: {advice}", True)


def archives(description: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Pre- and post-installs with their paths."""
    if "preinstall" in description:
        yield "preinstall", description["preinstall"]
    for index, archive in enumerate(description.get("postinstalls", [])):
        yield f"postinstalls[{index}]", archive


def scheme_losses(path: str, uri: str, target: Target) -> Iterator[Loss]:
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in target.schemes:
        return
    if scheme in ("server", "local"):
        yield Loss(
            path, f"{target.title} knows no {scheme}://; the path alone is written, for the server to read"
        )
    else:
        yield Loss(path, f"{target.title} cannot fetch {scheme}://", True)


def bare_path(uri: str) -> str:
    """``uri`` without the schemes that mean a path; others are left."""
    for scheme in ("server://", "local://"):
        if uri.startswith(scheme):
            return uri[len(scheme) :]
    return uri


def one_line(values: dict[str, str], fields: Mapping[str, str], marks: str = "") -> Iterator[Loss]:
    """Make each of ``values`` one line, and find those with one of ``marks``; ``fields`` are the fields of the keys."""
    for key, value in values.items():
        field = fields.get(key, key)
        line = " ".join(value.split()) if any(char in value for char in "\r\n\t") else value.strip()
        if line != value:
            yield Loss(field, "line breaks and blanks around a value cannot be written")
        for mark in marks:
            if mark in line:
                yield Loss(field, f"a {mark} cannot be written: it begins a comment", True)
        values[key] = line
