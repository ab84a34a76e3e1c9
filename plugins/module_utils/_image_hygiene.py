# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What an image must not carry from the machine it was made on: two tables of rules, on paths as a root sees them.

A pattern is a path without the leading slash; ``*`` stays within one name, a last part ``**`` means everything below.
A folder that is named by neither rule is archived, so that ``var/log/**`` keeps ``/var/log``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


@dataclass(frozen=True)
class Rule:
    """One thing of one machine, or of one moment.

    ``omit`` is left out; of ``omit_files`` the folders are kept; ``empty`` becomes an empty file; ``link`` becomes
    a link. What is missing in the root is never added.
    """

    name: str
    reason: str
    omit: tuple[str, ...] = ()
    omit_files: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    link: tuple[tuple[str, str], ...] = ()


HYGIENE = (
    Rule(
        "persistent_net",
        "ties names of NICs to one machine's MAC addresses",
        omit=(
            "etc/udev/rules.d/*persistent-net*.rules",
            "lib/udev/rules.d/*persistent-net-generator.rules",
            "usr/lib/udev/rules.d/*persistent-net-generator.rules",
        ),
    ),
    Rule(
        "machine_id",
        "empty, so that systemd gives each machine its own; a missing one would run the presets of a first boot",
        empty=("etc/machine-id",),
        link=(("var/lib/dbus/machine-id", "/etc/machine-id"),),
    ),
    Rule("ssh_host_keys", "a key in the image is everybody's", omit=("etc/ssh/ssh_host_*",)),
    Rule("random_seed", "a seed that all machines share is none", omit=("var/lib/systemd/random-seed",)),
    Rule(
        "leases",
        "addresses that were lent to one machine",
        omit=(
            "var/lib/dhcp/*.leases",
            "var/lib/dhcp3/*.leases",
            "var/lib/dhclient/*.lease*",
            "var/lib/dhcpcd/*.lease*",
            "var/lib/NetworkManager/*.lease",
            "var/lib/NetworkManager/secret_key",
            "run/dhclient*",
        ),
    ),
    Rule(
        "logs",
        "the past of one machine; the folders stay, since services do not start without theirs",
        omit=("var/log/journal/*",),
        omit_files=("var/log/**",),
    ),
    Rule(
        "apt_caches",
        "packages and lists that apt fetches again",
        omit=(
            "var/cache/apt/archives/*.deb",
            "var/cache/apt/archives/partial/*",
            "var/cache/apt/*.bin",
        ),
        omit_files=("var/lib/apt/lists/**",),
    ),
    Rule("temporary_files", "belongs to programs that ran here", omit=("tmp/*", "var/tmp/*")),
    Rule(
        "mtab",
        "a copy of one machine's mounts is wrong on all others",
        link=(("etc/mtab", "../proc/self/mounts"),),
    ),
    Rule(
        "shell_history",
        "what was typed on the machine, passwords among it",
        omit=("root/.*_history", "home/*/.*_history", "root/.lesshst", "root/.viminfo"),
    ),
    Rule(
        "ansible_files",
        "what this capture itself left in the home folders",
        omit=("root/.ansible", "home/*/.ansible"),
    ),
)


@dataclass(frozen=True)
class Secret:
    """What gives access to somebody who has the image. ``content`` None: the file's existence is enough."""

    name: str
    reason: str
    paths: tuple[str, ...]
    content: str | None = None


PRIVATE_KEY = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
HOMES = ("root", "home/*")


def in_homes(*paths: str) -> tuple[str, ...]:
    return tuple(f"{home}/{path}" for home in HOMES for path in paths)


