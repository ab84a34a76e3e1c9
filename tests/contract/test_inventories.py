"""The example inventories are what the playbooks take: their nodes pass the check, and what the roles need is there.

Those of reserved nodes are tested in test_inventory_examples.py and test_inventory_nodes.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  connection: local
  vars_files: [{checkout}/playbooks/vars/diskless.yml]
  vars: {{vault_bmc_password: example}}
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ diskless_nodes | to_json }}}}"
        dest: "{target}"
        mode: "0600"
"""


@pytest.mark.parametrize(
    "inventory", sorted(path.parent.name for path in (CHECKOUT / "inventories").glob("*/hosts.yml"))
)
def test_the_nodes_of_an_example_pass_the_check(inventory: str, tmp_path: Path) -> None:
    playbook = tmp_path / "nodes.yml"
    target = tmp_path / "nodes.json"
    playbook.write_text(PLAYBOOK.format(checkout=CHECKOUT, target=target))
    program = Path(sys.executable).with_name("ansible-playbook")
    # The password lies in a vault, whose variable only the host itself would see.
    argv = [program, "-i", CHECKOUT / "inventories" / inventory, "-e", "vault_bmc_password=example", playbook]
    done = subprocess.run(
        argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = json.loads(target.read_text())
    assert len(nodes) >= 2
    assert all(node["bmc"]["address"] for node in nodes)
