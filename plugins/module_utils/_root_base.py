# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The base of a root: the distribution's packages, unpacked and configured, kept in a cache as one archive."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import sync_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run, tail
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_declaration import all_packages
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import (
    NO_SERVICE_STARTS,
    bound,
    in_root,
    isolated,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path, write_path
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import (
    KEYRING,
    Source,
    host_settings,
    serving,
)

SLIM = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
"""What no node reads, in dpkg's words; licences stay."""

ARCHIVE_OPTIONS = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")

FAILURES = (
    (re.compile(r"Unable to locate package (\S+)"), "packages: {0} does not exist in {suite} on the mirror"),
    (
        re.compile(r"Package '?([^' ]+)'? has no installation candidate"),
        "packages: {0} cannot be installed from {suite}",
    ),
    (
        re.compile(r"Version '?(\S+?)'? for '?(\S+?)'? was not found"),
        "packages: {1} has no version {0} in {suite}",
    ),
    (
        re.compile(r"The following signatures couldn't be verified[^:]*: NO_PUBKEY (\S+)"),
        "keyring: lacks the key {0} of the mirror",
    ),
    (re.compile(r"(No space left on device)"), "cache: {0}; make room there or set another"),
    (
        re.compile(r"E: Failed to fetch (\S+)\s+(.*)"),
        "mirror: {0} is in its list but cannot be fetched: {1}; set mirror, and security_mirror where it is whole, to others",
    ),
    (
        re.compile(r"can neither be executed natively nor via qemu()"),
        "architecture: install qemu-user-static to run it on this host",
    ),
)
"""What mmdebstrap, debootstrap and apt print, and the field to mend."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other runs; the kernel lets go of it when this process dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a")
    except OSError as error:
        raise ClusterError(f"cannot write in {folder}: {error.strerror}") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def ensure_base(declared: dict[str, Any], sources: Sequence[Source], archive: Path) -> list[str]:
    """Make ``archive`` unless the cache has it; returns warnings about suites that the mirror lacks."""
    if archive.is_file():
        return []
    with locked(archive.parent):
        if archive.is_file():
            return []
        for leftover in archive.parent.glob(".*.partial"):
            remove_path(leftover)
        partial = archive.parent / f".{archive.name}.partial"
        partial.mkdir()
        try:
            settings = host_settings()
            if declared["proxy"]:
                settings += [
                    f'Acquire::{scheme}::Proxy "{declared["proxy"]}"' for scheme in ("http", "https")
                ]
            answering, warnings = serving(sources, settings, partial)
            make = make_with_mmdebstrap if declared["tool"] == "mmdebstrap" else make_with_debootstrap
            make(declared, answering, settings, partial)
            run(["sync", str(partial / "base.tar.zst")])
            (partial / "base.tar.zst").replace(archive)
            sync_folder(archive.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return warnings


def make_with_mmdebstrap(
    declared: dict[str, Any], sources: Sequence[Source], settings: Sequence[str], partial: Path
) -> None:
    argv = [
        "mmdebstrap",
        "--mode=root",
        "--format=tar",
        f"--variant={declared['variant']}",
        f"--architectures={declared['architecture']}",
        f"--include={','.join(all_packages(declared))}",
        f"--keyring={declared['keyring'] or KEYRING}",
        # a root that is not published yet may be lost in a power cut: dpkg need not wait for the disk
        "--dpkgopt=force-unsafe-io",
        '--aptopt=Acquire::Languages "none"',
        *(f"--aptopt={setting}" for setting in settings),
        *(f"--dpkgopt={line}" for line in (SLIM if declared["slim"] else ())),
        declared["suite"],
        str(partial / "base.tar.zst"),
        *(source.line() for source in sources),
        *declared["sources"],
    ]
    attempt(argv, declared, partial)


def make_with_debootstrap(
    declared: dict[str, Any], sources: Sequence[Source], settings: Sequence[str], partial: Path
) -> None:
    """debootstrap resolves no dependencies between suites: it makes the core, the root's own apt adds the rest."""
    root = partial / "root"
    main = sources[0]
    core = [
        "debootstrap",
        "--variant=minbase",
        f"--arch={declared['architecture']}",
        f"--components={','.join(main.components)}",
        f"--keyring={declared['keyring'] or KEYRING}",
        declared["suite"],
        str(root),
        main.uri,
    ]
    attempt(core, declared, partial)
    lines = [source.line() for source in sources] + declared["sources"]
    write_path(root, "/etc/apt/sources.list", "".join(f"{line}\n" for line in lines).encode(), 0o644)
    write_path(root, "/etc/apt/apt.conf.d/99oneimage-build", apt_settings(settings), 0o644)
    dpkg = "".join(f"{line}\n" for line in ("force-unsafe-io", *(SLIM if declared["slim"] else ())))
    write_path(root, "/etc/dpkg/dpkg.cfg.d/99oneimage-build", dpkg.encode(), 0o644)
    write_path(root, "/usr/sbin/policy-rc.d", NO_SERVICE_STARTS.encode(), 0o755)
    resolver = Path("/etc/resolv.conf")
    write_path(root, "/etc/resolv.conf", resolver.read_bytes() if resolver.exists() else b"", 0o644)
    attempt_in_root(root, ["apt-get", "update", "-qq"], declared)
    attempt_in_root(root, ["apt-get", "dist-upgrade", "-qq", "--yes"], declared)
    attempt_in_root(
        root,
        ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *all_packages(declared)],
        declared,
    )
    if declared["slim"]:
        trim(root)
    pack(root, partial / "base.tar.zst")


