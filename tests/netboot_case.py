"""A kernel, an initrd and a root that would boot, small enough to be made anew for every test that spoils one thing."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot import Question

CONFIGS = Path(__file__).parent / "fixtures" / "kernel_config"
ELF_X86_64 = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62) + bytes(40)
MODULES = {
    "nfs": ("fs/nfs/nfs.ko", ("sunrpc", "lockd")),
    "nfsv3": ("fs/nfs/nfsv3.ko", ("nfs", "sunrpc", "lockd")),
    "nfsv4": ("fs/nfs/nfsv4.ko", ("nfs", "sunrpc", "lockd")),
    "sunrpc": ("net/sunrpc/sunrpc.ko", ()),
    "lockd": ("fs/lockd/lockd.ko", ("sunrpc",)),
    "overlay": ("fs/overlayfs/overlay.ko", ()),
    "virtio_net": ("drivers/net/virtio_net.ko", ("net_failover",)),
    "net_failover": ("drivers/net/net_failover.ko", ()),
    "virtio_pci": ("drivers/virtio/virtio_pci.ko", ()),
    "r8169": ("drivers/net/ethernet/realtek/r8169.ko", ()),
}
INITRD_MODULES = tuple(name for name in MODULES if name not in ("r8169", "nfsv4"))
ALIASES = (
    "virtio:d00000001v* virtio_net",
    "pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci",
    "pci:v000010ECd00008168sv*sd*bc*sc*i* r8169",
)


def vmlinuz(release: str, efi: bool = True, command_line_size: int = 2047) -> bytes:
    """A header as the boot loaders and the firmware read it, without a kernel behind it."""
    data = bytearray(4096)
    if efi:
        data[0:2] = b"MZ"
        struct.pack_into("<I4s", data, 0x3C, 0x80, b"")
        data[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<4sH", data, 0x202, b"HdrS", 0x20F)
    struct.pack_into("<H", data, 0x20E, 0x200)
    text = f"{release} (nobody@nowhere) #1 SMP".encode()
    data[0x400 : 0x400 + len(text)] = text
    struct.pack_into("<I", data, 0x238, command_line_size)
    struct.pack_into("<II", data, 0x248, 0, 16)
    return bytes(data)


def module_file(**facts: str) -> bytes:
    """An ELF file with nothing but the section that says what a module is."""
    facts_section = b"".join(f"{name}={value}".encode() + b"\0" for name, value in facts.items() if value)
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64 + len(facts_section)
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, start + len(names), 0, 64, 0, 0, 64, 3, 2)
    )
    sections = ((0, 0, 0), (1, 64, len(facts_section)), (10, start, len(names)))
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0) for name, offset, size in sections
    )
    return header + facts_section + names + table


@dataclass
class Case:
    """Everything that a boot needs; a test changes one thing, then asks for ``question``."""

    folder: Path
    release: str = "6.1.0-56-amd64"
    efi: bool = True
    command_line_size: int = 2047
    options: dict[str, str] = field(default_factory=dict)
    firmware: str = "uefi"
    hardware: list[str] = field(default_factory=lambda: ["virtio_net"])
    root_mode: str | None = None
    parameters: list[str] = field(
        default_factory=lambda: [
            "root=/dev/nfs",
            "nfsroot=10.0.0.1:/srv/root,vers=3",
            "ip=dhcp",
            "ro",
            "oneimage.root_mode=nfs_ro",
            "console=tty0",
            "console=ttyS0,115200n8",
            "panic=60",
        ]
    )
    initrd_modules: list[str] = field(default_factory=lambda: list(INITRD_MODULES))
    initrd_release: str = ""
    initrd_files: dict[str, tuple[bytes, int]] = field(
        default_factory=lambda: {
            "init": (b"#!/bin/sh\n", 0o755),
            "bin/busybox": (ELF_X86_64, 0o755),
            "lib/oneimage/built.sh": (b"root_modes='nfs_ro nfs_rw'\nmodules=''\n", 0o644),
        }
    )
    with_initrd: bool = True
    builtin: list[str] = field(default_factory=lambda: ["af_packet", "e1000"])
    builtin_facts: bytes = b"e1000.alias=pci:v00008086d0000100E*\0e1000.license=GPL\0"
    firmware_of_nic: str = ""

    def __post_init__(self) -> None:
        root = self.root
        for name in (
            "proc",
            "sys",
            "dev",
            "run",
            "boot",
            "usr/sbin",
            "usr/lib/systemd",
            "etc/ssh",
            "etc/udev/rules.d",
        ):
            (root / name).mkdir(parents=True)
        (root / "sbin").symlink_to("usr/sbin")
        (root / "lib").symlink_to("usr/lib")
        self.write("usr/lib/systemd/systemd", ELF_X86_64, 0o755)
        (root / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
        self.write("usr/sbin/sshd", ELF_X86_64, 0o755)
        self.write("etc/machine-id", b"")
        self.write("etc/fstab", b"# none\ntmpfs /scratch tmpfs size=1g 0 0\n")

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def write(self, name: str, content: bytes, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    def replace(self, old: str, *new: str) -> None:
        """Put other words in the place of the parameter ``old``."""
        at = self.parameters.index(old)
        self.parameters[at : at + 1] = new

    def config(self) -> str:
        text = gzip.decompress((CONFIGS / f"config-{self.release}.gz").read_bytes()).decode()
        lines = []
        for line in text.splitlines():
            words = line.replace("=", " ").split()
            name = next((word for word in words if word.startswith("CONFIG_")), "")
            lines += [line] if name[7:] not in self.options else []
        lines += [
            f"CONFIG_{name}={value}" if value else f"# CONFIG_{name} is not set"
            for name, value in self.options.items()
        ]
        return "\n".join(lines) + "\n"

    def write_modules(self) -> None:
        folder = f"usr/lib/modules/{self.release}"
        stock = {name: (path, needs) for name, (path, needs) in MODULES.items() if name not in self.builtin}
        dependencies = []
        for name, (path, needs) in stock.items():
            there = [f"kernel/{stock[need][0]}" for need in needs if need in stock]
            dependencies.append(f"kernel/{path}: {' '.join(there)}")
            firmware = self.firmware_of_nic if name == "virtio_net" else ""
            self.write(
                f"{folder}/kernel/{path}", module_file(vermagic=f"{self.release} SMP", firmware=firmware)
            )
        self.write(f"{folder}/modules.dep", "\n".join(dependencies).encode())
        self.write(f"{folder}/modules.alias", "".join(f"alias {alias}\n" for alias in ALIASES).encode())
        self.write(
            f"{folder}/modules.builtin", "".join(f"kernel/x/{name}.ko\n" for name in self.builtin).encode()
        )
        self.write(f"{folder}/modules.builtin.modinfo", self.builtin_facts)
        self.write(f"{folder}/modules.softdep", b"")

    def initrd(self) -> bytes:
        members = [_cpio.regular(name, data, mode) for name, (data, mode) in self.initrd_files.items()]
        folder = f"usr/lib/modules/{self.initrd_release or self.release}/kernel"
        members += [_cpio.regular(f"{folder}/{MODULES[name][0]}", b"") for name in self.initrd_modules]
        return gzip.compress(b"".join(_cpio.pack(members)), mtime=0)

    def question(self) -> Question:
        (self.folder / "vmlinuz").write_bytes(vmlinuz(self.release, self.efi, self.command_line_size))
        if not (self.root / "boot" / f"config-{self.release}").exists():
            self.write(f"boot/config-{self.release}", self.config().encode())
        if not (self.root / "usr/lib/modules").exists():
            self.write_modules()
        if self.with_initrd:
            (self.folder / "initrd").write_bytes(self.initrd())
        return Question(
            kernel=self.folder / "vmlinuz",
            root=self.root,
            parameters=self.parameters,
            firmware=self.firmware,
            hardware=self.hardware,
            initrd=self.folder / "initrd" if self.with_initrd else None,
            root_mode=self.root_mode,
        )
