# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The shell text inside an initrd; run by busybox, which every initrd of ours carries."""

from __future__ import annotations

from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_system import SYSTEM_FUNCTIONS

APPLETS = (
    "basename cat chmod cut dirname dmesg echo find grep head hostname ifconfig insmod ip kill ln ls "
    "lsmod md5sum mdev mkdir modprobe mount nc ping pivot_root ps readlink reboot rm route sed setsid sh sleep "
    "sort switch_root sync timeout tr udhcpc umount uname vi xargs"
)
"""What the scripts below, and a human in the rescue shell, ask of busybox."""

ROOT_FUNCTIONS = r"""
# What the native init and the scripts for initramfs-tools and dracut share: the words of the kernel command
# line, the reports, the overlay, and what makes a node itself although it shares its root.

FACTS=/run/oneimage

# shellcheck disable=SC2034 # those who call this read the words
read_command_line() {
    bootif='' ip_word='' nfsroot='' root='' init='' root_mode='' image='' report_url=''
    overlay_size=50% shell_timeout=60 network_timeout=120 root_timeout=120 boot_timeout=600
    access=nfs_ro
    read -r command_line </proc/cmdline
    set -f
    for word in $command_line; do
        value=${word#*=}
        case $word in
            BOOTIF=*) bootif=$(mac_of_bootif "$value") ;;
            ip=*) ip_word=$value ;;
            nfsroot=*) nfsroot=$value ;;
            root=*) root=$value ;;
            init=/linuxrc) ;; # that is the init of a RAM disk, not of the root
            init=*) init=$value ;;
            ro) access=nfs_ro ;;
            rw) access=nfs_rw ;;
            oneimage.root_mode=*) root_mode=$value ;;
            oneimage.image=*) image=$value ;;
            oneimage.report=*) report_url=${value%/} ;;
            oneimage.overlay_size=*) overlay_size=$value ;;
            oneimage.shell_timeout=*) shell_timeout=$value ;;
            oneimage.network_timeout=*) network_timeout=$value ;;
            oneimage.root_timeout=*) root_timeout=$value ;;
            oneimage.boot_timeout=*) boot_timeout=$value ;;
        esac
    done
    set +f
    case $root in
        /dev/ram*) access=nfs_ro ;; # there ro and rw are about the RAM disk
    esac
    root_mode=${root_mode:-$access}
}

mac_of_bootif() { # 01-AA-BB-CC-DD-EE-FF, where 01 says Ethernet, or the bare address
    printf %s "$1" | tr 'A-F-' 'a-f:' | sed -E 's/^[0-9a-f]{2}:(([0-9a-f]{2}:){5}[0-9a-f]{2})$/\1/'
}

consoles() {
    cat /sys/class/tty/console/active
}

say() { # on every console, also with "quiet", and in dmesg for those who come later
    for console in $(consoles); do
        echo "oneimage: $*" >"/dev/$console"
    done 2>/dev/null
    echo "<7>oneimage: $*" >/dev/kmsg
} 2>/dev/null

report() { # tell the boot server which stage this node reached; never a reason to fail
    [ -n "$report_url" ] && [ -n "$mac" ] || return 0
    target=${report_url#http://}
    authority=${target%%/*}
    port=${authority#"${authority%%:*}"}
    port=${port#:}
    # by nc: wget of a static busybox crashes where there are no libraries for name look-ups
    printf 'GET %s/%s/%s HTTP/1.0\r\nHost: %s\r\n\r\n' "${target#"$authority"}" "$mac" "$1" "$authority" |
        timeout 5 nc "${authority%%:*}" "${port:-80}" >/dev/null 2>&1
    return 0
}

write_facts() { # what the running node, and who asks it over ssh, can read about its boot
    mkdir -p "$FACTS"
    # shellcheck disable=SC2154
    for fact in "image_id $image" "mac $mac" "interface $interface" "address $address" "root_mode $root_mode"; do
        echo "${fact#* }" >"$FACTS/${fact%% *}"
    done
}

lay_overlay() { # the root at $1 is read-only: everything that this node writes goes to RAM
    # below /run, which every init hands on: a mount left behind would keep klibc's run-init from emptying the initrd
    mkdir -p "$FACTS/lower" "$FACTS/ram" &&
        mount -o bind "$1" "$FACTS/lower" &&
        mount -t tmpfs -o "mode=0755,size=$overlay_size" oneimage "$FACTS/ram" &&
        mkdir -p "$FACTS/ram/upper" "$FACTS/ram/work" &&
        mount -t overlay -o "lowerdir=$FACTS/lower,upperdir=$FACTS/ram/upper,workdir=$FACTS/ram/work" oneimage "$1"
}

own_file() { # this node's own $2 in the root $1, with the text on standard input
    own=$FACTS/${2##*/}
    cat >"$own"
    if [ "$root_mode" = nfs_ro ]; then
        mkdir -p "$1${2%/*}" && rm -f "$1$2" && cat "$own" >"$1$2"
    elif [ -f "$1$2" ] && [ ! -L "$1$2" ]; then
        mount -o bind "$own" "$1$2" # the file itself belongs to all nodes
    fi
}

set_identity() { # a name, resolvers and a machine-id of this node's own in the root $1; the id stays the same
    printf '%s' "$mac" | md5sum | cut -c 1-32 | own_file "$1" /etc/machine-id
    # systemd would write a machine-id that is mounted over its file through to the root of all nodes
    mkdir -p /run/systemd/system && ln -sf /dev/null /run/systemd/system/systemd-machine-id-commit.service
    node_name=${node_name:-node-$(echo "$address" | tr . -)} # that of a machine which nobody declared
    hostname "$node_name"
    echo "$node_name" | own_file "$1" /etc/hostname
    [ -z "$resolvers" ] || {
        [ -z "$domain" ] || echo "search $domain"
        for resolver in $resolvers; do echo "nameserver $resolver"; done
    } | own_file "$1" /etc/resolv.conf
}
"""

