# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssi.yml and its role up to the boot: flavours old and new on roots that exist. That nodes boot is shown in tests/boot.

The sources of the old flavours are gone: their programs are stand-ins that are built and installed as theirs were.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kernel_role_tree
import kernel_trees
import netboot_case
import pytest
from adhoc import CHECKOUT, run_playbook
from conftest import snapshot

RELEASE = "2.6.30-krg"
SERVER_PART = """---
- hosts: boot_server
  gather_facts: false
  vars_files: [&diskless CHECKOUT/playbooks/vars/diskless.yml, &ssi CHECKOUT/playbooks/vars/ssi.yml]
  tasks:
    - ansible.builtin.include_role: {name: oneimage.cluster.ssi_cluster, tasks_from: plan}
- hosts: builder
  gather_facts: false
  vars_files: [*ssi]
  tasks:
    - ansible.builtin.include_role: {name: oneimage.cluster.ssi_cluster, tasks_from: sources}
    - ansible.builtin.include_role: {name: oneimage.cluster.ssi_cluster, tasks_from: kernel}
      when: ssi_own_kernel
    - ansible.builtin.include_role: {name: oneimage.cluster.ssi_cluster, tasks_from: root}
- hosts: boot_server
  gather_facts: false
  vars_files: [*diskless, *ssi]
  vars:
    diskless_other_entries: "{{ ssi_entries }}"
    diskless_other_boots: "{{ ssi_boots }}"
    diskless_default_entry: "{{ ssi_kernel.image_id }}"
    diskless_default_parameters: "{{ ssi_plan.join_parameters }}"
  tasks:
    - oneimage.cluster.boot_entry:
        directory: "{{ oneimage_storage }}/boot"
        base_url: http://10.99.0.1/
        entries: "{{ diskless_entries }}"
        check_files: "{{ not ansible_check_mode }}"
        nodes: "{{ diskless_boots }}"
        default: "{{ diskless_default or omit }}"
      when: ssi_own_kernel
"""
"""What ssi.yml does between the check and the first boot, without the daemons of the boot server."""


