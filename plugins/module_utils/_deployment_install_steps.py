# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The micro-steps behind the image: settings of the node, post-installs, kernel, keys, bootloader."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import ConnectionError as UrlsConnectionError
from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_bootloader as _bootloader
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_disk_steps as _disk
from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_identity as _identity
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    MicroStep,
    StepFailed,
    Work,
)

EXTRACTION = "/rambin"
TMP = "/tmp"
LARGEST_ARCHIVE = 1 << 28
FETCH_SECONDS = 60
SHOWN_LINES = 3
"""How many of the last lines of a script that did its work stand in the journal."""

NO_SCRIPT = "none"
BREAKPOINT = "breakpoint"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DECOMPRESSORS = {"gzip": "gzip", "bzip2": "bzip2", "xz": "xz", "zstd": "zstd"}

UNPACK = r"""
# $1: where; $2: what decompresses; standard input: the archive. In memory, as much as an archive may hold
mkdir -p "$1"
if awk -v place="$1" '$2 == place { found = 1 } END { exit !found }' /proc/mounts; then umount "$1"; fi
mount -t tmpfs -o mode=755,size=256m rambin "$1"
"$2" -dc | tar -x -p --no-same-owner -C "$1"
"""

RUN = r"""
# $1: where; $2...: the command. What it left there is kept when it fails
cd "$1"
shift
"$@" 2>&1
cd /
"""

SEND_KEY = r"""
# standard input: lines of authorized_keys, which are added to those of the image
mkdir -p "$root/root/.ssh"
chmod 700 "$root/root/.ssh"
{ cat "$root/root/.ssh/authorized_keys" 2>/dev/null || true; cat; } | awk 'NF && !seen[$0]++' | put /root/.ssh/authorized_keys 600
"""

SYNC = r"""
sync
blockdev --flushbufs "$1"
"""


def manage_admin_pre_install(work: Work) -> None:
    """The environment's pre-install, which may partition the disk itself; its variables name what the layout would give."""
    archive = work.order.description.get("preinstall")
    if archive:
        disk = _disk.inspect(work)
        _disk.note(work, disk, _disk.plan(work, disk) if work.order.layout.partitions else None)
        run_archive(work, archive)
        del work.notes["deploy_device"]  # so that the next micro-step looks at what is there now


def manage_admin_post_install(work: Work) -> None:
    """The settings of the node, then the administrators' archives, which may change them."""
    _identity.settle(work)
    for archive in work.order.admin_post_installs:
        run_archive(work, archive)


def manage_user_post_install(work: Work) -> None:
    if not work.order.admin_post_installs:
        _identity.settle(work)
    for archive in work.order.description.get("postinstalls") or ():
        run_archive(work, archive)


def install_bootloader(work: Work) -> None:
    """Where no earlier micro-step ran, the settings of the node too."""
    if not work.order.admin_post_installs and not work.order.description.get("postinstalls"):
        _identity.settle(work)
    _bootloader.install_bootloader(work)


def run_archive(work: Work, archive: Mapping[str, Any]) -> None:
    """Unpack and run one; raises StepFailed naming archive and script, with the end of what the script said."""
    uri, command = str(archive["archive"]), str(archive.get("script") or NO_SCRIPT)
    if command == BREAKPOINT:
        raise StepFailed(
            f"the post-install {uri} asks for a breakpoint",
            advice="deploy with a breakpoint before check_kernel_files, and give this archive its script",
        )
    _disk.run(work, UNPACK, EXTRACTION, DECOMPRESSORS[str(archive["compression"])], stdin=content(uri))
    if command != NO_SCRIPT:
        words = shlex.split(command)
        try:
            said = _disk.run(work, exports(work) + RUN, EXTRACTION, f"./{words[0]}", *words[1:])
        except StepFailed as failed:
            raise StepFailed(
                f"script {command!r} of {uri}: {failed}",
                evidence=failed.evidence,
                advice=f"try it with oneimage.cluster.post_install_archive; on the node it lies in {EXTRACTION}",
            ) from failed
        for line in said.splitlines()[-SHOWN_LINES:]:
            work.say(line)
    _disk.run(work, 'umount "$1"', EXTRACTION)


def content(uri: str) -> bytes:
    """The archive, as the boot server has it or can fetch it."""
    scheme, separator, path = uri.partition("://")
    if separator and scheme in ("http", "https"):
        return fetched(uri)
    try:
        return Path(path if separator else uri).read_bytes()
    except OSError as error:
        raise StepFailed(
            f"cannot read the post-install {uri} on the boot server: {error.strerror}"
        ) from error