NATIVE_START = r"""#!/bin/sh
# PID 1 of the native initrd: brings a NIC up, mounts the root by NFS, or from a disk, hands over to the root's init.
# Every step has a time limit; what fails is said on every console, and the node reboots.
set -u
export PATH=/bin:/sbin

# shellcheck source=/dev/null
. /lib/oneimage/root.sh
root_modes='' modules=''
# shellcheck source=/dev/null
. /lib/oneimage/built.sh # sets these two as the initrd was built

NEWROOT=/newroot
mac='' interface='' address='' node_name='' domain='' resolvers='' why='' guard_pid=''

main() {
    mount_system
    read_command_line
    case $nfsroot$root in /dev/ram*) ;; UUID=* | LABEL=* | /dev/[!n]* | /dev/nvme*) root_mode=disk ;; esac
    stage initrd "kernel $(uname -r), image ${image:-unknown}, root mode $root_mode"
    start_guard
    [ $$ = 1 ] || fail "a RAM disk must be the root at first: boot it with root=/dev/ram0 init=/linuxrc"
    case " $root_modes " in
        *" $root_mode "*) ;;
        *) fail "the initrd was built for the root modes $root_modes; rebuild it, or change oneimage.root_mode" ;;
    esac
    stage modules "loading drivers"
    load_modules
    if [ "$root_mode" = disk ]; then
        stage root "mounting $root"
        mount_disk
    else
        stage network "looking for ${bootif:-a NIC}"
        bring_up_network
        stage network "$interface $mac $address"
        report initrd
        find_root
        stage root "mounting $server:$path"
        mount_root
    fi
    prepare_root
    report root
    stage init "$init"
    hand_over "$@"
}

"""

