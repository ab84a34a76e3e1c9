# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: node_list
short_description: The cluster's nodes from the inventory, checked
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Makes a plain list of nodes from the C(node_*) variables of hosts.
  - Fails with one message that names all nodes at fault, where two have the same name, MAC, address or UUID, where one is
    malformed or missing, and where an address lies outside the subnet or belongs to the server or to the subnet itself.
options:
  _input:
    description: The variables of the hosts, for example C(groups['nodes'] | map('extract', hostvars)).
    type: list
    elements: dict
    required: true
  subnet:
    description: The subnet in which all addresses must lie, for example V(10.77.0.0/24).
    type: str
  server:
    description: The boot server's address, which no node may have.
    type: str
  extra:
    description: Names of further C(node_) variables to carry over, without C(node_); null where a host has none.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the nodes
  ansible.builtin.debug:
    msg: >-
      {{ groups['nodes'] | map('extract', hostvars) | oneimage.cluster.node_list(subnet='10.77.0.0/24', server='10.77.0.1') }}
"""

RETURN = r"""
_value:
  description:
    - One dictionary per host with C(name) (the inventory's), C(mac) and C(address) in their canonical spelling, C(uuid),
      C(firmware) (default V(bios)), C(loader) (default V(ipxe)), C(root_mode) (default V(nfs_ro)), C(initrd) (default
      V(native)), C(bmc) and what O(extra) names. What is not set is null.
  type: list
  elements: dict
  sample:
    - name: n1
      mac: "52:54:00:77:00:01"
      address: 10.77.0.11
      uuid: null
      firmware: bios
      loader: ipxe
      root_mode: nfs_ro
      initrd: native
      bmc: {address: 127.0.0.1, port: 6231, user: admin, password: secret}
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._node import parse_network, parse_nodes

DEFAULTS: Mapping[str, str | None] = {
    "mac": None,
    "address": None,
    "uuid": None,
    "firmware": "bios",
    "loader": "ipxe",
    "root_mode": "nfs_ro",
    "initrd": "native",
    "bmc": None,
}
CHECKED = ("name", "mac", "address", "uuid", "firmware", "loader")


def node_list(
    hosts: Iterable[Mapping[str, Any]],
    subnet: str | None = None,
    server: str | None = None,
    extra: Sequence[str] = (),
) -> list[dict[str, Any]]:
    try:
        items = [plain(host, extra) for host in hosts]
        nodes = parse_nodes(items, network=parse_network(subnet, server), required=("mac",))
    except ClusterError as error:
        raise AnsibleFilterError(f"node_list: {error}") from error
    return [
        {**item, **{field: getattr(node, field) for field in CHECKED}} for item, node in zip(items, nodes)
    ]


def plain(host: Mapping[str, Any], extra: Sequence[str]) -> dict[str, Any]:
    """A host's variables under the names of a node; raises ClusterError for what are no host's variables."""
    if not isinstance(host, Mapping) or "inventory_hostname" not in host:
        raise ClusterError("each item must be a host's variables: groups['nodes'] | map('extract', hostvars)")
    node: dict[str, Any] = {"name": str(host["inventory_hostname"])}
    for name, default in {**DEFAULTS, **dict.fromkeys(extra)}.items():
        value = host.get(f"node_{name}")
        node[name] = default if value in (None, "") else value
    return node


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"node_list": node_list}