def write(path: Path, text: str | bytes = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def make_root(folder: Path) -> Path:
    """As much of a root as the role looks at."""
    for name in ("bin", "sbin", "etc/init.d", "etc/rc2.d", "etc/rc3.d"):
        (folder / name).mkdir(parents=True)
    write(folder / "etc/hosts", "127.0.0.1 localhost\n")
    return folder


class Play:
    """Runs a playbook for three nodes, two of session 1; ``changed`` and ``output`` say what the last run did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.changed, self.output = folder, folder / "root", -1, ""
        self.playbook = write(folder / "play.yml", SERVER_PART.replace("CHECKOUT", str(CHECKOUT)))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.nodes: dict[str, dict[str, Any]] = {
            f"n{number}": {
                "node_mac": f"52:54:00:00:00:0{number}",
                "node_address": f"10.99.0.1{number}",
                "node_bmc": {"driver": "command", "commands": {"status": ["false"]}},
                "node_root_mode": "nfs_rw",
                **({"node_session": 1} if number < 3 else {}),
            }
            for number in (1, 2, 3)
        }
        self.here = here

    @property
    def boot_tree(self) -> Path:
        return self.folder / "srv/boot"

    def run(
        self, *arguments: str, playbook: Path | None = None, succeeds: bool = True, **variables: Any
    ) -> str:
        groups = {
            "builder": {"hosts": {"server": self.here}},
            "boot_server": {"hosts": {"server": self.here}},
            "nodes": {"hosts": self.nodes},
        }
        extra = {
            "oneimage_image": "old",
            "oneimage_storage": str(self.folder / "srv"),
            "oneimage_subnet": "10.99.0.0/24",
            "oneimage_server": "10.99.0.1",
            "oneimage_root": str(self.root),
            "ssi_cluster_cache": str(self.folder / "cache"),
            "kernel_cache": str(self.folder / "kernels"),
            **variables,
        }
        inventory = write(self.folder / "hosts.yml", json.dumps(groups))
        done = run_playbook(str(playbook or self.playbook), str(inventory), extra, *arguments)
        self.output = " ".join(done.stdout.split())
        assert (done.returncode == 0) == succeeds, done.stdout
        self.changed = sum(int(count) for count in re.findall(r"changed=(\d+)", self.output))
        return self.output

    def refused(self, **variables: Any) -> str:
        """What it says when it refuses; nothing may have been written."""
        before = snapshot(self.folder)
        out = self.run(succeeds=False, **variables)
        after = snapshot(self.folder)
        assert {path for path in before.keys() ^ after.keys() if path != "hosts.yml"} == set()
        return out.rpartition('"msg"')[2]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


KRGADM = """all:
\techo krgadm >krgadm
install:
\tinstall -D krgadm $(DESTDIR)/usr/local/bin/krgadm
\tinstall -D configured $(DESTDIR)/etc/init.d/kerrighed-host
"""


def kerrighed(play: Play) -> dict[str, Any]:
    """The user's own: a root of that time, a kernel that is built already, and the source of the programs."""
    make_root(play.root)
    source = play.folder / "kerrighed-3.0.0"
    write(source / "configure", "#!/bin/sh\ntouch configured\n", 0o755)
    write(source / "Makefile", KRGADM)
    kernel_trees.pack(source, play.folder / "kerrighed.tar")
    kernel = write(play.folder / "vmlinuz-krg", netboot_case.vmlinuz(RELEASE, efi=False))
    return {
        "ssi_cluster_flavour": "kerrighed_3_0",
        "ssi_cluster_kernel": {"file": str(kernel), "version": RELEASE},
        "ssi_cluster_userland": {"kerrighed": {"archive": str(play.folder / "kerrighed.tar")}},
        "ssi_cluster_join": {"session": 1, "range": "10.99.0.100-10.99.0.149"},
        "ssi_cluster_plain_boot": False,
    }


def test_kerrighed_on_a_root_of_its_time(play: Play) -> None:
    declared = kerrighed(play)
    before = snapshot(play.folder)
    play.run("--check", **declared)
    assert play.changed > 0
    assert {path for path in before.keys() ^ snapshot(play.folder).keys() if path != "hosts.yml"} == set()

    play.run(**declared)
    assert (play.root / "usr/local/bin/krgadm").read_text() == "krgadm\n"
    nodes = (play.root / "etc/kerrighed_nodes").read_text()
    assert nodes.split() == ["session=1", "nbmin=2", "n1:11:eth0", "n2:12:eth0"]
    assert "10.99.0.13 n3" in (play.root / "etc/hosts").read_text()
    assert os.readlink(play.root / "etc/rc3.d/S99kerrighed-host") == "../init.d/kerrighed-host"
    assert (play.root / "config").is_dir() and (play.root / "var/chkpt").is_dir()
    member = (play.boot_tree / "pxelinux.cfg/01-52-54-00-00-00-02").read_text()
    assert f"nfsroot=10.99.0.1:{play.root},v3,tcp" in member
    assert " session_id=1 node_id=12 autonodeid=0 nb_nodes_min=2 panic=1" in member
    spare = (play.boot_tree / "pxelinux.cfg/01-52-54-00-00-00-03").read_text()
    assert "session_id" not in spare and "root=/dev/nfs" in spare
    stranger = (play.boot_tree / "ipxe/default.ipxe").read_text()
    assert " session_id=1 autonodeid=1 nb_nodes_min=2" in stranger

    done = snapshot(play.folder)
    play.run(**declared)
    assert play.changed == 0
    assert snapshot(play.folder).keys() == done.keys()


def test_the_whole_playbook_foresees_an_old_flavour(play: Play) -> None:
    """Its plain boot too: the root has a kernel of its own to be proven first."""
    declared = kerrighed(play)
    write(play.root / "boot/vmlinuz-2.6.26-2-amd64", netboot_case.vmlinuz("2.6.26-2-amd64", efi=False))
    play.here["ansible_python_interpreter"] = "/usr/bin/python3"  # the one that knows apt
    before = snapshot(play.folder)
    play.run(
        "--check", playbook=CHECKOUT / "playbooks/ssi.yml", **{**declared, "ssi_cluster_plain_boot": True}
    )
    assert "diskless_image : Make the image's folder in the boot tree" in play.output
    assert "session 1 would form of n1, n2" in play.output
    assert {path for path in before.keys() ^ snapshot(play.folder).keys() if path != "hosts.yml"} == set()


def test_openmosix_on_a_tree_laid_out_as_the_old_ltsp(play: Play) -> None:
    """/opt/ltsp/i386, /tftpboot, a RAM disk of ext2 and the guide's boot entry; add-on archives by their install.sh, in order."""
    play.root = make_root(play.folder / "opt/ltsp/i386")
    kernel = write(
        play.folder / "tftpboot/bzImage-2.4.22", netboot_case.vmlinuz("2.4.22-openmosix-1", efi=False)
    )
    initrd = play.folder / "tftpboot/initrd-2.4.22.gz"
    tree = write(play.folder / "tree/linuxrc", "#!/bin/sh\n", 0o755).parent
    image = play.folder / "initrd.ext2"
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext2", "-O", "none", "-r", "0", "-N", "300", "-d", tree, image, "2500"],
        check=True,
    )
    write(initrd, subprocess.run(["gzip", "-nc", image], check=True, stdout=subprocess.PIPE).stdout)
    userland = {}
    for name in ("ltsp_local_apps", "ltsp_mosix_core", "ltsp_openmosix_userland"):
        install = f"#!/bin/sh\nset -e\necho {name} >>{play.root}/installed\n"
        last = f"for file in sbin/setpe etc/init.d/openmosix; do echo >{play.root}/$file; done\n"
        install += last if name == "ltsp_openmosix_userland" else ""
        write(play.folder / name / "install.sh", install, 0o755)
        userland[name] = {"folder": str(play.folder / name)}
    for node in play.nodes.values():
        node["node_loader"] = "pxelinux"
    declared: dict[str, Any] = {
        "ssi_cluster_flavour": "openmosix_2_4",
        "ssi_cluster_kernel": {
            "file": str(kernel),
            "initrd": str(initrd),
            "version": "2.4.22-openmosix-1",
            "parameters": ["init=/linuxrc", "rw", "root=/dev/ram0"],
        },
        "ssi_cluster_userland": userland,
        "ssi_cluster_plain_boot": False,
    }
    play.run(**declared)
    assert (play.root / "installed").read_text().split() == list(userland)
    assert (play.root / "etc/openmosix.map").read_text().split("\n")[:2] == [
        "11 10.99.0.11 1",
        "12 10.99.0.12 1",
    ]
    entry = (play.boot_tree / "pxelinux.cfg/01-52-54-00-00-00-01").read_text()
    assert re.search(r"  KERNEL images/openmosix_2_4-[0-9a-f]{12}/vmlinuz\n", entry)
    assert re.search(r"  INITRD images/openmosix_2_4-[0-9a-f]{12}/initrd-given\n", entry)
    assert "  APPEND init=/linuxrc rw root=/dev/ram0 " in entry
    published = next(play.boot_tree.glob("images/*/initrd-given"))
    assert published.read_bytes() == initrd.read_bytes()


