# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Detached signatures of images, made and verified by GnuPG or minisign of the distribution."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@dataclass(frozen=True)
class Tool:
    """``{key}``, ``{file}``, ``{signature}`` are filled in; the first of ``suffixes`` is the one we write."""

    suffixes: tuple[str, ...]
    package: str
    signer: tuple[str, ...]
    verifier: tuple[str, ...]


TOOLS = {
    "gpg": Tool(
        (".asc", ".sig"),
        "gnupg",
        (
            *("gpg", "--batch", "--yes", "--pinentry-mode", "error", "--local-user", "{key}", "--armor"),
            *("--output", "{signature}", "--detach-sign", "{file}"),
        ),
        ("gpgv", "--quiet", "--keyring", "{key}", "{signature}", "{file}"),
    ),
    "minisign": Tool(
        (".minisig",),
        "minisign",
        ("minisign", "-S", "-s", "{key}", "-m", "{file}", "-x", "{signature}", "-t", "file:{name}"),
        ("minisign", "-V", "-q", "-p", "{key}", "-m", "{file}", "-x", "{signature}"),
    ),
}
SUFFIXES = tuple(suffix for tool in TOOLS.values() for suffix in tool.suffixes)
ARMOUR = b"-----BEGIN PGP"


def found(image: Path) -> list[tuple[str, Path]]:
    """The signatures beside ``image``, as (tool, path)."""
    return [
        (name, path)
        for name, tool in TOOLS.items()
        for path in (image.with_name(image.name + suffix) for suffix in tool.suffixes)
        if path.is_file()
    ]


def sign(tool: str, key: str, file: str, name: str) -> bytes:
    """The signature of ``file``, which is to be called ``name``; raises ClusterError in the program's own words.

    No password is asked for: gpg takes it from its agent, a key of minisign has to be made without one (-W).
    """
    chosen = TOOLS[tool]
    require(chosen.signer[0], package=chosen.package)
    descriptor = os.memfd_create("signature")
    try:
        words = {
            "key": key,
            "file": file,
            "name": name,
            "signature": f"/proc/{os.getpid()}/fd/{descriptor}",
        }
        try:
            run([word.format(**words) for word in chosen.signer], timeout=3600)
        except ClusterError as error:
            raise ClusterError(f"signature: cannot sign with the key {key}: {error}") from error
        with open(descriptor, "rb", closefd=False) as stream:
            stream.seek(0)
            return stream.read()
    finally:
        os.close(descriptor)


def verify(tool: str, key: Path, image: Path, signature: Path) -> str | None:
    """None where ``signature`` is a good one by ``key``, else why it is not; raises ClusterError for a missing program.

    ``key`` is a file: a keyring or an exported key for gpg, the public key for minisign.
    """
    chosen = TOOLS[tool]
    require(chosen.verifier[0], package="gpgv" if tool == "gpg" else chosen.package)
    try:
        content = key.read_bytes()
    except OSError as error:
        raise ClusterError(f"signature: cannot read the key {key}: {error.strerror}") from error
    if tool == "gpg" and content.startswith(ARMOUR):
        content = run(["gpg", "--batch", "--dearmor"], stdin=content).stdout
    with (
        tempfile.NamedTemporaryFile() as ring
    ):  # gpgv reads no armour, and looks for relative names in its home
        ring.write(content)
        ring.flush()
        words = {"key": ring.name, "file": str(image), "signature": str(signature)}
        done = run([word.format(**words) for word in chosen.verifier], accept=range(256), timeout=3600)
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
    return " ".join(line.strip() for line in lines if line.strip())[-400:] or "the signature is not good"
