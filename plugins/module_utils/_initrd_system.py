# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The shell text that brings a node up before it has a root: devices, drivers, a NIC, and how that fails."""

from __future__ import annotations

DHCP_SCRIPT = r"""#!/bin/sh
# udhcpc calls this with the lease in its environment: set the NIC up, and keep the words for init.
set -u
# shellcheck disable=SC2154
case $1 in
    deconfig) ifconfig "$interface" 0.0.0.0 ;;
    bound | renew)
        ifconfig "$interface" "$ip" ${subnet:+netmask "$subnet"}
        for gateway in ${router:-}; do
            route add default gw "$gateway" dev "$interface" && break
        done
        mkdir -p /run/dhcp
        for name in ip hostname domain dns rootpath siaddr serverid; do
            eval "printf '%s' \"\${$name:-}\"" >"/run/dhcp/$name"
        done
        ;;
esac
"""

SYSTEM_FUNCTIONS = r"""mount_system() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev 2>/dev/null || { mount -t tmpfs -o mode=0755 dev /dev && mdev -s; }
    mount -t tmpfs -o mode=0755,nosuid,nodev run /run
    mkdir -p "$FACTS"
    panic=$(cat /proc/sys/kernel/panic)
    [ "$panic" != 0 ] || echo 30 >/proc/sys/kernel/panic # a death of this script must not hang the node
}

stage() {
    stage=$1
    echo "$stage" >"$FACTS/stage"
    say "stage $1: $2"
}

seconds() {
    cut -d . -f 1 /proc/uptime
}

start_guard() { # the last resort against a step that cannot be ended, such as a driver that hangs
    (
        trap 'kill "$sleeper"; exit' TERM
        sleep "$boot_timeout" &
        sleeper=$!
        wait "$sleeper"
        say "FAILED at stage $(cat "$FACTS/stage"): no root after $boot_timeout s; rebooting"
        restart
    ) &
    guard_pid=$!
}

stop_guard() {
    [ -z "$guard_pid" ] || kill "$guard_pid" 2>/dev/null
    guard_pid=''
}

restart() {
    sync
    reboot -f
    echo b >/proc/sysrq-trigger
}

fail() {
    say "FAILED at stage $stage: $*"
    report "failed-$stage"
    stop_guard
    if [ "$shell_timeout" -gt 0 ]; then
        say "for a shell type shell and Enter; the node reboots in $shell_timeout s otherwise"
        for console in $(consoles); do
            offer_shell "/dev/$console" &
        done
        wait
    fi
    say rebooting
    restart
    sleep 60
    exit 1
}

offer_shell() { # a word and not any key: noise on a serial line must not keep the node from its reboot
    answer=$(timeout "$shell_timeout" head -n 1 <"$1" | tr -d '\r')
    [ "$answer" = shell ] || return 0
    busybox --install -s /bin
    echo "oneimage: leave the shell by exit, the node reboots then" >"$1"
    # shellcheck disable=SC2016
    setsid sh -c 'exec sh -i <"$0" >"$0" 2>&1' "$1"
}

load_modules() { # $modules: what no hardware asks for; the drivers of this node's hardware come by its aliases
    for module in $modules; do
        timeout 60 modprobe "$module" || say "cannot load the module $module"
    done
    coldplug
}

coldplug() { # again while there is something new: a bus shows its devices only when its own driver is in
    known=''
    for _ in 1 2 3 4; do
        aliases=$(find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u)
        [ "$aliases" != "$known" ] || break
        known=$aliases
        echo "$aliases" | tr '\n' '\0' | timeout 60 xargs -0 modprobe -a -b -q 2>/dev/null
    done
}

bring_up_network() {
    read_ip_word
    ifconfig lo 127.0.0.1 up
    deadline=$(($(seconds) + network_timeout))
    while :; do
        why="no NIC${bootif:+ has the address $bootif (BOOTIF)}${ip_device:+ is called $ip_device (ip=)}"
        why="$why; the kernel shows: $(list_nics)- does the initrd hold the driver?"
        for nic in $(candidates); do
            try_nic "$nic" && return
        done
        [ "$(seconds)" -lt "$deadline" ] || fail "$why"
        sleep 1
        coldplug # a NIC may come late, behind USB or a slow bus
    done
}

read_ip_word() { # ip=CLIENT:SERVER:GATEWAY:MASK:HOSTNAME:DEVICE:METHOD:DNS:DNS, or ip=METHOD, as the kernel has it
    set -f
    case $ip_word in
        *:*)
            old_ifs=$IFS
            IFS=:
            # shellcheck disable=SC2086
            set -- $ip_word
            IFS=$old_ifs
            ;;
        *) set -- '' '' '' '' '' '' "$ip_word" ;;
    esac
    set +f
    ip_client=${1:-} ip_server=${2:-} ip_gateway=${3:-} ip_mask=${4:-} node_name=${5:-} ip_device=${6:-}
    resolvers="${8:-} ${9:-}"
    resolvers=${resolvers# }
    case ${7:-}:$ip_client in
        off: | none:) fail "ip=$ip_word gives the node no network; say ip=dhcp or give an address" ;;
    esac
}

list_nics() {
    for folder in /sys/class/net/*/device; do
        [ -e "$folder" ] && printf '%s %s ' "$(basename "${folder%/*}")" "$(cat "${folder%/*}/address")"
    done
}

candidates() { # the NIC that the loader used or that ip= names, else every one with hardware behind it
    for folder in /sys/class/net/*/device; do
        nic=$(basename "${folder%/*}")
        [ -e "$folder" ] || continue
        if [ -n "$ip_device" ]; then
            [ "$nic" = "$ip_device" ] || continue
        elif [ -n "$bootif" ]; then
            [ "$(cat "/sys/class/net/$nic/address")" = "$bootif" ] || continue
        fi
        echo "$nic"
    done
}

try_nic() {
    interface=$1
    mac=$(cat "/sys/class/net/$1/address")
    ifconfig "$1" up || {
        why="$1 does not come up"
        return 1
    }
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" != 1 ] || break
        sleep 1
    done
    if [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" != 1 ]; then
        why="$1 ($mac) has no link; check the cable and the switch"
    elif [ -n "$ip_client" ]; then
        use_address && return
        why="$1 ($mac) refuses the address of ip=$ip_word"
    else
        ask_dhcp && return
        why="no answer by DHCP on $1 ($mac); does the boot server know this node?"
    fi
    ifconfig "$1" 0.0.0.0 down
    return 1
}

use_address() {
    address=$ip_client
    ifconfig "$interface" "$ip_client" ${ip_mask:+netmask "$ip_mask"} || return 1
    [ -z "$ip_gateway" ] || route add default gw "$ip_gateway" dev "$interface"
}

ask_dhcp() {
    udhcpc -i "$interface" -s /lib/oneimage/dhcp -n -q -f -t 6 -T 2 -O rootpath -O hostname -O domain \
        -O dns -O router >/dev/null 2>&1 || return 1
    address=$(lease ip)
    [ -n "$node_name" ] || node_name=$(lease hostname)
    domain=$(lease domain)
    [ -n "$resolvers" ] || resolvers=$(lease dns)
}

lease() {
    cat "/run/dhcp/$1" 2>/dev/null
}

"""
"""What the native init shares with that of the deployment environment: devices, drivers, a NIC, and how it fails."""
