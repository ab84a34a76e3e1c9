# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Put a finished folder in the place of an older one in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import sync_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""Both from Linux' fcntl.h and fs.h; glibc has the call from 2.28 on."""
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def replace_folder(new: Path, place: Path) -> None:
    """``new`` becomes ``place``; whatever was there is removed afterwards. Both must lie in the same folder.

    At no moment is ``place`` missing or a mix, unless the file system cannot exchange names: then it is missing
    between two renames. Raises OSError.
    """
    old = new
    if not os.path.lexists(place):
        new.rename(place)
    elif not exchange(new, place):
        old = place.with_name(f".{place.name}.removed")
        if os.path.lexists(old):
            remove_path(old)
        place.rename(old)
        new.rename(place)
    sync_folder(place.parent)
    if os.path.lexists(old):
        remove_path(old)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names; False where the C library or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))
