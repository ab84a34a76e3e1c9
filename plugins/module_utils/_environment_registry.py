# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What every registry of environments does, whatever it is made of; and how an environment in one is named."""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SPECIFICATION = re.compile(
    r"(?P<name>.+?)(?:@(?P<owner>[^@:%]+))?(?::(?P<version>[0-9]{1,10}))?(?:%(?P<arch>\w+))?", re.DOTALL
)
"""``name@owner:version%arch``, as Kadeploy's tools take it."""


@dataclass(frozen=True)
class Specification:
    """Which environment somebody means; what is None is left to the rules of the lookup."""

    name: str
    owner: str | None = None
    version: int | None = None
    arch: str | None = None


def parse_specification(text: str) -> Specification:
    """``name[@owner][:version][%arch]``; raises ClusterError for an empty text."""
    match = SPECIFICATION.fullmatch(text)
    if match is None:
        raise ClusterError(
            "an environment is named name, name@owner, name:version or name@owner:version%arch"
        )
    version = int(match["version"]) if match["version"] else None
    return Specification(match["name"], match["owner"], version, match["arch"])


@dataclass(frozen=True)
class Entry:
    """One version of an environment in a registry; ``description`` is complete, ``place`` is where it lies."""

    owner: str
    name: str
    version: int
    description: dict[str, Any]
    place: str = ""

    @property
    def visibility(self) -> str:
        return str(self.description["visibility"])

    @property
    def title(self) -> str:
        return f"{self.name}@{self.owner}:{self.version}"


@dataclass
class Listing:
    """What a registry shows this user. ``faults`` name what cannot be read; ``hidden`` counts what may not be read."""

    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    hidden: int = 0


@dataclass(frozen=True)
class Image:
    """An image file to be published, and what is promised of its bytes. ``suffix``: ``tar.zst`` and the like."""

    path: Path
    sha256: str
    size: int
    suffix: str


@dataclass
class Refresh:
    """What came of looking after checksums: the kinds of files whose checksum was, or would be, brought up to date."""

    updated: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Registry(ABC):
    """A registry. Every method raises ClusterError for what the user can mend.

    Decisions (what is new, what is a new version, what is refused) are made by _environment.py; a registry does what
    it is told. Where nothing is said of holders and garbage, it knows neither.
    """

    kind: str
    target: str
    """The format of TARGETS whose limits hold here."""

    embedded = True
    """It keeps images, knows who uses an environment, and what is garbage."""

    user: str | None = None
    """Whom it takes this process for, None for the user that it runs as."""

    def place(self, entry: Entry) -> str | None:
        """The file that holds the description of ``entry``, if it is one."""
        return None

    @abstractmethod
    def listing(self, name: str | None = None, owner: str | None = None) -> Listing:
        """All that this user may read, or that with one name or owner; no rule of the lookup is applied."""

    def locked(self) -> AbstractContextManager[None]:
        """No other writer of this registry works meanwhile; the default is for registries that see to it themselves."""
        return contextlib.nullcontext()

    def settle(self, description: dict[str, Any], owner: str, image: Image | None) -> dict[str, Any]:
        """``description`` with the ``image/file`` that it will have here, if its image is, or will be, kept here."""
        return description

    def remarks(self) -> list[str]:
        """What ``settle`` had to leave out."""
        return []

    def refresh(self, entry: Entry, check_mode: bool) -> Refresh:
        """Bring what the registry itself noted of the files of ``entry`` up to date, or predict it in check mode."""
        return Refresh()

    def local_image(self, description: Mapping[str, Any], owner: str) -> Path | None:
        """Where on this host the image of ``description`` can be read, as far as the registry knows."""
        return None

    def lacks_image(self, entry: Entry) -> bool:
        """Whether the image of ``entry`` should be kept here, but is not there."""
        return False

    @abstractmethod
    def publish(self, entry: Entry, image: Image | None, replaced: Entry | None) -> Entry:
        """Make ``entry`` visible, in place of ``replaced`` if there is one; all of it or nothing.

        ``image`` is one that must come into the registry first. Only IN_PLACE fields differ from ``replaced`` unless
        the user asked for a replacement. Returns the entry as a reader will see it.
        """

    @abstractmethod
    def remove(self, entry: Entry) -> None:
        """Remove one version."""

    def holders(self, entry: Entry) -> list[str]:
        """Who uses ``entry``, so that it must not be removed."""
        return []

    def hold(self, entry: Entry, holder: str) -> None:
        raise ClusterError(f"a registry of kind {self.kind} cannot note who uses an environment")

    def release(self, entry: Entry, holder: str) -> None:
        raise ClusterError(f"a registry of kind {self.kind} cannot note who uses an environment")

    def garbage(self, entries: Sequence[Entry]) -> list[str]:
        """What nothing refers to if ``entries`` are all environments."""
        return []

    def collect(self, places: Sequence[str]) -> None:
        """Remove what ``garbage`` named."""
        if places:
            raise ClusterError(f"a registry of kind {self.kind} keeps no images")

    @abstractmethod
    def verify(self, entry: Entry) -> Iterator[str]:
        """What is wrong with ``entry``: its image missing, or other than promised. Reads the whole image."""
