# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A program for the node made of the collection's own module_utils: it runs from memory, and leaves no file behind."""

from __future__ import annotations

import ast
import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _error

PACKAGE = "ansible_collections.oneimage.cluster.plugins.module_utils"
FOLDER = Path(_error.__file__).parent
BOOTSTRAP = (
    "import os,sys;"
    's=open(0,"rb",closefd=False);'
    "z=s.read(int(s.readline()));"
    'f=os.memfd_create("oneimage");'
    "os.write(f,z);"
    'sys.path.insert(0,"/proc/self/fd/%d"%f);'
    f"from {PACKAGE}.{{entry}} import main;"
    "main(s.readline(),sys.argv[1])"
)
"""On one line and without single quotes, so that every login shell passes it on."""


def command(python: str, entry: str, token: str) -> str:
    """The shell command that runs ``main(job, token)`` of the module_utils file ``entry`` with what ``program`` gave."""
    # isolated: neither the node's environment nor the folder it starts in can put another module in the way
    return shlex.join([python, "-I", "-c", BOOTSTRAP.format(entry=entry), token])


def program(entry: str, job: dict[str, Any]) -> bytes:
    """What goes to the standard input of ``command``: the code, then the job as one line of JSON."""
    archive = _archive(entry)
    return b"%d\n%s%s\n" % (len(archive), archive, json.dumps(job).encode())


def _archive(entry: str) -> bytes:
    """A zip of ``entry`` and all module_utils that it imports."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        parts = PACKAGE.split(".")
        for depth in range(1, len(parts) + 1):  # Python before 3.13 sees no namespace packages in a zip
            archive.writestr("/".join([*parts[:depth], "__init__.py"]), "")
        waiting, seen = [entry], {entry}
        while waiting:
            name = waiting.pop()
            source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
            archive.writestr("/".join([*parts, f"{name}.py"]), source)
            found = set(_imports(source)) - seen
            seen |= found
            waiting += sorted(found)
    return buffer.getvalue()


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == PACKAGE:
                yield from (alias.name for alias in node.names)
            elif node.module.startswith(f"{PACKAGE}."):
                yield node.module.removeprefix(f"{PACKAGE}.").split(".")[0]
