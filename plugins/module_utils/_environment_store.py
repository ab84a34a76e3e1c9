# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Images of a directory registry, each stored once under its sha256 and never written again.

What is public or shared lies in ``images/``, which all may read; what is private in ``images/private/OWNER/``, which
only its owner may enter. An image that becomes visible, or private, gets another name of the same file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import (
    PARTIAL_PREFIX,
    partial_file,
    sync_folder,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import SUFFIXES
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Image
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import (
    manifest_path,
    read_manifest,
    write_manifest,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_publish import discard
from ansible_collections.oneimage.cluster.plugins.module_utils._image_signature import found as signatures
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Taken, take

FICLONE = 0x40049409
"""The ioctl of linux/fs.h that shares another file's blocks until one of them is written."""

NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})\.(?P<suffix>[a-z0-9.]{1,16})")
PRIVATE = "private"


def suffix_of(kind: str, compression: Any) -> str:
    """``tar.zst``, ``dd.gz``, ``fsa``: what a stored image's name ends with."""
    ending = {name: suffix for suffix, name in SUFFIXES}.get(compression)
    return f"{kind}.{ending}" if ending else kind


class ImageStore:
    """The folder ``images`` of a registry. ``uid`` is whose a new file becomes, None for this user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, owner: str, visibility: str, sha256: str, suffix: str) -> Path:
        folder = self.folder / PRIVATE / owner if visibility == "private" else self.folder
        return folder / f"{sha256}.{suffix}"

    def stored(self, description: Mapping[str, Any], owner: str) -> Path | None:
        """Where the image of ``description`` lies if it is one of a store, None otherwise."""
        match = NAME.fullmatch(description["image"]["file"].rpartition("/")[2])
        if match is None or match["sha256"] != (description.get("oneimage") or {}).get("sha256"):
            return None
        return self.place(owner, description["visibility"], match["sha256"], match["suffix"])

    def copies(self, name: str, owner: str) -> list[Path]:
        """Where an image of this ``name`` is now, of those places that ``owner`` may use."""
        places = (self.folder / name, self.folder / PRIVATE / owner / name)
        return [path for path in places if os.path.isfile(path)]

    def put(self, image: Image, target: Path, uid: int | None) -> None:
        """Bring ``image`` to ``target`` in one rename, with its manifest and signatures; nothing if it is there.

        Raises ClusterError if its bytes are not those that were promised, or the disk is full or read-only.
        """
        self.make_folder(target.parent, uid)
        if target.is_file() and target.stat().st_size == image.size:
            return
        with partial_file(target) as temporary:
            taken = copy(image.path, temporary)
            if (taken.sha256, taken.size) != (image.sha256, image.size):
                raise ClusterError(
                    f"{image.path} is not what its manifest says, or changed while it was copied: "
                    f"sha256 {taken.sha256} instead of {image.sha256}; capture it again"
                )
            give(temporary, uid)
        self.put_sidecars(image.path, target, uid)

    def put_sidecars(self, source: Path, target: Path, uid: int | None) -> None:
        manifest = read_manifest(source)
        if manifest:
            write_manifest(target, {**manifest, "file": target.name})
            give(manifest_path(target), uid)
        for _tool, signature in signatures(source):
            with partial_file(target.with_name(target.name + signature.suffix)) as temporary:
                shutil.copyfile(signature, temporary)
                give(temporary, uid)

    def share(self, source: Path, target: Path, uid: int | None) -> None:
        """Give the stored image ``source`` the further name ``target``, with what lies beside it."""
        self.make_folder(target.parent, uid)
        for path in beside(source):
            name = target.with_name(target.name + path.name[len(source.name) :])
            if name.exists():
                continue
            try:
                os.link(path, name)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK):
                    raise
                with partial_file(name) as temporary:
                    copy(path, temporary)
                    give(temporary, uid)
        sync_folder(target.parent)

    def make_folder(self, folder: Path, uid: int | None) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder != self.folder and not folder.is_dir():
            folder.parent.mkdir(mode=0o755, exist_ok=True)
            folder.mkdir(mode=0o700)
            give(folder, uid)

    def names(self) -> Iterator[Path]:
        """Every image, with what a killed writer left behind; nothing that somebody else put there."""
        folders = [self.folder]
        with contextlib.suppress(OSError):
            folders += sorted((self.folder / PRIVATE).iterdir())
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                for path in sorted(folder.iterdir()):
                    if path.name.startswith(PARTIAL_PREFIX) or NAME.fullmatch(image_name(path.name)):
                        yield path

    def garbage(self, used: set[Path]) -> list[Path]:
        """Images, and what lies beside them, that are none of ``used``."""
        return [path for path in self.names() if path.with_name(image_name(path.name)) not in used]


def image_name(name: str) -> str:
    """The name of the image that a file of this ``name`` lies beside, or is."""
    match = NAME.match(name)
    if match is None:
        return name
    for suffix in (".manifest.json", ".asc", ".sig", ".minisig"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def beside(image: Path) -> list[Path]:
    """``image``, its manifest and its signatures, as far as they are there; the image last, so that it comes complete."""
    extra = [manifest_path(image), *(path for _tool, path in signatures(image))]
    return [*(path for path in extra if path.is_file()), image]


def copy(source: Path, target: Path) -> Taken:
    """Copy by sharing blocks where the file system can, else byte by byte; what arrived is hashed either way."""
    with source.open("rb", buffering=0) as reading, target.open("r+b") as writing:
        try:
            fcntl.ioctl(writing.fileno(), FICLONE, reading.fileno())
        except OSError:
            return take(reading, writing.write)
        writing.seek(0)
        return take(writing, discard)


def image_problems(path: Path, promised: Mapping[str, Any]) -> Iterator[str]:
    """How the file at ``path`` differs from ``promised`` (sha256, md5, size, as far as they are there)."""
    try:
        with path.open("rb", buffering=0) as stream:
            taken = take(stream, discard)
    except FileNotFoundError:
        yield f"image {path} is missing"
        return
    except OSError as error:
        yield f"image {path} cannot be read: {error.strerror}"
        return
    for name, found in (("size", taken.size), ("sha256", taken.sha256), ("md5", taken.md5)):
        if promised.get(name) not in (None, found):
            yield f"image {path}: {name} is {found}, promised is {promised[name]}"


def give(path: Path, uid: int | None) -> None:
    """Make ``path`` that user's, if it is not this user's already."""
    if uid is not None and uid != os.geteuid():
        os.chown(path, uid, -1)
