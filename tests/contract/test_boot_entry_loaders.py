"""Real loaders in QEMU read what boot_entry rendered: PXELINUX and GRUB over TFTP, iPXE over HTTP.

The network is QEMU's own, so that neither root nor a namespace is needed. The kernel of the entries is iPXE's, which
runs its command line: the parameters of the entry say ``echo REACHED-NAME``, and the rest of the line is shown.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

pytestmark = pytest.mark.slow

KERNEL = Path("/usr/lib/ipxe/ipxe.lkrn")
PXELINUX = (Path("/usr/lib/PXELINUX/pxelinux.0"), Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"))
GRUB_MODULES = Path("/usr/lib/grub/i386-pc")
UUID = "00112233-4455-6677-8899-aabbccddeeff"
SECONDS = 180
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
READ_REQUEST = re.compile(rb"\0\x01([A-Za-z0-9./_-]+)\0octet")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for needed in (KERNEL, *PXELINUX):
        if not needed.exists() or shutil.which("qemu-system-x86_64") is None:
            pytest.skip(f"{needed} or qemu-system-x86_64 is not installed")
    boot = tmp_path / "boot"
    (boot / "images").mkdir(parents=True)
    shutil.copy(KERNEL, boot / "images" / "kernel")
    (boot / "images" / "kernel").chmod(0o644)
    (boot / "images" / "initrd").write_text("some bytes")
    for needed in PXELINUX:
        shutil.copy(needed, boot)
    return boot


@pytest.fixture
def server(tree: Path) -> Iterator[tuple[int, Path]]:
    """The tree over HTTP on loopback; its port and its access log."""
    log = tree.parent / "access.log"

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
            with log.open("a") as lines:
                lines.write(f"{self.client_address[0]} - - {format % values}\n")

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tree)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd.server_address[1], log
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def entry(name: str) -> dict[str, Any]:
    parameters = ["echo", f"REACHED-{name}", 'x="a b"', "y=$z;w|{", "end"]
    return {"name": name, "kernel": "images/kernel", "initrd": ["images/initrd"], "parameters": parameters}


def declaration(tree: Path, port: int = 80, **more: Any) -> dict[str, Any]:
    return {
        "directory": str(tree),
        "base_url": f"http://10.77.0.2:{port}/",
        "entries": [entry(name) for name in ("own", "once", "cluster", "default")],
        "nodes": [
            {"name": "n1", "mac": "52:54:00:00:00:01", "entry": "own"},
            {"name": "n2", "uuid": UUID, "entry": "own"},
        ],
        "clusters": [{"name": "c", "subnet": "10.77.0.0/23", "entry": "cluster"}],
        "default": {"entry": "default"},
        **more,
    }


def boot(
    tree: Path, bootfile: str, wanted: bytes, *, mac: str, subnet: str = "10.77.0", more: tuple[str, ...] = ()
) -> str:
    """Start a machine, wait until ``wanted`` stands on its console or in its packets, and return that line."""
    console, packets = tree.parent / "console", tree.parent / "packets"
    for file in (console, packets):
        file.write_bytes(b"")
    network = (
        f"user,id=net,net={subnet}.0/24,host={subnet}.2,dhcpstart={subnet}.16,tftp={tree},bootfile={bootfile}"
    )
    argv = [
        "qemu-system-x86_64",
        "-machine",
        "pc",
        "-accel",
        "tcg",
        "-m",
        "256",
        "-nographic",
        "-nodefaults",
        "-no-reboot",
    ]
    argv += [
        "-serial",
        f"file:{console}",
        "-boot",
        "n",
        "-netdev",
        network,
        "-device",
        f"virtio-net-pci,netdev=net,mac={mac}",
    ]
    argv += ["-object", f"filter-dump,id=dump,netdev=net,file={packets}", *more]
    machine = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        for _try in range(SECONDS * 2):
            shown = ESCAPES.sub(b"", console.read_bytes())
            asked = b"".join(b"asked " + name + b"\n" for name in READ_REQUEST.findall(packets.read_bytes()))
            # a line that has ended: the console may have been read in the middle of one
            if found := re.search(wanted + rb"[^\r\n]*(?=[\r\n])", shown):
                return found.group().decode()
            if re.search(wanted, asked):
                return asked.decode()
            assert machine.poll() is None, machine.stderr.read().decode() if machine.stderr else ""
            time.sleep(0.5)
    finally:
        machine.kill()
        machine.communicate()
    pytest.fail(f"{wanted!r} was not seen within {SECONDS} s: {shown[-1500:].decode('utf-8', 'replace')}")


LINE = rb"REACHED-\w+ x=\"a b\" y=\$z;w\|\{ end"


@pytest.mark.parametrize(
    ("machine", "reached"),
    [
        ({"mac": "52:54:00:00:00:01"}, "own"),
        ({"mac": "52:54:00:00:00:99", "more": ("-uuid", UUID)}, "own"),
        ({"mac": "52:54:00:00:00:99"}, "cluster"),
        ({"mac": "52:54:00:00:00:99", "subnet": "10.99.0"}, "default"),
    ],
    ids=["mac", "uuid", "cluster", "default"],
)
def test_pxelinux(module: Run, tree: Path, machine: dict[str, Any], reached: str) -> None:
    module("boot_entry", declaration(tree))
    line = boot(tree, "pxelinux.0", LINE, **machine)
    assert line.startswith(f"REACHED-{reached} ")
    assert f"BOOTIF=01-{machine['mac'].replace(':', '-')}" in line


@pytest.mark.parametrize(
    ("machine", "reached"),
    [
        ({"mac": "52:54:00:00:00:99", "more": ("-uuid", UUID)}, "own"),
        ({"mac": "52:54:00:00:00:99"}, "cluster"),
    ],
    ids=["uuid", "cluster"],
)
def test_ipxe(
    module: Run, tree: Path, server: tuple[int, Path], machine: dict[str, Any], reached: str
) -> None:
    port, _log = server
    module("boot_entry", declaration(tree, port))
    line = boot(tree, f"http://10.77.0.2:{port}/ipxe/boot.ipxe", LINE, **machine)
    assert line.startswith(f"REACHED-{reached} ")
    assert "BOOTIF=01-52-54-00-00-00-99" in line


def test_ipxe_once(module: Run, tree: Path, server: tuple[int, Path]) -> None:
    """The boot itself leaves the evidence by which the next run goes back to the usual entry."""
    port, log = server
    nodes = [{"name": "n1", "mac": "52:54:00:00:00:01", "entry": "own", "once": "once"}]
    options = declaration(tree, port, nodes=nodes, evidence=[str(log)])
    url = f"http://10.77.0.2:{port}/ipxe/boot.ipxe"
    assert module("boot_entry", options)["once_spent"] == []
    assert boot(tree, url, LINE, mac="52:54:00:00:00:01").startswith("REACHED-once ")
    assert module("boot_entry", options)["once_spent"] == ["n1"]
    assert boot(tree, url, LINE, mac="52:54:00:00:00:01").startswith("REACHED-own ")
    assert not module("boot_entry", options)["changed"]


def test_grub_asks_for_the_nodes_own_file_and_for_all_it_names(module: Run, tree: Path) -> None:
    """iPXE's kernel has no entry for GRUB's protocol, so that the last file asked for is as far as this goes."""
    if shutil.which("grub-mknetdir") is None or not GRUB_MODULES.exists():
        pytest.skip(
            "grub-mknetdir and GRUB's modules (packages grub-common, grub-pc-bin) are not both installed"
        )
    argv = ["grub-mknetdir", f"--net-directory={tree}", "--subdir=grub", "-d", str(GRUB_MODULES)]
    subprocess.run(argv, check=True, capture_output=True)
    (tree / "grub" / "grub.cfg").unlink(missing_ok=True)
    module("boot_entry", declaration(tree))
    asked = boot(tree, "grub/i386-pc/core.0", rb"asked /images/initrd", mac="52:54:00:00:00:01")
    files = [name for name in asked.split() if name.startswith(("/grub/grub.cfg", "/images/"))]
    assert files[-3:] == ["/grub/grub.cfg-01-52-54-00-00-00-01", "/images/kernel", "/images/initrd"]
