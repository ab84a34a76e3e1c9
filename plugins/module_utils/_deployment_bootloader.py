# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Can the deployed kernel boot from this disk, and what makes the firmware start it."""

from __future__ import annotations

import re

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_disk_steps as _disk
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_identity import INSIDE
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_layout import MOST_PRIMARY
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import StepFailed, Work

NO_GRUB = "BOOTLOADER_NO_GRUB_FROM_DEST"
"""The custom variable of Kadeploy's environments that leaves an image's own GRUB aside."""

SERIAL = re.compile(r"\bconsole=ttyS(\d+)(?:,(\d+))?")
KERNELS_SPEED = "9600"
"""Of a serial console where the parameter names none."""

KERNEL_FILES = r"""
resolve() { # a path of the deployed system, with links followed within it
    path=$1
    for _ in 1 2 3 4 5 6 7 8; do
        [ -L "$root$path" ] || break
        link=$(readlink "$root$path")
        case $link in /*) path=$link ;; *) path=${path%/*}/$link ;; esac
    done
    echo "$path"
}
"""

CHECK = r"""
# $1: the kernel; $2: the initrd, or empty; $3: the disk; $4: the deployed partition
kernel=$(resolve "$1")
for path in "$1" ${2:+"$2"}; do
    [ -s "$root$(resolve "$path")" ] || {
        echo "the image has no file $path; its /boot holds: $(cd "$root/boot" && echo *)"
        exit 1
    }
done
if [ -z "$2" ]; then # then the kernel has all that it needs for this disk built in
    version=${kernel##*/vmlinu?-}
    builtin=$root/lib/modules/$version/modules.builtin
    [ -r "$builtin" ] || { echo "cannot tell whether the kernel $kernel boots without an initrd"; exit 0; }
    folder=$(readlink -f "/sys/block/${3#/dev/}/device")
    needed=$(blkid -o value -s TYPE "$4")
    while [ "$folder" != /sys/devices ] && [ "$folder" != / ]; do
        module=$(readlink -f "$folder/driver/module") && needed="$needed ${module##*/}"
        folder=${folder%/*}
    done
    for name in $needed; do
        grep -q "/$(echo "$name" | sed 's/[-_]/[-_]/g')\.ko" "$builtin" || {
            echo "the environment names no initrd, and its kernel $version has $name as a module, which it needs for $4"
            exit 1
        }
    done
    exit 0
fi
file=$root$(resolve "$2")
case $(head -c 4 "$file" | od -An -tx1 | tr -d ' ') in
    28b52ffd) open="zstd -dc" ;;
    1f8b*) open="gzip -dc" ;;
    fd377a58) open="xz -dc" ;;
    *) open="cat" ;;
esac
# the native initrd says what it was built for; those of distributions always mount disks
modes=$($open "$file" 2>/dev/null | cpio -i --to-stdout lib/oneimage/built.sh 2>/dev/null | grep '^root_modes=' || true)
case $modes in
    '' | *disk*) ;;
    *)
        echo "the initrd $2 boots from the network alone: $modes"
        exit 1
        ;;
esac
"""

FIND_GRUB = r"""
# $1: the platform
for program in grub-install update-grub; do
    [ -x "$root/usr/sbin/$program" ] || exit 0
done
if [ -d "$root/usr/lib/grub/$1" ]; then echo grub; fi
"""

MOUNT_EFI = r"""
mount_efi() { # $1: its partition
    mkdir -p "$root/boot/efi"
    mounted "$root/boot/efi" || mount -t vfat "$1" "$root/boot/efi"
}
"""

OWN_GRUB = r"""
# $1: the platform; $2: the disk; $3: the deployed partition; $4: that of UEFI, or empty; standard input: settings
put /etc/default/grub.d/oneimage.cfg
# without this link, which udev makes elsewhere, update-grub would write a name that may be another disk's next time
by_uuid=/dev/disk/by-uuid/$(blkid -o value -s UUID "$3")
mkdir -p "${by_uuid%/*}"
ln -sf "$3" "$by_uuid"
if [ -n "$4" ]; then
    mount_efi "$4"
    enter grub-install --target="$1" --efi-directory=/boot/efi --removable --no-nvram 2>&1
else
    enter grub-install --target="$1" --recheck "$2" 2>&1
fi
enter update-grub 2>&1
sync
"""

