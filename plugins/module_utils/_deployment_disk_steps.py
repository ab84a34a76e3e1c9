# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The micro-steps that prepare a node's disk, run as shell scripts in the deployment environment.

Other micro-steps read the notes ``disk`` (``/dev/vda``), ``table`` (``gpt``, ``mbr``, or empty where the whole disk is
written), ``partitions`` (a dict by role, each with ``number``, ``device``, ``filesystem``, ``label``), and
``deploy_device``, which is what an image of kind dd is written onto; ``disk_facts`` and ``deploy_device`` here make them
where a deployment began behind create_partition_table.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_layout as _layout
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_layout import Table
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    MicroStep,
    StepFailed,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

MOUNTED = "/mnt/dest"
TMP = "/mnt/tmp"
DISK_SECONDS = 30
"""How long a disk may take to show up behind its controller."""

INSPECT = r"""
# $1: the disk, or empty for the first one; $2: seconds to wait for it
disks() {
    for folder in /sys/block/*; do
        name=${folder##*/}
        case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd*) continue ;; esac
        [ -b "/dev/$name" ] && [ "$(cat "$folder/size")" -gt 0 ] && [ "$(cat "$folder/removable")" = 0 ] &&
            [ "$(cat "$folder/ro")" = 0 ] && echo "$name"
    done
    return 0
}
wanted=${1#/dev/}
seconds=0
while :; do
    found=$wanted
    [ -n "$found" ] || found=$(disks | head -n 1)
    [ -n "$found" ] && [ -b "/dev/$found" ] && [ -e "/sys/block/$found" ] && break
    if [ "$seconds" -ge "$2" ]; then
        echo "disk="
        for name in $(disks); do echo "other=/dev/$name of $(($(cat "/sys/block/$name/size") / 2048)) MiB"; done
        exit 0
    fi
    seconds=$((seconds + 1))
    sleep 1
done
disk=/dev/$found
echo "disk=$disk"
echo "bytes=$(blockdev --getsize64 "$disk")"
echo "sector=$(blockdev --getss "$disk")"
if [ -d /sys/firmware/efi ]; then echo firmware=uefi; else echo firmware=bios; fi
echo "signatures=$(wipefs --noheadings --output TYPE "$disk" | tr -s ' \n' ' ')"
echo "table=$(sfdisk --json "$disk" 2>/dev/null | tr -d '\n')"
"""

FREE = r"""
# $1: the disk. Nothing may use it while its table is written: an earlier try may have left mounts
awk -v disk="$1" 'index($1, disk) == 1 { print $2 }' /proc/mounts | sort -r | while read -r place; do
    umount "$place"
done
awk -v disk="$1" 'index($1, disk) == 1 { print $1 }' /proc/swaps | while read -r device; do swapoff "$device"; done
"""

PARTITION = (
    FREE
    + r"""
# standard input: the script of sfdisk; $2...: the partitions that must show up
disk=$1
shift
sfdisk --quiet --force --wipe always --wipe-partitions always "$disk"
blockdev --rereadpt "$disk" 2>/dev/null || true
for device; do
    seconds=0
    until [ -b "$device" ]; do
        [ "$seconds" -lt 20 ] || { echo "$device does not show up behind the new table of $disk"; exit 1; }
        partprobe "$disk" 2>/dev/null || true # for a kernel that does not read this kind of table itself
        [ -b "$device" ] || sleep 1
        seconds=$((seconds + 1))
    done
done
"""
)

MAKE_FILE_SYSTEM = r"""
# $1: what to make; $2: the partition; $3: its label; $4: features of ext that its readers do not know
if awk -v device="$2" '$1 == device { found = 1 } END { exit !found }' /proc/mounts; then umount "$2"; fi
features=''
for feature in $4; do # only those that this mke2fs would switch on: an older one does not know the names of others
    if grep -qw "$feature" /etc/mke2fs.conf 2>/dev/null; then features=$features,^$feature; fi
done
case $1 in
    ext2 | ext3 | ext4) "mkfs.$1" -F -q -L "$(echo "$3" | cut -c 1-16)" ${features:+-O "${features#,}"} "$2" ;;
    xfs) mkfs.xfs -q -f -L "$(echo "$3" | cut -c 1-12)" "$2" ;;
    btrfs) mkfs.btrfs -q -f -L "$3" "$2" ;;
    vfat) # which has much to say about character sets
        label=$(echo "$3" | tr '[:lower:]' '[:upper:]' | cut -c 1-11)
        said=$(mkfs.vfat -n "$label" "$2" 2>&1) || { echo "$said"; exit 1; }
        ;;
    swap) mkswap -L "$(echo "$3" | cut -c 1-16)" "$2" >/dev/null ;;
    *) echo "nobody here can make a file system $1"; exit 1 ;;
esac
"""

