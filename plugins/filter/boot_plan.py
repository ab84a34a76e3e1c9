# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_plan
short_description: Work out what the daemons of a boot server and its self-test are told
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Takes what was declared of a boot server, the variables of the role P(oneimage.cluster.boot_server#role) without their prefix,
    and refuses what cannot work, such as two nodes with one MAC address, an address outside the subnet, a loader that a node's
    firmware cannot run, or an export to everybody.
  - The DHCP configuration and the answers that the self-test expects come from one table.
options:
  _input:
    description:
      - C(address), C(subnet), C(gateway), C(dns), C(ntp), C(domain), C(range), C(unknown_nodes), C(mac_prefixes), C(storage),
        C(nodes), C(dhcp), C(http_port), C(exports) and C(exports_outside_subnet).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what a node's DHCP answers would be
  vars:
    declared:
      address: 10.77.0.1
      subnet: 10.77.0.0/24
      gateway: ""
      dns: []
      ntp: ""
      domain: ""
      range: ""
      unknown_nodes: deny
      mac_prefixes: []
      storage: /srv/oneimage
      nodes: [{name: n1, mac: 52:54:00:77:00:11, address: 10.77.0.11}]
      dhcp: dnsmasq
      http_port: 80
      exports: []
      exports_outside_subnet: false
  ansible.builtin.debug:
    var: (declared | oneimage.cluster.boot_plan).answers
"""

RETURN = r"""
_value:
  description:
    - C(network), C(netmask), C(url), C(nodes) with their defaults, C(pool), C(pool_names) (what unknown nodes are called, by
      their addresses), C(mac_masks) of the unknown nodes that are allowed, the C(architectures) of clients,
      C(default_loader), the C(rules) by which a client gets its boot file, the C(answers) that each node must get, and the
      C(exports) with their clients and numbers.
  type: dict
  sample:
    network: 10.77.0.0
    netmask: 255.255.255.0
    url: http://10.77.0.1
    nodes: [{name: n1, mac: 52:54:00:77:00:11, address: 10.77.0.11, firmware: bios, loader: ipxe}]
    pool: null
    pool_names: []
    mac_masks: []
    architectures:
      bios: {codes: [0], firmware: bios, over_http: false}
    default_loader: ipxe
    rules: [{loader: ipxe, architecture: bios, ipxe: false, file: undionly.kpxe}]
    answers:
      - mac: 52:54:00:77:00:11
        architecture: 0
        ipxe: false
        expect: {address: 10.77.0.11, next_server: 10.77.0.1, file: undionly.kpxe}
    exports: [{path: /srv/oneimage/roots/demo/4f1c2d3e4a5b, mode: ro, clients: 10.77.0.0/24, id: 4711}]
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_plan import boot_plan
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def plan(declared: dict[str, Any]) -> dict[str, Any]:
    try:
        return boot_plan(declared)
    except ClusterError as error:
        raise AnsibleFilterError(f"boot server: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"boot_plan": plan}
