# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nodeset_fold
short_description: A nodeset that stands for the names of nodes
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Writes names of nodes with brackets and ranges, V(node[01-03,07]), sorted, each once, padding kept.
  - The result is what C(nodeset --fold) of ClusterShell prints. It is also what C(scontrol show hostlistsorted) of Slurm
    prints for names that end in their only number and do not outgrow their padding.
  - "Slurm folds the last number of a name only, and only at its end. Of ClusterShell's other forms it reads several
    brackets, V(rack[1-2]n[1-4]), but nothing behind the last one, V(node[1-4].example.org): give Slurm short names."
  - Fails where a name cannot be a host's.
options:
  _input:
    description: The names.
    type: list
    elements: str
    required: true
seealso:
  - plugin: oneimage.cluster.nodeset_expand
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say which nodes did not answer, in one line
  ansible.builtin.debug:
    msg: "{{ groups['nodes'] | difference(ansible_play_hosts) | oneimage.cluster.nodeset_fold }}"

- name: Drain them in Slurm
  ansible.builtin.command:
    argv:
      - scontrol
      - update
      - NodeName={{ ['n08', 'n09', 'n10', 'gpu-1'] | oneimage.cluster.nodeset_fold }}  # gpu-1,n[08-10]
      - State=DRAIN
      - Reason=image
  changed_when: true
"""

RETURN = r"""
_value:
  description: The nodeset; empty for no names.
  type: str
  sample: gpu-1,n[08-10]
"""

from collections.abc import Callable, Iterable

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import fold


def nodeset_fold(names: Iterable[str]) -> str:
    if isinstance(names, str):
        raise AnsibleFilterError(
            "nodeset_fold: a list of names is needed; for one text, use nodeset_expand first"
        )
    known = list(names)
    strange = next((name for name in known if not isinstance(name, str)), None)
    if strange is not None:
        raise AnsibleFilterError(f"nodeset_fold: {strange!r} is no name of a node, which is a text")
    try:
        return fold(known)
    except ClusterError as error:
        raise AnsibleFilterError(f"nodeset_fold: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"nodeset_fold": nodeset_fold}
