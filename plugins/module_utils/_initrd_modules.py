# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The kernel modules that an initrd needs: names to files, dependencies, soft dependencies, firmware."""

from __future__ import annotations

import gzip
import lzma
import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.oneimage.cluster.plugins.module_utils import _command
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NICS = (
    # virtual machines
    *("virtio_net", "vmxnet3", "hv_netvsc", "xen_netfront", "ena", "gve", "mana", "e1000", "8139cp"),
    # servers: Intel, Broadcom, Mellanox, Marvell, Chelsio, Emulex, Solarflare, AMD, Aquantia, Amazon
    *("e1000e", "igb", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "idpf"),
    *("tg3", "bnx2", "bnx2x", "bnxt_en", "mlx4_en", "mlx5_core", "qede", "cxgb4", "be2net"),
    *("sfc", "amd_xgbe", "atlantic", "ionic", "hns3", "fm10k"),
    # desktops and small boards
    *("r8169", "8139too", "forcedeth", "sky2", "skge", "alx", "atl1c", "atl1e", "jme", "via_velocity"),
)
"""The drivers of a node's NIC where the user names none; those that the kernel lacks are left out."""

DISKS = (
    *("virtio_blk", "virtio_scsi", "vmw_pvscsi", "hv_storvsc", "xen_blkfront"),
    *("nvme", "ahci", "ata_piix", "ata_generic", "pata_acpi", "isci", "mvsas", "sdhci_pci", "sdhci_acpi"),
    *("mpt3sas", "mptsas", "mptspi", "megaraid_sas", "aacraid", "hpsa", "smartpqi", "arcmsr", "mpi3mr"),
    *("3w_9xxx", "3w_sas", "sym53c8xx", "lpfc", "qla2xxx"),
)
"""The drivers of a node's disk controllers where the user names none."""

DISK_KINDS = ("sd_mod", "mmc_block")
"""The disks behind those controllers: loaded always, for they show up after init has looked for hardware."""

ROOT_FILE_SYSTEMS = ("ext4", "xfs", "btrfs")

FILE_SYSTEMS = (
    *(*ROOT_FILE_SYSTEMS, "vfat", "efivarfs"),
    *("nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"),
)
"""Of a node's own partitions and of the firmware's variables, and the character sets that vfat asks for."""

COMPANIONS = {
    **{name: ("virtio_pci", "virtio_mmio") for name in ("virtio_net", "virtio_blk", "virtio_scsi")},
    "mlx4_core": ("mlx4_en",),
}
"""What a driver does not load without, although no dependency says so."""

BASE = ("af_packet", "nfs", "nfsv3", "nfsv4")
"""A DHCP client's socket and the root's file system; nfs asks for its versions by name."""

OPTIONAL = ("af_packet", "nfsv3", "nfsv4")
"""A kernel may do without one of these: an own one with a single version of NFS, an old one with nfsv3 inside nfs."""

ROOT_MODE_MODULES = {"nfs_ro": ("overlay",), "nfs_rw": (), "disk": ()}

Lines = dict[str, tuple[str, ...]]


def plain(name: str) -> str:
    """The kernel takes ``-`` and ``_`` for the same in the name of a module."""
    return name.replace("-", "_")


def name_of(path: str) -> str:
    return plain(path.rpartition("/")[2].partition(".ko")[0])


@dataclass
class ModuleTree:
    """What depmod wrote about the modules of one kernel; names have underscores, paths lie below ``folder``."""

    root: Path
    version: str
    folder: Path
    paths: dict[str, str] = field(default_factory=dict)
    need_lines: dict[str, str] = field(default_factory=dict)
    builtin: frozenset[str] = frozenset()
    before: Lines = field(default_factory=dict)
    after: Lines = field(default_factory=dict)
    along: Lines = field(default_factory=dict)
    alias_text: str = ""

    def needs(self, name: str) -> Iterator[str]:
        """What ``name`` depends on, directly or not, in the order of loading."""
        return map(name_of, reversed(self.need_lines[name].split()))

    def answering(self, alias: str) -> list[str]:
        """The modules that have ``alias``, spelled just so."""
        return re.findall(rf"^alias {re.escape(alias)} (\S+)$", self.alias_text, re.MULTILINE)

    @property
    def aliases(self) -> list[tuple[str, str]]:
        """All aliases, each with its module."""
        return self.aliases_of({*self.paths, *self.builtin})

    def aliases_of(self, names: set[str]) -> list[tuple[str, str]]:
        """The aliases of ``names``, each with its module; split late, for a stock kernel has 26,000 of them."""
        found = []
        for line in self.alias_text.splitlines():
            space = line.rfind(" ")
            if line[space + 1 :] in names and line.startswith("alias "):
                found.append((line[6:space], line[space + 1 :]))
        return found

    def holds(self, name: str) -> bool:
        return plain(name) in self.paths or plain(name) in self.builtin


