# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A declaration of boot entries: read it, check it, and say what each node, cluster and the default boots."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_once as once
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import Boot, Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import Node, parse_nodes, parse_subnet

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PATH = re.compile(r"[A-Za-z0-9._+~-]+(?:/[A-Za-z0-9._+~-]+)*")
# What PXELINUX, iPXE and GRUB all hand on unchanged: printable, spaces only within double quotes, no quote or
# backslash that GRUB would read, no word that iPXE would take for a comment or for the end of its command.
PARAMETER = re.compile(r'(?!#)(?:[!#-&(-\[\]-~]|"[ !#-&(-\[\]-~]*")+')
NO_PARAMETERS = (";", "&&", "||")
LONGEST_COMMAND_LINE = 1950
"""Characters; kernels take 2047, and the loader adds BOOTIF, initrd and BOOT_IMAGE."""


@dataclass(frozen=True)
class NodeBoot:
    node: Node
    entry: str | None = None
    parameters: tuple[str, ...] = ()
    once: str | None = None
    token: str = ""


@dataclass(frozen=True)
class ClusterBoot:
    name: str
    subnet: ipaddress.IPv4Network
    entry: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class DefaultBoot:
    entry: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declaration:
    """A checked declaration: every entry that is named exists, no two nodes share anything."""

    entries: Mapping[str, Entry]
    nodes: tuple[NodeBoot, ...]
    clusters: tuple[ClusterBoot, ...]
    default: DefaultBoot | None

    def cluster_of(self, node: Node) -> ClusterBoot | None:
        """The smallest cluster whose subnet holds the node's address."""
        if node.address is None:
            return None
        address = ipaddress.IPv4Address(node.address)
        around = [cluster for cluster in self.clusters if address in cluster.subnet]
        return max(around, key=lambda cluster: cluster.subnet.prefixlen, default=None)

    def usual(self, boot: NodeBoot) -> tuple[str, tuple[str, ...]]:
        """The entry that ``boot`` names, else that of its cluster, else the default; and the parameters there."""
        if boot.entry is not None:
            return boot.entry, boot.parameters
        source = self.cluster_of(boot.node) or self.default
        if source is None:
            raise ClusterError(
                f"node {boot.node.name} has no entry: it names none, lies in no cluster's subnet, and there is no default"
            )
        return source.entry, (*source.parameters, *boot.parameters)


def parse(options: Mapping[str, Any]) -> Declaration:
    """The module's options as a Declaration; raises ClusterError naming what is wrong with which item."""
    entries = {entry.name: entry for entry in map(parse_entry, options["entries"] or [])}
    refuse_twice("entries", [item["name"] for item in options["entries"] or []])
    refuse_twice("clusters", [item["name"] for item in options["clusters"] or []])
    declaration = Declaration(
        entries=entries,
        nodes=tuple(parse_node_boots(options["nodes"] or [])),
        clusters=tuple(map(parse_cluster, options["clusters"] or [])),
        default=parse_default(options["default"]),
    )
    subnets: dict[ipaddress.IPv4Network, str] = {}
    for cluster in declaration.clusters:
        first = subnets.setdefault(cluster.subnet, cluster.name)
        if first != cluster.name:
            raise ClusterError(f"clusters {first} and {cluster.name} have the same subnet {cluster.subnet}")
    check_names(declaration)
    return declaration


def parse_entry(item: Mapping[str, Any]) -> Entry:
    label = f"entry {item['name']}"
    if not WORD.fullmatch(item["name"]):
        raise ClusterError(f'{label}: a name has letters, digits, "-", "_" and "." only')
    if bool(item.get("local")) == bool(item.get("kernel")):
        raise ClusterError(f"{label} needs either a kernel or local: true")
    if item.get("local") and (item.get("initrd") or item.get("parameters")):
        raise ClusterError(f"{label} boots from the local disk: it takes no initrd and no parameters")
    paths = [*filter(None, [item.get("kernel")]), *(item.get("initrd") or [])]
    for path in paths:
        if not PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
            raise ClusterError(
                f'{label}: "{path}" must be a path below the boot tree, without "..",'
                ' of letters, digits and "._+~-/" only'
            )
    return Entry(
        name=item["name"],
        kernel=item.get("kernel") or "",
        initrd=tuple(item.get("initrd") or ()),
        parameters=parse_parameters(label, item.get("parameters")),
        local=bool(item.get("local")),
    )


def parse_parameters(label: str, parameters: Iterable[str] | None) -> tuple[str, ...]:
    for parameter in parameters or ():
        if not PARAMETER.fullmatch(parameter) or parameter in NO_PARAMETERS or "${" in parameter:
            raise ClusterError(
                f'{label}: parameter "{parameter}" cannot pass all loaders unchanged: one word of printable ASCII, spaces'
                " only within double quotes, no single quote, backslash or ${, no leading #"
            )
    return tuple(parameters or ())


def parse_node_boots(items: list[Mapping[str, Any]]) -> Iterator[NodeBoot]:
    for node, item in zip(parse_nodes(items, needs_identity=True), items):
        chosen = item.get("once") or None
        yield NodeBoot(
            node=node,
            entry=item.get("entry") or None,
            parameters=parse_parameters(f"node {node.name}", item.get("parameters")),
            once=chosen,
            token=once.token(node.name, chosen, item.get("once_id") or "") if chosen else "",
        )


