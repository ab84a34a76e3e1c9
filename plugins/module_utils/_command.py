# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Run programs as argv lists; a failure becomes one clear error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

TAIL_LINES = 8
"""How many of the last lines of a failed program's output an error quotes."""


def require(*programs: str, package: str | None = None) -> None:
    """Raise ClusterError naming every program that is not on PATH, and the Debian package that holds it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        remedy = f"; install the package {package}" if package else ""
        raise ClusterError(f"not found on this host: {', '.join(missing)}{remedy}")


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    cwd: str | None = None,
    accept: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run ``argv`` in the C.UTF-8 locale and return its output as bytes.

    ``environment`` is added to this process's own; ``timeout`` is in seconds; ``accept`` holds the exit codes
    that are no failure. Raises ClusterError with the program's name, its exit code and the end of what it printed.
    """
    try:
        # logic knows no AnsibleModule, so that its run_command is out of reach
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            timeout=timeout,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"cannot run {argv[0]}: not found on this host") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{argv[0]} gave no answer within {timeout:g} s and was ended") from error
    if done.returncode not in accept:
        raise ClusterError(
            f"{argv[0]} failed with exit code {done.returncode}: {tail(done.stderr or done.stdout)}"
        )
    return done


def tail(output: bytes) -> str:
    """The last lines of a program's output on one line, for an error message."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return " | ".join(lines[-TAIL_LINES:]) or "it printed nothing"
