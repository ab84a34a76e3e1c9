"""A tiny image with a kernel and an initrd in it, and the options that register it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

DESCRIBED = {
    "os": "linux",
    "boot": {"kernel": "/boot/vmlinuz", "initrd": "/boot/initrd.img"},
    "filesystem": "ext4",
    "partition_type": 0x83,
}


def make_image(path: Path, content: bytes = b"", size: int = 0) -> Path:
    """A tar.gz root; ``content`` makes it another image, ``size`` a larger one."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in (
            ("boot/vmlinuz", b"kernel"),
            ("boot/initrd.img", b"initrd"),
            ("etc/content", content + bytes(size)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def options(registry: Path, **more: Any) -> dict[str, Any]:
    return {"registry": {"path": str(registry)}, **more}


def registered(registry: Path, image: Path, **more: Any) -> dict[str, Any]:
    """Options that register ``image`` under the name x."""
    return options(registry, **{"name": "x", "image": str(image), "description": DESCRIBED, **more})
