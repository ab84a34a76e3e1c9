# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: environment_convert
short_description: Convert an environment's description between the generations of Kadeploy
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Reads a description of Kadeploy 2, of Kadeploy 3.1, or in YAML, and writes it for any of them.
  - Says which fields the target cannot hold, and whether it would refuse what is left.
  - The description is checked as Kadeploy checks it; a wrong one is an error that names every fault.
positional: _input, to
options:
  _input:
    description: The description, as text or as a dict in the shape of Kadeploy's current YAML.
    type: raw
    required: true
  to:
    description: The target.
    type: str
    choices: [kadeploy2, "3.1", "3.3", current]
    default: current
  source:
    description: What a text is written for. V(auto) tells it by its fields.
    type: str
    choices: [auto, kadeploy2, "3.1", "3.3", current]
    default: auto
  version:
    description: Which version to take of a text with several, as C(kaenvironments -e) prints them. The highest without it.
    type: int
"""

EXAMPLES = r"""
- name: Bring a description of Kadeploy 2 to the current format
  ansible.builtin.copy:
    content: "{{ (lookup('ansible.builtin.file', 'tp.dsc') | oneimage.cluster.environment_convert).text }}"
    dest: tp.yml
    mode: "0644"

- name: Refuse to go on if an old server could not deploy this environment
  vars:
    old: "{{ lookup('ansible.builtin.file', 'debian12.yml') | oneimage.cluster.environment_convert('3.3') }}"
  ansible.builtin.assert:
    that: old.lost | selectattr('refused') | length == 0
    fail_msg: "{{ old.lost | map(attribute='reason') | join(', ') }}"
"""

RETURN = r"""
_value:
  description:
    - C(text) for the target, and C(lost), a list of the fields that it cannot hold, each with its C(reason), and with C(refused)
      if the target refuses what is left or does not deploy the same.
    - C(warnings) about what was read, and the C(description) as a dict in the shape of Kadeploy's current YAML.
  type: dict
  sample:
    text: "name : debian12\nversion : 3\n..."
    lost:
      - {field: alias, reason: Kadeploy 3.1 has no such field, refused: false}
    warnings: ["description, line 7: Kadeploy 3.1 ignores kernel, which has not one blank on each side of its colon; ..."]
    description: {name: debian12, version: 3}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import check, complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_formats import (
    FORMATS,
    latest,
    read,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import Reading
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def environment_convert(
    value: Any, to: str = "current", source: str = "auto", version: int | None = None
) -> dict[str, Any]:
    # 3.1 without quotes is a number in a playbook
    to, source = str(to), str(source)
    try:
        known = ", ".join(FORMATS)
        if to not in FORMATS:
            raise ClusterError(f"unknown target {to!r}; known: {known}")
        if source not in ("auto", *FORMATS):
            raise ClusterError(f"unknown source {source!r}; known: auto, {known}")
        if isinstance(value, Mapping):
            reading = Reading(dict(value))
        elif isinstance(value, str):
            reading = latest(read(value, source), version)
        else:
            raise ClusterError("takes a description as text or as a dict")
        warnings = check(reading.description, "description")
        description = complete(reading.description)
        written = FORMATS[to].write(description)
    except ClusterError as error:
        raise AnsibleFilterError(f"environment_convert: {error}") from error
    return {
        "text": written.text,
        "lost": written.lost,
        "warnings": [*reading.warnings, *warnings],
        "description": description,
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {"environment_convert": environment_convert}
