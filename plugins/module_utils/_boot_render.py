# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""One boot entry in the words of PXELINUX, iPXE and GRUB.

Every file names its owner, its subject (node, cluster or default) and its entry in comments: what a later run needs
to know about the tree stands in the tree. No file ends in a silent hang: what cannot be loaded is said on the console,
tried again, and at last the machine starts anew.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_names as names
from ansible_collections.oneimage.cluster.plugins.module_utils._node import Node

SHARED_OWNER = "(shared)"
"""Owner of the files that the declarations of one tree share; a user's owner name cannot hold parentheses."""
RETRY_SECONDS = 10
RETRIES = 6
LAST_PAUSE_SECONDS = 60


@dataclass(frozen=True)
class Entry:
    """What can be booted; paths lie below the boot tree."""

    name: str
    kernel: str = ""
    initrd: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    local: bool = False


@dataclass(frozen=True)
class Boot:
    """What one file makes a node do."""

    subject: str
    entry: Entry
    parameters: tuple[str, ...] = ()
    mac: str | None = None
    spent: str | None = None

    def comments(self, owner: str) -> list[str]:
        lines = [marker(owner), f"# {self.subject}", f"# entry {self.entry.name}"]
        return lines + ([f"# once {self.spent} spent"] if self.spent else [])


def marker(owner: str) -> str:
    """The comment by which a file is known as written by this collection for ``owner``."""
    return f"# oneimage.cluster {owner}: do not edit"


MARKER = re.compile(r"^# oneimage\.cluster (\S+): do not edit$", re.MULTILINE)
SUBJECT = re.compile(r"^# ((?:node|cluster) \S+|default)$", re.MULTILINE)
ENTRY = re.compile(r"^# entry (\S+)$", re.MULTILINE)
SPENT = re.compile(r"^# once (\S+) spent$", re.MULTILINE)


def render_pxelinux(boot: Boot, owner: str, base_url: str) -> str:
    """TIMEOUT is what makes PXELINUX try again: after a failed load it waits at its prompt, for ever without it."""
    entry = boot.entry
    lines = [*boot.comments(owner), f"DEFAULT {entry.name}", "PROMPT 0", f"TIMEOUT {RETRY_SECONDS * 10}"]
    lines.append(f"LABEL {entry.name}")
    if entry.local:
        lines.append("  LOCALBOOT 0")
    else:
        lines.append(f"  KERNEL {entry.kernel}")
        lines += [f"  INITRD {','.join(entry.initrd)}"] if entry.initrd else []
        lines += [f"  APPEND {' '.join(boot.parameters)}"] if boot.parameters else []
        lines.append("  IPAPPEND 2")
    return "\n".join(lines) + "\n"


IPXE_LOCAL = """\
# UEFI boots the next entry of its own list only when this one fails
iseq ${platform} efi && exit 1 ||
"""


def render_ipxe(boot: Boot, owner: str, base_url: str) -> str:
    """UEFI kernels find an initrd only by the parameter initrd=NAME, so every initrd gets a name."""
    entry = boot.entry
    lines = ["#!ipxe", *boot.comments(owner), "set attempt:int32 0", ":load", "imgfree"]
    if entry.local:
        lines += [*IPXE_LOCAL.splitlines(), "sanboot --no-describe --drive 0x80 || goto failed"]
    else:
        initrds = [f"initrd{number}" for number in range(len(entry.initrd))]
        words = [*boot.parameters, "BOOTIF=01-${netX/mac:hexhyp}", *(f"initrd={name}" for name in initrds)]
        lines.append(f"kernel {base_url}{entry.kernel} {' '.join(words)} || goto failed")
        lines += [
            f"initrd --name {name} {base_url}{path} || goto failed"
            for name, path in zip(initrds, entry.initrd)
        ]
        lines.append("boot || goto failed")
    lines += [
        ":failed",
        "inc attempt",
        f"echo Entry {entry.name} did not boot on this node ({boot.subject}), attempt ${{attempt}} of {RETRIES}",
        f"sleep {RETRY_SECONDS}",
        f"iseq ${{attempt}} {RETRIES} || goto load",
        "reboot",
    ]
    return "\n".join(lines) + "\n"


GRUB_BOOTIF = """\
insmod regexp
regexp --set 1:a --set 2:b --set 3:c --set 4:d --set 5:e --set 6:f \
'(..):(..):(..):(..):(..):(..)$' "$net_default_mac"
if [ -n "$f" ]; then set bootif="BOOTIF=01-$a-$b-$c-$d-$e-$f"; fi
"""


