# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Files that exist in memory alone, for programs that want paths: a kill leaves nothing of them behind."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._cpio import Content


@dataclass(frozen=True)
class MemoryFile:
    descriptor: int

    @property
    def path(self) -> str:
        """By which a program that this process starts, as the same user, can open it while it is open here."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def write(self, pieces: Iterable[Content]) -> None:
        with open(self.descriptor, "wb", closefd=False) as stream:
            stream.writelines(pieces)

    def read(self) -> Content:
        """All that is in it now; stays when the file is closed."""
        if not os.fstat(self.descriptor).st_size:
            return b""
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)


@contextmanager
def memory_file(*pieces: Content) -> Iterator[MemoryFile]:
    """A file with ``pieces`` in it, gone when the block ends."""
    descriptor = os.memfd_create("oneimage")
    try:
        file = MemoryFile(descriptor)
        file.write(pieces)
        yield file
    finally:
        os.close(descriptor)