SECRETS = (
    Secret("ssh_private_key", "logs in as its owner", in_homes(".ssh/*"), PRIVATE_KEY),
    Secret("ssh_host_key", "pretends to be the machine", ("etc/ssh/*",), PRIVATE_KEY),
    Secret(
        "tls_private_key",
        "pretends to be the server",
        (
            "etc/ssl/private/**",
            "etc/pki/**",
            "etc/letsencrypt/**",
            "etc/apache2/**",
            "etc/nginx/**",
            "etc/puppet*/**",
            "var/lib/puppet/ssl/**",
            "var/lib/kubelet/pki/**",
            "etc/kubernetes/**",
            "etc/ipsec.d/**",
            "etc/openvpn/**",
        ),
        PRIVATE_KEY,
    ),
    Secret(
        "pgp_private_key", "signs and decrypts", in_homes(".gnupg/private-keys-v1.d/*", ".gnupg/secring.gpg")
    ),
    Secret(
        "shadow_hash",
        "can be guessed by machine",
        ("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-", "var/backups/shadow*"),
        # a field of ! or * alone locks the account, and ! before a hash keeps the hash
        r"^[^:\n]+:!*(?:\$[0-9a-z]+\$|_|[./0-9A-Za-z]{13}:)",
    ),
    Secret("wireguard_key", "joins the network", ("etc/wireguard/*",), r"(?i)^\s*PrivateKey\s*="),
    Secret(
        "wifi_password", "joins the network", ("etc/wpa_supplicant/*.conf",), r"(?m)^\s*(?:psk|password)\s*="
    ),
    Secret(
        "network_manager_password",
        "joins the network",
        ("etc/NetworkManager/system-connections/*",),
        r"(?m)^(?:psk|password|private-key-password|wep-key\d)=",
    ),
    Secret("kerberos_keytab", "is the machine, or the service", ("etc/krb5.keytab", *in_homes("*.keytab"))),
    Secret("munge_key", "is any user to the scheduler", ("etc/munge/munge.key", "etc/slurm/jwt_hs256.key")),
    Secret("ppp_secret", "dials in", ("etc/ppp/*-secrets",), r"(?m)^[^#\s]\S*\s+\S+\s+\S+"),
    Secret(
        "aws_credentials",
        "pays with the owner's account",
        in_homes(".aws/credentials"),
        r"aws_secret_access_key",
    ),
    Secret(
        "docker_login",
        "pulls and pushes as its owner",
        in_homes(".docker/config.json"),
        r'"auth"\s*:\s*"[^"]',
    ),
    Secret(
        "kubernetes_login",
        "rules a cluster",
        in_homes(".kube/config"),
        r"(?m)^\s*(?:token|client-key-data|password):",
    ),
    Secret(
        "git_login",
        "pushes as its owner",
        in_homes(".git-credentials", ".config/gh/hosts.yml", ".config/hub"),
    ),
    Secret("netrc", "logs in as its owner", in_homes(".netrc"), r"\bpassword\b"),
    Secret(
        "database_login",
        "logs in as its owner",
        in_homes(".pgpass", ".my.cnf"),
        r"(?m)^[^#\n]*(?:password|:[^:\n]+$)",
    ),
    Secret(
        "package_registry_token",
        "publishes as its owner",
        in_homes(".npmrc", ".pypirc"),
        r"_authToken|password",
    ),
    Secret(
        "vault_token", "opens the vault", in_homes(".vault-token", ".vault_pass*", ".ansible/vault_pass*")
    ),
    Secret(
        "apt_login",
        "logs in to a package archive",
        ("etc/apt/auth.conf", "etc/apt/auth.conf.d/*"),
        r"\bpassword\b",
    ),
)
LARGEST_SECRET = 1 << 20
"""Bytes of a file that are searched: keys and password files are small."""


def as_regex(pattern: str) -> str:
    """A regular expression for ``fullmatch`` on a path without the leading slash."""
    parts = []
    for piece in re.split(r"(/\*\*$|\*)", pattern.strip("/")):
        if piece == "/**":
            parts.append("/.+")
        elif piece == "*":
            parts.append("[^/]*")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)


class Finder:
    """Which of many rules a path meets: one regular expression for all, since a root has 10^5 paths."""

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        """``patterns`` holds (name of the rule, pattern)."""
        self.names = [name for name, _pattern in patterns]
        joined = "|".join(f"({as_regex(pattern)})" for _name, pattern in patterns)
        self.regex = re.compile(joined or "(?!)", re.DOTALL)
        folders = "|".join(as_folder_regex(pattern) for _name, pattern in patterns)
        self.folders = re.compile(folders or "(?!)", re.DOTALL)

    def find(self, path: str) -> str | None:
        match = self.regex.fullmatch(path)
        return self.names[match.lastindex - 1] if match and match.lastindex else None

    def reaches(self, folder: str) -> bool:
        """Whether a path directly in ``folder`` can meet a rule; most folders of a root need no further question."""
        return self.folders.fullmatch(folder) is not None


