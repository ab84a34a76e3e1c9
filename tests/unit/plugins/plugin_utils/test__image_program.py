"""The program for the node carries all that it imports, and nothing that a node has not."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import zipfile

from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_program import (
    BOOTSTRAP,
    PACKAGE,
    _archive,
    command,
)

PLACE = PACKAGE.replace(".", "/")


def test_the_archive_is_closed_over_imports() -> None:
    with zipfile.ZipFile(io.BytesIO(_archive("_image_manifest"))) as archive:
        names = {name for name in archive.namelist() if not name.endswith("__init__.py")}
    assert names == {f"{PLACE}/{name}.py" for name in ("_image_manifest", "_atomic", "_error")}


def test_the_bootstrap_passes_login_shells() -> None:
    assert not set(BOOTSTRAP) & set("'!\n\\`$")


def test_the_program_runs_from_standard_input_alone() -> None:
    line = command(sys.executable, "_error", "TOKEN").replace("import main;", "import ClusterError;")
    line = line.replace(
        "main(s.readline(),sys.argv[1])", "print(ClusterError.__module__,s.readline(),sys.argv[1])"
    )
    archive = _archive("_error")
    done = subprocess.run(
        shlex.split(line), input=b"%d\n%sjob\n" % (len(archive), archive), capture_output=True, check=True
    )
    assert done.stdout.decode() == f"{PACKAGE}._error b'job\\n' TOKEN\n"
