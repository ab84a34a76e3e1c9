# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Files of several owners in one tree: write what changed, remove what is no longer wanted, never touch the rest."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import PARTIAL_PREFIX, sync_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LARGEST = 65536
"""Bytes of the largest file that can be ours; loaders and kernels that lie beside them are not read."""


@dataclass(frozen=True)
class Present:
    """What lies under a name; ``content`` and ``owner`` are None for what is not ours."""

    owner: str | None = None
    content: bytes | None = None
    replaceable: bool = True


@dataclass(frozen=True)
class Change:
    """One file before and after; None where there is none."""

    path: str
    before: bytes | None
    after: bytes | None

    @property
    def verb(self) -> str:
        if self.after is None:
            return "removed"
        return "added" if self.before is None else "changed"


def scan(
    directory: Path, folders: Iterable[str], owner_of: Callable[[bytes], str | None]
) -> dict[str, Present]:
    """All that lies in ``folders`` of ``directory``, by relative path; raises ClusterError where it cannot be read."""
    found: dict[str, Present] = {}
    for folder in folders:
        try:
            with os.scandir(directory / folder) as items:
                for item in items:
                    if not item.name.startswith(PARTIAL_PREFIX):
                        found[f"{folder}/{item.name}"] = look(item, owner_of)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ClusterError(f"cannot read {directory / folder}: {error.strerror}") from error
    return found


def look(item: os.DirEntry[str], owner_of: Callable[[bytes], str | None]) -> Present:
    """A link is never ours: whoever made it decides where it leads."""
    status = item.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return Present(replaceable=stat.S_ISLNK(status.st_mode))
    if status.st_size > LARGEST:
        return Present()
    content = Path(item.path).read_bytes()
    owner = owner_of(content)
    return Present(owner, content if owner else None)


def plan(
    present: Mapping[str, Present],
    wanted: Mapping[str, bytes],
    shared: Mapping[str, bytes],
    *,
    owner: str,
    shared_owner: str,
    replace_foreign: bool = False,
) -> list[Change]:
    """What to do to ``present`` so that ``owner`` has ``wanted`` and nothing else: writes first, removals last.

    ``shared`` files belong to all owners: each may write them, the last one to leave a folder removes them.
    Raises ClusterError that names the foreign files in the way.
    """
    goal = {**wanted, **shared}
    refuse_foreign(present, wanted, shared, {owner}, {shared_owner}, replace_foreign)
    writes = [
        Change(path, present[path].content if path in present else None, content)
        for path, content in goal.items()
        if path not in present or present[path].content != content
    ]
    others = {
        path.split("/")[0] for path, file in present.items() if file.owner not in (None, owner, shared_owner)
    }
    removals = [
        Change(path, file.content, None)
        for path, file in sorted(present.items())
        if path not in goal
        and (file.owner == owner or (file.owner == shared_owner and path.split("/")[0] not in others))
    ]
    return writes + removals


def refuse_foreign(
    present: Mapping[str, Present],
    wanted: Mapping[str, bytes],
    shared: Mapping[str, bytes],
    owners: set[str],
    shared_owners: set[str],
    replace_foreign: bool,
) -> None:
    """Raise ClusterError if somebody else's file, or what is no file, lies where ours must."""
    problems = []
    for paths, allowed in ((wanted, owners), (shared, shared_owners)):
        for path in paths:
            file = present.get(path)
            if file is None or file.owner in allowed:
                continue
            if not file.replaceable:
                problems.append(f"{path} is no file: remove it")
            elif file.owner is not None:
                problems.append(f'{path} belongs to the owner "{file.owner}"')
            elif not replace_foreign:
                problems.append(f"{path} was not written by this module: remove it, or set replace_foreign")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ClusterError("; ".join(problems[:5]) + more + "; nothing was written")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other runs out of ``directory`` while its files are compared and written."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def apply(directory: Path, changes: Sequence[Change]) -> None:
    """Do ``changes`` in their order; raises ClusterError where the disk refuses.

    All new files are complete on the disk before the first of them is renamed onto its name, so that a full disk
    changes nothing, and a kill leaves each name with its old file or its new one.
    """
    folders = sorted({(directory / change.path).parent for change in changes})
    try:
        for folder in folders:
            make_folder(folder)
        staged = [
            (stage(directory / change.path, change.after), change)
            for change in changes
            if change.after is not None
        ]
        for partial, change in staged:
            partial.replace(directory / change.path)
        for change in changes:
            if change.after is None:
                (directory / change.path).unlink()
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        remove_partial(folders)
        raise ClusterError(f"cannot write {error.filename}: {error.strerror}") from error


def stage(path: Path, content: bytes) -> Path:
    """A complete file beside ``path``, on the disk, under a temporary name."""
    partial = path.parent / f"{PARTIAL_PREFIX}{path.name}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
    return partial


def remove_partial(folders: Iterable[Path]) -> None:
    """Remove what a killed or failed run left; what cannot be removed does no harm."""
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as items:
            for item in items:
                if item.name.startswith(PARTIAL_PREFIX):
                    os.unlink(item.path)


def make_folder(folder: Path) -> None:
    """A folder that the TFTP and HTTP servers can enter, whatever the umask."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)
