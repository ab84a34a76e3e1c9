# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The distributions' initrd generators, run in a root with scripts of ours that read our kernel parameters."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ansible_collections.oneimage.cluster.plugins.module_utils import _command
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_init import ROOT_FUNCTIONS

TIMEOUT = 1800

NAMESPACE_SCRIPT = r"""
# In mount and PID namespaces of its own: whatever ends this, the kernel takes all mounts away with it. The root
# is read-only; the generator sees a copy of its own folder $2 with our files, which come as a tar archive.
set -eu
root=$1 folder=$2
shift 2
mount --make-rprivate /
if [ "$root" != / ]; then
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
fi
mount -t tmpfs -o mode=1777 oneimage "$root/tmp"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
cp -a "$root$folder" "$root/tmp/oneimage"
tar -x --no-same-owner -C "$root/tmp/oneimage"
mount --bind "$root/tmp/oneimage" "$root$folder"
env -i LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/tmp SOURCE_DATE_EPOCH=1 \
    chroot "$root" "$@" </dev/null >&2
cat "$root/tmp/initrd"
"""

ENTER_SCRIPT = r"""#!/lib/oneimage/busybox sh
# Called once the root is mounted at $1: the overlay, the identity, the facts, the reports, as the native init
# does them. What fails is said on standard output.
set -u
/lib/oneimage/busybox mkdir -p /lib/oneimage/bin
/lib/oneimage/busybox --install -s /lib/oneimage/bin
export PATH=/lib/oneimage/bin

# shellcheck source=/dev/null
. /lib/oneimage/root.sh
[ ! -e "$FACTS/root_mode" ] || exit 0 # the generator calls its scripts more than once
read_command_line

server=$(sed -n "s|^[^ ]* $1 nfs.*[ ,]addr=\([0-9.]*\).*|\1|p" /proc/mounts)
if [ -z "$server" ]; then
    echo "the root at $1 is not on NFS"
    exit 1
fi
route=$(ip -4 route get "$server" | head -n 1)
interface=$(echo "$route" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
address=$(echo "$route" | sed -n 's/.* src \([^ ]*\).*/\1/p')
mac=$(cat "/sys/class/net/$interface/address")

lease() { # what klibc's ipconfig wrote down
    sed -n "s/^$1='\{0,1\}\([^']*\)'\{0,1\}$/\1/p" "/run/net-$interface.conf" 2>/dev/null
}

node_name=$(lease HOSTNAME)
case $(hostname) in
    '(none)' | localhost*) ;;
    *) node_name=$(hostname) ;;
esac
node_name=${node_name%%.*} # dhclient makes it a full one
domain=$(lease DNSDOMAIN)
resolvers=$(for name in IPV4DNS0 IPV4DNS1; do lease "$name" | grep -v '^0\.0\.0\.0$'; done)
resolvers=${resolvers:-$(sed -n 's/^nameserver //p' "/tmp/net.$interface.resolv.conf" 2>/dev/null)}

report initrd
say "stage root: $server, $interface $mac $address, root mode $root_mode"
if [ "$root_mode" = nfs_ro ] && ! lay_overlay "$1"; then
    echo "cannot lay the overlay in RAM over the root; is oneimage.overlay_size=$overlay_size sound?"
    report failed-root
    exit 1
fi
write_facts
set_identity "$1"
report root
"""

INITRAMFS_TOOLS_HOOK = r"""#!/bin/sh
set -e
[ "${1:-}" != prereqs ] || exit 0
# shellcheck source=/dev/null
. /usr/share/initramfs-tools/hook-functions
manual_add_modules @MODULES@
mkdir -p "$DESTDIR/lib/oneimage"
cp /etc/initramfs-tools/oneimage/* "$DESTDIR/lib/oneimage/"
"""

INITRAMFS_TOOLS_SCRIPT = r"""#!/bin/sh
[ "${1:-}" != prereqs ] || exit 0
# shellcheck source=/dev/null
. /scripts/functions
modprobe overlay
why=$(/lib/oneimage/enter "${rootmnt:?}") || panic "oneimage: FAILED at stage root: $why"
"""

INITRAMFS_TOOLS_SETTINGS = """\
BOOT=nfs
MODULES=list
RESUME=none
COMPRESS=@COMPRESS@
"""

DRACUT_SETUP = r"""#!/bin/bash
check() {
    return 255
}

depends() {
    echo nfs
}

installkernel() {
    hostonly='' instmods @MODULES@
}

install() {
    inst_hook pre-pivot 10 "${moddir:?}/pre-pivot.sh"
    mkdir -p "${initdir:?}/lib/oneimage"
    cp "$moddir"/files/* "$initdir/lib/oneimage/"
}
"""

DRACUT_HOOK = r"""#!/bin/sh
modprobe overlay
why=$(/lib/oneimage/enter "$NEWROOT") || die "oneimage: FAILED at stage root: $why"
"""

Files = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Generator:
    """How a distribution's generator is called; ``folder`` is the one of its own that gets our files."""

    program: str
    package: str
    folder: str
    settings: tuple[str, ...]
    files: Callable[[str, str, Files], Files]
    argv: Callable[[Path, str, str], list[str]]