def test_a_flavour_of_one_s_own_from_source_with_patches(play: Play) -> None:
    """No Python: a file says it all. The tree is built as a kernel is, with what the flavour wants, forbids and patches."""
    play.root = netboot_case.Case(play.folder / "case").root
    (play.root / "usr/lib/systemd/systemd").unlink()
    (play.root / "usr/sbin/init").unlink()
    write(play.root / "usr/sbin/init", netboot_case.ELF_X86_64, 0o755)
    kernel_trees.pack(kernel_role_tree.make_tree(play.folder / "linux-6.1.90"), play.folder / "linux.tar")
    patch = """--- old/init/main.c
+++ new/init/main.c
@@ -1 +1,2 @@
 int start_kernel(void) { return 0; }
+int ssi(void) { return 1; }
"""
    flavour = """---
name: mine
summary: a flavour of the user's own
limits: {session: [1, 9], node_id: [1, 254], nodes: [2, 9]}
kernel:
  version: 6.1.90
  patch_strip: 1
  options: {NFS_FS: y, E1000E: y}
  forbidden: [IGB]
  root_mode: nfs_rw
parameters: ["mine={session}.{node_id}"]
files: [{path: /etc/mine, content: "{{ sessions | length }} of {{ nodes | length }}\\n"}]
commands:
  nodes: {argv: [mine], line: '^(?P<node_id>[0-9]+)'}
"""
    write(play.folder / "flavours/mine.yml", flavour)
    declared = {
        "ssi_cluster_flavour": "mine",
        "ssi_cluster_flavours_folder": str(play.folder / "flavours"),
        "ssi_cluster_kernel": {
            "source": {"archive": str(play.folder / "linux.tar")},
            "patches": [{"src": str(write(play.folder / "ssi.patch", patch))}],
            "install_tools": False,
        },
        "ssi_cluster_plain_boot": False,
    }
    play.run(**declared)
    assert "int ssi" in (play.folder / "kernels/mine/source/init/main.c").read_text()
    config = (play.folder / "kernels/mine/build/.config").read_text()
    assert "CONFIG_E1000E=y" in config and "CONFIG_IGB=" not in config
    assert (play.root / "etc/mine").read_text() == "1 of 3\n"
    assert (play.root / "lib/modules/6.1.90-mine/modules.builtin").is_file()
    entry = (play.boot_tree / "ipxe/mac-52-54-00-00-00-01.ipxe").read_text()
    assert " mine=1.11 " in entry and f"nfsroot=10.99.0.1:{play.root}" in entry


