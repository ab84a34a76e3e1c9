"""A small root with everything that an archive can lose, and what tells two roots apart."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

VERSION = "6.1.0-9-test"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + b"\x3e\x00" + bytes(44)
ODD_NAMES = (
    "-dash",
    "new\nline",
    "space and 'quote\"",
    "st*r",
    "back\\slash",
    "umläut",
    ".hidden",
    "ends with blank ",
)


def kernel(version: str = VERSION) -> bytes:
    """The header of a bootable x86 kernel, as Documentation/arch/x86/boot.rst has it, with nothing behind it."""
    head = bytearray(4096)
    head[0x202:0x206] = b"HdrS"
    head[0x206:0x208] = b"\x0f\x02"
    head[0x20E:0x210] = (0x400).to_bytes(2, "little")
    text = f"{version} (someone@host) #1 SMP\0".encode()
    head[0x600 : 0x600 + len(text)] = text
    return bytes(head)


def write(path: Path, content: bytes | str = b"", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def make(root: Path) -> Path:
    """A root that needs root: owners, capabilities, devices."""
    write(root / "usr/bin/dash", ELF, 0o755)
    (root / "usr/bin/sh").symlink_to("dash")
    (root / "bin").symlink_to("usr/bin")
    write(
        root / "usr/lib/os-release",
        'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    )
    (root / "etc").mkdir()
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    write(root / f"boot/vmlinuz-{VERSION}", kernel())
    write(root / f"boot/initrd.img-{VERSION}", b"initrd" * 1000)
    (root / "vmlinuz").symlink_to(f"boot/vmlinuz-{VERSION}")
    (root / "initrd.img").symlink_to(f"/boot/initrd.img-{VERSION}")
    attributes(root)
    machine_state(root)
    return root


def attributes(root: Path) -> None:
    for name in ODD_NAMES:
        write(root / "srv" / name, name)
    (root / "srv" / os.fsdecode(b"latin-\xe4")).write_bytes(b"latin")
    write(root / f"srv/{'long' * 60}/{'name' * 60}", "long")
    owned = write(root / "srv/owned", "owned", 0o4750)
    os.chown(owned, 12345, 54321)
    owned.chmod(0o4750)
    os.link(owned, root / "srv/second-name")
    os.setxattr(write(root / "srv/labelled", "labelled"), "user.note", b"kept \0 as it is")
    ping = write(root / "usr/bin/ping", ELF, 0o755)
    subprocess.run(["setcap", "cap_net_raw+ep", ping], check=True)
    shared = root / "srv/shared"
    shared.mkdir(mode=0o2775)
    subprocess.run(["setfacl", "-m", "u:12345:rwx,d:g:54321:r-x", shared], check=True)
    with (root / "srv/sparse").open("wb") as sparse:
        sparse.write(b"start")
        sparse.seek(8 << 20)
        sparse.write(b"end")
    os.mkfifo(root / "srv/fifo")
    (root / "dev").mkdir()
    os.mknod(root / "dev/console", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root / "srv")
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    os.utime(root / "srv/labelled", ns=(1, 1_500_000_000_123_456_789))
    (root / "srv/dangling").symlink_to("/nowhere")


def machine_state(root: Path) -> None:
    """What the hygiene rules speak of."""
    write(root / "etc/udev/rules.d/70-persistent-net.rules", "mac")
    write(root / "etc/udev/rules.d/50-local.rules", "local")
    write(root / "etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444)
    write(root / "etc/mtab", "/dev/sda1 / ext4 rw 0 0\n")
    write(root / "etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600)
    write(root / "etc/ssh/sshd_config", "UsePAM yes\n")
    write(root / "etc/shadow", "root:*:1:0:99999:7:::\ndaemon:!:1::::::\nalice:!!:1::::::\n", 0o640)
    write(root / "var/log/dpkg.log", "log")
    write(root / "var/log/nginx/access.log", "log")
    write(root / "var/log/journal/0123/system.journal", "journal")
    write(root / "var/lib/dhcp/dhclient.eth0.leases", "lease")
    write(root / "var/cache/apt/archives/a_1_all.deb", "deb")
    write(root / "var/lib/apt/lists/partial/x", "list")
    write(root / "tmp/scratch/file", "scratch")
    write(root / "root/.bash_history", "mysql -psecret")
    write(root / "root/.ansible/tmp/x", "x")
    write(root / "root/.profile", "profile")


LEFT_OUT = {
    *("etc/udev/rules.d/70-persistent-net.rules", "etc/ssh/ssh_host_ed25519_key"),
    *("var/log/dpkg.log", "var/log/nginx/access.log", "var/log/journal/0123"),
    *(
        "var/lib/dhcp/dhclient.eth0.leases",
        "var/cache/apt/archives/a_1_all.deb",
        "var/lib/apt/lists/partial/x",
    ),
    *("tmp/scratch", "root/.bash_history", "root/.ansible", "srv/socket"),
}
REPLACED = {"etc/machine-id", "etc/mtab"}


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below ``root`` with all that an archive has to bring back; hard links by the first of their names."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            status = path.lstat()
            content: object = None
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            time = status.st_mtime_ns if not path.is_dir() else None
            links = first.setdefault(status.st_ino, str(path.relative_to(root)))
            found[str(path.relative_to(root))] = (
                *(oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, time, links),
                *(content, tuple(sorted(attributes.items()))),
            )
    return found


def without(found: dict[str, tuple[object, ...]], names: set[str]) -> dict[str, tuple[object, ...]]:
    return {
        path: fact
        for path, fact in found.items()
        if not any(path == name or path.startswith(f"{name}/") for name in names)
    }


def shuffled_copy(root: Path, target: Path) -> Path:
    """The same tree in another order of inodes and of folder entries."""
    listed = sorted((str(path.relative_to(root)) for path in root.rglob("*")), reverse=True)
    target.mkdir()
    for name in listed:  # deepest and last first, so that nothing lies in the order of the original
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir() and not (root / name).is_symlink():
            (target / name).mkdir(exist_ok=True)
    shutil.rmtree(target)
    members = b"".join(os.fsencode(name) + b"\0" for name in listed)
    target.mkdir()
    pack = ["tar", "-c", "--no-recursion", "--acls", "--xattrs", "--sparse", "--null", "-C", root, "-T", "-"]
    options = ["--format=posix", "--warning=no-file-ignored"]
    packed = subprocess.run([*pack, *options], input=members, stdout=subprocess.PIPE, check=True).stdout
    unpack = [
        "tar",
        "-x",
        "-p",
        "--acls",
        "--xattrs",
        "--xattrs-include=*",
        "--delay-directory-restore",
        "-C",
        target,
    ]
    subprocess.run(unpack, input=packed, check=True)
    return target