BOOT_LINES = r"""
uuid=$(blkid -o value -s UUID "$device")
kernel=$(resolve "$kernel")
if [ -n "$initrd" ]; then initrd=$(resolve "$initrd"); fi
words="root=${uuid:+UUID=}${uuid:-$device} ro $parameters"
"""

EXTLINUX = (
    r"""
disk=$1 device=$2 sector=$3 kernel=$4 initrd=$5 parameters=$6
if ! command -v extlinux >/dev/null || [ ! -s "/lib/oneimage/boot/$sector" ]; then
    echo "the deployment environment has no extlinux; build it from a root with the packages extlinux and syslinux-common"
    exit 1
fi
"""
    + BOOT_LINES
    + r"""
{
    printf 'DEFAULT oneimage\nPROMPT 0\nLABEL oneimage\n  LINUX %s\n' "$kernel"
    if [ -n "$initrd" ]; then echo "  INITRD $initrd"; fi
    echo "  APPEND $words"
} | put /boot/extlinux/extlinux.conf
for path in "$kernel" ${initrd:+"$initrd"}; do # extlinux reads no file with holes, which many who make images leave for zeros
    dd if="$root$path" of="$root$path" bs=1M conv=notrunc 2>/dev/null
done
extlinux --install "$root/boot/extlinux" 2>&1
dd if="/lib/oneimage/boot/$sector" of="$disk" bs=440 count=1 conv=notrunc,fsync 2>/dev/null
"""
)

SECTOR = r"""
# $1: the disk; $2: the boot sector, which starts that of the active partition
dd if="/lib/oneimage/boot/$2" of="$1" bs=440 count=1 conv=notrunc,fsync 2>/dev/null
"""

GRUB_EFI = (
    r"""
efi=$1 device=$2 kernel=$3 initrd=$4 parameters=$5
case $(uname -m) in
    x86_64) grub=grubx64.efi first=BOOTX64.EFI ;;
    aarch64) grub=grubaa64.efi first=BOOTAA64.EFI ;;
    *) grub=none ;;
esac
[ -s "/lib/oneimage/boot/$grub" ] || {
    echo "the deployment environment has no GRUB for UEFI; build it from a root with the package grub-efi-amd64-bin"
    exit 1
}
"""
    + BOOT_LINES
    + r"""
mount_efi "$efi"
put "/boot/efi/EFI/BOOT/$first" <"/lib/oneimage/boot/$grub"
# where this GRUB looks for its file: each distribution built in a folder of its own
folder=$(grep -a -o '/EFI/[a-z]*' "/lib/oneimage/boot/$grub" | head -n 1)
{
    echo "search --no-floppy --fs-uuid --set=root $uuid"
    echo "linux $kernel $words"
    if [ -n "$initrd" ]; then echo "initrd $initrd"; fi
    echo boot
} | put "/boot/efi${folder:-/EFI/debian}/grub.cfg"
sync
"""
)


def check_kernel_files(work: Work) -> None:
    """The kernel and the initrd are in the image, and together they can mount this disk."""
    boot = work.order.description.get("boot") or {}
    facts = _disk.disk_facts(work)
    arguments = (boot["kernel"], boot.get("initrd") or "", facts["disk"], facts["deploy_device"])
    try:
        said = _disk.run(work, INSIDE + KERNEL_FILES + CHECK, *arguments)
    except StepFailed as failed:
        raise StepFailed(
            str(failed),
            evidence=failed.evidence,
            advice="build an initrd for disks in the image before it is captured (oneimage.cluster.initrd with"
            " root_modes: [disk], or initramfs-tools), and name it in the environment's boot.initrd",
        ) from failed
    for line in said.splitlines():
        work.say(line)