MOUNT = r"""
# $1: the partition; $2: the folder
mkdir -p "$2"
there=$(awk -v place="$2" '$2 == place { device = $1 } END { print device }' /proc/mounts)
[ "$there" != "$1" ] || exit 0
[ -z "$there" ] || umount "$2"
kind=$(blkid -o value -s TYPE "$1" || true)
[ -n "$kind" ] || { echo "there is no file system on $1"; exit 1; }
mount -t "$kind" "$1" "$2"
"""

OPEN_TO_ALL = r"""
# $1: a partition; $2: where to mount it for a moment. What becomes /tmp is everybody's
mkdir -p "$2"
mount "$1" "$2"
chmod 1777 "$2"
umount "$2"
"""

UMOUNT = r"""
# $1: the folder, with all that is mounted below it
sync
awk -v place="$1" '$2 == place || index($2, place "/") == 1 { print $2 }' /proc/mounts | sort -r | while read -r place; do
    umount "$place"
done
"""

ADD_KEYS = r"""
# standard input: the lines; what is there stays
mkdir -p /root/.ssh
chmod 700 /root/.ssh
file=/root/.ssh/authorized_keys
cat "$file" - 2>/dev/null | awk 'NF && !seen[$0]++' >"$file.new"
chmod 600 "$file.new"
mv "$file.new" "$file"
"""

NEW_IN_EXT4 = "orphan_file metadata_csum_seed"
"""GRUB before 2.12 reads no ext4 with these."""

NOT_FOR_BIOS = f"64bit metadata_csum {NEW_IN_EXT4}"
"""extlinux reads no ext4 with these."""


@dataclass(frozen=True)
class Disk:
    """What a node says of one of its disks, and by which ``firmware`` it booted (``bios``, ``uefi``).

    ``table`` is what ``sfdisk --json`` calls partitiontable.
    """

    path: str
    size: int
    sector: int
    signatures: str
    firmware: str
    table: Mapping[str, Any]


def script(text: str, *arguments: str) -> str:
    """A shell script with its arguments in ``$1``, ``$2``, ...; the first command that fails ends it."""
    return f"set -eu\nset -- {shlex.join(arguments)}\n{text}"


def run(work: Work, text: str, *arguments: str, stdin: bytes | None = None) -> str:
    return work.channel.run(script(text, *arguments), timeout=work.deadline.left(), stdin=stdin)


def inspect(work: Work) -> Disk:
    """The disk of the node, or of the layout, or the first one; raises StepFailed where it is absent."""
    wanted = work.node.disk or work.order.layout.disk
    said = run(work, INSPECT, wanted, str(DISK_SECONDS))
    words = [line.partition("=")[::2] for line in said.splitlines()]
    facts = dict(words)
    if not facts.get("disk"):
        others = ", ".join(value for key, value in words if key == "other") or "none"
        raise StepFailed(
            f"it has no disk {wanted}" if wanted else "it has no disk",
            evidence=[f"its disks: {others}"],
            advice="name another disk for this node, or give the deployment environment the driver of its controller",
        )
    table = json.loads(facts["table"])["partitiontable"] if facts.get("table") else {}
    return Disk(
        path=facts["disk"],
        size=int(facts["bytes"]),
        sector=int(facts["sector"]),
        signatures=facts["signatures"].strip(),
        firmware=facts["firmware"],
        table=table,
    )


def plan(work: Work, disk: Disk) -> Table:
    """The table that the layout gives on this disk; raises StepFailed where it does not fit."""
    _layout.check_layout(work.order.layout, work.order.deploy_role)
    try:
        return _layout.arrange(
            *(work.order.layout, work.node.firmware, work.node.mac),
            *(disk.path, disk.size, disk.sector),
        )
    except ClusterError as error:
        raise StepFailed(str(error), advice="give this node a layout that fits, or another disk") from error


def guard(work: Work, disk: Disk) -> None:
    """Raises StepFailed where the disk holds what we did not put there, unless the layout allows it."""
    if work.order.layout.overwrite == "any" or (not disk.table and not disk.signatures):
        return
    if disk.table and _layout.is_ours(disk.table):
        return
    holds = _layout.described(disk.table) if disk.table else f"signatures of {disk.signatures}"
    raise StepFailed(
        f"the disk {disk.path} holds other people's data: {holds}",
        advice="layout.overwrite: any allows to overwrite it",
    )


def note(work: Work, disk: Disk, table: Table | None) -> None:
    """What later micro-steps read."""
    partitions = {
        place.role: {
            "number": place.number,
            "device": table.device(place),
            "filesystem": place.filesystem,
            "label": place.label,
        }
        for place in (table.places if table else ())
        if table and place.role
    }
    deploy = partitions.get(work.order.deploy_role, {"device": disk.path})
    work.notes.update(
        disk=disk.path,
        table=table.kind if table else "",
        partitions=partitions,
        deploy_device=deploy["device"],
    )