def render_grub(boot: Boot, owner: str, base_url: str) -> str:
    """GRUB takes kernel and initrd from the server that it was loaded from."""
    entry = boot.entry
    lines = boot.comments(owner)
    if entry.local:
        return "\n".join([*lines, "exit"]) + "\n"
    words = [grub_quoted(parameter) for parameter in boot.parameters]
    if boot.mac:
        words.append(f"BOOTIF={names.dashed(boot.mac)}")
    else:
        lines += GRUB_BOOTIF.splitlines()
        words.append("$bootif")
    lines.append(" ".join(["linux", f"/{entry.kernel}", *words]))
    if entry.initrd:
        lines.append(" ".join(["initrd", *(f"/{path}" for path in entry.initrd)]))
    lines += [
        "boot",
        f'echo "Entry {entry.name} did not boot on this node ({boot.subject})"',
        f"sleep {LAST_PAUSE_SECONDS}",
        "reboot",
    ]
    return "\n".join(lines) + "\n"


def grub_quoted(parameter: str) -> str:
    """One word of GRUB's shell; GRUB itself puts a parameter with spaces into double quotes for the kernel."""
    if re.fullmatch(r"[A-Za-z0-9_.,:/=@%+^~-]+", parameter):
        return parameter
    return "'" + parameter.replace('"', "") + "'"


# iPXE knows no bit operations: the low bits of the address are what is left when it is stored in 8 or 16 bits,
# and the address less its low bits is the prefix. Parts of another size than a /24 or a /16 are cut into those.
IPXE_SHARED = f"""\
#!ipxe
{marker(SHARED_OWNER)}
# This node's boot entry: by its UUID, its MAC, its address, the subnet of its address, else the default
isset ${{netX/ip}} || dhcp ||
chain --replace uuid-${{uuid}}.ipxe ||
chain --replace mac-${{netX/mac:hexhyp}}.ipxe ||
chain --replace ip-${{netX/ip}}-32.ipxe ||
set low:uint8 ${{netX/ip:uint32}}
set prefix:uint32 ${{netX/ip:uint32}}
inc prefix -${{low}}
chain --replace ip-${{prefix:ipv4}}-24.ipxe ||
set low:uint16 ${{netX/ip:uint32}}
set prefix:uint32 ${{netX/ip:uint32}}
inc prefix -${{low}}
chain --replace ip-${{prefix:ipv4}}-16.ipxe ||
chain --replace default.ipxe ||
echo No boot entry for MAC ${{netX/mac}}, address ${{netX/ip}}, UUID ${{uuid}}, and no default
sleep {LAST_PAUSE_SECONDS}
reboot
"""

# A signed GRUB image reads grub.cfg alone; "normal" makes it look for the node's own files, and comes back here.
GRUB_SHARED = f"""\
{marker(SHARED_OWNER)}
if [ -z "$seen" ]; then
  set seen=1
  export seen
  normal
fi
source "$prefix/grub.cfg-default"
echo "No boot entry for MAC $net_default_mac, address $net_default_ip, and no default"
sleep {LAST_PAUSE_SECONDS}
reboot
"""


@dataclass(frozen=True)
class Loader:
    """All that differs between the boot loaders."""

    folder: str
    default: str
    render: Callable[[Boot, str, str], str]
    node_names: Callable[[Node], list[str]]
    cluster_names: Callable[[ipaddress.IPv4Network], list[str]]
    lookup: Callable[[Node], list[str]]
    shared: Mapping[str, str]


LOADERS: Mapping[str, Loader] = {
    "pxelinux": Loader(
        folder="pxelinux.cfg",
        default="default",
        render=render_pxelinux,
        node_names=names.pxelinux_node_names,
        cluster_names=names.pxelinux_cluster_names,
        lookup=names.pxelinux_lookup,
        shared={},
    ),
    "ipxe": Loader(
        folder="ipxe",
        default="default.ipxe",
        render=render_ipxe,
        node_names=names.ipxe_node_names,
        cluster_names=names.ipxe_cluster_names,
        lookup=names.ipxe_lookup,
        shared={"boot.ipxe": IPXE_SHARED},
    ),
    "grub": Loader(
        folder="grub",
        default="grub.cfg-default",
        render=render_grub,
        node_names=names.grub_node_names,
        cluster_names=names.grub_cluster_names,
        lookup=names.grub_lookup,
        shared={"grub.cfg": GRUB_SHARED},
    ),
}
