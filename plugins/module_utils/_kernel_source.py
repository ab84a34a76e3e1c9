# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.
"""A patched source tree: made beside its place, renamed into it when it is complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require, run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_origin import (
    Origin,
    find_origin,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_patch import (
    Patch,
    apply,
    read_patches,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_swap import replace_folder
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_source_tree import (
    MARK,
    check_members,
    read_mark,
    read_tree,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_base import locked
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import remove_path


@dataclass(frozen=True)
class Plan:
    """``known`` is the mark of the tree that is there, None where there is none."""

    path: Path
    origin: Origin
    patches: list[Patch]
    known: dict[str, Any] | None

    @property
    def declared(self) -> dict[str, Any]:
        return {"source": self.origin.facts, "patches": [patch.facts() for patch in self.patches]}

    @property
    def fingerprint(self) -> str:
        # the name of a patch's file says nothing about the tree
        patches = [{**patch.facts(), "name": ""} for patch in self.patches]
        text = json.dumps({"source": self.origin.facts, "patches": patches}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def reason(self) -> str | None:
        """Why the tree is made, None where it is as declared."""
        if self.known is None:
            return f"{self.path} does not exist"
        if self.known["fingerprint"] == self.fingerprint:
            return None
        other = "patches" if self.known.get("source") == self.origin.facts else "source"
        return (
            f"{self.path} was made from another {other}" if other == "source" else f"the {other} are others"
        )


def make_plan(options: Mapping[str, Any]) -> Plan:
    """Check everything that can be checked without fetching and without a write; raises ClusterError."""
    path = Path(os.path.normpath(options["path"]))
    if not path.is_absolute() or path.parent == path:
        raise ClusterError(f"path: {options['path']} is no absolute path of a folder to make")
    require("tar", "setpriv", package="tar, util-linux")
    known = None
    if os.path.lexists(path):
        known = read_mark(path)
        if known is None or path.is_symlink():
            raise ClusterError(
                f"path: {path} exists and was not made by kernel_source; it may hold somebody's work, so it is not "
                "replaced: give another path, or move it away"
            )
    elif not path.parent.is_dir():
        raise ClusterError(f"path: the folder {path.parent} does not exist")
    patches = read_patches(options["patches"])
    if patches:
        require("patch", package="patch")
    return Plan(path, find_origin(options, (known or {}).get("source")), patches, known)


def carry_out(plan: Plan) -> list[str]:
    """Make the tree and put it in place; returns warnings. Whatever fails leaves the old tree as it was.

    Where the tree is as declared, only what a killed run left beside it is removed.
    """
    partial = plan.path.with_name(f".{plan.path.name}.partial")
    warnings: list[str] = []
    if plan.reason is None and not leftovers(plan.path):
        return warnings
    try:
        with locked(plan.path.parent):
            sweep(plan.path)
            if plan.reason is None:
                return warnings
            try:
                partial.mkdir(mode=0o755)
                tree, warnings = build_tree(plan, partial)
                run(["sync", "--file-system", str(partial)])
                final = plan.path.with_name(f".{plan.path.name}.new")
                tree.rename(final)
                replace_folder(final, plan.path)
            finally:
                sweep(plan.path)
    except OSError as error:
        raise ClusterError(
            f"cannot make {plan.path}: {error.strerror}{f' ({error.filename})' if error.filename else ''}"
        ) from error
    return warnings


def leftovers(path: Path) -> list[Path]:
    """What this run, or one that was killed, left besides the tree itself."""
    suffixes = ("partial", "partial.package", "new", "removed")
    places = [path.with_name(f".{path.name}.{suffix}") for suffix in suffixes]
    return [place for place in places if os.path.lexists(place)]


def sweep(path: Path) -> None:
    for leftover in leftovers(path):
        remove_path(leftover)


def build_tree(plan: Plan, partial: Path) -> tuple[Path, list[str]]:
    """Unpack, check, patch, mark; the tree lies in a folder of its own, as patches from ``..`` want it."""
    plan.origin.unpack(partial)
    tree = top_folder(partial, plan.path.name)
    read_tree(tree)
    refuse_unsafe(plan, tree)
    warnings = apply(plan.patches, tree)
    strange = sorted(path.name for path in partial.iterdir() if path != tree)
    if strange:
        raise ClusterError(
            f"patches: {', '.join(strange)} would come to lie beside the tree, which is called {tree.name} there; "
            "check strip and directory"
        )
    refuse_unsafe(plan, tree)
    mark = {**plan.declared, "fingerprint": plan.fingerprint, "shown": plan.origin.shown}
    (tree / MARK).write_text(json.dumps(mark, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return tree, warnings


def top_folder(partial: Path, name: str) -> Path:
    """The only folder of what was unpacked, else a new one ``name`` that holds all of it."""
    found = list(partial.iterdir())
    if len(found) == 1 and found[0].is_dir() and not found[0].is_symlink():
        return found[0]
    # no archive has a name of two lines
    tree = partial / f"{name}\n"
    tree.mkdir(mode=0o755)
    for path in found:
        path.rename(tree / path.name)
    return tree.rename(partial / name)


def refuse_unsafe(plan: Plan, tree: Path) -> None:
    try:
        check_members(tree)
    except ClusterError as error:
        raise ClusterError(f"{plan.origin.shown}: {error}; nothing of it was kept") from error


def result(plan: Plan, predicted: bool) -> dict[str, Any]:
    """What the module returns; the version of a tree that is not made yet is not known."""
    missing = predicted and plan.reason is not None
    return {
        "changed": plan.reason is not None,
        "reason": plan.reason,
        "path": str(plan.path),
        "fingerprint": plan.fingerprint,
        "version": None if missing else read_tree(plan.path).version,
        **plan.declared,
    }


def difference(plan: Plan) -> dict[str, str]:
    known = plan.known or {}
    return {
        "before_header": str(plan.path),
        "after_header": str(plan.path),
        "before": readable(known.get("shown", ""), known.get("patches", [])) if known else "",
        "after": readable(plan.origin.shown, [patch.facts() for patch in plan.patches]),
    }


def readable(shown: str, patches: list[dict[str, Any]]) -> str:
    lines = [
        f"source: {shown}",
        *("patch: {name} -p{strip} in {directory} ({sha256})".format(**p) for p in patches),
    ]
    return "".join(f"{line}\n" for line in lines)
