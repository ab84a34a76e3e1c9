# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Boot a node once from another entry, with no daemon: what was fetched stands in the servers' own logs.

The last initrd of such a boot is a tiny archive of its own, ``once/TOKEN.cpio``. A loader asks for it after the
kernel and the other initrds, so a line of the HTTP or TFTP log that names it proves that this node loaded the whole
entry, whichever loader and initrd it has. The spent token is then noted in the node's own files, which outlive the log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

FOLDER = "once"
SEEN = re.compile(rb"once[/=]([0-9a-f]{12})\b")
ADDRESS = re.compile(rb"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")


def token(node: str, entry: str, once_id: str) -> str:
    """Known before the boot and the same in every run, so that a second run changes nothing."""
    return hashlib.sha256(f"{node}\x00{entry}\x00{once_id}".encode()).hexdigest()[:12]


def token_path(value: str) -> str:
    return f"{FOLDER}/{value}.cpio"


def token_file(marker: str) -> bytes:
    """An archive that adds one small file to the initramfs and carries the owner's marker."""
    return b"".join(_cpio.pack([_cpio.regular("oneimage-once", f"\n{marker}\n".encode())]))


def seen_tokens(logs: Iterable[Path], pending: Mapping[str, str | None]) -> set[str]:
    """The tokens of ``pending`` (token -> the node's address, if known) that a line of ``logs`` shows as fetched.

    With a known address the line must hold it, so that another machine that reads the file spends nothing. A log that
    does not exist yet says nothing; raises ClusterError for one that cannot be read.
    """
    found: set[str] = set()
    for log in logs if pending else ():
        try:
            with log.open("rb") as lines:
                for line in lines:
                    found.update(tokens_of(line, pending))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ClusterError(f"evidence {log}: cannot be read: {error.strerror}") from error
    return found


def tokens_of(line: bytes, pending: Mapping[str, str | None]) -> Iterable[str]:
    for match in SEEN.finditer(line):
        value = match.group(1).decode()
        if value not in pending:
            continue
        address = pending[value]
        if address is None or address.encode() in ADDRESS.findall(line):
            yield value
