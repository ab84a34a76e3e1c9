"""A Kadeploy to register environments with: a stand-in behind kaenv3 or REST, or the real server that is named.

``KADEPLOY_TEST_SERVER`` is the URL of a real server's REST API, or ``kaenv3`` or ``kaenv3:SERVER`` for the client of this
host. ``KADEPLOY_TEST_IMAGES`` is then a directory that the server sees at the same path, in which the tests may write;
``KADEPLOY_TEST_USER`` whom the server takes the tests for, if it is not the user that runs them.
"""

from __future__ import annotations

import json
import os
import pwd
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parent.parent / "stand_ins"
sys.path.insert(0, str(STAND_INS))

from kadeploy_rest import serve
from kadeploy_server import Server, Settings

REAL = os.environ.get("KADEPLOY_TEST_SERVER", "")
ME = pwd.getpwuid(os.geteuid()).pw_name


@dataclass
class Kadeploy:
    """``registry`` are the module's options; ``server`` is the stand-in's inside, None for a real one."""

    registry: dict[str, Any]
    images: Path
    user: str
    server: Server | None = None
    settings: Settings | None = None
    names: list[str] = field(default_factory=list)

    def name(self) -> str:
        """A name that nobody has, gone after the test."""
        self.names.append(f"oneimage-{uuid.uuid4().hex[:12]}")
        return self.names[-1]

    def image(self, content: bytes = b"image") -> Path:
        path = self.images / f"{uuid.uuid4().hex[:12]}.tgz"
        path.write_bytes(content)
        path.chmod(0o644)
        return path

    def described(self, image: Path | str, **more: Any) -> dict[str, Any]:
        """A description with as much in it as Kadeploy 3.3 holds."""
        uri = f"server://{image}" if isinstance(image, Path) else image
        return {
            "description": "My squeeze: à la carte",
            "author": "prenom.nom@monlabo.fr",
            "os": "linux",
            "image": {"file": uri, "kind": "tar", "compression": "gzip"},
            "postinstalls": [{"archive": uri, "compression": "gzip", "script": "traitement.ash /rambin"}],
            "boot": {"kernel": "/boot/vmlinuz", "initrd": "/boot/initrd.img", "kernel_params": "quiet"},
            "filesystem": "ext4",
            "partition_type": 0x83,
            **more,
        }

    def options(self, name: str, description: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "name": name,
            "description": description,
            "check_image": False,
            **more,
        }

    def records(self) -> list[dict[str, Any]]:
        """What the stand-in has recorded, with owners and checksums."""
        assert self.server
        return json.loads(self.server.file.read_text()) if self.server.file.exists() else []


@contextmanager
def stand_in(kind: str, tmp_path: Path, version: str = "3.3", administrators: str = "") -> Iterator[Kadeploy]:
    """``kind``: kaenv3 or rest."""
    state = tmp_path / "kadeploy"
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    settings = Settings(state, version, tuple(filter(None, administrators.split(","))))
    server = Server(settings)
    if kind == "kaenv3":
        program = wrapper(tmp_path, settings)
        yield Kadeploy({"kind": "kadeploy", "program": str(program)}, images, ME, server, settings)
        return
    with serve(settings) as url:
        yield Kadeploy({"kind": "kadeploy", "url": url, "user": "alice"}, images, "alice", server, settings)


def wrapper(folder: Path, settings: Settings) -> Path:
    """The stand-in of kaenv3 with its settings, as one program."""
    program = folder / "kaenv3"
    given = {
        "KADEPLOY_STAND_IN_STATE": str(settings.state),
        "KADEPLOY_STAND_IN_VERSION": settings.version,
        "KADEPLOY_STAND_IN_ADMINISTRATORS": ",".join(settings.administrators),
    }
    exports = "".join(f"export {name}='{value}'\n" for name, value in given.items())
    program.write_text(f"#!/bin/sh\n{exports}exec '{sys.executable}' '{STAND_INS}/kaenv3.py' \"$@\"\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def real_one() -> Kadeploy:
    """The server that KADEPLOY_TEST_SERVER names."""
    user = os.environ.get("KADEPLOY_TEST_USER", ME)
    images = Path(os.environ["KADEPLOY_TEST_IMAGES"])
    if REAL.startswith("kaenv3"):
        server = REAL.partition(":")[2] or None
        return Kadeploy({"kind": "kadeploy", "server": server}, images, ME)
    return Kadeploy({"kind": "kadeploy", "url": REAL, "user": user}, images, user)
