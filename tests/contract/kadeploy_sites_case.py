"""Sites that run Kadeploy, with nodes: stand-ins behind REST or the commands, with faults, or the real server that is named.

For a real server (see kadeploy_case.py) ``KADEPLOY_TEST_NODES`` names nodes that the tests may deploy and reboot, two at
least, and ``KADEPLOY_TEST_ENVIRONMENT`` a recorded environment of the user that boots on them.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kadeploy_case import ME, REAL, STAND_INS, Settings, serve, wrapper

REAL_NODES = [name for name in os.environ.get("KADEPLOY_TEST_NODES", "").split(",") if name]
REAL_ENVIRONMENT = os.environ.get("KADEPLOY_TEST_ENVIRONMENT", "")
PROGRAMS = ("kadeploy3", "kareboot3", "kapower3", "kaconsole3", "kanodes3", "kastat3")


@dataclass
class Site:
    """``server`` is one of the module's servers; ``state`` is the stand-in's inside."""

    server: dict[str, Any]
    state: Path
    domain: str
    user: str
    image: Path
    environment: dict[str, Any] = field(default_factory=dict)

    def node(self, number: int) -> str:
        return f"node-{number}.{self.domain}"

    def faulty(self, **faults: Any) -> None:
        (self.state / "faults.json").write_text(json.dumps(faults))

    def lines(self, name: str) -> list[str]:
        """Lines of ``requests.jsonl`` (what was started), ``cmd.log`` (what was done to nodes) or ``ended.log``."""
        path = self.state / name
        return path.read_text().splitlines() if path.exists() else []

    def requests(self, kind: str = "deploy") -> list[dict[str, Any]]:
        """What was started, without the power statuses that are only read."""
        found = [json.loads(line) for line in self.lines("requests.jsonl")]
        return [one for one in found if one["operation"] == kind and one.get("status") != "status"]

    def describe(self) -> dict[str, Any]:
        uri = f"server://{self.image}"
        return {
            "name": "squeeze-mine",
            "description": "My squeeze",
            "os": "linux",
            "image": {"file": uri, "kind": "tar", "compression": "gzip"},
            "boot": {"kernel": "/boot/vmlinuz", "initrd": "/boot/initrd.img"},
            "filesystem": "ext4",
            "partition_type": 0x83,
        }

    def registry(self) -> dict[str, Any]:
        if "url" in self.server:
            return {"kind": "kadeploy", "url": self.server["url"], "user": self.user}
        return {"kind": "kadeploy", "program": f"{self.server['programs']}/kaenv3"}


@contextmanager
def site(kind: str, folder: Path, name: str) -> Iterator[Site]:
    """A stand-in, ``kind``: commands or rest."""
    folder.mkdir(parents=True)
    domain = f"{name}.grid5000.fr"
    settings = Settings(folder / "state")
    image = folder / "my.tgz"
    image.write_bytes(b"image")
    if kind == "rest":
        with serve(settings, site=domain) as url:
            yield Site({"name": name, "url": url, "user": "alice"}, settings.state, domain, "alice", image)
        return
    programs = folder / "bin"
    programs.mkdir()
    settings.state.mkdir()
    wrapper(programs, settings)
    for program in PROGRAMS:
        path = programs / program
        lines = [
            "#!/bin/sh",
            f"export KADEPLOY_STAND_IN_STATE='{settings.state}' KADEPLOY_STAND_IN_SITE={domain}",
            f"if [ -e '{folder}/down' ]; then export KADEPLOY_STAND_IN_DOWN=1; fi",
            f"exec '{sys.executable}' '{STAND_INS}/kadeploy_programs.py' {program} \"$@\"",
        ]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    yield Site({"name": name, "programs": str(programs)}, settings.state, domain, ME, image)


def real_server() -> dict[str, Any]:
    """The server that KADEPLOY_TEST_SERVER names."""
    if REAL.startswith("kaenv3"):
        return {"name": "real", "server": REAL.partition(":")[2] or None}
    return {"name": "real", "url": REAL, "user": os.environ.get("KADEPLOY_TEST_USER", ME)}
