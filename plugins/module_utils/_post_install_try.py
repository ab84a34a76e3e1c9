# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Run a post-install script as Kadeploy does, but in a copy of a root that vanishes with it.

The script is root in namespaces of its own, with neither network nor disks, and without the capabilities with which
it could reach them. That guards this host against a script's mistakes, not against malice.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_isolation import bound

EXTRACTION = "/rambin"
TARGET = "/mnt/dest"

VARIABLES = {
    "KADEPLOY_CLUSTER": "cluster",
    "KADEPLOY_ENV": "environment",
    "KADEPLOY_DEPLOY_PART": "/dev/sda3",
    "KADEPLOY_DEPLOY_PART_NUM": "3",
    "KADEPLOY_BLOCK_DEVICE": "/dev/sda",
    "KADEPLOY_SWAP_PART_NUM": "1",
    "KADEPLOY_PROD_PART_NUM": "2",
    "KADEPLOY_TMP_PART_NUM": "5",
    "KADEPLOY_PREPOST_EXTRACTION_DIR": EXTRACTION,
    "KADEPLOY_TMP_DIR": "/tmp",
    "KADEPLOY_ENV_KERNEL": "/vmlinuz",
    "KADEPLOY_ENV_INITRD": "/initrd.img",
    "KADEPLOY_ENV_KERNEL_PARAMS": "",
    "KADEPLOY_ENV_HYPERVISOR": "",
    "KADEPLOY_ENV_HYPERVISOR_PARAMS": "",
    "KADEPLOY_OS_KIND": "linux",
    "KADEPLOY_PART_TYPE": "83",
    "KADEPLOY_FS_TYPE": "ext4",
    "KADEPLOY_FS_TYPE_TMP": "ext4",
    "KADEPLOY_ENV_EXTRACTION_DIR": TARGET,
}
"""All that Kadeploy 3 sets for a script, with the values of an ordinary deployment."""

TAKEN_AWAY = (
    "mknod", "sys_admin", "sys_boot", "sys_module", "sys_ptrace", "sys_rawio", "sys_time", "net_admin", "syslog",
    "mac_admin", "mac_override", "sys_tty_config",
)  # fmt: skip
"""Capabilities with which a script could reach this host's disks, kernel or clock."""

SCRIPT = r"""
# $1 is the root, $2 the root that stands for the deployed system, $3 where the archive, which comes as tar on
# standard input, is unpacked, $4 where $2 is seen; the rest is the command. All of it is in memory.
set -eu
root=$1 target=$2 extraction=$3 deployed=$4
shift 4
mount --make-rprivate /
scratch=/sys/kernel
mount -t tmpfs -o mode=755 oneimage "$scratch"
cover() {
    mkdir -p "$scratch/$2/lower" "$scratch/$2/upper" "$scratch/$2/work" "$3"
    mount --bind "$1" "$scratch/$2/lower"
    mount -t overlay -o "lowerdir=$scratch/$2/lower,upperdir=$scratch/$2/upper,workdir=$scratch/$2/work" oneimage "$3"
}
cover "$root" root "$scratch/new"
new=$scratch/new
cover "$target" target "$new$deployed"
mkdir -p "$new$extraction" "$new/dev" "$new/proc" "$new/tmp"
mount -t tmpfs -o mode=755 oneimage "$new/dev"
for device in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
    mknod -m 666 "$new/dev/${device% *}" c 1 "${device#* }"
done
mount -t proc proc "$new/proc"
tar -x --no-same-owner -p -C "$new$extraction"
[ $# -gt 0 ] || exit 0
exec setpriv --bounding-set "$TAKEN_AWAY" chroot "$new" "$@" </dev/null
"""


def run_in_root(
    root: Path,
    target: Path,
    tar: bytes,
    command: Sequence[str],
    variables: Mapping[str, Any],
    timeout: int,
) -> dict[str, Any]:
    """Unpack ``tar`` into a copy of ``root``, in which ``target`` is the deployed system, and run ``command`` there.

    ``command`` is relative to where the archive is unpacked; without one the archive is only unpacked. ``timeout`` is
    in seconds. Returns ``rc``, ``stdout`` and ``stderr``; raises ClusterError where it cannot be tried or takes longer.
    """
    require("unshare", "setpriv", "mount", package="util-linux")
    for place in (root, target):
        if not place.is_dir():
            raise ClusterError(f"cannot try the script: {place} is no directory")
    words = [f"{EXTRACTION}/{command[0]}", *command[1:]] if command else []
    given = {**VARIABLES, **{name: str(value) for name, value in variables.items()}}
    argv = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "--mount-proc"),
        *("sh", "-c", SCRIPT, "oneimage", str(root), str(target), EXTRACTION, TARGET, *words),
    ]
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TAKEN_AWAY": ",".join(f"-{name}" for name in TAKEN_AWAY),
        **given,
    }
    try:
        # a script that fails is an answer here, and its environment is its own, so that _command.run does not fit
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            bound(argv), input=tar, capture_output=True, env=environment, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"the script did not end within {timeout} s in {root}, and was ended") from error
    return {
        "rc": done.returncode,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
    }
