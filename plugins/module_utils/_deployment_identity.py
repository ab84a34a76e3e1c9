# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What makes a deployed system this node's own: name, network, mounts, identifiers, keys."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_disk_steps as _disk
from ansible_collections.oneimage.cluster.plugins.module_utils import _root_sharing
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import StepFailed, Work

INSIDE = r"""
root=/mnt/dest
put() { # standard input as the file $1 of the deployed system, whatever link lies there
    mkdir -p "$root${1%/*}"
    cat >"$root$1.oneimage"
    chmod "${2:-644}" "$root$1.oneimage"
    rm -f "$root$1"
    mv "$root$1.oneimage" "$root$1"
}
mounted() {
    awk -v place="$1" '$2 == place { found = 1 } END { exit !found }' /proc/mounts
}
enter() { # run a program of the deployed system in it
    mkdir -p "$root/dev" "$root/proc" "$root/sys"
    mounted "$root/dev" || mount -o bind /dev "$root/dev"
    mounted "$root/proc" || mount -t proc proc "$root/proc"
    mounted "$root/sys" || mount -t sysfs sys "$root/sys"
    LC_ALL=C chroot "$root" "$@"
}
leave() {
    for folder in sys proc dev; do
        if mounted "$root/$folder"; then umount "$root/$folder"; fi
    done
}
trap leave EXIT
"""
"""Functions for scripts that work in the system at /mnt/dest."""

UNSHARE = r"""
# standard input: f FILE to remove, u UNIT to unmask. Only in a root that was made to be shared
[ -e "$root/etc/systemd/network/00-oneimage-boot.network" ] || exit 0
while read -r what name; do
    case $what in
        f) rm -f "$root$name" ;;
        u) if [ "$(readlink "$root/etc/systemd/system/$name")" = /dev/null ]; then rm "$root/etc/systemd/system/$name"; fi ;;
    esac
done
"""

NAME = r"""
# $1: the name; $2: its MAC; $3: what was deployed, as JSON; standard input: lines of fstab with devices
short=${1%%.*}
echo "$short" | put /etc/hostname
{
    if [ -s "$root/etc/hosts" ]; then
        awk '$1 != "127.0.1.1"' "$root/etc/hosts"
    else
        echo "127.0.0.1 localhost"
    fi
    if [ "$1" = "$short" ]; then echo "127.0.1.1 $short"; else echo "127.0.1.1 $1 $short"; fi
} | put /etc/hosts
printf '%s' "$2" | md5sum | cut -c 1-32 | put /etc/machine-id 444
if [ -f "$root/var/lib/dbus/machine-id" ]; then ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"; fi
# shellcheck disable=SC2094 # two files of one name
if [ ! -L "$root/etc/resolv.conf" ]; then put /etc/resolv.conf </etc/resolv.conf; fi
rm -f "$root/etc/udev/rules.d/"*persistent-net*.rules "$root/var/lib/systemd/random-seed"
while read -r device place kind options pass; do
    found=$(blkid -o value -s TYPE "$device" || true)
    [ -n "$found" ] || continue # nobody formatted it
    case $kind:$found in swap:swap) ;; swap:* | *:swap) continue ;; esac
    echo "UUID=$(blkid -o value -s UUID "$device") $place $found $options 0 $pass"
done >/run/oneimage/fstab
{
    if [ -f "$root/etc/fstab" ]; then # the image's own mounts stay, such as those by NFS
        # shellcheck disable=SC2094 # put reads all of it before it replaces anything
        awk 'NR == FNR { mine[$2] = 1; next } !($2 in mine) && $2 != "/" && $3 != "swap"' /run/oneimage/fstab "$root/etc/fstab"
    fi
    cat /run/oneimage/fstab
} | put /etc/fstab
printf '%s\n' "$3" | put /etc/oneimage/deployment.json
if [ -e "$root/etc/selinux/config" ]; then : >"$root/.autorelabel"; fi
"""

HOST_KEYS = r"""
[ -d "$root/etc/ssh" ] || exit 0
rm -f "$root/etc/ssh/"ssh_host_*_key "$root/etc/ssh/"ssh_host_*_key.pub
[ -x "$root/usr/bin/ssh-keygen" ] || exit 0
# one modern key is enough, and RSA takes a slow node half a minute; an old ssh-keygen makes what it knows
enter ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key || enter ssh-keygen -A
"""

