"""The guard in plays, as roles call it: nothing after it runs when a node is refused, on whatever node it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from adhoc import ENVIRONMENT
from conftest import snapshot

PLAY = """
- hosts: nodes
  gather_facts: false
  tasks:
    - name: Guard
      oneimage.cluster.reservation_check: {options}
      run_once: true
      register: guard

    - name: Hand the result on
      ansible.builtin.copy:
        content: "{{{{ guard | to_json }}}}"
        dest: {target}
        mode: "0600"
      run_once: true
      delegate_to: localhost
      connection: local
      check_mode: false

    - name: Touch the node
      ansible.builtin.copy:
        content: touched
        dest: {folder}/{{{{ inventory_hostname }}}}
        mode: "0600"
      delegate_to: localhost
      connection: local
      when: not ansible_check_mode
"""
ROLE = """
- hosts: nodes
  gather_facts: false
  connection: local
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    node_boot_power_from: localhost
    node_boot_always: true
    node_boot_retries: 0
    node_boot_timeout: 1
    node_boot_declared: {image_id: i-0, kernel: k, root_mode: nfs_ro, root: 's:/r', parameters: []}
    node_boot_node:
      name: "{{ inventory_hostname }}"
      mac: "00:00:5e:00:53:01"
      address: 127.77.0.99
      firmware: bios
      loader: ipxe
      bmc:
        driver: command
        commands: {'on': [cp, 'on', "{{ state }}"], 'off': [cp, 'off', "{{ state }}"], status: [cat, "{{ state }}"]}
    state: "state-{{ inventory_hostname }}"  # nodes are switched at the same time
  tasks:
    - ansible.builtin.include_role:
        name: oneimage.cluster.node_boot
