# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ssi_nodes
short_description: The nodes of SSI clusters with their sessions, ids, kernel parameters and files
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Works out of one list of nodes all that an SSI cluster is told of them, so that boot entries and the files of its root
    cannot differ.
  - Fails with one message that names everything at fault. Sessions and node ids outside the flavour's limits or there
    twice, too few or too many nodes, nodes of a session in several subnets where the flavour takes one /24, nodes of
    different kernels in one session, and machines that would join with the id of another node.
options:
  _input:
    description:
      - The variables of the hosts, for example C(groups['nodes'] | map('extract', hostvars)).
      - C(node_address), and C(node_session) of those that are no spares. C(node_ssi_id) is the node's id, the last byte of its
        address unless given. C(node_mac), C(node_interface) and C(node_kernel) (the kernel that it boots) are optional.
    type: list
    elements: dict
    required: true
  flavour:
    description: The flavour as P(oneimage.cluster.ssi_flavour#filter) takes it.
    type: raw
    required: true
  sessions:
    description:
      - The sessions, each with its C(id), C(nodes_min) (how many nodes form it by themselves, 2 unless given) and C(policy).
      - A session may have no nodes yet.
    type: list
    elements: dict
    default: []
  join:
    description:
      - C(session), C(range) (of addresses, C(10.77.0.100-10.77.0.199)) and C(limit) of machines that join though nobody declared
        them. Empty where there are none.
    type: dict
    default: {}
  subnet:
    description: The subnet in which all addresses must lie, for example V(10.77.0.0/24).
    type: str
  server:
    description: The boot server's address, which no node may have.
    type: str
    default: ''
  storage:
    description: The storage folder on the boot server.
    type: str
    default: /srv/oneimage
  interface:
    description: The nodes' network interface by the name that the flavour's kernel gives it.
    type: str
    default: eth0
"""

EXAMPLES = r"""
- name: Show the kernel parameters of all nodes
  vars:
    cluster: >-
      {{ groups['nodes'] | map('extract', hostvars)
         | oneimage.cluster.ssi_nodes(flavour='mainline', sessions=[{'id': 1}], server='10.77.0.1') }}
  ansible.builtin.debug:
    msg: "{{ cluster.nodes | items2dict(key_name='name', value_name='parameters') }}"
"""

RETURN = r"""
_value:
  description:
    - C(nodes), each with its C(name), C(mac), C(address), C(session) and C(node_id) (null of spares), C(interface), C(kernel) and
      C(parameters).
    - C(sessions), each with its C(id), C(nodes_min), C(policy) and C(nodes), in the order of their ids.
    - C(spares), the names of the nodes of no session.
    - C(files) of the root, each with its C(path), C(mode), and either C(content) or C(src).
    - C(join_parameters), the kernel parameters of machines that join, and C(join_range), their addresses, no more than the limit.
  type: dict
  sample:
    nodes:
      - name: n1
        mac: "52:54:00:77:00:01"
        address: 10.77.0.11
        session: 1
        node_id: 11
        interface: eth0
        kernel: null
        parameters: [session_id=1, node_id=11, nb_nodes_min=2]
    sessions: [{id: 1, nodes_min: 2, policy: null, nodes: []}]
    spares: []
    files: [{path: /etc/kerrighed_nodes, mode: "0644", src: null, content: "session=1\nnbmin=2\nn1:11:eth0\n"}]
    join_parameters: []
    join_range: ""
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_nodes import Site, arrange
from ansible_collections.oneimage.cluster.plugins.plugin_utils._flavours import resolve
from ansible_collections.oneimage.cluster.plugins.plugin_utils._ssi_files import render_files

VARIABLES = ("mac", "address", "session", "ssi_id", "interface", "kernel")


def ssi_nodes(
    hosts: Iterable[Mapping[str, Any]],
    flavour: Any,
    sessions: Sequence[Mapping[str, Any]] = (),
    join: Mapping[str, Any] | None = None,
    subnet: str | None = None,
    server: str = "",
    storage: str = "/srv/oneimage",
    interface: str = "eth0",
) -> dict[str, Any]:
    site = Site(subnet or None, server, storage, interface, join or {})
    try:
        known = resolve(flavour, Path.cwd())
        arranged = arrange([plain(host) for host in hosts], known, sessions, site)
        fields = {**vars(site), **arranged}
        return {**arranged, "files": render_files(known["files"], fields)}
    except ClusterError as error:
        raise AnsibleFilterError(f"ssi_nodes: {error}") from error


def plain(host: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(host, Mapping) or "inventory_hostname" not in host:
        raise ClusterError("each item must be a host's variables: groups['nodes'] | map('extract', hostvars)")
    return {"name": str(host["inventory_hostname"]), **{name: host.get(f"node_{name}") for name in VARIABLES}}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"ssi_nodes": ssi_nodes}
