# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The fields of an environment's description, and what each generation of Kadeploy can hold, as tables.

The shape is that of Kadeploy's current YAML; types, defaults and enumerations are those of its ``load_from_desc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COMPRESSIONS = ("gzip", "bzip2", "xz", "zstd")
KINDS = ("tar", "dd", "fsa")
VISIBILITIES = ("public", "shared", "private")
LARGEST_VERSION = 2**32 - 1
"""Kadeploy's database keeps a version in 32 bits."""


@dataclass(frozen=True)
class Field:
    """One field: ``type`` is str, int, bool, dict, list (of dicts), or compression (a word, or fsa's level).

    ``form`` is ``path`` for an absolute path inside the image, ``uri`` for a file that Kadeploy fetches, ``line`` for
    one line of text, ``word`` for one without blanks around it. ``fields`` are those of a dict, or of each element of
    a list; a dict without them holds anything.
    """

    type: str
    default: Any = None
    mandatory: bool = False
    choices: tuple[Any, ...] = ()
    form: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)
    least: int = 0
    most: int = LARGEST_VERSION


ARCHIVE = {
    "archive": Field("str", mandatory=True, form="uri"),
    "compression": Field("str", mandatory=True, choices=COMPRESSIONS),
    "script": Field("str", default="none", form="line"),
}

FIELDS: dict[str, Field] = {
    "name": Field("str", mandatory=True, form="word"),
    "alias": Field("str", form="word"),
    "arch": Field("str", choices=("x86_64", "aarch64", "ppc64le")),
    "version": Field("int", default=1),
    "description": Field("str"),
    "author": Field("str", form="line"),
    "visibility": Field("str", default="private", choices=VISIBILITIES),
    "destructive": Field("bool", default=False),
    "os": Field("str", mandatory=True, choices=("linux", "xen", "other")),
    "image": Field(
        "dict",
        mandatory=True,
        fields={
            "file": Field("str", mandatory=True, form="uri"),
            "kind": Field("str", mandatory=True, choices=KINDS),
            "compression": Field("compression", mandatory=True, choices=COMPRESSIONS),
        },
    ),
    "preinstall": Field("dict", fields=ARCHIVE),
    "postinstalls": Field("list", fields=ARCHIVE),
    "boot": Field(
        "dict",
        fields={
            "kernel": Field("str", form="path"),
            "initrd": Field("str", form="path"),
            "kernel_params": Field("str", form="line"),
            "hypervisor": Field("str", form="path"),
            "hypervisor_params": Field("str", form="line"),
            "block_device": Field("str", form="word"),
            "partition": Field("int"),
        },
    ),
    "filesystem": Field("str", form="word"),
    "partition_type": Field("int", default=0),
    "multipart": Field("bool", default=False),
    "custom_variables": Field("dict"),
    "options": Field(
        "dict",
        fields={
            "partitions": Field(
                "list",
                fields={
                    "id": Field("int", mandatory=True),
                    "device": Field("str", mandatory=True, form="word"),
                },
            ),
            "kexec": Field("bool"),
            "trust_previous_env": Field("bool"),
        },
    ),
    "oneimage": Field("dict"),
}
"""In the order in which ``kaenv3 -p`` prints them."""

MANDATORY_TOGETHER: tuple[tuple[Mapping[str, Any], tuple[str, ...]], ...] = (
    ({"image/kind": "tar"}, ("boot/kernel", "filesystem")),
    ({"image/kind": "tar", "os": "xen"}, ("boot/hypervisor",)),
    ({"multipart": True}, ("options/partitions", "boot/block_device", "boot/partition")),
)
"""Where all fields on the left have these values, those on the right must be there (``check_os_values``)."""

URI_SCHEMES = ("server", "local", "http", "https")

PARTITION_TYPE_TRAPS = {83: 0x83, 82: 0x82}
"""Decimal numbers written where the hexadecimal one of the same digits was meant; fdisk's own notation is hexadecimal."""