"""
CHECKOUT = Path(__file__).resolve().parents[2]
ALL = '{nodes: "{{ ansible_play_hosts }}"}'


def inventory(
    left: int | None = 3600, reserved: tuple[str, ...] | None = ("n1.s.org", "n2.s.org")
) -> dict[str, Any]:
    """Nodes that nobody can reach: the guard asks none. The reservation ends in ``left`` seconds."""
    members = {f"n{number}.s.org": {"ansible_host": "192.0.2.1"} for number in (1, 2, 3)}
    groups: dict[str, Any] = {"nodes": {"hosts": members}}
    if reserved is not None:
        held = {"node_job": "4242", **({} if left is None else {"node_expires": int(time.time()) + left})}
        groups["reserved"] = {"hosts": dict.fromkeys(reserved), "vars": held}
    return {"all": {"children": groups}}


class Outcome:
    def __init__(self, done: subprocess.CompletedProcess[str], folder: Path, target: Path) -> None:
        self.output = " ".join((done.stdout + done.stderr).split())
        self.failed = done.returncode != 0
        self.touched = sorted(path.name for path in folder.iterdir())
        self.result: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}


def run_playbook(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, **ENVIRONMENT, "COLUMNS": "1000"}
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


def play(tmp_path: Path, hosts: dict[str, Any], options: str = ALL, *arguments: str) -> Outcome:
    folder, target = tmp_path / "touched", tmp_path / "result.json"
    folder.mkdir(exist_ok=True)
    (tmp_path / "hosts.yml").write_text(json.dumps(hosts))
    (tmp_path / "play.yml").write_text(PLAY.format(options=options, target=target, folder=folder))
    done = run_playbook(tmp_path, "-i", "hosts.yml", "play.yml", *arguments)
    return Outcome(done, folder, target)


def test_a_node_outside_is_refused_before_any_node_is_touched(tmp_path: Path) -> None:
    outcome = play(tmp_path, inventory())
    assert outcome.failed
    assert "outside the reservation: n3.s.org (reserved: n[1-2].s.org); reserve them, leave" in outcome.output
    assert outcome.touched == []


def test_check_mode_refuses_the_same(tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    outcome = play(tmp_path, inventory(), ALL, "--check", "--diff")
    assert outcome.failed
    assert "outside the reservation: n3.s.org" in outcome.output
    assert set(snapshot(tmp_path)) - set(before) == {"hosts.yml", "play.yml", "touched"}


@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_what_is_reserved_passes_and_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcome = play(tmp_path, inventory(), ALL, "--limit", "reserved", *arguments)
    assert not outcome.failed, outcome.output
    result = outcome.result
    assert result["changed"] is False
    assert result["guarded"] is True
    assert result["checked"] == ["n1.s.org", "n2.s.org"]
    assert (result["outside"], result["ending"], result["jobs"]) == ([], [], ["4242"])
    assert result["expires"] > time.time()
    assert outcome.touched == ([] if arguments else ["n1.s.org", "n2.s.org"])


def test_a_reservation_that_is_over_is_refused(tmp_path: Path) -> None:
    outcome = play(tmp_path, inventory(left=-60), ALL, "--limit", "reserved")
    assert outcome.failed
    assert "n[1-2].s.org: the reservation is over since" in outcome.output
    assert "(job 4242)" in outcome.output
    assert outcome.touched == []


def test_too_little_time_is_refused(tmp_path: Path) -> None:
    options = '{nodes: "n[1-2].s.org", minimum_left: 7200}'
    outcome = play(tmp_path, inventory(), options)
    assert outcome.failed
    assert "which is less than minimum_left (7200 s)" in outcome.output


@pytest.mark.parametrize("allowed", ['"n3.s.org"', '"n[3-9].s.org"', "[n3.s.org]", "true", '"true"'])
def test_what_is_allowed_passes(tmp_path: Path, allowed: str) -> None:
    options = f'{{nodes: "{{{{ ansible_play_hosts }}}}", allow_outside: {allowed}}}'
    outcome = play(tmp_path, inventory(), options)
    assert not outcome.failed, outcome.output
    assert outcome.result["outside"] == ["n3.s.org"]
    assert "allowed outside it: n3.s.org" in outcome.result["msg"]
    assert len(outcome.touched) == 3


def test_an_inventory_that_knows_no_reservation_is_not_guarded_unless_that_is_required(
    tmp_path: Path,
) -> None:
    outcome = play(tmp_path, inventory(reserved=None))
    assert not outcome.failed, outcome.output
    assert outcome.result["guarded"] is False
    assert "no group reserved" in outcome.result["msg"]
    options = '{nodes: "{{ ansible_play_hosts }}", require: always}'
    outcome = play(tmp_path, inventory(reserved=None), options)
    assert outcome.failed
    assert "no group reserved" in outcome.output


def test_an_empty_reservation_holds_nobody(tmp_path: Path) -> None:
    outcome = play(tmp_path, inventory(reserved=()))
    assert outcome.failed
    assert "outside the reservation: n[1-3].s.org (nothing is reserved)" in outcome.output


@pytest.mark.parametrize(
    "options, words",
    [
        ("{}", "missing required arguments: nodes"),
        ('{nodes: "n[1-"}', "nodes: "),
        ('{nodes: n1.s.org, require: "sometimes"}', "value of require must be one of: if_known, always"),
        ("{nodes: n1.s.org, minimum_left: soon}", "minimum_left"),
        ("{nodes: n1.s.org, nods: n1}", "nods"),
    ],
)
def test_wrong_options_are_one_clear_error(tmp_path: Path, options: str, words: str) -> None:
    outcome = play(tmp_path, inventory(), options)
    assert outcome.failed
    assert words in outcome.output
    assert "Traceback" not in outcome.output
    assert outcome.touched == []


@pytest.mark.parametrize("allowed, powered", [(False, False), ("n3.s.org", True)])
def test_node_boot_powers_nothing_before_the_guard(tmp_path: Path, allowed: Any, powered: bool) -> None:
    states = [tmp_path / f"state-n{number}.s.org" for number in (1, 2, 3)]
    for path in (tmp_path / "on", tmp_path / "off"):
        path.write_text(path.name)
    for path in states:
        path.write_text("off, and never switched")
    declared = ROLE.replace("[cp, '", f"[cp, '{tmp_path}/").replace("state-", f"{tmp_path}/state-")
    (tmp_path / "role.yml").write_text(declared)
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory()))
    allow = json.dumps({"node_boot_allow_outside_reservation": allowed})
    done = run_playbook(tmp_path, "-i", "hosts.yml", "-e", allow, "role.yml")
    assert ("outside the reservation: n3.s.org" in done.stdout) is not powered, done.stdout
    assert {path.read_text() for path in states} == {"on" if powered else "off, and never switched"}, (
        done.stdout
    )


@pytest.mark.parametrize(
    "arguments, ended_in",
    [((), "Look what the nodes run now"), (("--limit", "boot_server"), "Serve the image")],
    ids=["all", "limit"],
)
def test_the_playbook_stops_before_a_boot_entry_is_written(
    tmp_path: Path, arguments: tuple[str, ...], ended_in: str
) -> None:
    (tmp_path / "reserved.yml").write_text("reserved: {hosts: {node1: }}\n")
    inventories = ("-i", CHECKOUT / "inventories" / "lab", "-i", "reserved.yml")
    done = run_playbook(tmp_path, *inventories, CHECKOUT / "playbooks" / "diskless.yml", *arguments)
    assert done.returncode != 0
    assert "outside the reservation: node2 (reserved: node1)" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("PLAY [")][-1].startswith(
        f"PLAY [{ended_in}]"
    )
    assert done.stdout.count("TASK [") == 1
