# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What can be asked of a Kadeploy server about environments, whether through its client or its REST API."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHECKSUMS = ("image", "preinstall", "postinstalls")
"""The files whose checksums Kadeploy keeps, by the names of its requests."""


@dataclass(frozen=True)
class Record:
    """An environment as Kadeploy shows it; ``owner`` is empty where it does not tell."""

    owner: str
    description: dict[str, Any]


class EnvironmentClient(ABC):
    """Every method raises KadeployError for a refusal, ClusterError for anything else that the user can mend.

    Kadeploy compares names and users with SQL's LIKE, so that ``_`` and ``%`` fit other names too: what comes back is
    more than what was asked for, and a change may hit another record. The caller sees to both.
    """

    title: str
    """How the server is named in errors."""

    user: str
    """Whom the server takes this client for."""

    exports_files: bool
    """Whether the client itself serves files that lie on its host, such as ``/home/me/x.tgz``."""

    @abstractmethod
    def server_version(self) -> str:
        """Such as ``3.3.11.stable``."""

    @abstractmethod
    def records(self, name: str | None, owner: str | None, version: int | None = None) -> list[Record]:
        """All versions that this user may read of environments like ``name``: ``owner``'s, or the own and the public ones."""

    @abstractmethod
    def owners(self, name: str | None, version: int | None = None) -> list[str]:
        """Whose environments like ``name`` this user sees: the own ones, and those of others that are public.

        One element for each environment, in Kadeploy's order.
        """

    @abstractmethod
    def add(self, description: Mapping[str, Any], text: str) -> None:
        """Record ``description`` for this user; ``text`` is the same as YAML."""

    @abstractmethod
    def delete(self, name: str, owner: str, version: int) -> None:
        """Remove one version."""

    @abstractmethod
    def set_visibility(self, name: str, owner: str, version: int, visibility: str) -> None:
        """Change the visibility in place."""

    @abstractmethod
    def toggle_destructive(self, name: str, owner: str, version: int) -> None:
        """Turn the mark ``destructive`` over, in place."""

    @abstractmethod
    def update_checksum(self, name: str, owner: str, version: int, kind: str) -> None:
        """Have Kadeploy read the files of ``kind`` (one of CHECKSUMS) again.

        Raises KadeployError with number NOTHING_MODIFIED where they are the same as before.
        """