def disk_facts(work: Work) -> dict[str, Any]:
    """The notes about the disk, made now where no micro-step made them; then the table must be that of the layout."""
    if "deploy_device" not in work.notes:
        disk = inspect(work)
        table = plan(work, disk) if work.order.layout.partitions else None
        if table and not _layout.is_same(table, disk.table):
            nodes = {one.get("node") for one in disk.table.get("partitions", ())}
            there = all(table.device(place) in nodes for place in table.places)
            if work.order.layout.overwrite != "any" or not there:
                raise StepFailed(
                    f"the table of {disk.path} is not that of the layout: {_layout.described(disk.table)}",
                    advice="deploy with create_partition_table; where somebody else partitions, layout.overwrite: any"
                    " takes partitions by their numbers",
                )
        note(work, disk, table)
    return work.notes


def deploy_device(work: Work) -> str:
    """The partition that the environment goes to, or the whole disk where the layout has no partitions."""
    return str(disk_facts(work)["deploy_device"])


def partition_of(work: Work, role: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = disk_facts(work)["partitions"].get(role)
    return found


def send_key_in_deploy_env(work: Work) -> None:
    """The user's keys open the deployment environment too, for a breakpoint; the deployment's own is there since boot."""
    lines = "".join(f"{key.strip()}\n" for key in work.order.keys)
    run(work, ADD_KEYS, stdin=lines.encode())


def create_partition_table(work: Work) -> None:
    """Leave the table that is there where it is the very one; a redeployment keeps what it does not format."""
    disk = inspect(work)
    work.say(f"{disk.path} of {disk.size // _layout.MIB} MiB")
    if disk.firmware != work.node.firmware:
        work.say(
            f"it is declared as {work.node.firmware} but booted by {disk.firmware}: its disk may not start"
        )
    table = plan(work, disk) if work.order.layout.partitions else None
    if table and _layout.is_same(table, disk.table):
        note(work, disk, table)
        work.say(f"{disk.path} has its {table.kind} table already")
        return
    guard(work, disk)
    if table:
        text = _layout.sfdisk_script(table, boots=work.order.deploy_role)
        devices = [table.device(place) for place in table.places if place.role]
        run(work, PARTITION, disk.path, *devices, stdin=text.encode())
        work.say(f"{disk.path}: {table.kind}, {', '.join(devices)}")
    note(work, disk, table)


def make_file_system(work: Work, role: str, kind: str) -> None:
    partition = partition_of(work, role)
    if partition is None:
        raise StepFailed(
            f"the layout has no partition {role}", advice="add one, or leave this micro-step out"
        )
    unknown = NOT_FOR_BIOS if work.node.firmware == "bios" else NEW_IN_EXT4
    run(work, MAKE_FILE_SYSTEM, kind, partition["device"], partition["label"], unknown)
    work.say(f"{kind} on {partition['device']}")


def format_deploy_part(work: Work) -> None:
    """And the partition that UEFI reads: what an earlier system left there must not boot."""
    partition = partition_of(work, work.order.deploy_role) or {}
    kind = partition.get("filesystem") or work.order.description.get("filesystem") or "ext4"
    make_file_system(work, work.order.deploy_role, kind)
    if work.node.firmware == "uefi" and partition_of(work, "efi"):
        make_file_system(work, "efi", "vfat")


def format_tmp_part(work: Work) -> None:
    partition = partition_of(work, "tmp") or {}
    make_file_system(work, "tmp", partition.get("filesystem") or "ext4")
    run(work, OPEN_TO_ALL, partition["device"], TMP)


def format_swap_part(work: Work) -> None:
    make_file_system(work, "swap", "swap")


def mount_deploy_part(work: Work) -> None:
    run(work, MOUNT, deploy_device(work), MOUNTED)


def mount_tmp_part(work: Work) -> None:
    """Makes its file system where there is none yet."""
    partition = partition_of(work, "tmp")
    if partition is None:
        raise StepFailed("the layout has no partition tmp", advice="add one, or use another broadcast")
    known = run(work, 'blkid -o value -s TYPE "$1" || true', partition["device"]).strip()
    if not known:
        format_tmp_part(work)
    run(work, MOUNT, partition["device"], TMP)


def umount_deploy_part(work: Work) -> None:
    run(work, UMOUNT, MOUNTED)


MICRO_STEPS: Mapping[str, MicroStep] = {
    "send_key_in_deploy_env": send_key_in_deploy_env,
    "create_partition_table": create_partition_table,
    "format_deploy_part": format_deploy_part,
    "mount_deploy_part": mount_deploy_part,
    "format_tmp_part": format_tmp_part,
    "format_swap_part": format_swap_part,
    "mount_tmp_part": mount_tmp_part,
    "umount_deploy_part": umount_deploy_part,
}
