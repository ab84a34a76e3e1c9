# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Capture a root or a device as one image file, or say what that would change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _image_compress,
    _image_dd,
    _image_signature,
    _image_tar,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_facts import TreeReader, facts
from ansible_collections.oneimage.cluster.plugins.module_utils._image_hygiene import Hygiene, Scan, refusal
from ansible_collections.oneimage.cluster.plugins.module_utils._image_manifest import (
    FORMAT,
    manifest_path,
    read_manifest,
    render,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_namespace import (
    View,
    disks_on_top,
    private_view,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_publish import (
    belongs,
    discard,
    drafting,
    publish,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, Taken, row, take
from ansible_collections.oneimage.cluster.plugins.module_utils._image_walk import Tree, Walk

SETTINGS = ("compression", "level", "clamp_mtime", "skip_hygiene", "exclude")
"""The options that change the bytes of an image."""

SHOWN = (
    "kind",
    "compression",
    "hygiene",
    "omitted",
    "architecture",
    "distribution",
    "kernels",
    "initrds",
    "source",
)
"""What a difference shows of a manifest: all that is known before the image is made."""


@dataclass
class Capture:
    """A validated request, all that reading the source told, and the programs that make the stream of it.

    ``foreseen`` is the manifest as far as it is known before; ``fingerprint`` None means that only the stream tells
    whether something changed.
    """

    kind: str
    source: Path
    compressor: Stage
    tools: dict[str, str]
    fingerprint: str | None = None
    foreseen: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    view: View | None = None
    tree: Tree | None = None
    device: _image_dd.Source | None = None
    clamp: int | None = None

    @property
    def live(self) -> bool:
        """A machine that runs from its own root changes it while it is read."""
        return self.source == Path("/")


def prepare(options: Mapping[str, Any], own: Callable[[str], bool]) -> Capture:
    """Read the source without a write; for kind tar this process moves to a mount namespace of its own.

    ``own`` tells the paths of the root that belong to the capture itself. Raises ClusterError for everything that
    stands against the capture, secrets among it.
    """
    source = Path(options["src"])
    kind = options["kind"] or ("tar" if source.is_dir() else "dd")
    require("setpriv", package="util-linux")
    compressor, argv = _image_compress.choose(options["compression"], options["level"])
    tools = {compressor.program: _image_compress.version(compressor.program)}
    capture = Capture(kind, source.resolve(), Stage(argv), tools, clamp=options["clamp_mtime"])
    if kind == "tar":
        prepare_tar(capture, options, own)
    else:
        prepare_dd(capture, options)
    settings = {name: options[name] for name in SETTINGS}
    if capture.fingerprint is not None:
        state = json.dumps([kind, settings, capture.fingerprint], sort_keys=True)
        capture.fingerprint = hashlib.sha256(state.encode()).hexdigest()
    capture.foreseen.update(
        kind=kind,
        compression=options["compression"],
        derived_from=options["derived_from"],
        source={"path": str(source), "fingerprint": capture.fingerprint},
    )
    return capture


def prepare_tar(capture: Capture, options: Mapping[str, Any], own: Callable[[str], bool]) -> None:
    if not capture.source.is_dir():
        raise ClusterError(f"src: {capture.source} is no folder; give kind dd for a device or an image file")
    require("tar", package="tar")
    hygiene = Hygiene(options["skip_hygiene"], options["exclude"])
    scan = Scan(options["allow_secrets"])
    capture.tools["tar"] = _image_compress.version("tar")
    disks = disks_on_top(capture.source)
    if disks:
        capture.warnings.append(
            f"not in the image, since it is mounted on top of the root: {', '.join(disks)}"
        )
    capture.view = private_view(capture.source)
    tree = Walk(capture.view.root, hygiene, scan, own, capture.clamp).run()
    if tree.secrets:
        raise ClusterError(refusal(tree.secrets))
    if not tree.members:
        raise ClusterError(f"src: {capture.source} holds nothing to archive")
    capture.tree, capture.fingerprint = tree, tree.fingerprint
    replaced = [(name, "neutralised") for name in sorted([*tree.emptied, *tree.linked])]
    capture.foreseen.update(
        **facts(TreeReader(capture.view.root)),
        partition_size=None,
        hygiene=sorted(tree.acted),
        omitted=[{"path": f"/{shown(name)}", "reason": rule} for name, rule in [*tree.omitted, *replaced]],
    )


def prepare_dd(capture: Capture, options: Mapping[str, Any]) -> None:
    for name in ("skip_hygiene", "exclude", "allow_secrets", "clamp_mtime"):
        if options[name]:
            raise ClusterError(
                f"{name}: only for kind tar; an image of kind dd holds the file system as it is"
            )
    device = _image_dd.examine(capture.source, options["allow_mounted"])
    found, capture.warnings = _image_dd.describe(device)
    if device.used_blocks:
        capture.tools["e2image"] = _image_compress.version("e2fsck")
    capture.device, capture.fingerprint = device, _image_dd.fingerprint(device)
    capture.foreseen.update(found, hygiene=[], omitted=[])


def shown(name: str) -> str:
    """A path for JSON: bytes that are no UTF-8 as ``\\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def stream(capture: Capture, write: Callable[[memoryview], t.Any]) -> dict[str, Any]:
    """Hand the image piece by piece to ``write``; returns its manifest without ``file``.

    Raises ClusterError where the source could not be read as it was declared.
    """
    archiver, prefix, clean = _archiver(capture)
    with contextlib.ExitStack() as stack:
        stdin: t.Any = None
        if not archiver:
            stdin = stack.enter_context(capture.source.open("rb", buffering=0))
        with row([*archiver, capture.compressor], stdin=stdin, prefix=prefix) as output:
            taken = take(output, write)
            for stage in archiver:
                stage.finish()
            length = clean(archiver)
    return complete(capture, taken, length)


def _archiver(capture: Capture) -> tuple[list[Stage], bytes, Callable[[list[Stage]], int]]:
    """The programs before the compressor, what replaces the start of their output, and how to learn its length."""
    if capture.tree is not None and capture.view is not None:
        return (
            [_image_tar.stage(capture.view, capture.tree, capture.clamp)],
            b"",
            lambda done: judge(capture, done[0]),
        )
    device = t.cast(_image_dd.Source, capture.device)
    programs, prefix = _image_dd.stages(device)
    return programs, prefix, lambda _done: device.length


def judge(capture: Capture, tar: Stage) -> int:
    """The length of the archive; what changed while it was read is a warning on a live machine, else an error."""
    heard = _image_tar.heard(tar)
    if heard.restless:
        names = ", ".join(heard.restless[:10])
        if not capture.live:
            raise ClusterError(
                f"src: {capture.source} changed while it was read ({names}); stop what writes into it and try again"
            )
        capture.warnings.append(f"changed while they were read, so they may be torn in the image: {names}")
    return heard.size


def complete(capture: Capture, taken: Taken, length: int) -> dict[str, Any]:
    return {
        **capture.foreseen,
        "manifest": FORMAT,
        "size": taken.size,
        "uncompressed_size": length,
        "sha256": taken.sha256,
        "md5": taken.md5,
        "tools": dict(sorted(capture.tools.items())),
    }


@dataclass(frozen=True)
class Plan:
    """A capture and where it goes; ``reason`` None where the image is already there."""

    capture: Capture
    dest: Path
    mode: int
    signature: Mapping[str, Any] | None
    before: dict[str, Any] | None
    reason: str | None


def make_plan(options: Mapping[str, Any]) -> Plan:
    """Validate everything and compare with what lies at ``dest``, without a write."""
    dest = Path(options["dest"])
    options = {**options, "compression": compression_of(options["compression"], dest)}
    if dest.is_dir():
        raise ClusterError(f"dest: {dest} is a folder; give the name of the file")
    if not dest.parent.is_dir():
        raise ClusterError(f"dest: the folder {dest.parent} does not exist")
    mode = read_mode(options["mode"])
    if options["signature"]:
        require(_image_signature.TOOLS[options["signature"]["tool"]].signer[0])
    capture = prepare(options, own_files(Path(options["src"]), dest))
    before, reason = compare(capture, dest, options["signature"])
    return Plan(capture, dest, mode, options["signature"], before, reason)


def compression_of(wanted: str | None, dest: Path) -> str:
    """``wanted``, or what the name of ``dest`` promises; raises ClusterError where they differ."""
    promised = _image_compress.by_name(dest.name)
    if wanted and promised and wanted != promised:
        raise ClusterError(
            f"compression: {wanted} does not fit dest {dest.name}, whose name promises {promised}"
        )
    return wanted or promised or "gzip"


def read_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0o400 <= mode <= 0o777:
        raise ClusterError(f"mode: {text!r} is no octal mode between 0400 and 0777, such as 0644")
    return mode


def own_files(source: Path, dest: Path) -> Callable[[str], bool]:
    """Whether a path of the root is the image itself, what lies beside it of the same image, or their folder/."""
    folder = os.path.realpath(dest.parent)
    root = os.path.realpath(source)
    if os.path.commonpath([folder, root]) != root:
        return lambda _path: False
    inside = os.path.relpath(folder, root)
    below = "" if inside == "." else f"{inside}/"
    names, partial = belongs(dest)
    own = {below + name for name in names}
    return lambda path: path == below or path in own or path.startswith(below + partial)


def compare(
    capture: Capture, dest: Path, signature: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, str | None]:
    """The manifest at ``dest`` and why it is not the wanted one, None where it is."""
    try:
        status = dest.stat()
    except FileNotFoundError:
        return None, f"{dest} does not exist yet"
    if not stat.S_ISREG(status.st_mode):
        raise ClusterError(f"dest: {dest} is no regular file")
    try:
        before = read_manifest(dest)
    except ClusterError as error:
        return None, str(error)
    if before is None:
        return None, f"{dest} has no manifest"
    if before["size"] != status.st_size:
        return before, f"{dest} is not the file that its manifest describes: it has another size"
    if status.st_mtime_ns > manifest_path(dest).stat().st_mtime_ns and digest(dest) != before["sha256"]:
        return before, f"{dest} is not the file that its manifest describes: it has another checksum"
    if signature and signature["tool"] not in [tool for tool, _path in _image_signature.found(dest)]:
        return before, f"{dest} has no signature of {signature['tool']}"
    if before["derived_from"] != capture.foreseen["derived_from"]:
        return before, f"{dest} is derived from {before['derived_from']}"
    if capture.fingerprint is not None:
        same = (before.get("source") or {}).get("fingerprint") == capture.fingerprint
    else:
        same = stream(capture, discard)["sha256"] == before["sha256"]
    return before, None if same else f"{capture.source} or the options changed since {dest} was made"


def digest(path: Path) -> str:
    with path.open("rb", buffering=0) as content:
        return take(t.cast("t.IO[bytes]", content), discard).sha256


def carry_out(plan: Plan) -> dict[str, Any]:
    """Make the image and publish it; returns its manifest."""
    with drafting(plan.dest, plan.mode) as draft:
        manifest = {**stream(plan.capture, draft.write), "file": plan.dest.name}
        signature = None
        if plan.signature:
            tool, key = plan.signature["tool"], plan.signature["key"]
            suffix = _image_signature.TOOLS[tool].suffixes[0]
            signature = (suffix, _image_signature.sign(tool, key, draft.path, plan.dest.name))
        publish(draft, render(manifest), signature, plan.mode)
    return manifest


def result(plan: Plan, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the module returns; in check mode an image that is not made yet has neither size nor checksums."""
    if manifest is None:
        unknown = dict.fromkeys(("size", "uncompressed_size", "sha256", "md5"))
        manifest = (plan.before or {}) if plan.reason is None else {**unknown, **plan.capture.foreseen}
    returned = {key: value for key, value in manifest.items() if key not in ("manifest", "source", "file")}
    return {
        **returned,
        "changed": plan.reason is not None,
        "reason": plan.reason,
        "image": str(plan.dest),
        "manifest_path": str(manifest_path(plan.dest)),
        "warnings": plan.capture.warnings,
    }


def difference(plan: Plan) -> dict[str, str]:
    before, after = plan.before or {}, plan.capture.foreseen
    return {
        "before_header": str(manifest_path(plan.dest)),
        "after_header": str(manifest_path(plan.dest)),
        "before": render({key: before[key] for key in SHOWN if key in before}).decode() if before else "",
        "after": render({key: after[key] for key in SHOWN if key in after}).decode(),
    }
