# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The drivers of a site's nodes, from the documents of Grid'5000's reference API.

A node's document has ``network_adapters[].driver`` and ``storage_devices[].driver`` (generators/reference-api of
grid5000/reference-repository); ``links`` say the site: ``/3.0/sites/nancy/clusters/griffon/nodes/griffon-1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

DEVICES = ("network_adapters", "storage_devices")
SITE = re.compile(r"/sites/([^/]+)")
NO_DRIVER = {"", "n/a", "none", "unknown"}


def read_drivers(text: str, source: str, site: str | None = None) -> dict[str, list[str]]:
    """Site to its drivers, in the order of the document, which is one node, a list of nodes, or an answer with ``items``.

    ``site`` is that of all nodes; else what a node's links say, else ``source`` without folder and suffix.
    Raises ClusterError naming ``source`` where it is no JSON, or no node in it has a device.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ClusterError(f"hardware: {source} is no JSON: {error}") from error
    found: dict[str, dict[str, None]] = {}
    devices = 0
    for node in nodes(document):
        drivers = found.setdefault(site or site_of(node) or stem(source), {})
        for device in devices_of(node):
            devices += 1
            driver = device.get("driver")
            names = driver if isinstance(driver, list) else [driver]
            drivers.update((str(name), None) for name in names if name and str(name).lower() not in NO_DRIVER)
    if not devices:
        raise ClusterError(f"hardware: {source} holds no node with {' or '.join(DEVICES)}")
    return {name: list(drivers) for name, drivers in found.items()}


def nodes(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, Mapping) and isinstance(document.get("items"), list):
        document = document["items"]
    for node in document if isinstance(document, list) else [document]:
        if isinstance(node, Mapping):
            yield node


def devices_of(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Lists of devices, or mappings by name as older documents have; BMCs are no devices of the node's kernel."""
    for name in DEVICES:
        given = node.get(name)
        entries = given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else []
        for device in entries:
            if isinstance(device, Mapping) and not device.get("management"):
                yield device


def site_of(node: Mapping[str, Any]) -> str:
    links = node.get("links")
    for link in links if isinstance(links, list) else []:
        found = SITE.search(str(link.get("href"))) if isinstance(link, Mapping) else None
        if found:
            return found[1]
    return ""


def stem(source: str) -> str:
    return source.rpartition("/")[2].partition(".")[0]