def initramfs_tools_files(modules: str, compression: str, carried: Files) -> Files:
    settings = INITRAMFS_TOOLS_SETTINGS.replace("@COMPRESS@", "cat" if compression == "none" else compression)
    return {
        "conf.d/zz-oneimage": (settings.encode(), 0o644),
        "hooks/oneimage": (INITRAMFS_TOOLS_HOOK.replace("@MODULES@", modules).encode(), 0o755),
        "scripts/nfs-bottom/oneimage": (INITRAMFS_TOOLS_SCRIPT.encode(), 0o755),
        **{f"oneimage/{name}": content for name, content in carried.items()},
    }


def dracut_files(modules: str, _compression: str, carried: Files) -> Files:
    module = "modules.d/99oneimage"
    return {
        f"{module}/module-setup.sh": (DRACUT_SETUP.replace("@MODULES@", modules).encode(), 0o755),
        f"{module}/pre-pivot.sh": (DRACUT_HOOK.encode(), 0o755),
        **{f"{module}/files/{name}": content for name, content in carried.items()},
    }


def initramfs_tools_argv(_root: Path, version: str, _compression: str) -> list[str]:
    return ["mkinitramfs", "-o", "/tmp/initrd", version]


def dracut_argv(root: Path, version: str, compression: str) -> list[str]:
    argv = ["dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--tmpdir=/tmp"]
    how = {"none": "--no-compress"}.get(compression, f"--{compression}")
    # by itself dracut prefers handlers that want a message bus, which a node's root seldom has
    legacy = " network-legacy" if all((root / program).exists() for program in DRACUT_LEGACY_PROGRAMS) else ""
    return [*argv, how, "--add", f"oneimage{legacy}", "--kver", version, "/tmp/initrd"]


DRACUT_LEGACY_PROGRAMS = ("usr/sbin/dhclient", "usr/bin/arping")
GENERATORS = {
    "initramfs_tools": Generator(
        "usr/sbin/mkinitramfs",
        "initramfs-tools",
        "/etc/initramfs-tools",
        ("etc/initramfs-tools", "usr/share/initramfs-tools", "etc/modprobe.d", "etc/udev"),
        initramfs_tools_files,
        initramfs_tools_argv,
    ),
    "dracut": Generator(
        "usr/lib/dracut/modules.d",
        "dracut-network, and for its network part isc-dhcp-client, iputils-arping, netbase and procps",
        "/usr/lib/dracut",
        ("etc/dracut.conf", "etc/dracut.conf.d", "usr/lib/dracut", "etc/modprobe.d", "etc/udev"),
        dracut_files,
        dracut_argv,
    ),
}
PACKAGE_DATABASES = ("var/lib/dpkg/status", "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite")


def files(name: str, modules: list[str], compression: str, busybox: Path) -> Files:
    """The files of ours that the generator ``name`` gets, by their path below its folder."""
    carried = {
        "busybox": (busybox.read_bytes(), 0o755),
        "root.sh": (ROOT_FUNCTIONS.encode(), 0o644),
        "enter": (ENTER_SCRIPT.encode(), 0o755),
    }
    return GENERATORS[name].files(" ".join(modules), compression, carried)


def check(name: str, root: Path) -> None:
    generator = GENERATORS[name]
    if not (root / generator.program).exists():
        raise ClusterError(
            f"generator {name}: {root} holds no /{generator.program}; install the package {generator.package}"
            " in that root, or use generator: native"
        )


def generate(name: str, root: Path, version: str, compression: str, ours: Files) -> bytes:
    """Run the generator ``name`` in ``root``, which it cannot change, and return the initrd."""
    generator = GENERATORS[name]
    _command.require("setpriv", "unshare", package="util-linux")
    # the generator dies with this process, also with kill -9
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    script = ["sh", "-c", NAMESPACE_SCRIPT, "oneimage", str(root), generator.folder]
    argv = generator.argv(root, version, compression)
    try:
        return _command.run([*alone, *script, *argv], stdin=tar(ours), timeout=TIMEOUT).stdout
    except ClusterError as error:
        raise ClusterError(f"generator {name} in {root}: {error}") from error


def tar(ours: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, mode) in sorted(ours.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def inputs(name: str, root: Path, ours: Files, modules: list[Path]) -> dict[str, str]:
    """A digest of each kind of input: which of them differs says why the initrd is built again."""
    settings = [root / place for place in GENERATORS[name].settings]
    return {
        "scripts and options": digest(
            f"{path} {mode} {hash_of(data)}" for path, (data, mode) in sorted(ours.items())
        ),
        "packages": digest(
            hash_of((root / path).read_bytes()) for path in PACKAGE_DATABASES if (root / path).exists()
        ),
        "settings": digest(state(path) for path in sorted(walk(settings))),
        "modules": digest(state(path) for path in sorted(modules)),
    }


def walk(places: list[Path]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in (place, *place.rglob("*")) if path.is_file())


def state(path: Path) -> str:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_mode}"


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest(lines: Iterator[str]) -> str:
    return hash_of("\n".join(lines).encode())
