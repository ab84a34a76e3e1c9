# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""Where a kernel's source comes from: a package, an archive here or elsewhere, a git repository."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import typing as t
import urllib.error
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_compress
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row

ADDRESS = re.compile(r"^(https?|ftp|file)://")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
PACKAGE_VERSION = re.compile(r"[A-Za-z0-9.+:~-]+")
SOURCES = "/usr/src"
"""Where Debian's linux-source-* packages put their archive."""
APT_GET = ("apt-get", "-o", "APT::Sandbox::User=root")
TIMEOUT = 60
LONGEST_FETCH = 7200
"""Seconds, the first without an answer, the second for all of it."""
PIECE = 1 << 20

# --no-same-permissions: the archive's owner may have had any umask, and /usr/src is read by everybody
TAR = (
    "tar",
    "--extract",
    "--file=-",
    "--no-same-owner",
    "--no-same-permissions",
    "--delay-directory-restore",
)
UNSAFE = re.compile(rb"Removing leading `|Member name contains '\.\.'|contains a '\.\.'")

GIT_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    # a transport such as ext:: would run a command
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True)
class Origin:
    """One source, told apart from every other by ``facts`` (kind and what fixes its bytes)."""

    facts: dict[str, str]
    shown: str

    def unpack(self, folder: Path) -> None:
        """Bring the source into the empty ``folder``; raises ClusterError."""
        raise NotImplementedError


@dataclass(frozen=True)
class Archive(Origin):
    path: Path = Path()
    address: str = ""
    cache: Path = Path()

    def unpack(self, folder: Path) -> None:
        unpack_archive(self.fetched(), folder)

    def fetched(self) -> Path:
        return download(self.address, self.facts["sha256"], self.cache) if self.address else self.path


@dataclass(frozen=True)
class Package(Origin):
    name: str = ""

    def unpack(self, folder: Path) -> None:
        if installed_version(self.name) == self.facts["version"]:
            unpack_archive(installed_archive(self.name), folder)
            return
        wanted = f"{self.name}={self.facts['version']}"
        # a folder of its own beside the tree: apt-get puts the package where it stands
        scratch = folder.with_name(f"{folder.name}.package")
        with scratch_folder(scratch):
            try:
                # apt's own user cannot write here
                run([*APT_GET, "download", wanted], cwd=str(scratch), timeout=LONGEST_FETCH)
            except ClusterError as error:
                raise ClusterError(f"package: cannot fetch {wanted}: {error}; try apt-get update") from error
            (package,) = scratch.glob("*.deb")
            run(["dpkg-deb", "--extract", str(package), str(scratch / "content")])
            unpack_archive(archive_in(scratch / f"content{SOURCES}", self.name), folder)


@dataclass(frozen=True)
class Repository(Origin):
    address: str = ""
    ref: str = ""

    def unpack(self, folder: Path) -> None:
        commit = self.facts["commit"]
        git("init", "--quiet", "--template=", str(folder))
        fetch = ("-C", str(folder), "fetch", "--quiet", "--no-tags")
        try:
            git(*fetch, "--depth=1", "--", self.address, commit)
        except ClusterError:
            # a server may give out names only: all that the name leads to, then
            git(*fetch, "--", self.address, self.ref if self.ref != commit else "+refs/*:refs/fetched/*")
        git("-C", str(folder), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit)
        # with it, a build would call the kernel by the repository's state, and a patch makes that "dirty"
        shutil.rmtree(folder / ".git")


def find_origin(options: Mapping[str, Any], known: Mapping[str, str] | None) -> Origin:
    """The declared source; ``known`` are the facts of the tree that is there, None where there is none.

    Reads local archives to the end and asks apt's lists or the git server, but fetches and writes nothing.
    Raises ClusterError naming the field.
    """
    if options.get("package"):
        return find_package(options["package"], options.get("package_version"), known or {})
    if options.get("git"):
        return find_repository(options["git"], options["ref"])
    return find_archive(options["archive"], options.get("sha256"), Path(options["cache"]), known or {})


def find_archive(source: str, sha256: str | None, cache: Path, known: Mapping[str, str]) -> Archive:
    if sha256 and not SHA256.fullmatch(sha256):
        raise ClusterError(f"sha256: {sha256[:80]!r} is no SHA-256 sum, which has 64 hexadecimal digits")
    if ADDRESS.match(source):
        if not sha256:
            raise ClusterError(f"sha256: it is missing; what is fetched from {source} must be proven by it")
        facts = {"kind": "archive", "sha256": sha256.lower()}
        return Archive(facts, source, address=source, cache=cache)
    if sha256 and known.get("sha256") == sha256.lower():
        # the tree is made from it, so that the archive itself may be gone
        return Archive({"kind": "archive", "sha256": sha256.lower()}, source, path=Path(source))
    found = digest(Path(source))
    if sha256 and sha256.lower() != found:
        raise ClusterError(f"archive: the sha256 of {source} is {found}, not {sha256}; fetch it again")
    return Archive({"kind": "archive", "sha256": found}, source, path=Path(source))


def digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(PIECE):
                sha256.update(piece)
    except OSError as error:
        raise ClusterError(f"archive: cannot read {path}: {error.strerror}") from error
    return sha256.hexdigest()


