# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: pxelinux_filename
short_description: The file below pxelinux.cfg for a machine or a subnet
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - PXELINUX asks for its configuration under the machine's UUID, its MAC, then its address in upper-case hexadecimal,
    which it shortens digit by digit. This filter gives the name for each of these.
options:
  _input:
    description:
      - An IPv4 address, a MAC, a UUID, or a subnet whose prefix length is a multiple of 4.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Link a cluster's file to the name of one node, as it is done by hand with gethostip
  ansible.builtin.file:
    src: mycluster01
    dest: "/srv/tftp/pxelinux.cfg/{{ '10.11.12.101' | oneimage.cluster.pxelinux_filename }}"
    state: link

- name: Show the names for a MAC and for a whole subnet
  ansible.builtin.debug:
    msg:
      - "{{ '88:99:AA:BB:CC:DD' | oneimage.cluster.pxelinux_filename }}"  # 01-88-99-aa-bb-cc-dd
      - "{{ '10.11.12.0/24' | oneimage.cluster.pxelinux_filename }}"  # 0A0B0C
"""

RETURN = r"""
_value:
  description: The file's name.
  type: str
  sample: 0A0B0C65
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_names import pxelinux_name
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def pxelinux_filename(value: str) -> str:
    try:
        return pxelinux_name(value)
    except ClusterError as error:
        raise AnsibleFilterError(f"pxelinux_filename: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"pxelinux_filename": pxelinux_filename}
