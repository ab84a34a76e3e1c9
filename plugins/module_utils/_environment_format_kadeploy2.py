# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy 2: ``key = value`` lines, ``#`` starting a comment anywhere, one block for each version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import get, guess_image
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import (
    Loss,
    Reading,
    Written,
    bare_path,
    losses,
    one_line,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

LINE = re.compile(r"\s*([^#=\s]+)\s*=\s*([^#]*)")
"""Kadeploy's own expression."""

PLAIN = {
    "name": "name",
    "description": "description",
    "author": "author",
    "filesystem": "filesystem",
    "initrdpath": "boot/initrd",
    "kernelpath": "boot/kernel",
    "kernelparam": "boot/kernel_params",
}
"""Keys whose value is that of a field."""

FIELDS_OF_KEYS = {**PLAIN, "filebase": "image/file", "filesite": "postinstalls[0]/archive"}

KEPT = ("size", "optsupport")
"""Keys of no field; kept in ``oneimage/kadeploy2``, so that the way back has them. ``size`` is in MB."""

KEYS = (
    "name", "version", "description", "author", "filebase", "filesite", "size", "initrdpath", "kernelpath",
    "kernelparam", "fdisktype", "filesystem", "optsupport",
)  # fmt: skip
"""In the order in which they are written."""

SCRIPT = "traitement.ash /rambin"
"""What Kadeploy 2 runs in every post-install archive."""

CHAINLOAD = "chainload"
"""The ``kernelpath`` of an image that brings its own boot loader: one of a partition's blocks."""

PARTS = " --- "
"""Between hypervisor, kernel and initrd in the ``initrdpath`` of a Xen image."""


def read_kadeploy2(text: str, where: str) -> list[Reading]:
    """Every version in ``text``, as ``kaenvironments -e`` prints them. Raises ClusterError for a wrong number."""
    blocks: list[dict[str, str]] = []
    warnings: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = LINE.match(line)
        if match is None:
            if line.strip() and not line.lstrip().startswith("#"):
                warnings.append(f"{where}, line {number}: Kadeploy 2 ignores {line.strip()[:60]!r}")
            continue
        key, value = match[1], match[2].strip()
        if not blocks or (key == "name" and "name" in blocks[-1]):
            blocks.append({})
        blocks[-1][key] = value
        if key not in KEYS:
            warnings.append(f"{where}, line {number}: {key} means nothing to Kadeploy 2")
        elif "#" in line:
            warnings.append(f"{where}, line {number}: Kadeploy 2 takes what follows # for a comment")
    return [reading(block, where, warnings) for block in blocks]


def reading(values: Mapping[str, str], where: str, warnings: list[str]) -> Reading:
    found: dict[str, Any] = {
        "version": number(values, "version", "1", 10, where),
        # other users' environments could be deployed by naming their owner
        "visibility": "shared",
        "destructive": False,
        "os": "xen" if PARTS in values.get("initrdpath", "") else "linux",
        "filesystem": "ext2",
        "partition_type": number(values, "fdisktype", "83", 16, where),
    }
    mine = [f"{where}: os is not in a Kadeploy 2 description; {found['os']} is assumed"]
    for key, path in PLAIN.items():
        if values.get(key) and not (key == "kernelpath" and values[key] == CHAINLOAD):
            group, _slash, name = path.rpartition("/")
            (found.setdefault(group, {}) if group else found)[name] = values[key]
    if found["os"] == "xen":
        found["boot"].update(xen_parts(values["initrdpath"], where))
    if values.get("filebase"):
        found["image"], guessed = image_of(values, where)
        mine.extend(guessed)
    if values.get("filesite"):
        path = absolute(values["filesite"])
        _kind, compression = guess_image(path) or ("tar", "gzip")
        found["postinstalls"] = [{"archive": path, "compression": compression, "script": SCRIPT}]
    kept = {key: values[key] for key in KEPT if values.get(key)}
    if kept:
        found["oneimage"] = {"kadeploy2": kept}
    return Reading(found, (*warnings, *mine))


def image_of(values: Mapping[str, str], where: str) -> tuple[dict[str, Any], list[str]]:
    path = absolute(values["filebase"])
    guess = guess_image(path)
    kind, compression = guess or ("tar", "gzip")
    if values.get("kernelpath") == CHAINLOAD:
        kind = "dd"
    warnings = (
        [] if guess else [f"{where}: the name of filebase {path} tells no compression; gzip is assumed"]
    )
    return {"file": path, "kind": kind, "compression": compression}, warnings


def absolute(uri: str) -> str:
    """The path that ``file://home/x`` means to Kadeploy 2, which puts ``file:/`` before ``/home/x``."""
    if not uri.startswith("file:"):
        return uri
    return "/" + uri[len("file:") :].lstrip("/")


def number(values: Mapping[str, str], key: str, default: str, base: int, where: str) -> int:
    text = values.get(key) or default
    try:
        return int(text, base)
    except ValueError as error:
        kind = "hexadecimal" if base == 16 else "whole"
        raise ClusterError(f"{where}: {key} {text!r} is no {kind} number") from error


def xen_parts(text: str, where: str) -> dict[str, str]:
    parts = [part.strip() for part in text.split(PARTS)]
    if len(parts) > 3:
        raise ClusterError(
            f"{where}: initrdpath has {len(parts)} parts; hypervisor, kernel and initrd are three"
        )
    names = (("hypervisor", "hypervisor_params"), ("kernel", "kernel_params"), ("initrd", ""))
    found = {"initrd": ""}
    for (path, parameters), part in zip(names, parts):
        found[path], _blank, rest = part.partition(" ")
        if parameters and rest:
            found[parameters] = rest
    return found


def write_kadeploy2(description: Mapping[str, Any]) -> Written:
    """``description``, complete, as text; each value one line without ``#``."""
    values = {key: value for key, path in PLAIN.items() if (value := get(description, path))}
    kept = get(description, "oneimage/kadeploy2") or {}
    values.update({key: str(kept[key]) for key in KEPT if kept.get(key)})
    values["filebase"] = file_uri(description["image"]["file"])
    postinstalls = description.get("postinstalls", [])
    if postinstalls:
        values["filesite"] = file_uri(postinstalls[0]["archive"])
    if description["image"]["kind"] == "dd":
        values["kernelpath"] = CHAINLOAD
        values.pop("initrdpath", None)
        values.pop("kernelparam", None)
    elif description["os"] == "xen":
        values["initrdpath"] = xen_text(description["boot"])
        values.pop("kernelparam", None)
    values["version"] = str(description["version"])
    values["fdisktype"] = f"{description['partition_type']:x}"
    found = [*own_losses(description), *one_line(values, FIELDS_OF_KEYS, "#")]
    return Written("".join(f"{key} = {values[key]}\n" for key in KEYS if key in values), tuple(found))


def own_losses(description: Mapping[str, Any]) -> Iterator[Loss]:
    oneimage = description.get("oneimage") or {}
    for loss in losses(description, "kadeploy2"):
        if loss.field != "oneimage" or set(oneimage) - {"kadeploy2"}:
            yield loss
    yield from image_name_losses(description)
    if description["version"] < 1:
        yield Loss("version", "Kadeploy 2 counts from 1", True)
    if description["visibility"] != "shared":
        yield Loss("visibility", "in Kadeploy 2 everybody can deploy an environment by naming its owner")
    if description["os"] == "other" and description["image"]["kind"] != "dd":
        yield Loss("os", "Kadeploy 2 boots the kernel of a tar image as Linux", True)
    for index, item in enumerate(description.get("postinstalls", [])):
        if index:
            yield Loss(f"postinstalls[{index}]", "Kadeploy 2 has one post-install", True)
        elif item["script"] != SCRIPT:
            yield Loss("postinstalls[0]/script", f"Kadeploy 2 always runs {SCRIPT}", True)
    if description["image"]["kind"] == "dd" and description.get("boot"):
        yield Loss("boot", "Kadeploy 2 chain-loads the boot sector of a dd image")


def image_name_losses(description: Mapping[str, Any]) -> Iterator[Loss]:
    image = description["image"]
    guess = guess_image(image["file"])
    if (guess or ("tar", "gzip"))[1] != image["compression"]:
        yield Loss(
            "image/compression", "Kadeploy 2 goes by the suffix of the file's name; rename the image", True
        )


def file_uri(uri: str) -> str:
    path = bare_path(uri)
    return path if "://" in path else f"file:/{path}"


def xen_text(boot: Mapping[str, str]) -> str:
    parts = (
        f"{boot.get('hypervisor', '')} {boot.get('hypervisor_params', '')}",
        f"{boot.get('kernel', '')} {boot.get('kernel_params', '')}",
        boot.get("initrd", ""),
    )
    return PARTS.join(part.strip() for part in parts if part.strip())
