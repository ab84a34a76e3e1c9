# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The shell text inside the deployment environment; network, drivers and reports are those of the native initrd."""

from __future__ import annotations

INIT = r"""#!/bin/sh
# PID 1 of the deployment environment: brings a NIC up, fetches the keys of this deployment and hands over to
# busybox init, which keeps the ssh server alive. What fails is said on every console, and the node reboots.
set -u
export PATH=/bin:/sbin HOME=/root

# shellcheck source=/dev/null
. /lib/oneimage/root.sh
# shellcheck source=/dev/null
. /lib/oneimage/system.sh
modules=''
# shellcheck source=/dev/null
. /lib/oneimage/built.sh # sets it as the environment was built

# shellcheck disable=SC2034 # for the functions of system.sh
mac='' interface='' address='' node_name='' domain='' resolvers='' why='' guard_pid=''
HOST_KEY=/etc/dropbear/host_key

main() {
    mount_system
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o gid=5,mode=620 devpts /dev/pts
    mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
    read_command_line
    root_mode=deploy
    deploy_url=$(deploy_word)
    stage initrd "kernel $(uname -r), deployment environment"
    start_guard
    case $deploy_url in
        http://?*) ;;
        *) fail "oneimage.deploy='$deploy_url' must be the http:// address of the deployment's folder" ;;
    esac
    stage modules "loading drivers"
    load_modules
    [ ! -d /sys/firmware/efi/efivars ] || mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null
    stage network "looking for ${bootif:-a NIC}"
    bring_up_network
    stage network "$interface $mac $address"
    report initrd
    [ -z "$node_name" ] || hostname "$node_name"
    write_resolvers
    write_facts
    stage keys "$deploy_url/authorized_keys"
    fetch_keys
    start_ssh
    stage deploy "ssh is up on $address"
    report deploy
    stop_guard
    write_inittab
    exec busybox init
}

deploy_word() {
    set -f
    # shellcheck disable=SC2154
    for word in $command_line; do
        case $word in
            oneimage.deploy=*) value=${word#*=} && echo "${value%/}" ;;
        esac
    done | tail -n 1
}

write_resolvers() {
    {
        [ -z "$domain" ] || echo "search $domain"
        for resolver in $resolvers; do echo "nameserver $resolver"; done
    } >/etc/resolv.conf
}

fetch_keys() { # public keys only: whoever reads the folder learns nothing that lets them in
    deadline=$(($(seconds) + network_timeout))
    until curl --fail --silent --show-error --noproxy '*' --max-time 20 --max-filesize 65536 \
        --output /root/.ssh/authorized_keys "$deploy_url/authorized_keys" 2>/run/fetch-errors &&
        [ -s /root/.ssh/authorized_keys ]; do
        [ "$(seconds)" -lt "$deadline" ] ||
            fail "cannot fetch $deploy_url/authorized_keys: $(tail -n 1 /run/fetch-errors)"
        sleep 1
    done
    chmod 600 /root/.ssh/authorized_keys
}

start_ssh() { # a host key of this boot alone; no passwords, nothing forwarded
    mkdir -p /etc/dropbear
    dropbearkey -t ed25519 -f "$HOST_KEY" >/dev/null 2>&1 || fail "cannot make the host key of the ssh server"
    dropbear -s -j -k -r "$HOST_KEY" -p 22 -P /run/dropbear.pid || fail "the ssh server does not start"
    deadline=$(($(seconds) + 30))
    until grep -qs ':0016 [0-9A-F]*:0000 0A ' /proc/net/tcp /proc/net/tcp6; do # something listens on port 22
        [ "$(seconds)" -lt "$deadline" ] || fail "the ssh server does not listen on port 22"
        sleep 1
    done
}

write_inittab() {
    {
        echo "::respawn:/lib/oneimage/keep_ssh"
        for console in $(consoles); do
            [ "$console" = tty0 ] || echo "$console::askfirst:-/bin/busybox ash"
        done
        echo "tty1::askfirst:-/bin/busybox ash"
        echo "::ctrlaltdel:/bin/reboot"
        echo "::shutdown:/bin/sync"
        echo "::shutdown:/bin/umount -a -r"
    } >/etc/inittab
}

main "$@"
"""

KEEP_SSH = r"""#!/bin/sh
# busybox init runs this again whenever it ends: an ssh server that died is started again.
while kill -0 "$(cat /run/dropbear.pid)" 2>/dev/null; do sleep 5; done
exec dropbear -F -s -j -k -r /etc/dropbear/host_key -p 22 -P /run/dropbear.pid
"""

ACCOUNTS = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:*:0:\ntty:*:5:\ndisk:*:6:\nnogroup:*:65534:\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n",
    "etc/services": "http 80/tcp\nhttps 443/tcp\n",
    "etc/profile": "export PATH=/bin:/sbin HOME=/root PS1='deployment # '\n",
}
"""By path. No account has a password: one comes in by a key, or by the console."""