FIND_NETWORK = r"""
# who configures the network of the deployed system; "own" when it is configured already
cd "$root"
any() { # a file that is not ours
    for file; do
        case $file in *oneimage* | */ifcfg-lo) ;; *) if [ -e "$file" ]; then return 0; fi ;; esac
    done
    return 1
}
if any etc/netplan/*.yaml etc/systemd/network/*.network etc/NetworkManager/system-connections/* \
    etc/sysconfig/network-scripts/ifcfg-*; then
    echo own
elif for file in etc/network/interfaces etc/network/interfaces.d/*; do
    case $file in *oneimage) ;; *) cat "$file" 2>/dev/null || true ;; esac
done | awk '$1 == "iface" && $2 != "lo" { found = 1 } END { exit !found }'; then
    echo own
elif [ -x usr/sbin/NetworkManager ]; then echo networkmanager
elif [ -x usr/sbin/netplan ]; then echo netplan
elif [ -x usr/lib/systemd/systemd-networkd ] || [ -x lib/systemd/systemd-networkd ]; then echo networkd
elif [ -x usr/sbin/ifup ] || [ -x sbin/ifup ]; then echo ifupdown
elif [ -d etc/sysconfig/network-scripts ]; then echo ifcfg
else echo none
fi
cat /run/oneimage/interface
"""

WRITE_NETWORK = r"""
# $1: who reads it; $2: the file; $3: its mode; standard input: its text
put "$2" "$3"
case $1 in
    networkd) enter systemctl --quiet enable systemd-networkd.service ;;
    ifupdown)
        # without this line nobody reads our file
        if ! grep -qs '^source.*interfaces\.d' "$root/etc/network/interfaces"; then
            {
                cat "$root/etc/network/interfaces" 2>/dev/null || printf 'auto lo\niface lo inet loopback\n'
                echo "source /etc/network/interfaces.d/*"
            } | put /etc/network/interfaces
        fi
        ;;
esac
"""

OPTIONS = {
    "/": ("auto", "defaults", 1),
    "/boot/efi": ("vfat", "umask=0077,nofail", 2),
    "none": ("swap", "sw,nofail", 0),
    "/tmp": ("auto", "nosuid,nodev,nofail", 2),
}
PLACES = {"efi": "/boot/efi", "swap": "none", "tmp": "/tmp"}
"""Role of a partition to where the deployed system has it; a role such as prod is left alone."""


@dataclass(frozen=True)
class Nic:
    """The network of one node: by DHCP where there is no ``address`` (``10.0.0.5/24``). ``device`` is a kernel's name."""

    mac: str
    device: str
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()


def networkd(nic: Nic) -> str:
    static = [f"Address={nic.address}", *([f"Gateway={nic.gateway}"] if nic.gateway else [])]
    lines = [*static, *(f"DNS={server}" for server in nic.dns)] if nic.address else ["DHCP=ipv4"]
    # the same client as in the firmware and in the deployment environment, thus the same address
    return "\n".join(
        [f"[Match]\nMACAddress={nic.mac}\n\n[Network]", *lines, "\n[DHCP]\nClientIdentifier=mac\n"]
    )


def networkmanager(nic: Nic) -> str:
    ip = f"method=manual\naddress1={nic.address}{',' + nic.gateway if nic.gateway else ''}"
    ip += f"\ndns={';'.join(nic.dns)}" if nic.dns else ""
    return (
        f"[connection]\nid=oneimage\ntype=ethernet\n\n[ethernet]\nmac-address={nic.mac}\n\n"
        f"[ipv4]\n{ip if nic.address else 'method=auto' + chr(10) + 'dhcp-client-id=mac'}\n"
    )


def netplan(nic: Nic) -> str:
    static = {
        "addresses": [nic.address],
        **({"routes": [{"to": "0.0.0.0/0", "via": nic.gateway}]} if nic.gateway else {}),
        **({"nameservers": {"addresses": list(nic.dns)}} if nic.dns else {}),
    }
    ip = static if nic.address else {"dhcp4": True, "dhcp-identifier": "mac"}
    nics = {"oneimage": {"match": {"macaddress": nic.mac}, **ip}}
    return json.dumps({"network": {"version": 2, "ethernets": nics}}, indent=2) + "\n"


def ifupdown(nic: Nic) -> str:
    lines = [f"auto {nic.device}", f"iface {nic.device} inet {'static' if nic.address else 'dhcp'}"]
    if nic.address:
        lines.append(f"    address {nic.address}")
        lines += [f"    gateway {nic.gateway}"] if nic.gateway else []
        lines += [f"    dns-nameservers {' '.join(nic.dns)}"] if nic.dns else []
    return "\n".join(lines) + "\n"


