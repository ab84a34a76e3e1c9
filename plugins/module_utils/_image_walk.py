# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One walk over a root: what is archived in which order, what is left out and why, and a digest of the state."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_hygiene import (
    LARGEST_SECRET,
    Hygiene,
    Scan,
)


@dataclass
class Tree:
    """Paths are relative to the root, undecodable bytes as surrogates (``os.fsencode`` gives the bytes again)."""

    members: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    linked: dict[str, str] = field(default_factory=dict)
    omitted: list[tuple[str, str]] = field(default_factory=list)
    acted: set[str] = field(default_factory=set)
    secrets: list[tuple[str, str]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    fingerprint: str = ""


@dataclass
class Walk:
    """``own`` are paths that belong to the capture itself; times after ``clamp`` count as ``clamp``."""

    root: Path
    hygiene: Hygiene
    scan: Scan
    own: Callable[[str], bool]
    clamp: int | None = None

    def run(self) -> Tree:
        self.tree = Tree()
        self.digest = hashlib.sha256()
        self.links: dict[tuple[int, int], str] = {}
        pending = [""]
        while pending:
            self.noted: list[str] = []
            folders = self.folder(pending.pop())
            pending.extend(reversed(folders))
            # one call for a folder: a root has 10^5 members
            self.digest.update("".join(self.noted).encode("utf-8", "surrogateescape"))
        self.tree.fingerprint = self.digest.hexdigest()
        return self.tree

    def folder(self, path: str) -> list[str]:
        """Take the entries of one folder; returns its folders, in order."""
        full = os.path.join(self.root, path) if path else str(self.root)
        try:
            with os.scandir(full) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise ClusterError(f"cannot read /{path} of the source: {error.strerror}") from error
        ruled = self.hygiene.restless(path)
        watched = self.scan.where.reaches(path)
        below = f"{path}/" if path else ""
        folders = []
        for entry in found:
            name = below + entry.name
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # a live machine goes on working
            if self.leave(name, status, ruled):
                continue
            if self.neutralise(name, status):
                continue
            try:
                self.note(name, entry.path, status)
            except FileNotFoundError:
                continue
            self.tree.members.append(name)
            if stat.S_ISDIR(status.st_mode):
                folders.append(name)
            elif watched and stat.S_ISREG(status.st_mode):
                self.search(name, entry.path)
        return folders

    def leave(self, name: str, status: os.stat_result, ruled: bool) -> bool:
        if self.own(name):
            return True
        rule = self.hygiene.omits(name, stat.S_ISDIR(status.st_mode)) if ruled else None
        if rule:
            self.tree.acted.add(rule)
        elif stat.S_ISSOCK(status.st_mode):
            rule = "socket"
        if rule:
            self.tree.omitted.append((name, rule))
        return rule is not None

    def neutralise(self, name: str, status: os.stat_result) -> bool:
        """Whether another member takes the place of ``name``."""
        if name in self.hygiene.empty and not (stat.S_ISREG(status.st_mode) and status.st_size == 0):
            self.tree.emptied.append(name)
            rule = self.hygiene.empty[name]
        elif name in self.hygiene.link and stat.S_ISREG(status.st_mode):
            rule, self.tree.linked[name] = self.hygiene.link[name]
        else:
            return False
        self.tree.acted.add(rule)
        # the content is not archived, so that another one is no change
        self.noted.append(f"{name}\0{rule}\0{status.st_mode}\0\0")
        return True

    def note(self, name: str, path: str, status: os.stat_result) -> None:
        """Add one member to the digest: all that the archive holds of it, content by size and times.

        No field is empty and each ends with a zero byte, as does the member: no two states give the same text.
        """
        mode = status.st_mode
        time = status.st_mtime_ns if self.clamp is None else min(status.st_mtime_ns, self.clamp * 10**9)
        if stat.S_ISREG(mode):
            # the time of change betrays content that was written under an old modification time, as packages do
            facts = f"{status.st_size}\0{time}\0{status.st_ctime_ns}\0"
        elif stat.S_ISDIR(mode):
            facts = "" if self.hygiene.restless(name) or self.own(f"{name}/") else f"{time}\0"
        elif stat.S_ISLNK(mode):
            facts = f"{time}\0{os.readlink(path)}\0"
        else:
            facts = f"{time}\0{status.st_rdev}\0"
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            facts += f"/{self.links.setdefault((status.st_dev, status.st_ino), name)}\0"
        try:
            for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
                self.tree.attributes.add(attribute)
                value = os.getxattr(path, attribute, follow_symlinks=False)
                facts += f"{attribute}={value.hex()}\0"
        except OSError:
            pass  # a file system without attributes, or a file that is gone by now
        self.noted.append(f"{name}\0{mode}\0{status.st_uid}\0{status.st_gid}\0{facts}\0")

    def search(self, name: str, path: str) -> None:
        rule = self.scan.candidate(name)
        if rule is None:
            return
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        with open(descriptor, "rb") as stream:
            if self.scan.judge(rule, stream.read(LARGEST_SECRET)):
                self.tree.secrets.append((self.scan.rules[rule].name, name))
