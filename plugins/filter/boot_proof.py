# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_proof
short_description: Compare what a node says of itself with what was declared for it
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Takes the C(QUESTION TEXT) lines that a node printed and the declaration of its boot.
options:
  _input:
    description: What the node printed; an empty string stands for a node that does not answer.
    type: str
    required: true
  declared:
    description: C(image_id), C(kernel), C(root_mode), C(root) as C(SERVER:/PATH) and C(parameters), a list.
    type: dict
    required: true
  questions:
    description: The names of all the questions that the node was asked; C(cmdline), C(root), C(kernel) and C(image_id) at least.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Ask a node
  ansible.builtin.raw: echo "kernel $(uname -r)"; echo "cmdline $(cat /proc/cmdline)"; ...
  register: asked

- name: Show what differs from the declaration
  ansible.builtin.debug:
    msg: "{{ (asked.stdout | oneimage.cluster.boot_proof(declared, questions)).mismatches }}"
"""

RETURN = r"""
_value:
  description:
    - C(answers), what the node said by question, and C(mismatches), a sentence for each difference.
    - The proof holds when C(mismatches) is empty.
  type: dict
  sample: {answers: {kernel: 6.1.0-44-cloud-amd64}, mismatches: []}
"""

from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_proof import mismatches, parse_answers
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def boot_proof(output: str, declared: dict[str, Any], questions: list[str]) -> dict[str, Any]:
    try:
        answers = parse_answers(output, questions)
    except ClusterError as error:
        return {"answers": {}, "mismatches": [str(error)]}
    return {"answers": answers, "mismatches": mismatches(answers, declared)}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"boot_proof": boot_proof}
