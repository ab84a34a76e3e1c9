"""Deployments whose micro-steps are programs of the test: hooks in place of each, since no machine is there to be written."""

from __future__ import annotations

import functools
import http.server
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import MICROS

STEP = """#!/bin/sh
# $1 folder, $2 node, $3 micro-step: a file FOLDER/faults/NODE-MICRO or FOLDER/faults/MICRO says what goes wrong
echo "$2 $3" >>"$1/ran"
for fault in "$1/faults/$2-$3" "$1/faults/$3"; do
    [ ! -e "$fault" ] || . "$fault"
done
"""


def nodes(count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"n{n}",
            "mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}",
            "address": f"10.77.{n >> 8}.{n & 255}",
        }
        for n in range(1, count + 1)
    ]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The URL of ``folder``, served on loopback."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Case:
    """A folder with a boot tree, an image and a description; ``options`` make a deployment that only notes its steps."""

    def __init__(self, folder: Path, url: str) -> None:
        """``url`` is where ``folder``/boot is served."""
        self.url = url
        self.folder = folder
        self.deployments = folder / "deployments"
        (folder / "faults").mkdir()
        (folder / "boot" / "images").mkdir(parents=True, exist_ok=True)
        for name in ("vmlinuz", "initrd"):
            (folder / "boot" / "images" / name).write_text(name)
        self.image = folder / "deb.tar.gz"
        self.image.write_bytes(b"not looked into")
        self.step = folder / "step"
        self.step.write_text(STEP)
        self.step.chmod(0o755)
        (folder / "ran").touch()

    def description(self, **more: Any) -> dict[str, Any]:
        return {
            "name": "deb",
            "version": 3,
            "os": "linux",
            "image": {"file": str(self.image), "kind": "tar", "compression": "gzip"},
            "boot": {"kernel": "/vmlinuz", "initrd": "/initrd.img"},
            "filesystem": "ext4",
            "partition_type": 131,
            **more,
        }

    def options(self, count: int = 2, **more: Any) -> dict[str, Any]:
        argv = [str(self.step), str(self.folder), "{node}"]
        return {
            "environment": {"description": self.description()},
            "nodes": nodes(count),
            "boot": {
                "tree": str(self.folder / "boot"),
                "url": self.url,
                "kernel": "images/vmlinuz",
                "initrds": ["images/initrd"],
            },
            "server": "10.77.0.254",
            "broadcast": "http",
            "deployments": str(self.deployments),
            "hooks": {f"instead_of_{micro}": [*argv, micro] for micro in MICROS},
            **more,
        }

    def fault(self, where: str, script: str) -> Path:
        """``where`` is a micro-step, or NODE-MICRO; ``script`` is what its program does then."""
        path = self.folder / "faults" / where
        path.write_text(script)
        return path

    def fail(self, where: str, message: str = "it broke") -> Path:
        return self.fault(where, f"echo {shlex.quote(message)} >&2; exit 1\n")

    def ran(self, node: str = "") -> list[str]:
        lines = [line.split() for line in (self.folder / "ran").read_text().splitlines()]
        return [micro for name, micro in lines if node in ("", name)]