def parse_cluster(item: Mapping[str, Any]) -> ClusterBoot:
    label = f"cluster {item['name']}"
    if not WORD.fullmatch(item["name"]):
        raise ClusterError(f'{label}: a name has letters, digits, "-", "_" and "." only')
    try:
        subnet = parse_subnet(item["subnet"])
    except ClusterError as error:
        raise ClusterError(f"{label}: subnet {error}") from error
    if subnet.prefixlen == 0:
        raise ClusterError(f"{label}: the subnet of all addresses is no cluster; use default")
    return ClusterBoot(item["name"], subnet, item["entry"], parse_parameters(label, item.get("parameters")))


def parse_default(item: Mapping[str, Any] | None) -> DefaultBoot | None:
    if not item:
        return None
    return DefaultBoot(item["entry"], parse_parameters("default", item.get("parameters")))


def refuse_twice(kind: str, found: list[str]) -> None:
    for name in found:
        if found.count(name) > 1:
            raise ClusterError(f'two {kind} are named "{name}"')


def check_names(declaration: Declaration) -> None:
    """Raise ClusterError for an entry that is named but not declared, and for a once that could not be proven."""
    uses = [(f"node {boot.node.name}", boot.entry) for boot in declaration.nodes if boot.entry]
    uses += [(f"node {boot.node.name}: once", boot.once) for boot in declaration.nodes if boot.once]
    uses += [(f"cluster {cluster.name}", cluster.entry) for cluster in declaration.clusters]
    uses += [("default", declaration.default.entry)] if declaration.default else []
    for label, name in uses:
        if name not in declaration.entries:
            known = ", ".join(sorted(declaration.entries)) or "none is declared"
            raise ClusterError(f'{label} wants the entry "{name}", which is not declared (entries: {known})')
        if label.endswith(": once") and declaration.entries[name].local:
            raise ClusterError(
                f"{label}: a boot from the local disk fetches nothing, so that nothing could prove it"
            )


def node_boot(declaration: Declaration, boot: NodeBoot, spent: set[str]) -> Boot:
    """What ``boot``'s node does the next time it starts."""
    name, parameters = declaration.usual(boot)
    node = boot.node
    if boot.once is None or boot.token in spent:
        entry = declaration.entries[name]
        return make_boot(f"node {node.name}", entry, parameters, node.mac, boot.token or None)
    entry = declaration.entries[boot.once]
    armed = replace(entry, initrd=(*entry.initrd, once.token_path(boot.token)))
    return make_boot(f"node {node.name}", armed, (*boot.parameters, f"oneimage.once={boot.token}"), node.mac)


def make_boot(
    subject: str,
    entry: Entry,
    parameters: tuple[str, ...],
    mac: str | None = None,
    spent: str | None = None,
) -> Boot:
    """A Boot with all parameters in one line; raises ClusterError if a kernel would cut that line."""
    words = () if entry.local else (*entry.parameters, *parameters)
    length = len(" ".join(words))
    if length > LONGEST_COMMAND_LINE:
        raise ClusterError(
            f"{subject}, entry {entry.name}: {length} characters of kernel parameters; kernels cut them at 2047,"
            f" keep them below {LONGEST_COMMAND_LINE}"
        )
    return Boot(subject, entry, words, mac, spent)


def parse_base_url(value: str | None) -> str:
    """The URL of the boot tree with one slash at its end; raises ClusterError."""
    parts = urlsplit(value or "")
    plain = re.fullmatch(r"[A-Za-z0-9._~:/+%\[\]-]+", value or "")
    if parts.scheme not in ("http", "https", "tftp") or not parts.netloc or not plain:
        raise ClusterError(
            f'base_url "{value or ""}" is no URL of the boot tree: write it as http://10.77.0.1/'
        )
    return f"{value}".rstrip("/") + "/"


def check_files(directory: Path, entries: Iterable[Entry]) -> None:
    """Raise ClusterError naming every kernel and initrd that the TFTP and HTTP servers could not hand out."""
    problems = []
    root = Path(os.path.realpath(directory))
    for entry in entries:
        for path in () if entry.local else (entry.kernel, *entry.initrd):
            problem = file_problem(root, path)
            if problem:
                problems.append(f"entry {entry.name}: {directory / path} {problem}")
    if problems:
        raise ClusterError("; ".join(problems))


def file_problem(root: Path, path: str) -> str | None:
    """What keeps ``path`` from being served; links may point anywhere within the tree, which the servers may be shut into."""
    real = Path(os.path.realpath(root / path))
    if root not in real.parents:
        return f"leads out of the boot tree, to {real}: copy the file into it"
    try:
        status = real.stat()
    except OSError as error:
        return f"cannot be served: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    if status.st_size == 0:
        return "is empty"
    if not status.st_mode & stat.S_IROTH:
        mode = stat.S_IMODE(status.st_mode)
        return f"has mode {mode:04o}: the TFTP and HTTP servers run as other users, make it readable for all"
    return None
