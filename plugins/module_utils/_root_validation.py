# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Refuse a root that cannot be right, before anything is written: every error names the field and what to do."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sharing import RULES

SUITES = {"bullseye": "Debian 11", "bookworm": "Debian 12", "trixie": "Debian 13"}

KERNEL_PACKAGES = {
    "amd64": "linux-image-amd64",
    "arm64": "linux-image-arm64",
    "armhf": "linux-image-armmp",
    "i386": "linux-image-686-pae",
    "ppc64el": "linux-image-powerpc64le",
    "s390x": "linux-image-s390x",
}
"""Debian's architectures that boot from the network, and the kernel of each."""

PATTERNS = {
    "name": (r"[a-z0-9][a-z0-9._-]{0,63}", "lower-case letters, digits, '.', '_' and '-'"),
    "package": (
        r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?",
        "a Debian package, NAME or NAME=VERSION",
    ),
    "account": (r"[a-z_][a-z0-9_-]{0,31}", "a user or group name as useradd takes it"),
    "hash": (
        r"\$(5|6|7|y|gy|2[aby])\$[./A-Za-z0-9$=,]{10,}",
        "a crypt hash such as `mkpasswd -m yescrypt` prints",
    ),
    "host": (
        r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*",
        "a host name",
    ),
    "unit": (r"[A-Za-z0-9:_.\\@-]+", "a systemd unit"),
    "locale": (
        r"(C|POSIX|[a-z]{2,3}_[A-Z]{2})(\.[A-Za-z0-9-]+)?(@[a-z]+)?",
        "a locale such as C.UTF-8 or fr_FR.UTF-8",
    ),
    "timezone": (r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone such as Etc/UTC or Europe/Paris"),
    "url": (r"[a-z][a-z0-9+.-]*:/\S+", "an address such as http://mirror.example.org/debian"),
    "source": (
        r"deb(-src)? (\[[^\]\n]*\] )?\S+ \S+( [^\n]*)?",
        "a line of sources.list, deb [OPTIONS] ADDRESS SUITE COMPONENTS",
    ),
    "component": (r"[a-z][a-z-]*", "an archive component such as main"),
    "mode": (r"0?[0-7]{3,4}", "an octal mode in quotes such as '0644'"),
    "key": (
        r"([^\n]*\s)?(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+)\s+AAAA[A-Za-z0-9+/=]{20,}(\s[^\n]*)?",
        "a public key as in authorized_keys",
    ),
    "version": (
        r"([a-z0-9][a-z0-9._-]*-)?[0-9a-f]{12}",
        "a version (12 hexadecimal digits) or an image id NAME-VERSION",
    ),
    "field": (r"\S+", "one word without spaces"),
}

KEPT_FOR_THE_ROOT = {
    "/etc/oneimage/image.json": "it says what the root was made from",
    "/etc/machine-id": "every node would get the same identity",
    "/etc/ssh/ssh_host_*": "every node would have the same host key, readable by anybody who mounts the root",
    "/etc/hostname": "every node would get the same name: it comes from DHCP",
    "/etc/fstab": "it is written from `mounts`",
    "/etc/hosts": "it is written from `hosts`",
    "/dev/*": "the nodes mount their own file system there",
    "/proc/*": "the nodes mount their own file system there",
    "/run/*": "the nodes mount their own file system there",
    "/sys/*": "the nodes mount their own file system there",
}
"""Paths that no file of the user may take, and why."""

HIGHEST_ID = 2**32 - 3
NOBODY_IDS = (65534, 65535)


def check_declaration(declared: dict[str, Any]) -> None:
    """Raise ClusterError for the first field that is wrong; reads nothing and writes nothing."""
    for check in CHECKS:
        check(declared)


def word(field: str, value: str, pattern: str) -> None:
    """Raise ClusterError unless the whole of ``value`` has the form that ``PATTERNS`` holds under ``pattern``."""
    form, meaning = PATTERNS[pattern]
    if not re.fullmatch(form, value):
        raise ClusterError(f"{field}: {value!r} is not {meaning}")


def words(field: str, values: Iterable[str], pattern: str) -> None:
    for index, value in enumerate(values):
        word(f"{field}[{index}]", value, pattern)


def unique(field: str, values: Iterable[Any], what: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ClusterError(f"{field}: {what} {value} is declared twice; keep one")
        seen.add(value)


def absolute(field: str, path: str) -> None:
    if not path.startswith("/") or path != path.strip() or any(ord(char) < 32 for char in path):
        raise ClusterError(f"{field}: {path!r} is not an absolute path")
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise ClusterError(f"{field}: {path!r} must not hold '.', '..', '//' or a final '/'")


def check_identity(declared: dict[str, Any]) -> None:
    word("name", declared["name"], "name")
    if declared["name"] == "current":
        raise ClusterError("name: 'current' is the name of the link to the published version; choose another")
    for field, known in (("suite", SUITES), ("architecture", KERNEL_PACKAGES)):
        if declared[field] not in known:
            raise ClusterError(f"{field}: {declared[field]!r} is unknown; one of {', '.join(known)}")
    if declared["tool"] == "debootstrap" and declared["variant"] != "minbase":
        raise ClusterError(
            f"variant: debootstrap makes minbase, not {declared['variant']}; use tool mmdebstrap for it"
        )


def check_packages(declared: dict[str, Any]) -> None:
    words("packages", declared["packages"], "package")
    if declared["kernel_package"]:
        word("kernel_package", declared["kernel_package"], "package")
    words("components", declared["components"], "component")
    words("sources", declared["sources"], "source")
    for field in ("mirror", "security_mirror", "proxy"):
        if declared[field]:
            word(field, declared[field], "url")
    if declared["security_mirror"] and not declared["mirror"]:
        raise ClusterError(
            "security_mirror: needs mirror too; without both, the mirrors of this host's apt are used"
        )
    if not declared["components"]:
        raise ClusterError("components: empty; at least main")


def check_place(declared: dict[str, Any]) -> None:
    word("locale", declared["locale"], "locale")
    word("timezone", declared["timezone"], "timezone")


def check_accounts(declared: dict[str, Any]) -> None:
    if declared["root_password_hash"]:
        secret("root_password_hash", declared["root_password_hash"])
    keys("root_authorized_keys", declared["root_authorized_keys"])
    for index, user in enumerate(declared["users"]):
        check_user(f"users[{index}]", user)
    unique("users", (user["name"] for user in declared["users"]), "name")
    unique("users", (user["uid"] for user in declared["users"] if user.get("uid") is not None), "uid")
    gids: dict[str, int] = {}
    for user in declared["users"]:
        group, gid = user.get("group") or user["name"], user.get("gid")
        if gid is not None and gids.setdefault(group, gid) != gid:
            raise ClusterError(f"users: group {group} is declared with gid {gids[group]} and with gid {gid}")
    unique("users", gids.values(), "gid")


def check_user(field: str, user: dict[str, Any]) -> None:
    word(f"{field}.name", user["name"], "account")
    if user["name"] == "root":
        raise ClusterError(
            f"{field}.name: root exists already; use root_password_hash and root_authorized_keys"
        )
    for number in ("uid", "gid"):
        value = user.get(number)
        if value is not None and (not 0 < value <= HIGHEST_ID or value in NOBODY_IDS):
            raise ClusterError(
                f"{field}.{number}: {value} is not a number from 1 to {HIGHEST_ID} other than 65534 and 65535"
            )
    if user.get("group"):
        word(f"{field}.group", user["group"], "account")
    words(f"{field}.groups", user.get("groups") or [], "account")
    for path in ("home", "shell"):
        if user.get(path):
            absolute(f"{field}.{path}", user[path])
            if ":" in user[path]:
                raise ClusterError(f"{field}.{path}: {user[path]!r} must not hold a colon")
    if user.get("password_hash"):
        secret(f"{field}.password_hash", user["password_hash"])
    keys(f"{field}.authorized_keys", user.get("authorized_keys") or [])


def secret(field: str, value: str) -> None:
    """A crypt hash; the value never appears in the error, since it may be a password in clear."""
    if not re.fullmatch(PATTERNS["hash"][0], value):
        raise ClusterError(
            f"{field}: not {PATTERNS['hash'][1]} (sha256, sha512, yescrypt or bcrypt); never a password in clear"
        )


def keys(field: str, values: Iterable[str]) -> None:
    for index, value in enumerate(values):
        if "PRIVATE KEY" in value:
            raise ClusterError(f"{field}[{index}]: a private key; declare the line of its .pub file")
        word(f"{field}[{index}]", value.strip(), "key")


def check_files(declared: dict[str, Any]) -> None:
    for index, file in enumerate(declared["files"]):
        field = f"files[{index}]"
        absolute(f"{field}.path", file["path"])
        for pattern, reason in KEPT_FOR_THE_ROOT.items():
            if fnmatchcase(file["path"], pattern):
                raise ClusterError(f"{field}.path: {file['path']} cannot be declared: {reason}")
        if (file.get("content") is None) == (not file.get("src")):
            raise ClusterError(f"{field}: {file['path']} needs content or src, one of the two")
        word(f"{field}.mode", file["mode"], "mode")
        for owner in ("owner", "group"):
            if not file[owner].isdecimal():
                word(f"{field}.{owner}", file[owner], "account")
    paths = [file["path"] for file in declared["files"]]
    unique("files", paths, "path")
    for path in paths:
        if any(other.startswith(path + "/") for other in paths):
            raise ClusterError(f"files: {path} is a file and also the folder of another one")


def check_mounts(declared: dict[str, Any]) -> None:
    for index, mount in enumerate(declared["mounts"]):
        field = f"mounts[{index}]"
        if mount["path"] == "/":
            raise ClusterError(f"{field}.path: / is mounted by the initrd and stays as it is")
        absolute(f"{field}.path", mount["path"])
        word(f"{field}.path", mount["path"], "field")
        for part in ("source", "type", "options"):
            word(f"{field}.{part}", mount[part], "field")
    unique("mounts", (mount["path"] for mount in declared["mounts"]), "path")


def check_hosts(declared: dict[str, Any]) -> None:
    owners: dict[tuple[int, str], str] = {}
    for index, host in enumerate(declared["hosts"]):
        field = f"hosts[{index}]"
        try:
            address = ipaddress.ip_address(host["address"])
        except ValueError as error:
            raise ClusterError(f"{field}.address: {host['address']!r} is not an IP address") from error
        if not host["names"]:
            raise ClusterError(f"{field}.names: {address} has no name")
        words(f"{field}.names", host["names"], "host")
        for name in host["names"]:
            owner = owners.setdefault((address.version, name.lower()), str(address))
            if owner != str(address):
                raise ClusterError(f"{field}.names: {name} stands for {owner} and for {address}; keep one")


def check_services(declared: dict[str, Any]) -> None:
    places: dict[str, str] = {}
    for place, units in declared["services"].items():
        words(f"services.{place}", units or [], "unit")
        for unit in map(unit_name, units or []):
            if places.setdefault(unit, place) != place:
                raise ClusterError(f"services: {unit} is in {places[unit]} and in {place}; keep one")


def unit_name(unit: str) -> str:
    """A unit with its kind: what systemctl takes as ``ssh`` is ``ssh.service``."""
    kinds = ("service", "socket", "timer", "mount", "automount", "target", "path", "slice", "swap")
    return unit if unit.rpartition(".")[2] in kinds else f"{unit}.service"


def check_rules(declared: dict[str, Any]) -> None:
    known = [rule.name for rule in RULES]
    for name in declared["skip_rules"]:
        if name not in known:
            raise ClusterError(f"skip_rules: {name!r} is unknown; one of {', '.join(known)}")


CHECKS: tuple[Callable[[dict[str, Any]], None], ...] = (
    check_identity,
    check_packages,
    check_place,
    check_accounts,
    check_files,
    check_mounts,
    check_hosts,
    check_services,
    check_rules,
)
