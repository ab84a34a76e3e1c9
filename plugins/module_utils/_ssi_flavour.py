# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A flavour, the kind of an SSI cluster: what its file may hold. Everything about a flavour is in that file, nothing in code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _schema as schema
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_flavour import PROCESS
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_scheduler_tree import SCHEDULER

PARAMETER_FIELDS = ("session", "node_id", "nodes_min", "name", "address", "server", "interface", "storage")
"""What a kernel parameter may speak of; of a node that joins by itself only the session and the servers are known."""
JOIN_FIELDS = ("session", "nodes_min", "server", "storage")
STATES = ("possible", "present", "online")
"""Of a node: may come; is up, but no member; is a member."""

name = schema.text(r"[a-z][a-z0-9_]*", "name of a flavour (lower case, digits, _)")
path = schema.text(r"/[^\0]*", "absolute path")
texts = schema.listing(schema.text())
state = schema.text("|".join(STATES), f"state of a node ({', '.join(STATES)})")

ACTION = schema.maybe(
    schema.section(
        argv=schema.commands("nodes", "session"),
        all=(schema.maybe(schema.commands("session")), None),
        done=(schema.maybe(schema.regex()), None),
        failed=(schema.maybe(schema.regex()), None),
        powers_off=(schema.flag, False),
    )
)

NODES = schema.section(
    argv=schema.argv(),
    line=schema.regex("node_id"),
    states=(schema.mapping(state), {}),
    ask=(schema.maybe(schema.section(argv=schema.argv("node_id"), online=schema.regex())), None),
    none=(schema.maybe(schema.regex()), None),
)

COMMANDS = schema.section(
    on_every_node=(schema.flag, False),
    session=(schema.maybe(schema.section(argv=schema.argv(), number=schema.regex("session"))), None),
    nodes=NODES,
    status=(
        schema.maybe(
            schema.section(
                argv=schema.argv(),
                up=schema.regex(),
                down=schema.regex(),
                error=(schema.maybe(schema.regex()), None),
            )
        ),
        None,
    ),
    load=(
        schema.maybe(schema.section(argv=schema.argv(), line=(schema.maybe(schema.regex("node_id")), None))),
        None,
    ),
    form=(ACTION, None),
    grow=(ACTION, None),
    shrink=(ACTION, None),
    stop=(ACTION, None),
    not_running=(schema.maybe(schema.regex()), None),
)

KERNEL = schema.section(
    version=schema.text(r"[0-9][0-9A-Za-z.+~_-]*", "version of a kernel"),
    patch_strip=(schema.integer(0, 9), 1),
    profiles=(texts, []),
    options=(schema.mapping(schema.option_value), {}),
    forbidden=(texts, []),
    make=(
        schema.section(
            target=(schema.mapping(schema.text()), {}),
            targets=(schema.maybe(texts), None),
            variables=(schema.mapping(schema.text()), {}),
        ),
        {"target": {}, "targets": None, "variables": {}},
    ),
    initrds=(schema.listing(schema.mapping(schema.anything)), [{"generator": "native"}]),
    root_mode=(schema.text("nfs_rw|nfs_ro", "root mode (nfs_ro or nfs_rw)"), "nfs_ro"),
)

FLAVOUR = schema.section(
    name=name,
    summary=schema.text(),
    architectures=(texts, []),
    limits=schema.section(
        session=schema.pair(0, 65535),
        node_id=schema.pair(0, 65535),
        nodes=schema.pair(1, 65535),
        one_subnet=(schema.flag, False),
    ),
    kernel=(schema.maybe(KERNEL), None),
    parameters=(schema.listing(schema.template(*PARAMETER_FIELDS)), []),
    join_parameters=(schema.maybe(schema.listing(schema.template(*JOIN_FIELDS))), None),
    nfs_options=(schema.maybe(schema.text(r"[\w=,.]*", "list of NFS options")), None),
    packages=(texts, []),
    userland=(
        schema.listing(
            schema.section(
                name=schema.text(r"[\w.-]+", "name of an archive or folder"),
                install=schema.listing(schema.argv("root", "kernel_source")),
                unless=(schema.maybe(path), None),
            )
        ),
        [],
    ),
    files=(
        schema.listing(
            schema.section(
                path=path,
                content=(schema.maybe(schema.text(r"[^\0]*")), None),
                src=(schema.maybe(schema.text()), None),
                mode=(schema.text(r"0[0-7]{3,4}", 'mode in quotes, such as "0644"'), "0644"),
            )
        ),
        [],
    ),
    directories=(schema.listing(path), []),
    services=(texts, []),
    entry_port=(schema.integer(1, 65535), 22),
    modules_on=(schema.text("node|boot_server", "place for the modules (node or boot_server)"), "node"),
    commands=COMMANDS,
    process=(schema.maybe(PROCESS), None),
    scheduler=(schema.maybe(SCHEDULER), None),
    health=(
        schema.listing(schema.section(argv=schema.argv(), match=schema.regex(), means=schema.text())),
        [],
    ),
    cannot=(schema.mapping(schema.text()), {}),
)


def check_flavour(flavour: Any, where: str = "") -> dict[str, Any]:
    """``flavour`` with everything that it leaves out; raises one ClusterError that names the field.

    ``where`` is its file. Commands of actions come back as lists of commands.
    """
    if not isinstance(flavour, Mapping):
        raise ClusterError(f"flavour {where or schema.shown(flavour)} is no mapping")
    label = f"flavour {where or flavour.get('name', 'without a name')}"
    checked: dict[str, Any] = FLAVOUR(flavour, label)
    for file in checked["files"]:
        if (file["content"] is None) == (file["src"] is None):
            raise ClusterError(f"{label}: file {file['path']} needs either content or src")
    kernel = checked["kernel"] or {"options": {}, "forbidden": []}
    twice = set(kernel["options"]) & set(kernel["forbidden"])
    if twice:
        raise ClusterError(f"{label}: kernel: {min(twice)} is both in options and forbidden")
    return checked


def refuse(flavour: Mapping[str, Any], thing: str, asked: str) -> ClusterError:
    """The error for what the flavour cannot, in its own words."""
    reason = flavour["cannot"].get(thing, f"the flavour {flavour['name']} has no command for it")
    return ClusterError(f"{asked}: {reason}")
