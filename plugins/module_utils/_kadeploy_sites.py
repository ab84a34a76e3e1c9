# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Several Kadeploy servers in one call: which has which nodes, and whether each has what is to be deployed."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._environment import current_user
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_declaration import declare
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_kadeploy import (
    KadeployRegistry,
    open_kadeploy,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_lookup import find
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import bare_path
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import Specification
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_notes import files
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_rest import Access
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow import Site
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow_client import ClientSite
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow_rest import RestSite

SERVERS_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "server": {"type": "str"},
    "programs": {"type": "path"},
    "notes": {"type": "path"},
}
"""One element of the option ``servers`` of the modules."""

REST_ONLY = ("user", "password", "ca_file")
CLIENT_ONLY = ("server", "programs")

TIMEOUT = 30
"""Seconds for a web server to answer for an image."""


def open_sites(servers: list[Mapping[str, Any]]) -> list[Site]:
    """A site for each of ``servers`` (SERVERS_SPEC); raises ClusterError for options that do not go together."""
    names = [server["name"] for server in servers]
    if not names or len(set(names)) < len(names):
        raise ClusterError("servers: give at least one, each with a name of its own")
    return [open_site(server) for server in servers]


def open_site(server: Mapping[str, Any]) -> Site:
    where = f"servers[{server['name']}]"
    strange = [name for name in (CLIENT_ONLY if server["url"] else REST_ONLY) if server[name]]
    if strange:
        way = "the commands, without url" if server["url"] else "the REST API: give url"
        raise ClusterError(f"{where}: {', '.join(strange)} is for {way}")
    if not server["url"]:
        return ClientSite(server["name"], server["server"], server["programs"])
    user = server["user"] or current_user()
    access = Access(
        server["url"], user, server["password"], server["ca_file"], server["validate_certs"], where
    )
    return RestSite(server["name"], access)


def registry_of(server: Mapping[str, Any]) -> KadeployRegistry:
    """The environments of a server."""
    program = os.path.join(server["programs"], "kaenv3") if server["programs"] else "kaenv3"
    options = {**server, "path": None, "program": program, "target": "auto"}
    return open_kadeploy(options, current_user())


def assign(nodes: Iterable[str], sites: Iterable[Site]) -> dict[str, list[str]]:
    """By the name of each site that has any, its ``nodes``.

    Raises ClusterError naming every site that gives no answer, and nodes that no site knows, or more than one.
    """
    known: dict[str, set[str]] = {}
    faults = []
    for site in sites:
        try:
            known[site.name] = set(site.nodes())
        except ClusterError as error:
            faults.append(f"site {site.name}: {error}")
    if faults:
        raise ClusterError(f"{'; '.join(faults)}; nothing was started anywhere")
    found: dict[str, list[str]] = {}
    for node in nodes:
        homes = [name for name, names in known.items() if node in names]
        if len(homes) == 1:
            found.setdefault(homes[0], []).append(node)
        else:
            faults.append(
                f"node {node} is known to {' and '.join(homes)}; leave one of them out"
                if homes
                else f"node {node} is unknown to {', '.join(known)}"
            )
    if faults:
        raise ClusterError(f"{'; '.join(faults)}; write full names as Kadeploy does; nothing was started")
    return found


def recorded(
    server: Mapping[str, Any], wanted: Mapping[str, Any], refresh: bool, check_mode: bool
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The environment that ``wanted`` {name, user, version} means on a server, the checksums updated, and warnings.

    Raises ClusterError if it is not there, if its image gives no answer, or if its checksum is known to be stale.
    """
    registry = registry_of(server)
    specification = Specification(wanted["name"], wanted["user"], wanted["version"])
    entry = find(registry, specification, registry.client.user)
    answering(entry.description, entry.title)
    updated: list[str] = []
    warnings: list[str] = []
    if refresh and entry.owner == registry.client.user:
        done = registry.refresh(entry, check_mode)
        updated, warnings = done.updated, done.warnings
    elif stale := [kind for kind, answer in registry.notes.stale(entry).items() if answer]:
        raise ClusterError(
            f"{', '.join(stale)} of {entry.title} is not what Kadeploy noted, so that it would refuse to deploy it; "
            "run the module environment on it as its owner"
        )
    found = {"name": entry.name, "user": entry.owner, "version": entry.version}
    return found, [f"{kind} of {entry.title}" for kind in updated], warnings


def anonymous(server: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The description ``wanted`` as a server will take it, and what of it is lost; raises ClusterError with its faults."""
    registry = registry_of(server)
    declared = declare([wanted], None, None, registry.client.user)
    settled = registry.settle(declared.description, registry.client.user, None)
    if registry.client.exports_files:
        for uris in files(settled).values():
            for uri in uris:
                if uri.startswith(("/", "local://")) and not os.access(bare_path(uri), os.R_OK):
                    raise ClusterError(f"{uri}: no file that this host can read, to send it to the server")
    answering(settled, f"environment {settled['name']}")
    return settled, [*declared.warnings, *registry.remarks()]


def answering(description: Mapping[str, Any], title: str) -> None:
    """Raise ClusterError unless all files of ``description`` that have a web address answer there."""
    for kind, uris in files(description).items():
        for uri in uris:
            if not uri.startswith(("http://", "https://")):
                continue
            try:
                open_url(uri, method="HEAD", timeout=TIMEOUT).close()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ClusterError(f"{kind} of {title}: {uri}: {error}") from error