def as_folder_regex(pattern: str) -> str:
    """The folders in which ``pattern`` can meet something; the top folder is the empty text."""
    if pattern.endswith("/**"):
        return as_regex(pattern[: -len("/**")]) + "(?:/.+)?"
    return as_regex(pattern.strip("/").rpartition("/")[0])


class Hygiene:
    """The rules of one capture, ready to be asked for each path."""

    def __init__(self, skipped: Iterable[str], exclude: Iterable[str]) -> None:
        off = check_names("skip_hygiene", skipped, (rule.name for rule in HYGIENE))
        rules = [rule for rule in HYGIENE if rule.name not in off]
        own = [("exclude", check_pattern(pattern)) for pattern in exclude]
        self.omitted = Finder([(r.name, p) for r in rules for p in r.omit] + own)
        self.omitted_files = Finder([(r.name, p) for r in rules for p in r.omit_files])
        self.empty = {path: rule.name for rule in rules for path in rule.empty}
        self.link = {path: (rule.name, target) for rule in rules for path, target in rule.link}

    def omits(self, path: str, is_folder: bool) -> str | None:
        """The rule that leaves ``path`` out, with all below it; None where it stays."""
        return self.omitted.find(path) or (None if is_folder else self.omitted_files.find(path))

    def restless(self, folder: str) -> bool:
        """Whether something may be left out of ``folder``, whose own time then changes with it."""
        return self.omitted.reaches(folder) or self.omitted_files.reaches(folder)


def check_pattern(pattern: str) -> str:
    parts = pattern.strip("/").split("/")
    if not pattern.strip("/") or ".." in parts or "**" in parts[:-1] or "\0" in pattern:
        raise ClusterError(
            f"exclude: {pattern!r} is no path in the root; ** is only allowed as the last part"
        )
    return pattern.strip("/")


def check_names(field: str, wanted: Iterable[str], known: Iterable[str]) -> set[str]:
    """``wanted`` as a set; raises ClusterError naming ``field`` and the name that is none of ``known``."""
    names, chosen = list(known), set(wanted)
    unknown = sorted(chosen - set(names))
    if unknown:
        raise ClusterError(f"{field}: {unknown[0]!r} is not one of {', '.join(names)}")
    return chosen


class Scan:
    """Finds secrets in the files that an image would hold; what is allowed by name or by path is no finding."""

    def __init__(self, allowed: Iterable[str]) -> None:
        allowed = list(allowed)
        self.paths = {path.strip("/") for path in allowed if path.startswith("/")}
        off = check_names(
            "allow_secrets", (name for name in allowed if not name.startswith("/")), (s.name for s in SECRETS)
        )
        self.rules = [secret for secret in SECRETS if secret.name not in off]
        self.where = Finder([(str(n), path) for n, rule in enumerate(self.rules) for path in rule.paths])
        self.content = [
            re.compile(rule.content.encode(), re.MULTILINE) if rule.content else None for rule in self.rules
        ]

    def candidate(self, path: str) -> int | None:
        """The number of the rule that speaks of ``path``."""
        found = self.where.find(path)
        return None if found is None or path in self.paths else int(found)

    def judge(self, rule: int, content: bytes) -> bool:
        pattern = self.content[rule]
        return pattern is None or pattern.search(content) is not None


def refusal(found: Sequence[tuple[str, str]]) -> str:
    """The one error for (rule, path) pairs; it never shows what is in a file."""
    reasons = {secret.name: secret.reason for secret in SECRETS}
    listed = "; ".join(f"/{path}: {rule} ({reasons[rule]})" for rule, path in found[:20])
    more = f"; and {len(found) - 20} more" if len(found) > 20 else ""
    names = ", ".join(sorted({rule for rule, _path in found}))
    return (
        f"the image would hold secrets: {listed}{more}; remove them from the source,"
        f" leave them out by exclude, or allow them by allow_secrets: [{names}]"
    )
