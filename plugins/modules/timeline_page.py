#!/usr/bin/python
# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: timeline_page
short_description: Show boots and deployments on a page
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Writes one HTML page with a bar per node and step, coloured by outcome; pointing at a bar shows its evidence. The page
    holds no script and needs no network.
  - A deployment's timeline is rebuilt from its journal alone, a boot's from what M(oneimage.cluster.boot_stage_info) reads in
    the boot server's logs.
  - The callback P(oneimage.cluster.timeline#callback) writes the same page at the end of every playbook.
extends_documentation_fragment: [oneimage.cluster._attributes]
options:
  file:
    description: The page. Its folder must exist.
    type: path
    required: true
  heading:
    description: What the page is called.
    type: str
    default: Timeline
  journals:
    description: Journals of deployments, on the host that the module runs on.
    type: list
    elements: path
    default: []
  timelines:
    description: Timelines as other modules return them.
    type: list
    elements: dict
    default: []
  page_mode:
    description: Permissions of the page. What nodes said in their boots is on it.
    type: str
    default: "0644"
"""

EXAMPLES = r"""
- name: Look at a deployment again
  oneimage.cluster.timeline_page:
    file: /tmp/deployment.html
    journals: [/srv/oneimage/deployments/20261121T100000-0123456789ab/journal.jsonl]

- name: Ask the boot server's logs how the nodes came up since this morning
  oneimage.cluster.boot_stage_info:
    nodes: [{name: node1, mac: "52:54:00:00:00:01", address: 10.0.0.11}]
    since: 1795248000
  register: looked

- name: Show it
  oneimage.cluster.timeline_page:
    file: /tmp/boot.html
    timelines: ["{{ looked.timeline }}"]
"""

RETURN = r"""
file:
  description: The page.
  type: str
  returned: success
  sample: /tmp/deployment.html
timelines:
  description:
    - What the page shows. Each has C(title), C(started) and C(ended) in seconds since 1970, and C(nodes), whose C(outcome) is
      V(ok), V(ko), V(brk), V(discarded) or V(open), and whose C(spans) are the steps.
  type: list
  elements: dict
  returned: success
  sample:
    - timeline: 1
      title: deployment 20261121T100000-0123456789ab
      started: 1795255086.2
      ended: 1795255206.9
      nodes:
        - name: node1
          outcome: ok
          message: ""
          spans:
            - name: create_partition_table
              group: SetDeploymentEnv pxe
              start: 1795255126.0
              end: 1795255127.5
              outcome: ok
              evidence: []
              advice: ""
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import read_records
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import check, of_journal
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline_page import page


def publish(options: dict[str, Any], dry: bool) -> dict[str, Any]:
    if not options["journals"] and not options["timelines"]:
        raise ClusterError("journals or timelines: name at least one, or there is nothing to show")
    records = [of_journal(read_records(Path(path))[0]) for path in options["journals"]]
    records += [check(record) for record in options["timelines"]]
    for path, record in zip(options["journals"], records):
        if not record["nodes"]:
            raise ClusterError(f"{path} is no journal of a deployment: it names no node")
    file, text = Path(options["file"]), page(records, options["heading"])
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        mode = int(options["page_mode"], 8)
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot read {file}, which would be replaced: {error}") from error
    except ValueError as error:
        raise ClusterError(f"page_mode: {options['page_mode']} is no octal number") from error
    changed = before != text
    if changed and not dry:
        write_file(file, text.encode(), mode)
    diff = {"before": before, "after": text, "before_header": str(file), "after_header": str(file)}
    return {"changed": changed, "file": str(file), "timelines": records, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "heading": {"type": "str", "default": "Timeline"},
            "journals": {"type": "list", "elements": "path", "default": []},
            "timelines": {"type": "list", "elements": "dict", "default": []},
            "page_mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    try:
        result = publish(module.params, module.check_mode)
    except ClusterError as error:
        module.fail_json(msg=str(error))
    diff = result.pop("diff")
    if module._diff:
        result["diff"] = diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
