# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""make under our eyes: all it says goes into a log, what it compiles is counted, its first error is found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_target import Target
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import bound

COMPILED = re.compile(rb"^ {2}(?:CC|AS)(?: \[M\])? +\S|(?:^|\s)-c\s.*-o\s*\S+\.o|(?:^|\s)-o\s*\S+\.o\s.*-c\s")
"""One file: ``  CC [M]  fs/nfs/inode.o``, or as kernels up to 2.4 have it, the whole command."""

PROGRESS = ".oneimage-build.progress"
"""The name of the file, in the build folder, that tells how far a build is."""
ENDED = "ended"
"""The last phase, whatever came of it."""

DEFAULTS = b"\n" * 100_000
"""The answer to every question of oldconfig: its default."""

ERRORS = tuple(
    re.compile(pattern)
    for pattern in (
        # the first pattern that any line has decides, so that a cause comes before what it leads to
        r"^.*No space left on device.*",
        r"^[^\s:][^:]*:\d+(?::\d+)?: (?:fatal )?error: .*",
        r"^[^\s:]*(?:Kconfig|[Cc]onfig\.in)\S*:\d+: ?(?!warning).*",
        r"^\S+: (?:fatal |internal compiler )?error: .*",
        r"^.*(?:undefined reference to|multiple definition of) .*",
        r"^.*: [Ee]rror: .*",
        r"^ERROR: .*",
        r"^.*: (?:command )?not found$",
        r"^\s*\*\*\* (?!end of).+",
        r"^make(?:\[\d+\])?: \*\*\* .*",
    )
)
LONGEST = 300


@dataclass
class Progress:
    """How far a build is, in a small file that anybody may read at any time: ``phase``, ``done``, ``expected``."""

    path: Path
    expected: int | None = None
    phase: str = ""
    done: int = 0
    written: float = 0.0
    interval: float = 1.0

    def enter(self, phase: str) -> None:
        self.phase = phase
        self.write()

    def see(self, line: bytes) -> None:
        if COMPILED.search(line):
            self.done += 1
            if time.monotonic() >= self.written + self.interval:
                self.write()

    def write(self) -> None:
        """A reader that gets nothing, or an old state, gets the next one: no failure is worth ending a build for."""
        self.written = time.monotonic()
        text = json.dumps({"phase": self.phase, "done": self.done, "expected": self.expected})
        temporary = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(OSError):
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.path)


@dataclass
class Make:
    """``lock`` is the descriptor of the build folder's lock, which make and all that it starts keep open.

    So when this process is killed, the next run waits for compilers that outlive it.
    """

    target: Target
    jobs: int
    log: Path
    progress: Progress
    lock: int
    warnings: list[str] = field(default_factory=list)

    def __call__(self, *targets: str, variables: Sequence[str] = (), answers: bytes | None = None) -> None:
        """Raises ClusterError with the first error of what make said."""
        argv = [*self.target.argv(self.jobs), *variables, *targets]
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(argv)}\n".encode())
            start = log.tell()
            code = self.run(argv, log, answers)
        if code:
            with self.log.open("rb") as log:
                log.seek(start)
                lines = log.read().decode("utf-8", "replace").splitlines()
            raise ClusterError(
                f"make {' '.join(targets)} in {self.target.tree.path} failed: {first_error(lines)}; "
                f"all {len(lines)} lines are in {self.log}"
            )

    def run(self, argv: list[str], log: object, answers: bytes | None) -> int:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(answers or b"")
            stdin.seek(0)
            # logic knows no AnsibleModule, so that its run_command is out of reach
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                bound(argv),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.target.tree.path,
                env=self.target.environment(),
                pass_fds=(self.lock,),
            )
        with process:
            for line in process.stdout or ():
                log.write(line)  # type: ignore[attr-defined]
                self.progress.see(line)
        return process.returncode


def first_error(lines: Iterable[str]) -> str:
    """The line that says best why make failed: ``kernel/sched.c:120:5: error: 'x' undeclared``."""
    found: dict[int, str] = {}
    last = "make said nothing"
    for line in lines:
        last = line.strip() or last
        for rank, pattern in enumerate(ERRORS):
            if rank not in found and pattern.match(line):
                found[rank] = line.strip()
                break
        if 0 in found:
            break
    text = found[min(found)] if found else last
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def cores() -> int:
    return max(1, len(os.sched_getaffinity(0)))
