# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_hygiene as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@pytest.mark.parametrize(
    ("pattern", "path", "meets"),
    [
        ("tmp/*", "tmp/a", True),
        ("tmp/*", "tmp/a/b", False),
        ("tmp/*", "tmp", False),
        ("tmp/*", "tmp/.hidden", True),
        ("tmp/*", "tmp/new\nline", True),
        ("var/log/**", "var/log", False),
        ("var/log/**", "var/log/a/b/c", True),
        ("var/log/**", "var/logs/a", False),
        ("etc/ssh/ssh_host_*", "etc/ssh/ssh_host_rsa_key", True),
        ("etc/a.b", "etc/axb", False),
        ("etc/[x]", "etc/x", False),
        ("home/*/.x*", "home/alice/.xyz", True),
        ("*.bak", "a.bak", True),
    ],
)
def test_patterns(pattern: str, path: str, meets: bool) -> None:
    finder = subject.Finder([("other", "never/this"), ("wanted", pattern)])
    assert finder.find(path) == ("wanted" if meets else None)
    if meets:
        assert finder.reaches(path.rpartition("/")[0])


def test_folders_without_rules_are_not_asked_about() -> None:
    finder = subject.Finder([("a", "tmp/*"), ("b", "var/log/**"), ("c", "*.bak")])
    assert [
        finder.reaches(folder) for folder in ("", "tmp", "var/log", "var/log/deep", "var", "usr", "tmp/a")
    ] == [*(True, True, True, True, False, False, False)]


def test_names_are_unique_and_every_rule_says_why() -> None:
    for table in (subject.HYGIENE, subject.SECRETS):
        names = [rule.name for rule in table]
        assert len(set(names)) == len(names) and all(re.fullmatch("[a-z_]+", name) for name in names)
        assert all(rule.reason for rule in table)


@pytest.mark.parametrize("rule", subject.HYGIENE, ids=lambda rule: rule.name)
def test_every_hygiene_rule_can_be_switched_off(rule: subject.Rule) -> None:
    paths = [*(path.replace("**", "x").replace("*", "x") for path in (*rule.omit, *rule.omit_files))]
    on, off = subject.Hygiene([], []), subject.Hygiene([rule.name], [])
    for path in paths:
        assert on.omits(path, is_folder=False) == rule.name and on.restless(path.rpartition("/")[0])
        assert off.omits(path, is_folder=False) in (None, "logs")
    for path in (*rule.empty, *(path for path, _target in rule.link)):
        assert path in {**on.empty, **on.link} and path not in {**off.empty, **off.link}


def test_folders_of_logs_stay() -> None:
    hygiene = subject.Hygiene([], [])
    assert hygiene.omits("var/log/nginx", is_folder=True) is None
    assert hygiene.omits("var/log/journal/0123", is_folder=True) == "logs"


HASH = b"root:$6$salt$hash:19000:0:99999:7:::\n"


@pytest.mark.parametrize(
    ("name", "path", "content", "secret"),
    [
        ("shadow_hash", "etc/shadow", HASH, True),
        ("shadow_hash", "etc/shadow", b"daemon:*:1::::::\n" + HASH, True),
        ("shadow_hash", "etc/shadow", b"root:!$6$salt$hash:1::::::\n", True),
        ("shadow_hash", "etc/shadow", b"root:ab0123456789.:1::::::\n", True),
        (
            "shadow_hash",
            "etc/shadow",
            b"root:*:1::::::\na:!:1::::::\nb:!!:1::::::\nc:!*:1::::::\nd::1::::::\n",
            False,
        ),
        ("shadow_hash", "etc/gshadow", b"sudo:*::alice\nusers:!::\n", False),
        ("ssh_private_key", "root/.ssh/id_rsa", b"-----BEGIN RSA PRIVATE KEY-----\n", True),
        ("ssh_private_key", "home/alice/.ssh/any", b"x\n-----BEGIN OPENSSH PRIVATE KEY-----\n", True),
        ("ssh_private_key", "root/.ssh/authorized_keys", b"ssh-ed25519 AAAA alice\n", False),
        ("tls_private_key", "etc/ssl/private/a/b.key", b"-----BEGIN EC PRIVATE KEY-----\n", True),
        ("tls_private_key", "etc/nginx/cert.pem", b"-----BEGIN CERTIFICATE-----\n", False),
        ("netrc", "root/.netrc", b"machine a login b password c\n", True),
        ("docker_login", "root/.docker/config.json", b'{"auths": {"a": {"auth": "eA=="}}}', True),
        ("docker_login", "root/.docker/config.json", b'{"credsStore": "pass"}', False),
        ("package_registry_token", "root/.npmrc", b"//r/:_authToken=x", True),
        ("wifi_password", "etc/wpa_supplicant/a.conf", b'network={\n  psk="x"\n}', True),
        ("munge_key", "etc/munge/munge.key", b"\0\1", True),
        ("ppp_secret", "etc/ppp/chap-secrets", b"# client server secret IP\n", False),
        ("ppp_secret", "etc/ppp/chap-secrets", b"me * word *\n", True),
        ("database_login", "root/.pgpass", b"host:5432:db:me:word\n", True),
        ("database_login", "root/.my.cnf", b"[client]\nuser = me\n", False),
    ],
)
def test_secrets(name: str, path: str, content: bytes, secret: bool) -> None:
    scan = subject.Scan([])
    rule = scan.candidate(path)
    assert rule is not None and scan.rules[rule].name == name
    assert scan.judge(rule, content) is secret
    assert scan.where.reaches(path.rpartition("/")[0])
    assert subject.Scan([f"/{path}"]).candidate(path) is None
    allowed = subject.Scan([name]).candidate(path)
    assert allowed is None or subject.Scan([name]).rules[allowed].name != name


@pytest.mark.parametrize("path", ["etc/passwd", "usr/share/doc/.netrc", "home/alice/bob/.netrc", "root/.ssh"])
def test_other_paths_are_no_candidates(path: str) -> None:
    assert subject.Scan([]).candidate(path) is None


def test_the_refusal_names_rules_and_paths_and_is_bounded() -> None:
    text = subject.refusal([("netrc", f"home/user{number}/.netrc") for number in range(50)])
    assert "/home/user0/.netrc: netrc" in text and "and 30 more" in text and "allow_secrets: [netrc]" in text


@pytest.mark.parametrize("pattern", ["", "/", "../x", "a/../b", "a/**/b", "a\0b"])
def test_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ClusterError, match="exclude: "):
        subject.Hygiene([], [pattern])