def apt_settings(settings: Sequence[str]) -> bytes:
    return "".join(f"{setting};\n" for setting in ('Acquire::Languages "none"', *settings)).encode()


def trim(root: Path) -> None:
    """Remove what debootstrap unpacked before dpkg knew of ``SLIM``."""
    for folder in ("man", "info", "locale"):
        for path in (root / "usr/share" / folder).glob("*"):
            if path.name != "locale.alias":
                remove_path(path)
    for path in (root / "usr/share/doc").glob("*/*"):
        if path.name != "copyright":
            remove_path(path)


def pack(root: Path, archive: Path) -> None:
    run(
        bound(
            [
                "tar",
                "-I",
                "zstd",
                *ARCHIVE_OPTIONS,
                "--one-file-system",
                "-cf",
                str(archive),
                "-C",
                str(root),
                ".",
            ]
        )
    )


def unpack(archive: Path, root: Path) -> None:
    """Unpack a base of the cache; a full disk or a damaged archive is told apart by tar's own words."""
    try:
        run(bound(["tar", "-I", "zstd", *ARCHIVE_OPTIONS, "-xpf", str(archive), "-C", str(root)]))
    except ClusterError as error:
        text = str(error).replace("setpriv", "tar", 1)
        remedy = "make room there" if "No space left" in text else "if the archive is damaged, delete it"
        raise ClusterError(
            f"cannot unpack {archive} into {root}: {text}; {remedy}; the published root is untouched"
        ) from error


def attempt(argv: Sequence[str], declared: dict[str, Any], scratch: Path) -> None:
    """Run a program that makes a root, with its scratch files in ``scratch``, where a killed run's are found again."""
    environment = {"TMPDIR": str(scratch), "INITRD": "No"}
    if declared["proxy"]:
        environment.update(http_proxy=declared["proxy"], https_proxy=declared["proxy"])
    blame(argv[0], run(isolated(argv), environment=environment, accept=range(256)), declared["suite"])


def attempt_in_root(root: Path, argv: Sequence[str], declared: dict[str, Any]) -> None:
    blame(argv[0], in_root(root, argv, accept=range(256)), declared["suite"])


def blame(program: str, done: subprocess.CompletedProcess[bytes], suite: str) -> None:
    """Raise ClusterError for a failed program, naming the field that its output speaks of."""
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    for pattern, message in FAILURES:
        match = pattern.search(output.decode("utf-8", "replace"))
        if match:
            raise ClusterError(
                f"{message.format(*match.groups(), suite=suite)}; the published root is untouched"
            )
    raise ClusterError(
        f"{program} failed with exit code {done.returncode}: {tail(output)}; the published root is untouched"
    )
