# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook capture.yml and its role environment as a user runs them, on a small root of this machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import image_source
import pytest
from adhoc import run_playbook
from conftest import snapshot

pytestmark = pytest.mark.root


class Play:
    """Runs the playbook; ``changed`` and ``output`` say what the last run did, ``stats`` what it handed on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.out = folder / "out"
        self.out.mkdir()
        self.changed = -1
        self.output = ""
        self.stats: list[dict[str, Any]] = []

    def run(
        self, *arguments: str, succeeds: bool = True, hosts: str = "localhost,", **variables: Any
    ) -> None:
        options = {
            "name": "mine",
            "owner": "root",
            "src": str(self.root),
            "registry": {"path": str(self.out / "registry")},
            "image_folder": str(self.out / "images"),
            **variables,
        }
        extra = {
            **{f"environment_{name}": value for name, value in options.items()},
            **{"capture_hosts": "all", "ansible_connection": "local"},
            "ansible_python_interpreter": sys.executable,
        }
        done = run_playbook("playbooks/capture.yml", hosts, extra, *arguments)
        self.output = done.stdout
        assert (done.returncode == 0) == succeeds, self.output
        self.changed = sum(int(count) for count in re.findall(r"changed=(\d+)", self.output))
        _play, told, text = self.output.partition("\tRUN: ")
        self.stats = json.JSONDecoder().raw_decode(text)[0]["environments"] if told else []


@pytest.fixture
def play(tmp_path: Path) -> Play:
    image_source.make(tmp_path / "root")
    return Play(tmp_path)


def test_a_root_becomes_an_environment_and_a_second_run_changes_nothing(play: Play) -> None:
    source = snapshot(play.root)
    play.run()
    assert snapshot(play.root) == source
    assert play.changed == 3  # the folder of images, the image, the version
    (first,) = play.stats
    assert (first["name"], first["version"], first["owner"], first["action"]) == (
        "mine",
        1,
        "root",
        "created",
    )
    described = first["description"]
    assert described["boot"] == {"kernel": "/vmlinuz", "initrd": "/initrd.img"}
    assert described["image"]["kind"] == "tar" and described["image"]["compression"] == "gzip"
    assert (described["os"], described["filesystem"], described["partition_type"]) == ("linux", "ext4", 131)
    assert (
        described["oneimage"]["sha256"] == first["sha256"] and described["oneimage"]["size"] == first["size"]
    )
    assert re.search(r"localhost +mine +1 +root +private +tar +gzip", play.output)

    before = snapshot(play.out)
    play.run()
    assert play.changed == 0 and play.stats[0]["action"] == "none" and play.stats[0]["version"] == 1
    assert snapshot(play.out) == before


def test_a_changed_root_becomes_the_next_version(play: Play) -> None:
    play.run(compression="zstd", keep=1)
    image_source.write(play.root / "etc/motd", "another")
    play.run("--check", compression="zstd", keep=1)
    assert play.changed > 0
    assert list((play.out / "registry/environments/root/mine").glob("*.yml"))[0].name == "1.yml"
    play.run(compression="zstd", keep=1)
    assert play.stats[0]["version"] == 2
    assert [path.name for path in (play.out / "registry/environments/root/mine").glob("*.yml")] == ["2.yml"]


def test_a_root_is_registered_where_it_lies(play: Play) -> None:
    play.run(fetch=False)
    assert play.changed == 3 and play.stats[0]["version"] == 1
    play.run(fetch=False)
    assert play.changed == 0


def test_a_check_of_a_fresh_state_touches_nothing(play: Play) -> None:
    play.run("--check", "--diff")
    assert play.changed > 0
    assert list(play.out.iterdir()) == []
    play.run("--check", fetch=False)
    assert play.changed > 0
    assert list(play.out.iterdir()) == []


def test_the_description_is_derived_and_overridden(play: Play) -> None:
    play.run(description={"boot": {"kernel_params": "quiet"}, "filesystem": "ext3"}, visibility="public")
    play.run(name="derived", base="mine@root", description={"boot": {"kernel_params": "debug"}})
    described = play.stats[0]["description"]
    assert described["boot"]["kernel_params"] == "debug" and described["filesystem"] == "ext3"
    assert described["boot"]["kernel"] == "/vmlinuz" and described["visibility"] == "private"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"compression": "lha"}, "value of environment_compression must be one of: gzip, zstd, xz, bzip2"),
        ({"users": [{"uid": 5}]}, "missing required arguments: name found in environment_users"),
        ({"skip_hygiene": ["soap"]}, "skip_hygiene: 'soap' is not one of"),
        ({"src": "/nowhere"}, "/nowhere"),
    ],
)
def test_bad_input_is_named_before_anything_is_registered(
    play: Play, wrong: dict[str, Any], message: str
) -> None:
    play.run(succeeds=False, **wrong)
    assert message in play.output, play.output
    assert not (play.out / "registry").exists()


def test_several_kernels_without_a_link_are_not_guessed_among(play: Play) -> None:
    (play.root / "vmlinuz").unlink()
    image_source.write(play.root / "boot/vmlinuz-7.0.0-1-test", image_source.kernel("7.0.0-1-test"))
    play.run(succeeds=False)
    assert "say by boot.kernel which it is" in play.output
    chosen = {"boot": {"kernel": "/boot/vmlinuz-7.0.0-1-test", "initrd": None}}
    play.run(description=chosen)
    assert play.stats[0]["description"]["boot"]["kernel"] == "/boot/vmlinuz-7.0.0-1-test"


def test_two_hosts_cannot_become_one_environment(play: Play) -> None:
    play.run(succeeds=False, hosts="one,two")
    assert "would be each of one, two" in play.output
    assert list(play.out.iterdir()) == []


def test_users_get_the_numbers_that_the_controller_knows(play: Play) -> None:
    play.run("--check")
    plain = play.changed
    # the machine is its own controller, so that an account of every Debian needs no change, and other numbers do
    play.run("--check", users=[{"name": "daemon", "shell": "/usr/sbin/nologin"}])
    assert play.changed == plain, play.output
    play.run("--check", users=[{"name": "daemon", "shell": "/usr/sbin/nologin", "uid": 4242}])
    assert play.changed == plain + 1


def test_a_node_is_customised_only_where_it_is_reserved(play: Play) -> None:
    inventory = play.folder / "hosts"
    inventory.write_text("localhost\n[reserved]\nother\n")
    files = [{"path": str(play.out / "etc/motd"), "content": "hello\n", "mode": "0640"}]
    play.run("--limit", "localhost", succeeds=False, hosts=str(inventory), files=files)
    assert "localhost" in play.output and "reserved" in play.output
    assert list(play.out.iterdir()) == []
    play.run("--limit", "localhost", hosts=str(inventory), files=files, allow_outside_reservation=True)
    written = play.out / "etc/motd"
    assert written.read_text() == "hello\n" and written.stat().st_mode & 0o777 == 0o640
    play.run("--limit", "localhost", hosts=str(inventory), files=files, allow_outside_reservation=True)
    assert play.changed == 0