def download(address: str, sha256: str, cache: Path) -> Path:
    """The file behind ``address`` in the cache, fetched unless it is there, and proven by its checksum."""
    name = os.path.basename(urllib.parse.urlsplit(address).path) or "source"
    place = cache / f"{sha256[:12]}-{name}"
    if place.is_file() and digest(place) == sha256:
        return place
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"cache: cannot make {cache}: {error.strerror}") from error
    with partial_file(place) as partial, partial.open("wb") as stream:
        found = hashlib.sha256()
        for piece in fetched(address):
            found.update(piece)
            stream.write(piece)
        if found.hexdigest() != sha256:
            raise ClusterError(
                f"archive: the sha256 of {address} is {found.hexdigest()}, not {sha256}; nothing of it was kept"
            )
    return place


def fetched(address: str) -> Iterator[bytes]:
    """What ``address`` holds, piece by piece; raises ClusterError where it cannot be had to its end."""
    try:
        with open_url(address, timeout=TIMEOUT) as answer:
            size, promised = 0, answer.headers.get("Content-Length")
            while piece := answer.read(PIECE):
                size += len(piece)
                yield piece
    except urllib.error.URLError as error:
        raise ClusterError(f"archive: cannot fetch {address}: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ClusterError(f"archive: {address} broke off: {error}; try again") from error
    if promised and size < int(promised):
        raise ClusterError(f"archive: {address} ended after {size} of {promised} bytes; try again")


def unpack_archive(path: Path, folder: Path) -> None:
    """Unpack as nobody's files; raises ClusterError for a damaged archive and for names that lead out of ``folder``."""
    try:
        with path.open("rb", buffering=0) as file:
            compression = _image_compress.recognise(file.read(8))
            file.seek(0)
            tar = Stage([*TAR, f"--directory={folder}"])
            try:
                with row([Stage(_image_compress.decompressor(compression)), tar], stdin=file) as output:
                    output.read()
                    t.cast("t.Any", tar.process).wait()
                    refuse_unsafe(path, tar.said())
            except ClusterError as error:
                remedy = "make room there" if "No space left" in str(error) else "fetch it again"
                raise ClusterError(f"cannot unpack {path} into {folder.parent}: {error}; {remedy}") from error
    except OSError as error:
        raise ClusterError(f"archive: cannot read {path}: {error.strerror}") from error


def refuse_unsafe(path: Path, said: bytes) -> None:
    for line in said.splitlines():
        if UNSAFE.search(line):
            raise ClusterError(f"unsafe: {line.decode('utf-8', 'replace')}")


def find_package(name: str, version: str | None, known: Mapping[str, str]) -> Package:
    if not PACKAGE.fullmatch(name):
        raise ClusterError(f"package: {name!r} is no name of a Debian package")
    if version and not PACKAGE_VERSION.fullmatch(version):
        raise ClusterError(f"package_version: {version!r} is no version of a Debian package")
    if not version and known.get("package") == name:
        # as with any package, a newer one is not taken unless it is asked for
        version = known["version"]
    else:
        require("dpkg-query", "dpkg-deb", "apt-get", "apt-cache", package="apt")
        version = version or installed_version(name) or candidate(name)
    facts = {"kind": "package", "package": name, "version": version}
    return Package(facts, f"package {name} {version}", name=name)


def installed_version(name: str) -> str | None:
    done = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name], accept=(0, 1))
    status, _space, version = done.stdout.decode().partition(" ")
    return version if status == "installed" else None


def candidate(name: str) -> str:
    """The version that apt would install, as its lists on this host know it."""
    for line in run(["apt-cache", "policy", name]).stdout.decode().splitlines():
        field, _colon, value = line.strip().partition(": ")
        if field == "Candidate" and value != "(none)":
            return value
    raise ClusterError(
        f"package: apt knows no package {name} on this host; try apt-get update, and apt-cache search linux-source"
    )


def installed_archive(name: str) -> Path:
    listed = run(["dpkg-query", "--listfiles", name]).stdout.decode().splitlines()
    return only_archive([Path(line) for line in listed], name)


def archive_in(folder: Path, name: str) -> Path:
    return only_archive(list(folder.glob("*")) if folder.is_dir() else [], name)


def only_archive(paths: list[Path], name: str) -> Path:
    found = [path for path in paths if ".tar" in path.suffixes and str(path.parent).endswith(SOURCES)]
    if len(found) != 1:
        raise ClusterError(
            f"package: {name} holds {len(found)} archives in {SOURCES} instead of one; "
            "name the package that holds the source, such as linux-source-6.1"
        )
    return found[0]


def find_repository(address: str, ref: str) -> Repository:
    require("git", package="git")
    for field, value in (("git", address), ("ref", ref)):
        if not value or value.startswith("-"):
            raise ClusterError(f"{field}: {value!r} cannot be meant; it is taken for an option by git")
    commit = ref if COMMIT.fullmatch(ref) else resolve(address, ref)
    return Repository({"kind": "git", "commit": commit}, f"{address} {ref} ({commit[:12]})", address, ref)


def resolve(address: str, ref: str) -> str:
    """The commit that ``ref`` is now; a tag before a branch, as git itself decides."""
    said = git("ls-remote", "--", address, ref, f"{ref}^{{}}").splitlines()
    found = {name: commit for commit, _tab, name in (line.partition("\t") for line in said)}
    for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", f"{ref}^{{}}", ref):
        if name in found:
            return found[name]
    raise ClusterError(f"ref: {address} has no tag or branch {ref!r}")


def git(*words: str) -> str:
    done = run(["git", *words], environment=GIT_ENVIRONMENT, timeout=LONGEST_FETCH)
    return done.stdout.decode("utf-8", "replace")


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[None]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