IN_PLACE = ("visibility", "destructive")
"""What Kadeploy can change in a recorded environment; anything else is another version."""

SUFFIXES: tuple[tuple[str, str], ...] = (
    ("gz", "gzip"),
    ("bz2", "bzip2"),
    ("xz", "xz"),
    ("zst", "zstd"),
)
"""File name suffix and compression."""

CODES: dict[str, tuple[str, Any]] = {
    "tgz": ("tar", "gzip"),
    "tbz2": ("tar", "bzip2"),
    "txz": ("tar", "xz"),
    "ddgz": ("dd", "gzip"),
    "ddbz2": ("dd", "bzip2"),
    "ddxz": ("dd", "xz"),
    **{f"fsa{level}": ("fsa", level) for level in range(10)},
}
"""Short codes of images and archives in Kadeploy 3.1 and in its database, with kind and compression."""

SHORT_SUFFIXES = {
    "tgz": ("tar", "gzip"),
    "tbz2": ("tar", "bzip2"),
    "tbz": ("tar", "bzip2"),
    "txz": ("tar", "xz"),
}


@dataclass(frozen=True)
class Target:
    """What one generation holds. ``kinds``: compressions by kind, None where any level will do."""

    title: str
    kinds: Mapping[str, tuple[str, ...] | None]
    archives: tuple[str, ...]
    schemes: tuple[str, ...] = ("", *URI_SCHEMES)
    lacks: tuple[str, ...] = ()
    lengths: Mapping[str, int] = field(default_factory=dict)


OLD = ("gzip", "bzip2", "xz")
MODERN = ("alias", "arch", "custom_variables")

TARGETS: dict[str, Target] = {
    "kadeploy2": Target(
        "Kadeploy 2",
        {"tar": ("gzip", "bzip2"), "dd": ("gzip",)},
        ("gzip", "bzip2"),
        schemes=("",),
        lacks=(
            *MODERN,
            "destructive",
            "preinstall",
            "multipart",
            "options",
            "boot/block_device",
            "boot/partition",
        ),
    ),
    "3.1": Target(
        "Kadeploy 3.1",
        {"tar": OLD, "dd": OLD, "fsa": None},
        OLD,
        schemes=("", "http"),
        lacks=(*MODERN, "multipart", "options", "boot/block_device", "boot/partition"),
        lengths={"author": 56, "filesystem": 9},
    ),
    "3.3": Target(
        "Kadeploy 3.3",
        {"tar": OLD, "dd": OLD, "fsa": None},
        OLD,
        lacks=(*MODERN, "options/kexec", "options/trust_previous_env"),
        lengths={"author": 56, "filesystem": 9},
    ),
    "current": Target(
        "the current Kadeploy",
        {"tar": COMPRESSIONS, "dd": COMPRESSIONS, "fsa": None},
        COMPRESSIONS,
    ),
}


def get(description: Mapping[str, Any], path: str) -> Any:
    """The value at ``image/kind`` and the like, None where it is not."""
    value: Any = description
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def default_of(path: str) -> Any:
    """The default of the field at ``path``, None where it has none."""
    group, _slash, name = path.rpartition("/")
    return (FIELDS[group].fields if group else FIELDS)[name].default


def guess_image(name: str) -> tuple[str, str] | None:
    """Kind and compression that a file's name tells: ``x.tgz``, ``x.tar.zst``, ``x.dd.gz``; None where it tells nothing."""
    parts = name.rsplit("/", 1)[-1].lower().split(".")
    if parts[-1] in SHORT_SUFFIXES:
        return SHORT_SUFFIXES[parts[-1]]
    compression = dict(SUFFIXES).get(parts[-1])
    if compression is None or len(parts) < 2:
        return None
    return ("dd" if parts[-2] in ("dd", "img", "raw") else "tar", compression)