def install_bootloader(work: Work) -> None:
    """The image's own GRUB with its own configuration where it has one (Debian's family), else ours."""
    boot = work.order.description.get("boot") or {}
    parameters = " ".join([*str(boot.get("kernel_params") or "").split(), *work.order.parameters])
    uefi = work.node.firmware == "uefi"
    efi = _disk.partition_of(work, "efi")
    if uefi and efi is None:
        raise StepFailed("the layout has no partition efi, which UEFI needs", advice="leave the table to us")
    platform = "x86_64-efi" if uefi else "i386-pc"
    facts = _disk.disk_facts(work)
    wanted = not (work.order.description.get("custom_variables") or {}).get(NO_GRUB)
    if wanted and _disk.run(work, INSIDE + FIND_GRUB, platform).strip() == "grub":
        arguments = (platform, facts["disk"], facts["deploy_device"], efi["device"] if uefi and efi else "")
        settings = grub_settings(parameters).encode()
        _disk.run(work, INSIDE + MOUNT_EFI + OWN_GRUB, *arguments, stdin=settings)
        work.say(f"the image's own GRUB for {platform}")
        return
    if work.order.description.get("os") == "xen":
        raise StepFailed(
            "Xen is started by the image's own GRUB, which this image lacks", advice="install GRUB in it"
        )
    kernel, initrd = str(boot.get("kernel") or ""), str(boot.get("initrd") or "")
    if uefi and efi:
        install_grub_efi(work, str(efi["device"]), kernel, initrd, parameters)
    else:
        install_extlinux(work, kernel, initrd, parameters)


def grub_settings(parameters: str) -> str:
    """A file for /etc/default/grub.d; where the kernel speaks on a serial line, GRUB does too."""
    quoted = re.sub(r'(["$`\\])', r"\\\1", parameters)
    lines = [f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {quoted}"', "GRUB_DISABLE_OS_PROBER=true"]
    serial = SERIAL.search(parameters)
    if serial:
        speed = serial[2] or KERNELS_SPEED
        lines.append('GRUB_TERMINAL="console serial"')
        lines.append(f'GRUB_SERIAL_COMMAND="serial --unit={serial[1]} --speed={speed}"')
    return "\n".join(lines) + "\n"


def install_grub_efi(work: Work, efi: str, kernel: str, initrd: str, parameters: str) -> None:
    """GRUB where every UEFI looks first, so that no entry in its memory is needed."""
    if not kernel:
        raise StepFailed("the environment names no kernel, which GRUB would start", advice="set boot.kernel")
    device = _disk.deploy_device(work)
    _disk.run(work, INSIDE + KERNEL_FILES + MOUNT_EFI + GRUB_EFI, efi, device, kernel, initrd, parameters)
    work.say(f"GRUB for UEFI on {efi}")


def install_extlinux(work: Work, kernel: str, initrd: str, parameters: str) -> None:
    """extlinux in the deployed partition; without a kernel, what the image has in its partition's first sector."""
    facts = _disk.disk_facts(work)
    sector = "gptmbr.bin" if facts["table"] == "gpt" else "mbr.bin"
    deploy = facts["partitions"][work.order.deploy_role]
    if facts["table"] == "mbr" and deploy["number"] > MOST_PRIMARY:
        raise StepFailed(
            f"a BIOS cannot start the logical partition {deploy['device']}",
            advice=f"put {work.order.deploy_role} among the first three partitions, or use a GPT",
        )
    if not kernel:
        _disk.run(work, SECTOR, facts["disk"], sector)
        work.say(f"{sector} on {facts['disk']}, which starts what the image has in its partition")
        return
    arguments = (facts["disk"], deploy["device"], sector, kernel, initrd, parameters)
    _disk.run(work, INSIDE + KERNEL_FILES + EXTLINUX, *arguments)
    work.say(f"extlinux on {deploy['device']}, {sector} on {facts['disk']}")