NATIVE_END = r"""find_root() { # nfsroot=[SERVER:]PATH[,OPTIONS], root= or DHCP's root-path in the same form
    place=$nfsroot
    [ "$place" != auto ] || place=''
    case $root in
        nfs:*) place=${place:-${root#nfs:}} ;;
        *:/*) place=${place:-$root} ;;
    esac
    place=${place:-$(lease rootpath)}
    options=''
    case $place in
        *,*) options=${place#*,} place=${place%%,*} ;;
    esac
    server=${ip_server:-$(lease siaddr)} path=$place
    case $place in
        *:*) server=${place%%:*} path=${place#*:} ;;
    esac
    stage=root
    [ -n "$path" ] || fail "no root: neither nfsroot= nor a root-path by DHCP names one"
    case $server in
        '' | *[!0-9.]*) fail "the NFS server '$server' of '$place' must be a numeric address" ;;
    esac
}

mount_root() {
    versions='3 4.1 4.2'
    others=''
    for option in $(echo "$options" | tr , ' '); do
        case $option in
            vers=* | nfsvers=*) versions=${option#*=} ;;
            v3 | v4 | v4.[0-2]) versions=${option#v} ;;
            ro | rw | lock | nolock) ;;
            *) others=$others,$option ;;
        esac
    done
    [ "$root_mode" = nfs_rw ] && how=rw || how=ro
    deadline=$(($(seconds) + root_timeout))
    while :; do
        for version in $versions; do
            timeout -s KILL 30 mount -i -t nfs \
                -o "$how,nolock,hard,proto=tcp,vers=$version,addr=$server$others" \
                "$server:$path" "$NEWROOT" 2>/run/mount-errors && return
        done
        [ "$(seconds)" -lt "$deadline" ] ||
            fail "cannot mount $server:$path (NFS $versions): $(tr '\n' ' ' </run/mount-errors)- is it exported to $address?"
        sleep 1
    done
}

mount_disk() { # the system on it brings its own network, name and identifiers
    server=disk path=$root
    [ "$access" = nfs_rw ] && how=rw || how=ro
    deadline=$(($(seconds) + root_timeout))
    while :; do
        case $root in
            /dev/*) device=$root ;;
            *) device=$(busybox findfs "$root" 2>/dev/null) ;;
        esac
        why="no disk holds $root"
        if [ -b "$device" ]; then
            why="$device ($root) holds none of the file systems ext4, xfs, btrfs, or is damaged"
            for kind in ext4 xfs btrfs; do # the kernel loads each when it is asked for
                mount -t "$kind" -o "$how" "$device" "$NEWROOT" 2>/dev/null && return
            done
        fi
        [ "$(seconds)" -lt "$deadline" ] ||
            fail "$why; the kernel shows: $(cut -c 14- /proc/partitions | tr -s ' \n' ' ')- does the initrd hold the driver?"
        sleep 1
        coldplug # a disk may come late, behind its controller
    done
}

prepare_root() {
    if [ "$root_mode" = nfs_ro ]; then
        lay_overlay "$NEWROOT" || fail "cannot lay the overlay in RAM over the root; is overlay_size=$overlay_size sound?"
    fi
    find_init
    for folder in dev proc sys run; do
        mkdir -p "$NEWROOT/$folder" 2>/dev/null || fail "the root $server:$path lacks the folder /$folder"
    done
    write_facts
    [ "$root_mode" = disk ] || set_identity "$NEWROOT"
}

find_init() { # links are followed by hand: an absolute one would lead back into the initrd
    for init in ${init:-/sbin/init /usr/lib/systemd/systemd /lib/systemd/systemd}; do
        found=$init
        for _ in 1 2 3 4 5; do
            [ -L "$NEWROOT$found" ] || break
            target=$(readlink "$NEWROOT$found")
            case $target in
                /*) found=$target ;;
                *) found=${found%/*}/$target ;;
            esac
        done
        [ -x "$NEWROOT$found" ] || continue
        case $(head -c 4 "$NEWROOT$found" | tr -d '\0') in
            ?ELF | '#!'*) ;;
            *) fail "$init of the root $server:$path cannot be read from here; is the file whole? try another vers=" ;;
        esac
        return 0
    done
    fail "the root $server:$path holds no program $init; is it a whole system?"
}

hand_over() {
    stop_guard
    rm -f "$FACTS/stage"
    for folder in dev proc sys run; do
        [ "$folder" != proc ] || echo "$panic" >/proc/sys/kernel/panic
        mount -o move "/$folder" "$NEWROOT/$folder"
    done
    [ ! -L /linuxrc ] || leave_ram_disk "$@"
    exec switch_root "$NEWROOT" "$init" "$@"
}

leave_ram_disk() { # switch_root would not: it empties the initrd, and does so in a tmpfs alone
    old=/run/oneimage/ram_disk
    if ! { mkdir -p "$NEWROOT$old" && cd "$NEWROOT" && pivot_root . ".$old"; }; then
        echo "oneimage: FAILED at stage init: cannot leave the RAM disk"
        exit 1
    fi
    "$old/bin/busybox" umount -l "$old" # freed as soon as this script, which runs from it, is gone
    exec "$init" "$@"
}

main "$@"
"""

NATIVE_INIT = NATIVE_START + SYSTEM_FUNCTIONS + NATIVE_END
