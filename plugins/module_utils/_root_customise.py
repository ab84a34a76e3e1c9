# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Turn an unpacked base into the declared root: accounts, place, names, files, services, identity."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import in_root
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import (
    exists,
    inside,
    link_path,
    write_path,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sharing import (
    active_rules,
    apply_rules,
    mask,
    stamp_marks,
    volatile_folders,
    volatile_mounts,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_validation import unit_name

MANIFEST = "/etc/oneimage/image.json"

STANDARD_HOSTS = (
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost ip6-loopback",
    "ff02::1 ip6-allnodes",
    "ff02::2 ip6-allrouters",
)


def customise(root: Path, declared: dict[str, Any], contents: dict[str, bytes], version: str) -> None:
    """Everything but the manifest; the user's files come after our rules, so that they have the last word."""
    rules = active_rules(declared["skip_rules"], declared["shared"])
    add_accounts(root, declared)
    set_place(root, declared)
    write_names(root, declared)
    enabled = {unit_name(unit) for unit in declared["services"].get("enabled") or []}
    apply_rules(root, rules, enabled)
    write_mounts(root, declared)
    write_files(root, declared, contents)
    set_services(root, declared)
    identify(root, declared["name"], version)
    check_bootable(root, declared)
    stamp_marks(root, rules)


def ids(root: Path, database: str) -> dict[str, list[str]]:
    """The lines of the root's /etc/passwd or /etc/group by name."""
    lines = inside(root, f"/etc/{database}").read_text(encoding="utf-8").splitlines()
    return {fields[0]: fields for fields in (line.split(":") for line in lines) if len(fields) > 3}


def owner_ids(root: Path, file: dict[str, Any], index: int) -> tuple[int, int]:
    numbers = []
    for field, database in (("owner", "passwd"), ("group", "group")):
        name = file[field]
        if not name.isdecimal():
            entry = ids(root, database).get(name)
            if entry is None:
                raise ClusterError(
                    f"files[{index}].{field}: {name} does not exist in the root; declare it in users"
                )
            name = entry[2]
        numbers.append(int(name))
    return numbers[0], numbers[1]


def add_accounts(root: Path, declared: dict[str, Any]) -> None:
    hashes = {"root": declared["root_password_hash"]} if declared["root_password_hash"] else {}
    for index, user in enumerate(declared["users"]):
        add_user(root, user, f"users[{index}]")
        if user.get("password_hash"):
            hashes[user["name"]] = user["password_hash"]
    if hashes:
        # on standard input, since every local user may read the arguments of a program
        lines = "".join(f"{name}:{value}\n" for name, value in hashes.items())
        in_root(root, ["chpasswd", "--encrypted"], stdin=lines.encode())
    authorise(root, "root", declared["root_authorized_keys"])
    for user in declared["users"]:
        authorise(root, user["name"], user.get("authorized_keys") or [])


def add_user(root: Path, user: dict[str, Any], field: str) -> None:
    name, group = user["name"], user.get("group") or user["name"]
    if name in ids(root, "passwd"):
        raise ClusterError(
            f"{field}.name: {name} is an account of the distribution's packages; choose another name"
        )
    add_group(root, group, user.get("gid"), field)
    for extra in user.get("groups") or []:
        add_group(root, extra, None, field)
    argv = ["useradd", "--create-home", "--no-log-init", "--gid", group]
    if user.get("uid") is not None:
        argv += ["--uid", str(user["uid"])]
    if user.get("home"):
        argv += ["--home-dir", user["home"]]
    if user.get("groups"):
        argv += ["--groups", ",".join(user["groups"])]
    shell = user.get("shell") or "/bin/bash"
    if not exists(root, shell):
        raise ClusterError(f"{field}.shell: {shell} does not exist in the root; add its package to packages")
    in_root(root, [*argv, "--shell", shell, name])


def add_group(root: Path, group: str, gid: int | None, field: str) -> None:
    entry = ids(root, "group").get(group)
    if entry is None:
        in_root(root, ["groupadd", *(["--gid", str(gid)] if gid is not None else []), group])
    elif gid is not None and int(entry[2]) != gid:
        raise ClusterError(f"{field}.gid: the group {group} has gid {entry[2]} in the root, not {gid}")


def authorise(root: Path, name: str, keys: list[str]) -> None:
    if not keys:
        return
    entry = ids(root, "passwd")[name]
    owner, home = (int(entry[2]), int(entry[3])), entry[5]
    content = "".join(f"{key.strip()}\n" for key in keys)
    write_path(root, f"{home}/.ssh/authorized_keys", content.encode(), 0o600, owner)
    folder = inside(root, f"{home}/.ssh")
    folder.chmod(0o700)
    os.chown(folder, *owner)


def set_place(root: Path, declared: dict[str, Any]) -> None:
    """Locale and time zone."""
    locale, timezone = declared["locale"], declared["timezone"]
    if locale not in ("C", "C.UTF-8", "POSIX"):
        charset = locale.partition(".")[2].partition("@")[0] or "ISO-8859-1"
        supported = inside(root, "/usr/share/i18n/SUPPORTED")
        line = f"{locale} {charset}"
        if not supported.is_file() or line not in supported.read_text(encoding="utf-8").splitlines():
            raise ClusterError(f"locale: {locale} is not in the root's /usr/share/i18n/SUPPORTED")
        write_path(root, "/etc/locale.gen", f"{line}\n".encode(), 0o644)
        in_root(root, ["locale-gen"])
    write_path(root, "/etc/default/locale", f"LANG={locale}\n".encode(), 0o644)
    if timezone not in ("UTC", "Etc/UTC") and not exists(root, f"/usr/share/zoneinfo/{timezone}"):
        raise ClusterError(f"timezone: {timezone} does not exist in the root's /usr/share/zoneinfo")
    link_path(root, "/etc/localtime", f"/usr/share/zoneinfo/{timezone}")
    write_path(root, "/etc/timezone", f"{timezone}\n".encode(), 0o644)


def write_names(root: Path, declared: dict[str, Any]) -> None:
    lines = [*STANDARD_HOSTS, *(f"{host['address']} {' '.join(host['names'])}" for host in declared["hosts"])]
    write_path(root, "/etc/hosts", "".join(f"{line}\n" for line in lines).encode(), 0o644)
    if declared["proxy"]:
        setting = "".join(
            f'Acquire::{scheme}::Proxy "{declared["proxy"]}";\n' for scheme in ("http", "https")
        )
        write_path(root, "/etc/apt/apt.conf.d/80oneimage-proxy", setting.encode(), 0o644)


def write_mounts(root: Path, declared: dict[str, Any]) -> None:
    """fstab never has /, which the initrd mounted; folders in memory first, then what the user mounts."""
    rules = active_rules(declared["skip_rules"], declared["shared"])
    volatile = volatile_mounts(rules, (mount["path"] for mount in declared["mounts"]))
    lines = [f"tmpfs {path} tmpfs {options} 0 0" for path, options in volatile]
    for mount in declared["mounts"]:
        lines.append(f"{mount['source']} {mount['path']} {mount['type']} {mount['options']} 0 0")
        inside(root, mount["path"]).mkdir(parents=True, exist_ok=True)
    write_path(root, "/etc/fstab", "".join(f"{line}\n" for line in lines).encode(), 0o644)
    folders = volatile_folders(root, (path for path, _options in volatile))
    if folders:
        write_path(root, "/etc/tmpfiles.d/oneimage-volatile.conf", folders.encode(), 0o644)


def write_files(root: Path, declared: dict[str, Any], contents: dict[str, bytes]) -> None:
    for index, file in enumerate(declared["files"]):
        owner = owner_ids(root, file, index)
        write_path(root, file["path"], contents[file["path"]], int(file["mode"], 8), owner)


def set_services(root: Path, declared: dict[str, Any]) -> None:
    """Enable and disable by the root's own systemctl, which knows its units; a mask is a link."""
    for action in ("enable", "disable"):
        units = declared["services"].get(f"{action}d") or []
        if not units:
            continue
        try:
            in_root(root, ["systemctl", action, "--quiet", *map(unit_name, units)])
        except ClusterError as error:
            raise ClusterError(f"services.{action}d: {error}") from error
    for unit in declared["services"].get("masked") or []:
        mask(root, unit_name(unit))


def identify(root: Path, name: str, version: str) -> None:
    """Write the image id into os-release, where everybody looks for it."""
    release = inside(root, "/usr/lib/os-release").read_text(encoding="utf-8")
    lines = [line for line in release.splitlines() if not line.startswith(("IMAGE_ID=", "IMAGE_VERSION="))]
    lines += [f"IMAGE_ID={name}", f"IMAGE_VERSION={version}"]
    write_path(root, "/etc/os-release", "".join(f"{line}\n" for line in lines).encode(), 0o644)


def check_bootable(root: Path, declared: dict[str, Any]) -> None:
    """Raise ClusterError for a root that could not be / of a node; one of an image is checked by its own rules."""
    if declared["image"]:
        return
    if not exists(root, "/sbin/init"):
        raise ClusterError("packages: the root has no /sbin/init; add systemd-sysv")
    if not declared["kernel_package"]:
        return
    found = kernels(root)
    if not found:
        raise ClusterError(
            f"kernel_package: {declared['kernel_package']} put no kernel into the root's /boot"
        )
    for kernel in found:
        for path in (f"/boot/config-{kernel}", f"/lib/modules/{kernel}/modules.dep"):
            if not exists(root, path):
                raise ClusterError(f"kernel_package: kernel {kernel} came without {path}")


def kernels(root: Path) -> list[str]:
    """The versions of the kernels in /boot, the newest first."""
    found = [path.name[len("vmlinuz-") :] for path in (root / "boot").glob("vmlinuz-*")]
    return sorted(found, key=natural, reverse=True)


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts 6.1.0-9 before 6.1.0-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", text)]


def installed_packages(root: Path) -> dict[str, str]:
    """Every installed package and its version, read from dpkg's own database."""
    status = inside(root, "/var/lib/dpkg/status")
    if not status.is_file():
        return {}
    found = {}
    for stanza in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))


def tree_size(root: Path) -> int:
    """Bytes that the files of a root hold, hard links counted once."""
    total, seen = 0, set()
    for folder, _folders, files in os.walk(root):
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            if status.st_nlink == 1 or status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_size
    return total


def write_manifest(root: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    write_path(root, MANIFEST, text.encode(), 0o644)
