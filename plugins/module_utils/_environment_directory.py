# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The embedded registry: a directory, whose descriptions appear, change and go by one rename each.

``environments/OWNER/NAME/VERSION.yml`` is a description, ``images/`` the store of images, ``in_use/OWNER/NAME/VERSION/``
has one file for each holder. Readers take no lock: whatever they see is whole, and its image is there, since the
description comes last and goes first. Writers take the lock of the registry one after the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import (
    PARTIAL_PREFIX,
    partial_file,
    sync_folder,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check, complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_image import url_faults
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import bare_path
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Image,
    Listing,
    Registry,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_store import (
    ImageStore,
    give,
    image_problems,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import (
    read_mapping,
    write_document,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MODES = {"public": 0o644, "shared": 0o644, "private": 0o600}
"""A description's mode by visibility: that others find a shared one by its owner only is a rule of the lookup."""

VERSION_FILE = re.compile(r"(0|[1-9][0-9]{0,9})\.yml")
NOT_IN_NAMES = re.compile(r"[/%\x00-\x1f\x7f]|^\.")
LONGEST_NAME = 200
"""Bytes of a file name, with room for what a partial file adds."""


def encode(name: str) -> str:
    """``name`` as a file's name: the same, but for a slash, a per cent sign and a dot in front."""
    encoded = NOT_IN_NAMES.sub(lambda match: f"%{ord(match.group()):02X}", name)
    if len(encoded.encode()) > LONGEST_NAME:
        raise ClusterError(
            f"the name {name[:40]!r}... is longer than {LONGEST_NAME} bytes, too long for a directory"
        )
    return encoded


class DirectoryRegistry(Registry):
    """``url`` is where the directory is served; without it images are named by their path, ``server://``."""

    kind = "directory"
    target = "current"

    def __init__(self, path: Path, url: str | None = None) -> None:
        if not path.is_absolute():
            raise ClusterError(f"registry {path}: give an absolute path")
        self.path = path
        self.url = url.rstrip("/") if url else None
        self.environments = path / "environments"
        self.in_use = path / "in_use"
        self.store = ImageStore(path / "images")

    def place(self, entry: Entry) -> str:
        return str(self.environments / entry.owner / encode(entry.name) / f"{entry.version}.yml")

    def listing(self, name: str | None = None, owner: str | None = None) -> Listing:
        listing = Listing()
        for owner_folder in folders(self.environments, owner, listing):
            for folder in folders(owner_folder, None if name is None else encode(name), listing):
                self.read_folder(folder, owner_folder.name, unquote(folder.name), listing)
        return listing

    def read_folder(self, folder: Path, owner: str, name: str, listing: Listing) -> None:
        for file in sorted(names_in(folder, listing)):
            version = VERSION_FILE.fullmatch(file)
            if version is None:
                continue
            try:
                text = (folder / file).read_text(encoding="utf-8")
                listing.entries.append(self.read_entry(text, owner, name, int(version[1]), folder / file))
            except FileNotFoundError:
                continue
            except PermissionError:
                listing.hidden += 1
            except (OSError, UnicodeDecodeError) as error:
                listing.faults.append(f"{folder / file}: {error}")
            except ClusterError as error:
                listing.faults.append(str(error))

    def read_entry(self, text: str, owner: str, name: str, version: int, path: Path) -> Entry:
        documents = read_mapping(text, str(path))
        description = documents[0]
        if len(documents) != 1 or (description.get("name"), description.get("version")) != (name, version):
            raise ClusterError(f"{path}: does not describe version {version} of {name!r}, where it lies")
        check(description, str(path))
        return Entry(owner, name, version, complete(description), str(path))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self.writing():
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = self.path / ".lock"
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except PermissionError:
                # somebody else's registry in which this user may still write his own
                descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ClusterError(
                f"registry {self.path}: cannot write {error.filename or self.path}: {error.strerror}; "
                "what was published before is untouched"
            ) from error

    def uri(self, place: Path) -> str:
        """What nobody but its owner may read is served to nobody."""
        if self.url and place.parent == self.store.folder:
            return f"{self.url}/{place.relative_to(self.path)}"
        return f"server://{place}"

    def settle(self, description: dict[str, Any], owner: str, image: Image | None) -> dict[str, Any]:
        if image:
            place = self.store.place(owner, description["visibility"], image.sha256, image.suffix)
        else:
            found = self.store.stored(description, owner)
            if found is None or not self.store.copies(found.name, owner):
                return description
            place = found
        return {**description, "image": {**description["image"], "file": self.uri(place)}}

    def local_image(self, description: Mapping[str, Any], owner: str) -> Path | None:
        place = self.store.stored(description, owner)
        return next(iter(self.store.copies(place.name, owner)), None) if place else None

    def lacks_image(self, entry: Entry) -> bool:
        place = self.own_place(entry)
        return place is not None and not os.path.isfile(place)

    def own_place(self, entry: Entry) -> Path | None:
        """Where the image of ``entry`` must lie, None if it is kept elsewhere."""
        place = self.store.stored(entry.description, entry.owner)
        return place if place and entry.description["image"]["file"] == self.uri(place) else None

    def publish(self, entry: Entry, image: Image | None, replaced: Entry | None) -> Entry:
        uid = user_id(entry.owner)
        place = self.own_place(entry)
        with self.writing():
            if place:
                self.bring_image(image, place, entry.owner, uid)
            file = Path(self.place(entry))
            for path in (self.environments, file.parents[1], file.parent):
                make_folder(path, uid if path != self.environments else None)
            with partial_file(file, MODES[entry.visibility]) as temporary:
                temporary.write_text(write_document(entry.description), encoding="utf-8")
                give(temporary, uid)
        return replace(entry, place=str(file))

    def bring_image(self, image: Image | None, place: Path, owner: str, uid: int | None) -> None:
        """From where this registry has it under another visibility, else from the file that is to be published."""
        copies = [
            path
            for path in self.store.copies(place.name, owner)
            if image is None or path.stat().st_size == image.size
        ]
        if place in copies:
            return
        if copies:
            self.store.share(copies[0], place, uid)
        elif image:
            self.store.put(image, place, uid)
        else:
            raise ClusterError(f"registry {self.path}: the image {place.name} is missing; publish it again")

    def remove(self, entry: Entry) -> None:
        file = Path(entry.place)
        with self.writing():
            file.unlink()
            sync_folder(file.parent)
            for folder in (file.parent, file.parent.parent):
                for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
                    leftover.unlink()
                with contextlib.suppress(OSError):  # other versions or names are still there
                    folder.rmdir()

    def holder_folder(self, entry: Entry) -> Path:
        return self.in_use / entry.owner / encode(entry.name) / str(entry.version)

    def holders(self, entry: Entry) -> list[str]:
        try:
            return sorted(unquote(path) for path in os.listdir(self.holder_folder(entry)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ClusterError(f"cannot see who uses {entry.title}: {error}") from error

    def hold(self, entry: Entry, holder: str) -> None:
        folder = self.holder_folder(entry)
        with self.writing():
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            (folder / encode(holder)).touch()
            sync_folder(folder)

    def release(self, entry: Entry, holder: str) -> None:
        folder = self.holder_folder(entry)
        with self.writing():
            (folder / encode(holder)).unlink(missing_ok=True)
            for empty in (folder, folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):  # other holders are still there
                    empty.rmdir()

    def garbage(self, entries: Sequence[Entry]) -> list[str]:
        used = {self.store.stored(entry.description, entry.owner) for entry in entries}
        return [str(path) for path in self.store.garbage({path for path in used if path})]

    def collect(self, places: Sequence[str]) -> None:
        with self.writing():
            for place in places:
                Path(place).unlink(missing_ok=True)

    def verify(self, entry: Entry) -> Iterator[str]:
        promised: dict[str, Any] = entry.description.get("oneimage") or {}
        file = entry.description["image"]["file"]
        place = self.own_place(entry)
        if place:
            yield from image_problems(place, promised)
        elif file.startswith(("http://", "https://")):
            yield from url_faults(file, promised, download=True)
        else:
            yield from image_problems(Path(bare_path(file)), promised)


def folders(parent: Path, only: str | None, listing: Listing) -> list[Path]:
    """The folders in ``parent``, or the one named ``only``."""
    if only is not None:
        return [parent / only]
    names = names_in(parent, listing)
    return [
        parent / name for name in sorted(names) if not name.startswith(".") and os.path.isdir(parent / name)
    ]


def names_in(folder: Path, listing: Listing) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        listing.hidden += 1
        return []
    except OSError as error:
        raise ClusterError(f"cannot read the registry's {folder}: {error.strerror}") from error


def make_folder(path: Path, uid: int | None) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o755)
        give(path, uid)


def user_id(owner: str) -> int | None:
    """The uid that ``owner``'s files get: None where he has no account here, so that they stay this user's.

    Raises ClusterError if this user may not give files to him.
    """
    try:
        uid = pwd.getpwnam(owner).pw_uid
    except KeyError:
        uid = None
    if os.geteuid() not in (0, uid):
        me = pwd.getpwuid(os.geteuid()).pw_name
        raise ClusterError(f"{me} cannot publish for {owner}; only root can publish for others")
    return uid