@pytest.mark.parametrize(
    ("node", "variables", "told"),
    [
        ({"node_ssi_id": 12}, {}, "nodes n1 and n2 of session 1 have the same node id 12"),
        ({"node_session": 2}, {}, "node n1: session 2 is not declared; declared: 1"),
        ({}, {"ssi_cluster_sessions": [{"id": 1}, {"id": 1}]}, "two sessions on one wire have the id 1"),
        ({}, {"ssi_cluster_sessions": [{"id": 255}]}, "id 255 is none of 1 to 254"),
        ({}, {"ssi_cluster_flavour": "plan9"}, "unknown flavour 'plan9'"),
        (
            {},
            {"ssi_cluster_flavour": "kerrighed_3_0"},
            "ssi_cluster_kernel: the flavour kerrighed_3_0 has a kernel of its own",
        ),
        (
            {},
            {
                "ssi_cluster_flavour": "kerrighed_3_0",
                "oneimage_root": "",
                "ssi_cluster_kernel": {"file": "/v", "version": "2"},
            },
            "ssi_cluster_root: the flavour kerrighed_3_0 has a kernel of its own, too old for a root of today",
        ),
        (
            {},
            {"ssi_cluster_kernel": {"file": "/boot/vmlinuz"}},
            "the flavour mainline runs on the root's own kernel",
        ),
        (
            {},
            {"ssi_cluster_userland": {"x": {"folder": "/x"}}, "oneimage_root": ""},
            "the flavour mainline has no programs x",
        ),
        (
            {},
            {"oneimage_root": "/srv/../etc"},
            'ssi_cluster_root: \\"/srv/../etc\\" is no plain absolute path',
        ),
        (
            {},
            {"ssi_cluster_join": {"session": 1, "range": "10.99.0.12-10.99.0.20"}},
            "n2",
        ),
    ],
)
def test_bad_input_is_one_error_before_anything_is_written(
    play: Play, node: dict[str, Any], variables: dict[str, Any], told: str
) -> None:
    make_root(play.root)
    play.nodes["n1"] |= node
    assert told in play.refused(**variables)


def test_what_is_not_on_the_builder_is_named(play: Play) -> None:
    declared = kerrighed(play)
    (play.folder / "kerrighed.tar").unlink()
    assert f"not on server: {play.folder}/kerrighed.tar" in play.refused(**declared)
    (play.root / "etc/default").symlink_to("/etc/default")
    (play.folder / "kerrighed.tar").touch()
    assert "would land outside of it, at /etc/default" in play.refused(**declared)
