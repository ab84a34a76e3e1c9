# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sequence of JSON records in a shared folder, to which several nodes append without a lock.

Each record is a file named by its number. To append is to link a complete file to the next number: the file system lets exactly
one node do that, so that no lock is left behind by a node that dies, and a reader never sees half a record.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Callable

Record = dict[str, Any]

KEPT = 100  # records; far more than can be appended while one reader looks


class Ledger:
    """The records of one folder, which is made by the first append."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def last(self) -> tuple[int, Record]:
        """Number and text of the newest record; (0, {}) where there is none."""
        try:
            number = max((int(name) for name in os.listdir(self.folder) if name.isdigit()), default=0)
        except FileNotFoundError:
            return 0, {}
        record = self._read(number) if number else {}
        while True:  # the listing may be a second old, opening a file that is not there yet asks the server
            newer = self._read(number + 1)
            if newer is None:
                break
            number, record = number + 1, newer
        return (number, record) if record is not None else (0, {})

    def append(self, record: Record, after: int) -> bool:
        """Whether this record became number `after` + 1: false where another node was faster."""
        os.makedirs(self.folder, exist_ok=True)
        written = os.path.join(self.folder, f".{os.uname().nodename}-{os.getpid()}-{time.monotonic_ns()}")
        with open(written, "w", encoding="utf-8") as file:
            json.dump(record, file, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        try:
            with contextlib.suppress(FileExistsError):
                os.link(written, self._path(after + 1))
            # A link whose answer was lost is told as one that exists: the number of names knows better.
            mine = os.stat(written).st_nlink > 1
        finally:
            os.unlink(written)
        if mine:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(after + 1 - KEPT))
        return mine

    def change(self, change: Callable[[Record], Record]) -> Record:
        """Append what `change` makes of the newest record, as often as others are faster; nothing where it changes nothing."""
        while True:
            number, record = self.last()
            changed = change(record)
            if changed == record or self.append(changed, number):
                return changed

    def remove(self, number: int) -> None:
        """Forget the records up to this one. One that another node appended meanwhile stays, and the folder with it."""
        with contextlib.suppress(FileNotFoundError):
            # the newest one last: a reader must not take an older one for it
            for name in sorted(os.listdir(self.folder)):
                if name.isdigit() and int(name) <= number:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(self.folder, name))
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)

    def _path(self, number: int) -> str:
        return os.path.join(self.folder, f"{number:08d}")

    def _read(self, number: int) -> Record | None:
        try:
            with open(self._path(number), encoding="utf-8") as file:
                record: Record = json.load(file)
                return record
        except FileNotFoundError:
            return None
