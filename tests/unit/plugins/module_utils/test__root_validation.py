# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_validation import (
    check_declaration,
    unit_name,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKJ6sxhnoY4rGJ1bNq0tG0OaBIzqKQ0h7pUwn0pFQmGd someone"
YESCRYPT = "$y$j9T$abcdefghijklmnop$0123456789abcdefghijklmnopqrstuvwxyzABCDEF"


def declared(**more: Any) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        **{"name": "compute", "suite": "bookworm", "architecture": "amd64", "tool": "mmdebstrap"},
        **{"variant": "minbase", "packages": ["udev"], "kernel_package": "linux-image-amd64"},
        **{"components": ["main"], "sources": [], "mirror": None, "security_mirror": None, "proxy": None},
        **{"locale": "C.UTF-8", "timezone": "Etc/UTC", "users": [], "root_password_hash": None},
        **{
            "root_authorized_keys": [],
            "files": [],
            "hosts": [],
            "mounts": [],
            "services": {},
            "skip_rules": [],
        },
    }
    return {**fixed, **more}


def file(path: str, **more: Any) -> dict[str, Any]:
    return {
        "path": path,
        "content": "",
        "src": None,
        "mode": "0644",
        "owner": "root",
        "group": "root",
        **more,
    }


def mount(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "source": "server:/home", "type": "nfs", "options": "rw,hard", **more}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kernel_package": ""},
        {"packages": ["libc6:i386", "nginx=1.22.1-9+deb12u3", "g++"]},
        {
            "mirror": "https://mirror.example.org/debian",
            "security_mirror": "http://x/y",
            "proxy": "http://p:3128",
        },
        {
            "sources": [
                "deb [signed-by=/k.gpg arch=amd64] https://x.example.org/apt stable main contrib",
                "deb file:/r ./",
            ]
        },
        {"locale": "fr_FR.UTF-8", "timezone": "America/Argentina/Buenos_Aires"},
        {"root_password_hash": YESCRYPT, "root_authorized_keys": [KEY, f'from="10.0.0.0/8",no-pty {KEY}\n']},
        {
            "users": [
                {"name": "a", "uid": 1000, "group": "g", "gid": 5},
                {"name": "b", "group": "g", "gid": 5},
            ]
        },
        {"files": [file("/etc/motd"), file("/etc/motd.d/x", mode="4755", owner="1000")]},
        {"files": [file("/opt/b", content=None, src="/tmp/b")]},
        {"hosts": [{"address": "10.0.0.1", "names": ["a"]}, {"address": "fd00::1", "names": ["a"]}]},
        {"mounts": [mount("/home"), mount("/root", type="configfs", source="configfs")]},
        {"services": {"enabled": ["ssh", "getty@tty1.service"], "disabled": None, "masked": ["x.timer"]}},
        {"skip_rules": ["hostname"]},
    ],
)
def test_accepts(more: dict[str, Any]) -> None:
    check_declaration(declared(**more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "Compute"}, "name: 'Compute' is not lower-case"),
        ({"name": "a/b"}, "name: 'a/b'"),
        ({"name": "current"}, "name: 'current' is the name of the link"),
        ({"suite": "lenny"}, "suite: 'lenny' is unknown; one of bullseye, bookworm, trixie"),
        ({"architecture": "x86_64"}, "architecture: 'x86_64' is unknown; one of amd64"),
        ({"tool": "debootstrap", "variant": "apt"}, "variant: debootstrap makes minbase"),
        ({"packages": ["ok", "two words"]}, "packages[1]: 'two words' is not a Debian package"),
        ({"packages": ["--option"]}, "packages[0]: '--option'"),
        ({"kernel_package": "linux image"}, "kernel_package: 'linux image'"),
        ({"components": []}, "components: empty"),
        ({"sources": ["http://x"]}, "sources[0]: 'http://x' is not a line"),
        ({"mirror": "mirror.example.org"}, "mirror: 'mirror.example.org' is not an address"),
        ({"security_mirror": "http://x/y"}, "security_mirror: needs mirror too"),
        ({"locale": "../../etc"}, "locale: "),
        ({"timezone": "/etc/passwd"}, "timezone: "),
        ({"root_password_hash": "hunter2hunter2"}, "root_password_hash: not a crypt hash"),
        (
            {"root_password_hash": "$1$saltsalt$0123456789012345678901"},
            "root_password_hash: not a crypt hash",
        ),
        ({"root_authorized_keys": ["/root/.ssh/id.pub"]}, "root_authorized_keys[0]: "),
        ({"root_authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "a private key"),
        ({"root_authorized_keys": [f"{KEY}\nssh-rsa x"]}, "root_authorized_keys[0]: "),
        ({"users": [{"name": "Alice"}]}, "users[0].name: 'Alice'"),
        ({"users": [{"name": "root"}]}, "users[0].name: root exists already"),
        ({"users": [{"name": "a"}, {"name": "a"}]}, "users: name a is declared twice"),
        ({"users": [{"name": "a", "uid": 0}]}, "users[0].uid: 0 is not"),
        ({"users": [{"name": "a", "gid": 65534}]}, "users[0].gid: 65534 is not"),
        ({"users": [{"name": "a", "uid": 5}, {"name": "b", "uid": 5}]}, "users: uid 5 is declared twice"),
        ({"users": [{"name": "a", "gid": 5}, {"name": "b", "gid": 5}]}, "users: gid 5 is declared twice"),
        (
            {"users": [{"name": "a", "group": "g", "gid": 5}, {"name": "b", "group": "g", "gid": 6}]},
            "group g is declared with gid 5 and with gid 6",
        ),
        ({"users": [{"name": "a", "home": "home/a"}]}, "users[0].home: 'home/a' is not an absolute path"),
        (
            {"users": [{"name": "a", "shell": "/bin/sh:x"}]},
            "users[0].shell: '/bin/sh:x' must not hold a colon",
        ),
        ({"users": [{"name": "a", "password_hash": "x"}]}, "users[0].password_hash: not a crypt hash"),
        ({"files": [file("etc/motd")]}, "files[0].path: 'etc/motd' is not an absolute path"),
        ({"files": [file("/etc/../../x")]}, "files[0].path: '/etc/../../x' must not hold"),
        ({"files": [file("/etc/x/")]}, "files[0].path: '/etc/x/' must not hold"),
        ({"files": [file("/etc/\nx")]}, "is not an absolute path"),
        ({"files": [file("/a"), file("/a")]}, "files: path /a is declared twice"),
        ({"files": [file("/a"), file("/a/b")]}, "files: /a is a file and also the folder of another one"),
        ({"files": [file("/etc/machine-id")]}, "every node would get the same identity"),
        ({"files": [file("/etc/ssh/ssh_host_rsa_key")]}, "every node would have the same host key"),
        ({"files": [file("/proc/sys/x")]}, "files[0].path: /proc/sys/x cannot be declared"),
        ({"files": [file("/a", src="/b")]}, "files[0]: /a needs content or src"),
        ({"files": [file("/a", content=None)]}, "files[0]: /a needs content or src"),
        ({"files": [file("/a", mode="rwx")]}, "files[0].mode: 'rwx' is not an octal mode"),
        ({"files": [file("/a", owner="A b")]}, "files[0].owner: 'A b'"),
        ({"mounts": [mount("/")]}, "mounts[0].path: / is mounted by the initrd"),
        ({"mounts": [mount("/home"), mount("/home")]}, "mounts: path /home is declared twice"),
        ({"mounts": [mount("/home", options="rw hard")]}, "mounts[0].options: 'rw hard' is not one word"),
        (
            {"hosts": [{"address": "10.0.0.256", "names": ["a"]}]},
            "hosts[0].address: '10.0.0.256' is not an IP",
        ),
        ({"hosts": [{"address": "10.0.0.1", "names": []}]}, "hosts[0].names: 10.0.0.1 has no name"),
        (
            {"hosts": [{"address": "10.0.0.1", "names": ["a b"]}]},
            "hosts[0].names[0]: 'a b' is not a host name",
        ),
        (
            {"hosts": [{"address": "10.0.0.1", "names": ["a"]}, {"address": "10.0.0.2", "names": ["A"]}]},
            "hosts[1].names: A stands for 10.0.0.1 and for 10.0.0.2",
        ),
        ({"services": {"enabled": ["a b"]}}, "services.enabled[0]: 'a b' is not a systemd unit"),
        (
            {"services": {"enabled": ["ssh"], "masked": ["ssh.service"]}},
            "ssh.service is in enabled and in masked",
        ),
        ({"skip_rules": ["hostnames"]}, "skip_rules: 'hostnames' is unknown; one of build_leftovers"),
    ],
)
def test_refuses_and_names_the_field(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError) as caught:
        check_declaration(declared(**more))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("ssh", "ssh.service"),
        ("a.b", "a.b.service"),
        ("x.timer", "x.timer"),
        ("getty@tty1", "getty@tty1.service"),
    ],
)
def test_unit_name(unit: str, name: str) -> None:
    assert unit_name(unit) == name
