# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What the files of an environment were like when Kadeploy last noted their checksums.

Kadeploy shows its checksums to nobody, and to ask whether they still hold is to change them. Where this host sees the
files that the server sees, notes of our own tell it beforehand, in check mode too.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import bare_path
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

TIMEOUT = 30
"""Seconds for a web server to say the ETag of a file."""

PIECE = 1 << 20


def files(description: Mapping[str, Any]) -> dict[str, list[str]]:
    """The URIs whose checksums Kadeploy keeps, by the name of the request that has them read again."""
    preinstall = description.get("preinstall")
    found = {
        "image": [description["image"]["file"]],
        "preinstall": [preinstall["archive"]] if preinstall else [],
        "postinstalls": [post["archive"] for post in description.get("postinstalls", [])],
    }
    return {kind: uris for kind, uris in found.items() if uris}


class Notes:
    """Notes in ``folder``, one file for each version of an environment; without a folder nothing is ever known."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def place(self, folder: Path, entry: Entry) -> Path:
        return folder / quote(entry.owner, safe="") / quote(entry.name, safe="") / f"{entry.version}.json"

    def remember(self, entry: Entry) -> None:
        """Note the files of ``entry`` as they are now; raises ClusterError where the note cannot be written."""
        if self.folder is None:
            return
        file = self.place(self.folder, entry)
        uris = [uri for group in files(entry.description).values() for uri in group]
        seen = {uri: fingerprint(uri) for uri in uris}
        try:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"registry.notes: cannot make {file.parent}: {error.strerror}") from error
        write_file(file, json.dumps(seen, indent=1, sort_keys=True).encode() + b"\n")

    def forget(self, entry: Entry) -> None:
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.place(self.folder, entry).unlink()

    def stale(self, entry: Entry) -> dict[str, bool | None]:
        """By kind, whether a file is not what it was; None where that is unknown."""
        known = self.read(entry)
        found: dict[str, bool | None] = {}
        for kind, uris in files(entry.description).items():
            answers = [differs(uri, known.get(uri)) for uri in uris]
            found[kind] = True if True in answers else None if None in answers else False
        return found

    def read(self, entry: Entry) -> dict[str, Any]:
        if self.folder is None:
            return {}
        try:
            noted = json.loads(self.place(self.folder, entry).read_bytes())
        except (OSError, ValueError):
            # a note that is not there, or torn by hand, says nothing
            return {}
        return noted if isinstance(noted, dict) else {}


def fingerprint(uri: str) -> dict[str, Any] | None:
    """What tells a file from another: size, time and md5, or its ETag; None where this host cannot see it."""
    if uri.startswith(("http://", "https://")):
        etag = etag_of(uri)
        return {"etag": etag} if etag else None
    try:
        path = Path(bare_path(uri))
        status = path.stat()
        return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "md5": md5_of(path)}
    except OSError:
        return None


def differs(uri: str, noted: Any) -> bool | None:
    """Whether the file at ``uri`` is not what was ``noted``; it is read only where its time has changed."""
    if not isinstance(noted, dict):
        return None
    if uri.startswith(("http://", "https://")):
        etag = etag_of(uri)
        return None if etag is None else etag != noted.get("etag")
    try:
        path = Path(bare_path(uri))
        status = path.stat()
        if status.st_size != noted.get("size"):
            return True
        return status.st_mtime_ns != noted.get("mtime_ns") and md5_of(path) != noted.get("md5")
    except OSError:
        return None


def md5_of(path: Path) -> str:
    digest = hashlib.new("md5", usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def etag_of(url: str) -> str | None:
    try:
        with open_url(url, method="HEAD", timeout=TIMEOUT) as answer:
            etag = answer.headers.get("ETag")
            return None if etag is None else str(etag)
    except (OSError, http.client.HTTPException, ValueError):
        return None