def ifcfg(nic: Nic) -> str:
    words = {
        "DEVICE": nic.device,
        "HWADDR": nic.mac,
        "ONBOOT": "yes",
        "BOOTPROTO": "none" if nic.address else "dhcp",
    }
    if nic.address:
        address = ipaddress.ip_interface(nic.address)
        words.update(IPADDR=str(address.ip), PREFIX=str(address.network.prefixlen))
        words.update({"GATEWAY": nic.gateway} if nic.gateway else {})
        words.update({f"DNS{index}": server for index, server in enumerate(nic.dns, start=1)})
    return "".join(f"{name}={value}\n" for name, value in words.items())


@dataclass(frozen=True)
class Style:
    """One program that configures networks: its file in the deployed system, what it is called there, and its text."""

    path: str
    text: Callable[[Nic], str]
    mode: str = "644"


STYLES: Mapping[str, Style] = {
    "networkd": Style("/etc/systemd/network/20-oneimage.network", networkd),
    "networkmanager": Style(
        "/etc/NetworkManager/system-connections/oneimage.nmconnection", networkmanager, "600"
    ),
    "netplan": Style("/etc/netplan/90-oneimage.yaml", netplan, "600"),
    "ifupdown": Style("/etc/network/interfaces.d/oneimage", ifupdown),
    "ifcfg": Style("/etc/sysconfig/network-scripts/ifcfg-{device}", ifcfg),
}


def unshared() -> str:
    """What a root that was made to be shared has and a disk's own must not, as lines for UNSHARE."""
    masked = ("machine_id", "ssh_host_keys", "boot_nic_networkd", "random_seed")
    lines = []
    for rule in _root_sharing.RULES:
        lines += [f"f {path}" for path, _text in (*rule.write, *rule.link) if "oneimage" in path]
        lines += [
            f"u {unit}" for unit in rule.mask if rule.name in masked or unit == "systemd-remount-fs.service"
        ]
    # what says that the root was shared goes last: a script that was ended begins again
    lines.sort(key=lambda line: line.endswith("-boot.network"))
    return "".join(f"{line}\n" for line in lines)


def settle(work: Work) -> None:
    """All of it; what an image brings of its own stays where it can, such as a network that is configured."""
    _disk.run(work, INSIDE + UNSHARE, stdin=unshared().encode())
    description = work.order.description
    about = {
        "deployment": work.order.id,
        "environment": description.get("name"),
        "version": description.get("version"),
        "image_sha256": work.order.image.sha256,
    }
    arguments = (work.node.name, work.node.mac.lower(), json.dumps(about, sort_keys=True))
    _disk.run(work, INSIDE + NAME, *arguments, stdin=fstab(work).encode())
    _disk.run(work, INSIDE + HOST_KEYS)
    set_network(work)


def fstab(work: Work) -> str:
    """Device, place, kind, options and pass of each partition that the deployed system uses."""
    facts = _disk.disk_facts(work)
    used = [(facts["deploy_device"], "/")]
    used += [
        (facts["partitions"][role]["device"], PLACES[role]) for role in PLACES if role in facts["partitions"]
    ]
    lines = []
    for device, place in used:
        kind, options, number = OPTIONS[place]
        lines.append(f"{device} {place} {kind} {options} {number}\n")
    return "".join(lines)


def set_network(work: Work) -> None:
    """By the node's fact ``network`` (``address``, ``gateway``, ``dns``), else by DHCP, in the system's own way."""
    style, _newline, device = _disk.run(work, INSIDE + FIND_NETWORK).strip().partition("\n")
    if style not in STYLES:
        work.say(
            "the image brings its own network"
            if style == "own"
            else "nothing in the image configures networks"
        )
        return
    wanted = work.node.facts.get("network") or {}
    try:
        if wanted.get("address"):
            ipaddress.ip_interface(wanted["address"])
    except ValueError as error:
        raise StepFailed(f"its fact network: {error}", advice="write address as 10.0.0.5/24") from error
    nic = Nic(
        mac=work.node.mac.lower(),
        device=device or "eth0",
        address=str(wanted.get("address") or ""),
        gateway=str(wanted.get("gateway") or ""),
        dns=tuple(map(str, wanted.get("dns") or ())),
    )
    chosen = STYLES[style]
    path = chosen.path.format(device=nic.device)
    _disk.run(work, INSIDE + WRITE_NETWORK, style, path, chosen.mode, stdin=chosen.text(nic).encode())
    work.say(f"network by {style}: {nic.address or 'DHCP'}")
