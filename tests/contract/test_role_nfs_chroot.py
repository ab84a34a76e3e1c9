# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role nfs_chroot as a user runs it, on a tiny base of the cache."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_base
from adhoc import run_playbook
from conftest import snapshot

pytestmark = pytest.mark.root


PLAYBOOK = """---
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: oneimage.cluster.nfs_chroot
    - ansible.builtin.copy:
        content: "{{ {'result': nfs_chroot_result, 'results': nfs_chroot_results} | to_json }}"
        dest: "{{ facts }}"
        mode: "0600"
      check_mode: false
      changed_when: false
"""


class Play:
    """Runs the role; ``facts`` holds what it handed on, ``changed`` and ``output`` what the last run said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.playbook = folder / "play.yml"
        self.playbook.write_text(PLAYBOOK, encoding="utf-8")
        self.facts: dict[str, Any] = {}
        self.changed = -1
        self.output = ""

    def run(self, *arguments: str, succeeds: bool = True, **variables: Any) -> None:
        options = {**tiny_base.options(self.folder), **variables}
        extra = {f"nfs_chroot_{name}": value for name, value in options.items()}
        fixed = {"nfs_chroot_install_tools": False, "facts": str(self.folder / "facts.json")}
        fixed["ansible_python_interpreter"] = sys.executable
        done = run_playbook(str(self.playbook), "localhost,", {**extra, **fixed}, *arguments)
        self.output = done.stdout
        assert (done.returncode == 0) == succeeds, self.output
        self.changed = int(re.findall(r"changed=(\d+)", self.output)[-1])
        if succeeds:
            self.facts = json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture
def play(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Play:
    tiny_base.fill_cache(tmp_path, tiny_base.make(tmp_path_factory.mktemp("tiny")))
    return Play(tmp_path)


def test_second_run_changes_nothing_and_hands_on_the_same(play: Play) -> None:
    play.run()
    assert play.changed == 1
    first = play.facts["results"]["tiny"]
    assert first["image_id"] == f"tiny-{first['version']}" and Path(first["path"]).is_dir()
    assert first["kernel"]["version"] == tiny_base.KERNEL and first["kept_paths"] == [first["path"]]
    before = snapshot(play.folder / "srv")
    play.run()
    assert play.changed == 0 and play.facts["result"]["image_id"] == first["image_id"]
    assert snapshot(play.folder / "srv") == before


def test_check_and_diff_touch_nothing_and_show_the_change(play: Play) -> None:
    play.run("--check")
    assert play.changed == 1 and not (play.folder / "srv").exists()
    predicted = play.facts["result"]["image_id"]
    play.run()
    assert play.facts["result"]["image_id"] == predicted
    before = snapshot(play.folder / "srv")
    play.run("--check", "--diff", hosts=[{"address": "10.78.0.7", "names": ["seven"]}])
    assert play.changed == 1 and re.search(r'\+ +"address": "10.78.0.7"', play.output)
    assert snapshot(play.folder / "srv") == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"suite": "lenny"}, "suite: 'lenny' is unknown; one of bullseye, bookworm, trixie"),
        ({"tool": "alien"}, "value of nfs_chroot_tool must be one of: mmdebstrap, debootstrap"),
        ({"users": [{"uid": 5}]}, "missing required arguments: name found in nfs_chroot_users"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    play: Play, wrong: dict[str, Any], message: str
) -> None:
    play.run(succeeds=False, **wrong)
    assert message in play.output, play.output
    assert not (play.folder / "srv").exists()


def test_a_root_from_a_tree_that_somebody_else_made(
    play: Play, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As from the chroot that LTSP serves: a copy that is safe to share, of a tree that stays as it is."""
    folder = tmp_path_factory.mktemp("ltsp")
    tiny_base.make(folder)
    tree, added = folder / "tree", {"packages": ["tiny"], "services": ["ssh"]}
    added["files"] = [{"path": "/etc/added", "content": "yes\n"}]  # type: ignore[list-item]
    before = snapshot(tree)
    play.run("--check", tree=str(tree), additions=added)
    assert play.changed > 0 and not (play.folder / "srv").exists()
    play.run(tree=str(tree), additions=added)
    root = Path(play.facts["result"]["path"])
    assert play.facts["result"]["kernel"]["version"] == tiny_base.KERNEL
    assert not list((root / "etc/ssh").glob("ssh_host_*")) and (root / "etc/machine-id").read_text() == ""
    assert (root / "etc/added").read_text() == "yes\n"
    assert (root / "etc/systemd/system/multi-user.target.wants/ssh.service").is_symlink()
    assert snapshot(tree) == before
    play.run(tree=str(tree), additions=added)
    assert play.changed == 0
    play.run(tree=str(tree), additions={"packages": ["tiny", "criu"]}, succeeds=False)
    assert f"chroot {tree} apt-get install criu" in " ".join(play.output.split())


def test_a_root_that_exists_is_taken_as_it_is(play: Play, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("old")
    tiny_base.make(folder)
    before = snapshot(folder)
    play.playbook.write_text(
        PLAYBOOK.replace("nfs_chroot\n", "nfs_chroot\n        tasks_from: existing\n", 1)
    )
    play.run(path=str(folder / "tree"))
    assert play.changed == 0 and snapshot(folder) == before
    result = play.facts["results"]["tiny"]
    assert result["path"] == str(folder / "tree") and result["kernel"]["version"] == tiny_base.KERNEL
    play.run(path=str(folder / "tree/etc"), succeeds=False)
    assert "is no root: it has no bin and sbin" in play.output
    play.run(path=str(folder / "tree"), kernel_version="2.6.30", succeeds=False)
    assert "no kernel vmlinuz-2.6.30" in play.output
    (folder / "tree/boot/vmlinuz-2").write_text("another")
    play.run(path=str(folder / "tree"), succeeds=False)
    assert f"vmlinuz-2, vmlinuz-{tiny_base.KERNEL}; say which" in " ".join(play.output.split())
