"""A package archive with one package, made by dpkg-deb: a program and a file with another owner, nothing to depend on."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

NAME = "oneimage-probe"
PROGRAM = f"/usr/bin/{NAME}"
CONTROL = f"""Package: {NAME}
Version: 1.0
Architecture: all
Maintainer: The oneimage.cluster founders <root@localhost>
Description: answers that it was installed
"""


def make(folder: Path) -> Path:
    """The flat archive that apt reads by ``deb [trusted=yes] http://… ./``; returns its folder."""
    tree, archive = folder / "tree", folder / "archive"
    archive.mkdir()
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL)
    program = tree / PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho probed\n")
    program.chmod(0o755)
    package = archive / f"{NAME}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True, capture_output=True
    )
    content = package.read_bytes()
    listed = f"{CONTROL}Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (archive / "Packages").write_text(listed)
    return archive
