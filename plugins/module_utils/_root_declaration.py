# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What was declared for a root, reduced to its version: the same declaration gives the same version everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sharing import active_rules
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import Source
from ansible_collections.oneimage.cluster.plugins.module_utils._root_validation import KERNEL_PACKAGES

FORMAT = 1
"""Raised whenever this code makes something else of the same declaration."""

VERSION_DIGITS = 12

BASE_FIELDS = ("suite", "architecture", "variant", "tool", "slim", "revision", "proxy")
"""What a base is made from, besides its packages and its sources."""

DECLARED_FIELDS = (
    *BASE_FIELDS,
    "name",
    "shared",
    "mirror",
    "security_mirror",
    "components",
    "sources",
    "packages",
    "kernel_package",
    "locale",
    "timezone",
    "users",
    "root_password_hash",
    "root_authorized_keys",
    "hosts",
    "mounts",
    "services",
    "skip_rules",
)


def complete(declared: dict[str, Any], host_architecture: str) -> dict[str, Any]:
    """The declaration with the defaults that depend on the architecture."""
    architecture = declared["architecture"] or host_architecture
    kernel = declared["kernel_package"]
    if kernel is None:
        kernel = KERNEL_PACKAGES.get(architecture, "")
    return {**declared, "architecture": architecture, "kernel_package": kernel}


def all_packages(declared: dict[str, Any]) -> list[str]:
    """The packages to install, sorted; what the locale, the time zone and the kernel need is among them."""
    needed = [declared["kernel_package"]] if declared["kernel_package"] else []
    if declared["timezone"] not in ("UTC", "Etc/UTC"):
        needed.append("tzdata")
    if declared["locale"] not in ("C", "C.UTF-8", "POSIX"):
        needed.append("locales")
    return sorted({*declared["packages"], *needed})


def load_files(declared: dict[str, Any]) -> dict[str, bytes]:
    """The content of each declared file by its path in the root; ``src`` is read from this host."""
    contents = {}
    for index, file in enumerate(declared["files"]):
        if file.get("content") is not None:
            contents[file["path"]] = file["content"].encode()
            continue
        try:
            contents[file["path"]] = Path(file["src"]).read_bytes()
        except OSError as error:
            raise ClusterError(
                f"files[{index}].src: cannot read {file['src']} on this host: {error.strerror}"
            ) from error
    return contents


def file_entries(declared: dict[str, Any], contents: dict[str, bytes]) -> list[dict[str, str]]:
    """The declared files with a digest in the place of the content, which may be a secret."""
    entries = []
    for file in declared["files"]:
        shown = {key: file[key] for key in ("path", "mode", "owner", "group")}
        entries.append({**shown, "sha256": hashlib.sha256(contents[file["path"]]).hexdigest()})
    return sorted(entries, key=lambda entry: entry["path"])


def digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:VERSION_DIGITS]


def base_fingerprint(declared: dict[str, Any], sources: Iterable[Source]) -> str:
    """The name of the base in the cache: all that the distribution's packages and their choice depend on, or the image."""
    if declared.get("image_sha256"):
        return digest({"format": FORMAT, "image": declared["image_sha256"]})
    made_from = {field: declared[field] for field in BASE_FIELDS}
    lines = [source.line() for source in sources] + declared["sources"]
    return digest({**made_from, "format": FORMAT, "packages": all_packages(declared), "lines": lines})


def version(declared: dict[str, Any], contents: dict[str, bytes], sources: Iterable[Source]) -> str:
    """The version of the root: a digest of everything declared, file contents, secrets and our own rules included."""
    made_from = {field: declared[field] for field in DECLARED_FIELDS}
    rules = [asdict(rule) for rule in active_rules(declared["skip_rules"], declared["shared"])]
    base = base_fingerprint(declared, sources)
    return digest({**made_from, "base": base, "files": file_entries(declared, contents), "rules": rules})


def without_secrets(declared: dict[str, Any], contents: dict[str, bytes]) -> dict[str, Any]:
    """The declaration as the root's manifest and ``--diff`` show it."""
    shown = {field: declared[field] for field in DECLARED_FIELDS}
    if declared.get("image_sha256"):
        shown["image_sha256"] = declared["image_sha256"]
    shown["files"] = file_entries(declared, contents)
    shown["root_password_hash"] = veil(declared["root_password_hash"])
    shown["users"] = [
        {**user, "password_hash": veil(user.get("password_hash"))} for user in declared["users"]
    ]
    return shown


def veil(value: str | None) -> str | None:
    return "(set)" if value else None