def installed_versions(root: Path) -> dict[str, Path]:
    """The kernels with modules in ``root``, and where those lie."""
    found: dict[str, Path] = {}
    for parent in (root / "usr/lib/modules", root / "lib/modules"):
        if parent.is_dir():
            found.update({folder.name: folder for folder in sorted(parent.iterdir()) if folder.is_dir()})
    return found


def read_tree(root: Path, version: str | None) -> ModuleTree:
    """What depmod wrote for ``version``, or for the only kernel in ``root``; raises ClusterError naming what is there."""
    versions = installed_versions(root)
    there = ", ".join(versions) or "none"
    if version is None and len(versions) == 1:
        version = next(iter(versions))
    if version is None:
        raise ClusterError(
            f"kernel_version: say which kernel of {root} the initrd is for; there are modules of: {there}"
        )
    folder = versions.get(version)
    if folder is None:
        raise ClusterError(
            f"kernel_version {version}: {root} has no modules of that kernel, only of: {there};"
            " install its package there, or name another"
        )
    tree = ModuleTree(root, version, folder)
    for line in read_list(folder / "modules.dep").splitlines():
        path, _colon, needs = line.partition(":")
        name = name_of(path)
        tree.paths[name], tree.need_lines[name] = path, needs
    tree.builtin = frozenset(map(name_of, read_list(folder / "modules.builtin").splitlines()))
    tree.alias_text = read_list(folder / "modules.alias")
    read_softdeps(tree)
    return tree


