# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which environment is deployed, and its files on the boot server: from a registry, or from a description alone."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._environment import current_user
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check, complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_directory import DirectoryRegistry
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_image import (
    TIMEOUT,
    image_facts,
    url_faults,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_lookup import find
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import bare_path
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Specification,
    parse_specification,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_store import copy, suffix_of
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

KINDS = ("tar", "dd")
REMOTE = ("http://", "https://")


@dataclass(frozen=True)
class Source:
    """An environment to deploy. ``image`` is its file on this host, None for one that has to be fetched first.

    ``sha256`` and ``size`` are those promised, or read; empty and 0 for an image elsewhere of which nothing is promised.
    """

    description: dict[str, Any]
    owner: str
    image: Path | None
    sha256: str
    size: int

    @property
    def title(self) -> str:
        name, version = self.description["name"], self.description.get("version", 1)
        return f"{name}@{self.owner}:{version}" if self.owner else f"{name} (anonymous)"

    @property
    def uri(self) -> str:
        return str(self.description["image"]["file"])


def find_source(options: Mapping[str, Any]) -> tuple[Source, list[str]]:
    """The environment that the option ``environment`` means, and warnings; raises ClusterError for what it lacks."""
    warnings: list[str] = []
    if options.get("description"):
        if options.get("name"):
            raise ClusterError("environment: give a name, or a description, not both")
        warnings = check(options["description"], "environment.description")
        description, owner = complete(options["description"]), ""
        local = None
    elif options.get("name"):
        registry = DirectoryRegistry(Path(options["registry"]))
        entry = find(registry, specification(options), options.get("user") or current_user())
        description, owner = entry.description, entry.owner
        local = registry.local_image(description, owner)
    else:
        raise ClusterError("environment: give the name of one in the registry, or a description")
    if description["image"]["kind"] not in KINDS:
        raise ClusterError(
            f"environment {description['name']}: images of kind {description['image']['kind']} cannot be deployed here,"
            f" only {' and '.join(KINDS)}"
        )
    uri = description["image"]["file"]
    remote = uri.startswith(REMOTE)
    image = local or (None if remote else Path(bare_path(uri)))
    if remote and image is not None and not image.is_file():
        image = None
    source = promised(description, owner, image)
    faults = [*archive_faults(description)]
    if image is None:
        faults += url_faults(uri, description.get("oneimage") or {}, False)
    if faults:
        raise ClusterError(f"environment {description['name']}: {'; '.join(faults)}")
    return source, warnings


def specification(options: Mapping[str, Any]) -> Specification:
    """``name`` may be name@owner:version%arch; owner and version may be options of their own."""
    found = parse_specification(options["name"])
    version = found.version if options.get("version") is None else options["version"]
    return Specification(found.name, options.get("owner") or found.owner, version, found.arch)


def promised(description: dict[str, Any], owner: str, image: Path | None) -> Source:
    """With size and checksum of the image: those of the description, else those of the file itself."""
    known = description.get("oneimage") or {}
    if image is not None:
        facts = known if known.get("sha256") and known.get("size") else image_facts(image)["oneimage"]
        try:
            size = image.stat().st_size
            with image.open("rb"):
                pass
        except OSError as error:
            raise ClusterError(f"cannot read the image {image}: {error.strerror}") from error
        if size != facts["size"]:
            raise ClusterError(
                f"image {image} has {size} bytes, and its environment says {facts['size']}: it is torn, or another one"
            )
        known = facts
    return Source(description, owner, image, str(known.get("sha256") or ""), int(known.get("size") or 0))


def archives(description: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pre- and post-installs that a description names."""
    if description.get("preinstall"):
        yield description["preinstall"]
    yield from description.get("postinstalls") or ()


def archive_faults(description: Mapping[str, Any]) -> Iterator[str]:
    for archive in archives(description):
        uri = archive["archive"]
        if uri.startswith(REMOTE):
            yield from url_faults(uri, {}, False)
        elif not os.access(bare_path(uri), os.R_OK):
            yield f"there is no archive {bare_path(uri)} that can be read"


def image_file(source: Source) -> str:
    """The name under which the nodes find the image."""
    image = source.description["image"]
    return f"image.{suffix_of(image['kind'], image['compression'])}"


def publish_image(source: Source, folder: Path) -> Source:
    """Have the image in ``folder``, which is served to the nodes; a link where that shows it to the web server.

    The link keeps its bytes when the registry removes the environment meanwhile. Raises ClusterError.
    """
    place = folder / image_file(source)
    if source.image is None:
        fetch(source.uri, place, source.sha256)
    else:
        share(source.image, place)
    return (
        replace(source, image=place) if source.sha256 else promised(source.description, source.owner, place)
    )


def share(path: Path, place: Path) -> None:
    """Give ``path`` the further name ``place`` where everybody may read it, else a copy that everybody may."""
    if place.exists() and os.path.samefile(path, place):
        return
    if path.stat().st_mode & 0o004:
        place.unlink(missing_ok=True)
        try:
            os.link(path, place)
            return
        except OSError:
            # another file system
            pass
    with partial_file(place) as temporary:
        copy(path, temporary)


def fetch(url: str, place: Path, sha256: str) -> None:
    """Download ``url``; raises ClusterError where it is not what was promised."""
    with partial_file(place) as temporary:
        try:
            with open_url(url, timeout=TIMEOUT) as answer, temporary.open("wb") as stream:
                shutil.copyfileobj(answer, stream, 1 << 20)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ClusterError(f"cannot fetch {url}: {getattr(error, 'reason', error)}") from error
        if sha256:
            found = image_facts(temporary)["oneimage"]["sha256"]
            if found != sha256:
                raise ClusterError(
                    f"{url} has sha256 {found}, promised is {sha256}: the image there has changed"
                )


def check_served(url: str, content: bytes) -> None:
    """What nodes get at ``url``, which must be ``content``; raises ClusterError before any node is sent there."""
    try:
        with open_url(url, timeout=TIMEOUT, use_proxy=False) as answer:
            same = answer.read(len(content) + 1) == content
    except urllib.error.HTTPError as error:
        raise ClusterError(
            f"boot.url: {url} answers {error.code}; the web server must serve boot.tree there"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ClusterError(
            f"boot.url: {url} does not answer: {getattr(error, 'reason', error)}; is the web server up?"
        ) from error
    if not same:
        raise ClusterError(
            f"boot.url: {url} is not the file in boot.tree; the web server serves another folder"
        )


def bring_archives(description: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The description with every pre- and post-install as a file on this host, fetched where it was not. Raises ClusterError."""

    def local(archive: dict[str, Any], number: int) -> dict[str, Any]:
        if not archive["archive"].startswith(REMOTE):
            return archive
        place = folder / f"archive-{number}"
        fetch(archive["archive"], place, "")
        return {**archive, "archive": f"server://{place}"}

    brought = dict(description)
    if description.get("preinstall"):
        brought["preinstall"] = local(description["preinstall"], 0)
    if description.get("postinstalls"):
        brought["postinstalls"] = [
            local(archive, number) for number, archive in enumerate(description["postinstalls"], 1)
        ]
    return brought
