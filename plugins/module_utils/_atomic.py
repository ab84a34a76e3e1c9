# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Publish files so that a reader, a crash or a kill sees the old state or the new one, never a mix."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PARTIAL_PREFIX = ".oneimage-partial-"


@contextlib.contextmanager
def partial_file(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield an empty temporary file beside ``path``; renamed onto it when the block ends without an exception.

    Leftovers that a killed run left for the same name are removed first. The bytes are on the disk (fsync)
    before the rename, so that a power cut cannot publish an empty file. Raises ClusterError naming ``path``
    where the folder is missing, not writable or full.
    """
    prefix = f"{PARTIAL_PREFIX}{path.name}-"
    try:
        for leftover in path.parent.glob(f"{glob.escape(prefix)}*"):
            leftover.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    except OSError as error:
        raise ClusterError(f"cannot write {path}: {error.strerror}") from error
    temporary = Path(name)
    try:
        os.close(descriptor)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ClusterError(
            f"cannot write {path}: {error.strerror}; the previous file is untouched"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content`` in one rename; raises ClusterError and keeps the old file where it cannot."""
    with partial_file(path, mode) as temporary:
        temporary.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
