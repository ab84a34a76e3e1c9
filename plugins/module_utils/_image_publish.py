# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Publish an image with its manifest and signature: they appear together, and no kill leaves a file without a name.

An image is written without a name where the file system can do that, so that the kernel takes it back when the
process dies. The old manifest goes before the new image comes: whoever looks in between finds an image without a
manifest, never one beside the manifest of another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import typing as t
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import PARTIAL_PREFIX, sync_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import manifest_path
from ansible_collections.oneimage.cluster.plugins.module_utils._image_signature import SUFFIXES


class Draft:
    """A file that nobody sees yet; ``path`` opens it for other programs while this process lives."""

    def __init__(self, target: Path, mode: int) -> None:
        self.target = target
        self.temporary: Path | None = None
        try:
            self.descriptor = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            self.temporary = partial_name(target)
            self.descriptor = os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.fchmod(self.descriptor, mode)
        with contextlib.suppress(OSError):  # not every file system can
            self.past_the_cache(True)

    def past_the_cache(self, wanted: bool) -> bool:
        """Whether to write straight to the disk; returns whether that changed anything.

        An image is seldom read where it was made, and its way into the page cache took a seventh of a capture's
        processor time. Programs that open ``path`` are not concerned.
        """
        flags = fcntl.fcntl(self.descriptor, fcntl.F_GETFL)
        direct = getattr(os, "O_DIRECT", 0)
        changed = flags | direct if wanted else flags & ~direct
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, changed)
        return changed != flags

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def write(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self.past_the_cache(False):
                    raise  # else it was no whole block, as at the end

    def place(self) -> None:
        """Give the file its name, in one rename where the name is taken."""
        os.fsync(self.descriptor)
        if self.temporary is None:
            folder = os.open(self.target.parent, os.O_RDONLY)
            try:
                # a folder has to be named, else Python calls link(2), which does not follow /proc
                self.temporary = partial_name(self.target)
                os.link(
                    self.path, self.temporary.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True
                )
            finally:
                os.close(folder)
        self.temporary.replace(self.target)

    def close(self) -> None:
        os.close(self.descriptor)
        if self.temporary is not None:
            with contextlib.suppress(OSError):
                self.temporary.unlink()


def partial_name(target: Path) -> Path:
    return target.with_name(f"{PARTIAL_PREFIX}{target.name}-{secrets.token_hex(4)}")


def belongs(target: Path) -> tuple[set[str], str]:
    """The names beside ``target`` that are of the image, and the start of those that a killed run left."""
    names = {target.name, manifest_path(target).name, *(target.name + suffix for suffix in SUFFIXES)}
    return names, f"{PARTIAL_PREFIX}{target.name}"


@contextlib.contextmanager
def drafting(target: Path, mode: int) -> Iterator[Draft]:
    """Yield a draft for ``target``; raises ClusterError where the folder is missing, not writable or full."""
    draft = None
    try:
        for leftover in target.parent.glob(f"{glob.escape(PARTIAL_PREFIX + target.name)}*"):
            leftover.unlink(missing_ok=True)
        draft = Draft(target, mode)
        yield draft
    except OSError as error:
        raise ClusterError(
            f"cannot write {target}: {error.strerror}; the previous image is untouched"
        ) from error
    finally:
        if draft:
            draft.close()


def publish(image: Draft, manifest: bytes, signature: tuple[str, bytes] | None, mode: int) -> None:
    """Name the image, then its manifest and its ``signature`` (suffix, bytes); what was of the old image goes first."""
    target = image.target
    beside: list[tuple[Path, bytes]] = [(manifest_path(target), manifest)]
    if signature:
        beside.append((target.with_name(target.name + signature[0]), signature[1]))
    with contextlib.ExitStack() as stack:
        drafts: list[Draft] = []
        for path, content in beside:
            draft = Draft(path, mode)
            stack.callback(draft.close)
            draft.write(content)
            os.fsync(draft.descriptor)
            drafts.append(draft)
        os.fsync(image.descriptor)
        for old in (manifest_path(target), *(target.with_name(target.name + suffix) for suffix in SUFFIXES)):
            old.unlink(missing_ok=True)
        image.place()
        for draft in reversed(drafts):  # the manifest last: with it, all is there
            draft.place()
        sync_folder(target.parent)


def discard(_piece: t.Any) -> None:
    """Where the bytes go of which only the digest is wanted."""