def read_list(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ClusterError(
            f"cannot read {path}: {error.strerror}; run depmod for this kernel, or install its package again"
        ) from error


def read_softdeps(tree: ModuleTree) -> None:
    """``softdep NAME pre: A B post: C``: what modprobe would load before and after NAME.

    Where A is an alias, such as an algorithm that several modules can do, those modules go along, and the
    kernel asks for the one that it wants.
    """
    for line in read_list(tree.folder / "modules.softdep").splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "softdep":
            continue
        name, side = plain(words[1]), tree.before
        for word in words[2:]:
            if word in ("pre:", "post:"):
                side = tree.before if word == "pre:" else tree.after
            elif plain(word) in tree.paths:
                side[name] = (*side.get(name, ()), plain(word))
            else:
                tree.along[name] = (*tree.along.get(name, ()), word)


def choose(tree: ModuleTree, modules: list[str] | None, root_modes: Iterable[str]) -> list[str]:
    """What must be in the initrd or built in; raises ClusterError naming what is neither."""
    modes = list(root_modes)
    by_network = any(mode != "disk" for mode in modes)
    usual = (*(NICS if by_network else ()), *(DISKS if "disk" in modes else ()))
    drivers = [name for name in usual if tree.holds(name)] if modules is None else list(map(plain, modules))
    needed = [name for name in BASE if by_network and (name not in OPTIONAL or tree.holds(name))]
    needed += [name for mode in modes for name in ROOT_MODE_MODULES[mode]]
    if "disk" in modes:
        needed += [name for name in (*DISK_KINDS, *ROOT_FILE_SYSTEMS) if tree.holds(name)]
    missing = [name for name in (*drivers, *needed) if not tree.holds(name)]
    if missing:
        raise ClusterError(
            f"the kernel {tree.version} in {tree.root} has no module {', '.join(missing)}, neither in "
            f"{tree.folder}/modules.dep nor built in; check the name, or install the package that holds it"
        )
    return list(dict.fromkeys((*drivers, *needed)))


def loaded_by_name(tree: ModuleTree, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that neither hardware nor a mount asks for by an alias, so that init has to load them."""
    modules = [name for name in names if name in tree.paths and name not in ROOT_FILE_SYSTEMS]
    for_hardware = {name for alias, name in tree.aliases_of(set(modules)) if ":" in alias}
    return [name for name in modules if name not in for_hardware]


def closure(tree: ModuleTree, names: Iterable[str]) -> list[str]:
    """``names`` and all they need, in an order in which they can be loaded; what is built in is left out."""
    order: dict[str, None] = {}
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in entered or name not in tree.paths:
            return
        entered.add(name)
        for earlier in (*tree.needs(name), *tree.before.get(name, ())):
            enter(earlier)
        order[name] = None
        algorithms = (module for alias in tree.along.get(name, ()) for module in tree.answering(alias))
        for later in (*tree.after.get(name, ()), *algorithms, *COMPANIONS.get(name, ())):
            enter(later)

    for name in names:
        enter(plain(name))
    return list(order)


def load_line(tree: ModuleTree, name: str) -> str:
    """The line of modules.dep for a modprobe without soft dependencies: those that come before are plain ones.

    As depmod writes it: what is loaded first stands last.
    """
    order: dict[str, None] = {}

    def enter(current: str) -> None:
        for earlier in (*tree.needs(current), *tree.before.get(current, ())):
            if earlier in tree.paths and earlier not in order and earlier != name:
                enter(earlier)
                order.setdefault(earlier)

    enter(name)
    needed = " ".join(plain_path(tree, earlier) for earlier in reversed(order))
    return f"{plain_path(tree, name)}: {needed}".rstrip()


def plain_path(tree: ModuleTree, name: str) -> str:
    """The path of a module once it is no longer compressed."""
    head, dot, _packing = tree.paths[name].rpartition(".ko")
    return head + dot


def alias_lines(tree: ModuleTree, inside: set[str]) -> Iterator[str]:
    """The aliases of the modules inside; what should follow a module answers to that module's aliases too."""
    for alias, name in tree.aliases_of(inside):
        yield f"alias {alias} {name}"
        yield from (f"alias {alias} {later}" for later in tree.after.get(name, ()) if later in inside)


@dataclass(frozen=True)
class Module:
    """One module as it goes into the initrd, and the firmware that it names."""

    content: bytes | mmap.mmap
    firmware: tuple[str, ...]


def read_module(tree: ModuleTree, name: str) -> Module:
    """A module, decompressed; raises ClusterError where it is unreadable, damaged, or of another kernel."""
    path = tree.folder / tree.paths[name]
    try:
        content = read_plain(path)
        facts = list(module_facts(content))
    except OSError as error:
        raise ClusterError(
            f"cannot read the module {path}: {error.strerror}; install its package again"
        ) from error
    except (EOFError, ValueError, IndexError, lzma.LZMAError, struct.error) as error:
        raise ClusterError(f"the module {path} is damaged: {error}; install its package again") from error
    made_for = next((value.split()[0] for key, value in facts if key == "vermagic"), tree.version)
    if made_for != tree.version:
        raise ClusterError(f"the module {path} was built for the kernel {made_for}, not for {tree.version}")
    return Module(content, tuple(value for key, value in facts if key == "firmware"))


def read_plain(path: Path) -> bytes | mmap.mmap:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return _command.run(["zstd", "-dcq"], stdin=path.read_bytes(), timeout=60).stdout
    with path.open("rb") as stream:  # most of what a build costs is copying: leave the bytes where they are
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def module_facts(content: bytes | mmap.mmap) -> Iterator[tuple[str, str]]:
    """The keys and values in the section .modinfo of a module; a key may occur more than once."""
    for entry in elf_section(content, b".modinfo").split(b"\0"):
        key, equals, value = entry.decode("utf-8", "replace").partition("=")
        if equals:
            yield key, value


def elf_section(content: bytes | mmap.mmap, wanted: bytes) -> bytes:
    """The section called ``wanted`` of an ELF file of any byte order and word size; ValueError where there is none."""
    if content[:4] != b"\x7fELF":
        raise ValueError("it is no ELF file")
    order = "<" if content[5] == 1 else ">"
    wide = content[4] == 2
    table = struct.unpack_from(order + ("Q" if wide else "I"), content, 40 if wide else 32)[0]
    entry_size, count, names_index = struct.unpack_from(order + "HHH", content, 58 if wide else 46)
    layout = order + ("IIQQQQ" if wide else "IIIIII")
    headers = [struct.unpack_from(layout, content, table + at * entry_size) for at in range(count)]
    start, size = headers[names_index][4:6]
    name = content[start : start + size].find(b"\0" + wanted + b"\0") + 1
    for header in headers[1:]:
        if name and header[0] == name:
            return content[header[4] : header[4] + header[5]]
    raise ValueError(f"it has no section {wanted.decode()}")


FIRMWARE_FOLDERS = ("lib/firmware/updates", "lib/firmware", "usr/lib/firmware")
FIRMWARE_SUFFIXES = ("", ".zst", ".xz")
SAFE_FIRMWARE = re.compile(r"(?!.*\.\./)[^/*?\[].*")


def find_firmware(tree: ModuleTree, name: str) -> Path | None:
    """Where the kernel would find the firmware ``name`` in the root, compressed or not."""
    if not SAFE_FIRMWARE.fullmatch(name):
        return None
    for folder in (f"{FIRMWARE_FOLDERS[0]}/{tree.version}", *FIRMWARE_FOLDERS):
        for suffix in FIRMWARE_SUFFIXES:
            path = tree.root / folder / (name + suffix)
            if path.is_file():
                return path
    return None
