# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What one node of a deployment boots next: the deployment environment, or its own disk.

A deployment changes the boot entries of its nodes where they lie, one node at a time, and leaves each file to the owner
that it has: the next declaration of that owner (module boot_entry) decides again what the node boots.
"""

from __future__ import annotations

import stat
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_entry import parse_parameters
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import (
    LOADERS,
    Boot,
    Entry,
    Loader,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_tree import owner_of
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    DeploymentBoot,
    Order,
    StepFailed,
    Target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._node import Node
from ansible_collections.oneimage.cluster.plugins.module_utils._owned_files import (
    LARGEST,
    locked,
    make_folder,
)

OWNER = "oneimage"
"""Who owns the files of a node that had none: the owner that the module boot_entry writes for unless it is told another."""
DISK = Entry(name="disk", local=True)
ENVIRONMENT_NAME = "deployment"


def deployment_boot(order: Order) -> DeploymentBoot:
    """Raises StepFailed for an order that does not say how nodes come into the deployment environment."""
    if order.boot is None:
        raise StepFailed("the order names no deployment environment to boot", advice="build one and name it")
    return order.boot


def deployment_entry(order: Order) -> Entry:
    """The deployment environment, which learns from its command line whose keys it lets in."""
    boot = deployment_boot(order)
    return Entry(
        name=ENVIRONMENT_NAME,
        kernel=boot.kernel,
        initrd=boot.initrds,
        parameters=deployment_parameters(order),
    )


def deployment_parameters(order: Order) -> tuple[str, ...]:
    """The kernel's command line less BOOTIF; raises ClusterError for a word that no loader hands on unchanged."""
    words = (*deployment_boot(order).parameters, f"oneimage.deploy={order.base_url}")
    return parse_parameters("deployment environment", words)


def switch(order: Order, target: Target, entry: Entry) -> list[str]:
    """Make ``target`` boot ``entry`` from now on; the files that changed, below the boot tree.

    Raises StepFailed where somebody else's file decides what the node boots, ClusterError where the disk refuses.
    """
    boot = deployment_boot(order)
    tree, url = Path(boot.tree), boot.url.rstrip("/") + "/"
    node = Node(
        name=target.name, mac=target.mac, address=target.address, uuid=target.facts.get("uuid") or None
    )
    rendered = Boot(f"node {target.name}", entry, entry.parameters, target.mac)
    if not tree.is_dir():
        raise StepFailed(f"the boot tree {tree} is no folder of this host")
    changed = []
    with locked(tree):
        own = [
            (loader, name, owner_in(tree / loader.folder / name))
            for loader in LOADERS.values()
            for name in loader.node_names(node)
        ]
        for loader, name, owner in own:
            text = loader.render(rendered, owner, url).encode()
            changed += put(tree, f"{loader.folder}/{name}", text)
        for loader in LOADERS.values():
            changed += put_shared(tree, loader)
    return changed


def owner_in(path: Path) -> str:
    """Whose the file at ``path`` stays; raises StepFailed for what this collection did not write."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return OWNER
    owner = None
    if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
        owner = owner_of(path.read_bytes())
    if owner is None:
        raise StepFailed(
            f"{path} decides what this node boots, and was not written by this collection",
            advice=f"remove {path}",
        )
    return owner


def put(tree: Path, path: str, text: bytes) -> list[str]:
    """Write one file unless it is so already; a kill leaves the old or the new one."""
    file = tree / path
    make_folder(file.parent)
    if file.is_file() and file.read_bytes() == text:
        return []
    write_file(file, text)
    return [path]


def put_shared(tree: Path, loader: Loader) -> list[str]:
    """The files through which a loader comes to the nodes' own, where there are none yet."""
    return [
        written
        for name, text in loader.shared.items()
        if not (tree / loader.folder / name).exists()
        for written in put(tree, f"{loader.folder}/{name}", text.encode())
    ]
