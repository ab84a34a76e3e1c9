# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nodeset_expand
short_description: The names of the nodes that a nodeset stands for
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads hostlists of Slurm and Flux, lists of Kadeploy and nodesets of ClusterShell, and names separated by commas or
    white space.
  - "Brackets hold numbers and ranges, V(node[01-03,07]); there may be several, V(rack[1-2]n[1-4].example.org), which all
    combine, and steps, V(node[1-10/3]). Padding is kept."
  - V(,) or white space joins sets, V(!) takes away, V(&) keeps what both have, V(^) what only one has, all from left to
    right and of one rank, as in ClusterShell.
  - Groups of ClusterShell, V(@rack1), are refused, since another machine's configuration says what is in them.
  - Fails where the text is empty or malformed, where a name cannot be a host's, and, before anything is expanded, where
    it stands for more than 2 000 000 names.
options:
  _input:
    description: The nodeset.
    type: str
    required: true
seealso:
  - plugin: oneimage.cluster.nodeset_fold
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Add the nodes of a Slurm job to the inventory
  ansible.builtin.add_host:
    name: "{{ item }}"
    groups: nodes
  loop: "{{ lookup('ansible.builtin.env', 'SLURM_JOB_NODELIST') | oneimage.cluster.nodeset_expand }}"

- name: All nodes of two racks but one
  ansible.builtin.debug:
    msg: "{{ 'rack[1-2]n[01-40]!rack2n07' | oneimage.cluster.nodeset_expand }}"
"""

RETURN = r"""
_value:
  description:
    - The names, each once, in the order in which the text gives them, the last bracket varying fastest. Empty where the
      operators leave none.
  type: list
  elements: str
  sample: [node01, node02, node03, node07]
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand


def nodeset_expand(text: str) -> list[str]:
    if not isinstance(text, str):
        raise AnsibleFilterError("nodeset_expand: one text is needed; for a list, use map and flatten")
    try:
        return expand(text)
    except ClusterError as error:
        raise AnsibleFilterError(f"nodeset_expand: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"nodeset_expand": nodeset_expand}
