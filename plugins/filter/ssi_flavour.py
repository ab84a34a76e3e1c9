# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ssi_flavour
short_description: A flavour of SSI clusters, read and checked
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads a flavour, a YAML file on the controller that says all that there is to say about a kind of SSI cluster. Fails with
    the field that is wrong.
  - Read the file with nothing else. The Jinja in it is for P(oneimage.cluster.ssi_nodes#filter).
options:
  _input:
    description: The name of a flavour of the collection, the path of your own, or what such a file holds.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show the kernel parameters of a flavour
  ansible.builtin.debug:
    msg: "{{ ('mainline' | oneimage.cluster.ssi_flavour).parameters }}"
"""

RETURN = r"""
_value:
  description: The flavour, with everything that its file leaves out.
  type: dict
  sample: {name: mainline, limits: {session: [1, 254], node_id: [0, 254], nodes: [2, 256], one_subnet: true}}
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._flavours import resolve


def ssi_flavour(flavour: Any) -> dict[str, Any]:
    try:
        return resolve(flavour, Path.cwd())
    except ClusterError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"ssi_flavour": ssi_flavour}