@functools.lru_cache(maxsize=8)
def fetched(url: str) -> bytes:
    """Once for all nodes."""
    try:
        data: bytes = open_url(url, timeout=FETCH_SECONDS).read(LARGEST_ARCHIVE + 1)
    except (OSError, ValueError, HTTPException, UrlsConnectionError) as error:
        raise StepFailed(f"cannot fetch the post-install {url}: {error}") from error
    if len(data) > LARGEST_ARCHIVE:
        raise StepFailed(f"the post-install {url} is larger than {LARGEST_ARCHIVE} bytes")
    return data


def exports(work: Work) -> str:
    """Shell lines that set what a script may read."""
    given = {
        str(name): value for name, value in (work.order.description.get("custom_variables") or {}).items()
    }
    wrong = [name for name in given if not VARIABLE.fullmatch(name)]
    if wrong:
        raise StepFailed(f"custom_variables: {', '.join(wrong)} is no name of a variable")
    return "".join(
        f"export {name}={shlex.quote(str(value))}\n" for name, value in {**given, **variables(work)}.items()
    )


def variables(work: Work) -> dict[str, str]:
    """Kadeploy's variables, by the names and with the meanings of Kadeploy 3, and the node's own facts as JSON."""
    description, facts = work.order.description, _disk.disk_facts(work)
    boot = description.get("boot") or {}
    partitions: Mapping[str, Any] = facts["partitions"]
    numbers = {role: str(partitions.get(role, {}).get("number", "")) for role in ("swap", "prod", "tmp")}
    deploy = partitions.get(work.order.deploy_role, {})
    tmp = partitions.get("tmp", {})
    return {
        "KADEPLOY_CLUSTER": work.node.cluster,
        "KADEPLOY_ENV": str(description.get("name", "")),
        "KADEPLOY_DEPLOY_PART": str(facts["deploy_device"]),
        "KADEPLOY_DEPLOY_PART_NUM": str(deploy.get("number", "")),
        "KADEPLOY_BLOCK_DEVICE": str(facts["disk"]),
        **{f"KADEPLOY_{role.upper()}_PART_NUM": number for role, number in numbers.items()},
        "KADEPLOY_PREPOST_EXTRACTION_DIR": EXTRACTION,
        "KADEPLOY_TMP_DIR": TMP,
        "KADEPLOY_ENV_KERNEL": str(boot.get("kernel") or ""),
        "KADEPLOY_ENV_INITRD": str(boot.get("initrd") or ""),
        "KADEPLOY_ENV_KERNEL_PARAMS": str(boot.get("kernel_params") or ""),
        "KADEPLOY_ENV_HYPERVISOR": str(boot.get("hypervisor") or ""),
        "KADEPLOY_ENV_HYPERVISOR_PARAMS": str(boot.get("hypervisor_params") or ""),
        "KADEPLOY_OS_KIND": str(description.get("os") or "linux"),
        "KADEPLOY_PART_TYPE": f"{int(description.get('partition_type') or 0):x}",
        "KADEPLOY_FS_TYPE": str(description.get("filesystem") or ""),
        "KADEPLOY_FS_TYPE_TMP": str(tmp.get("filesystem") or ("ext4" if tmp else "")),
        "KADEPLOY_ENV_EXTRACTION_DIR": _disk.MOUNTED,
        "ONEIMAGE_NODE": work.node.name,
        "ONEIMAGE_FACTS": json.dumps(dict(work.node.facts), sort_keys=True, default=str),
    }


def send_key(work: Work) -> None:
    lines = "".join(f"{key.strip()}\n" for key in work.order.keys)
    _disk.run(work, _identity.INSIDE + SEND_KEY, stdin=lines.encode())


def sync(work: Work) -> None:
    _disk.run(work, SYNC, str(_disk.disk_facts(work)["disk"]))


MICRO_STEPS: Mapping[str, MicroStep] = {
    "manage_admin_pre_install": manage_admin_pre_install,
    "manage_admin_post_install": manage_admin_post_install,
    "manage_user_post_install": manage_user_post_install,
    "check_kernel_files": _bootloader.check_kernel_files,
    "send_key": send_key,
    "install_bootloader": install_bootloader,
    "sync": sync,
}
