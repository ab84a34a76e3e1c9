# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Publish boot entries into a boot tree, and say which entry a node would find in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_once as once
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_entry import (
    Declaration,
    NodeBoot,
    check_files,
    make_boot,
    node_boot,
    parse,
    parse_base_url,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import (
    ENTRY,
    LOADERS,
    MARKER,
    SHARED_OWNER,
    SPENT,
    SUBJECT,
    Boot,
    marker,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import NAME, Node, parse_nodes
from ansible_collections.oneimage.cluster.plugins.module_utils._owned_files import (
    Change,
    Present,
    apply,
    locked,
    make_folder,
    plan,
    remove_partial,
    scan,
)


@dataclass(frozen=True)
class Goal:
    """What the options ask for, checked."""

    declaration: Declaration
    base_url: str


HEAD = 2048
"""The marker and the comments of a file of ours stand within its first bytes."""
FOLDERS = (*(loader.folder for loader in LOADERS.values()), once.FOLDER)


def owner_of(content: bytes) -> str | None:
    """The owner that a file's marker names."""
    match = MARKER.search(head(content))
    return match.group(1) if match else None


def head(content: bytes) -> str:
    return content[:HEAD].decode("utf-8", "replace")


def comment(pattern: Any, content: bytes | None) -> str | None:
    """What the comment ``pattern`` says in a file of ours."""
    match = pattern.search(head(content or b""))
    return match.group(1) if match else None


def publish(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Make the tree hold what the options declare and return the module's result; raises ClusterError."""
    directory, owner = Path(options["directory"]), options["owner"]
    if not NAME.fullmatch(owner):
        raise ClusterError(f'owner "{owner}": letters, digits, "-", "_" and "." only')
    if not directory.is_dir() and (options["check_files"] or directory.exists()):
        raise ClusterError(
            f"directory {directory} is no folder: it must be the tree that TFTP and HTTP serve"
        )
    goal = read_goal(options) if options["state"] == "present" else None
    if check or (goal is None and not directory.is_dir()):
        changes, spent = compare(options, goal)
    else:
        make_tree(directory)
        with locked(directory):
            remove_partial(directory / folder for folder in FOLDERS)
            changes, spent = compare(options, goal)
            apply(directory, changes)
    return {**report(directory, changes), "once_spent": spent}


def make_tree(directory: Path) -> None:
    try:
        make_folder(directory)
    except OSError as error:
        raise ClusterError(f"cannot make the folder {directory}: {error.strerror}") from error


def read_goal(options: Mapping[str, Any]) -> Goal:
    """The checked declaration; raises ClusterError."""
    declaration = parse(options)
    base_url = parse_base_url(options["base_url"]) if "ipxe" in options["loaders"] else ""
    if options["check_files"]:
        check_files(Path(options["directory"]), declaration.entries.values())
    return Goal(declaration, base_url)


def compare(options: Mapping[str, Any], goal: Goal | None) -> tuple[list[Change], list[str]]:
    """What to change in the tree, and the nodes whose once is spent; raises ClusterError."""
    present = scan(Path(options["directory"]), FOLDERS, owner_of)
    wanted: dict[str, bytes] = {}
    shared: dict[str, bytes] = {}
    spent: list[str] = []
    if goal is not None:
        tokens = spent_tokens(goal.declaration, present, options["evidence"])
        spent = sorted(boot.node.name for boot in goal.declaration.nodes if boot.token in tokens)
        wanted = render(goal.declaration, options["loaders"], options["owner"], goal.base_url, tokens)
        shared = shared_files(options["loaders"])
    changes = plan(
        present,
        wanted,
        shared,
        owner=options["owner"],
        shared_owner=SHARED_OWNER,
        replace_foreign=options["replace_foreign"],
    )
    return changes, spent


def spent_tokens(
    declaration: Declaration, present: Mapping[str, Present], evidence: list[str] | None
) -> set[str]:
    """The tokens noted as spent in the tree, and those that the logs show now; raises ClusterError without any log."""
    armed = {boot.token: boot.node for boot in declaration.nodes if boot.once}
    if armed and not evidence:
        names = ", ".join(sorted(node.name for node in armed.values())[:5])
        raise ClusterError(
            f"once is declared for {names}, but evidence names no log that could show that they booted"
        )
    noted = {comment(SPENT, file.content) for file in present.values() if file.content}
    spent = {token for token in armed if token in noted}
    pending = {token: node.address for token, node in armed.items() if token not in spent}
    return spent | once.seen_tokens(map(Path, evidence or []), pending)


def render(
    declaration: Declaration, loaders: Iterable[str], owner: str, base_url: str, spent: set[str]
) -> dict[str, bytes]:
    """All files of ``owner`` by path, in the order to write them: what others refer to comes first."""
    files = {
        once.token_path(boot.token): once.token_file(marker(owner))
        for boot in declaration.nodes
        if boot.once and boot.token not in spent
    }
    boots = [(boot, node_boot(declaration, boot, spent)) for boot in declaration.nodes]
    for name in LOADERS:
        if name in loaders:
            files.update(render_loader(name, declaration, boots, owner, base_url))
    return files


def render_loader(
    name: str, declaration: Declaration, boots: Iterable[tuple[NodeBoot, Boot]], owner: str, base_url: str
) -> dict[str, bytes]:
    loader = LOADERS[name]
    rendered: dict[str, Boot] = {}
    for declared, boot in boots:
        if declared.node.loader in (None, name):
            rendered.update(dict.fromkeys(loader.node_names(declared.node), boot))
    names: dict[str, Boot] = {}
    # Small subnets last: where a large one is cut into pieces, a small one's name stands for the small one.
    for cluster in sorted(declaration.clusters, key=lambda cluster: cluster.subnet.prefixlen):
        boot = make_boot(f"cluster {cluster.name}", declaration.entries[cluster.entry], cluster.parameters)
        names.update(dict.fromkeys(loader.cluster_names(cluster.subnet), boot))
    names.update(rendered)
    if declaration.default:
        default = declaration.default
        names[loader.default] = make_boot("default", declaration.entries[default.entry], default.parameters)
    return {
        f"{loader.folder}/{file}": loader.render(boot, owner, base_url).encode()
        for file, boot in names.items()
    }


def shared_files(loaders: Iterable[str]) -> dict[str, bytes]:
    """The files through which a loader comes to the entries; they come last, when all that they lead to is there."""
    return {
        f"{LOADERS[name].folder}/{file}": text.encode()
        for name in loaders
        for file, text in LOADERS[name].shared.items()
    }


def report(directory: Path, changes: list[Change]) -> dict[str, Any]:
    """What changed, by file and by node, and the differences for --diff."""
    nodes: dict[str, dict[str, list[str]]] = {}
    paths: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    for change in changes:
        paths[change.verb].append(change.path)
        subjects = {comment(SUBJECT, content) for content in (change.before, change.after)}
        for subject in subjects:
            if subject and subject.startswith("node "):
                nodes.setdefault(subject[5:], {}).setdefault(change.verb, []).append(change.path)
    return {
        "changed": bool(changes),
        "nodes": nodes,
        "added": paths["added"],
        "changed_files": paths["changed"],
        "removed": paths["removed"],
        "diff": [
            {
                "before_header": str(directory / change.path) if change.before is not None else "/dev/null",
                "after_header": str(directory / change.path) if change.after is not None else "/dev/null",
                "before": (change.before or b"").decode("utf-8", "replace"),
                "after": (change.after or b"").decode("utf-8", "replace"),
            }
            for change in changes
            if not change.path.startswith(f"{once.FOLDER}/")
        ],
    }


def inspect(directory: Path, nodes: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The files of the tree with their owners, and what each of ``nodes`` would find; raises ClusterError."""
    if not directory.is_dir():
        raise ClusterError(
            f"directory {directory} is no folder: it must be the tree that TFTP and HTTP serve"
        )
    present = scan(directory, FOLDERS, owner_of)
    return {
        "nodes": {
            node.name: {name: find(name, node, present) for name in LOADERS}
            for node in parse_nodes(nodes, needs_identity=True)
        },
        "files": [
            {
                "path": path,
                "owner": file.owner,
                "subject": comment(SUBJECT, file.content),
                "entry": comment(ENTRY, file.content),
            }
            for path, file in sorted(present.items())
            if file.owner
        ],
    }


def find(name: str, node: Node, present: Mapping[str, Present]) -> dict[str, Any]:
    """The first file that loader ``name`` finds for ``node``; what foreign ones contain is not known."""
    loader = LOADERS[name]
    asked = [f"{loader.folder}/{file}" for file in loader.lookup(node)]
    # Without its own first file a loader asks for nothing else, and somebody else's decides for itself.
    for first in (f"{loader.folder}/{file}" for file in loader.shared):
        if first not in present or present[first].owner != SHARED_OWNER:
            asked = [first]
    path = next((path for path in asked if path in present), None)
    file = present[path] if path else Present()
    return {
        "file": path,
        "owner": file.owner,
        "subject": comment(SUBJECT, file.content),
        "entry": comment(ENTRY, file.content),
        "asked": asked,
    }
