"""One file out of kernel, initrd and parameters: the contract, and boots of it where a kernel is at hand."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module
from fixtures.kernel_tree import VERSION, make_root
from netboot_case import vmlinuz
from network_boot import FIRST_MESSAGE, KERNEL_PARAMETERS, OVMF, console_until, from_network

from ansible_collections.oneimage.cluster.plugins.module_utils import _network_image_uki
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import read_kernel_image

STUB = _network_image_uki.STUB
pytestmark = [
    pytest.mark.skipif(not STUB.exists(), reason="needs systemd-boot-efi"),
    pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static"),
]
CACHED_KERNEL = Path("/var/cache/oneimage/virtual_lab/probe-vmlinuz")
"""The distribution's kernel, where the virtual lab was brought up before."""


def kernel(**fields: Any) -> bytes:
    """A header with all that the formats read, and a body that can be told."""
    data = bytearray(vmlinuz(VERSION, **fields))
    data[0x1F1], data[0x201] = 4, 0x6A
    struct.pack_into("<I", data, 0x22C, 0x7FFFFFFF)
    struct.pack_into("<QI", data, 0x258, 0x1000000, 0x3000000)
    return bytes(data) + b"the kernel proper" * 99


@pytest.fixture
def options(module: Run, tmp_path: Path) -> dict[str, Any]:
    make_root(tmp_path / "root")
    (tmp_path / "boot").mkdir()
    (tmp_path / "vmlinuz").write_bytes(kernel())
    module("initrd", {"path": str(tmp_path / "initrd"), "root": str(tmp_path / "root")})
    return {
        "path": str(tmp_path / "boot/image"),
        "kernel": str(tmp_path / "vmlinuz"),
        "initrd": [str(tmp_path / "initrd")],
        "parameters": ["console=ttyS0", "ip=dhcp"],
    }


@pytest.mark.parametrize("form", ["uki", "multiboot"])
def test_it_is_made_once_and_check_mode_predicts_it(form: str, module: Run, options: dict[str, Any]) -> None:
    given = {**options, "format": form}
    predicted = module("network_image", given, check=True)
    assert predicted["changed"] and not Path(options["path"]).exists()
    made = module("network_image", given)
    assert (made["sha256"], made["kernel_version"]) == (predicted["sha256"], VERSION)
    assert made["image_size"] == Path(options["path"]).stat().st_size
    assert (made["parameters"], made["signed"]) == ("console=ttyS0 ip=dhcp", False)
    before = snapshot(Path(options["path"]).parent)
    again = module("network_image", given)
    assert (again["changed"], again["reason"], again["sha256"]) == (False, None, made["sha256"])
    assert snapshot(Path(options["path"]).parent) == before
    change = module("network_image", {**given, "parameters": ["quiet"]}, check=True)
    assert change["reason"].endswith("is not what its inputs make")
    assert "parameters console=ttyS0 ip=dhcp\n" in change["diff"]["before"]
    assert "parameters quiet\n" in change["diff"]["after"]
    assert snapshot(Path(options["path"]).parent) == before


def test_what_is_in_a_unified_kernel_image(module: Run, options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("PRETTY_NAME=Test\n")
    second = tmp_path / "second"
    module("initrd", {"path": str(second), "root": str(tmp_path / "root"), "modules": ["my-nic"]})
    initrds = [*options["initrd"], str(second)]
    module("network_image", {**options, "initrd": initrds, "os_release": str(tmp_path / "os-release")})
    for section, content in {
        ".linux": Path(options["kernel"]).read_bytes(),
        ".cmdline": b"console=ttyS0 ip=dhcp",
        ".osrel": b"PRETTY_NAME=Test\n",
    }.items():
        assert dumped(options["path"], section, tmp_path) == content
    (tmp_path / "both").write_bytes(dumped(options["path"], ".initrd", tmp_path))
    assert "my_nic" in module("initrd_info", {"path": str(tmp_path / "both")})["modules"]
    addresses = re.findall(r"^ *\d+ \.(\w+) +(\w+) +(\w+)", objdump("-h", options["path"]), re.M)
    ends = 0
    for _name, size, address in addresses:
        assert int(address, 16) >= ends, "sections overlap"
        ends = int(address, 16) + int(size, 16)


def objdump(*arguments: str) -> str:
    return subprocess.run(["objdump", *arguments], check=True, capture_output=True, text=True).stdout


def dumped(image: str, section: str, folder: Path) -> bytes:
    target = folder / "dumped"
    argv = ["objcopy", f"--dump-section={section}={target}", image, str(folder / "unused")]
    subprocess.run(argv, check=True)
    return target.read_bytes()


def test_what_is_in_a_multiboot_image(module: Run, options: dict[str, Any]) -> None:
    module("network_image", {**options, "format": "multiboot"})
    data = Path(options["path"]).read_bytes()
    place = data.find(struct.pack("<I", 0x1BADB002))
    assert 0 < place < 8192 and place % 4 == 0, "loaders look for it in the first 8 KiB"
    assert sum(struct.unpack_from("<3I", data, place)) % 2**32 == 0
    rows = re.findall(
        r"LOAD off +0x(\w+) vaddr +0x(\w+).*\n +filesz +0x(\w+)", objdump("-p", options["path"])
    )
    (start, params, words, code, initrd) = [tuple(int(field, 16) for field in row) for row in rows]
    assert data[code[0] :][: code[2]] == Path(options["kernel"]).read_bytes()[5 * 512 :]
    assert (
        data[initrd[0] :][: Path(options["initrd"][0]).stat().st_size]
        == Path(options["initrd"][0]).read_bytes()
    )
    assert data[words[0] :][: words[2]] == b"console=ttyS0 ip=dhcp\0"
    page = data[params[0] :][: params[2]]
    assert struct.unpack_from("<II", page, 0x218) == initrd[1:3]
    assert struct.unpack_from("<I", page, 0x228) == words[1:2]
    assert code[1] == 0x1000000 and min(start[1], params[1], words[1], initrd[1]) >= 0x4000000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "/no/vmlinuz"}, "cannot read the kernel /no/vmlinuz: No such file"),
        ({"kernel": "/bin/busybox"}, "/bin/busybox is no bootable x86 kernel"),
        ({"initrd": ["/no/initrd"]}, "initrd: cannot read /no/initrd: No such file"),
        ({"initrd": ["/bin/busybox"]}, "initrd /bin/busybox: is no initrd"),
        ({"initrd": ["/dev/null"]}, "initrd: /dev/null is empty"),
        ({"path": "/no/folder/image"}, "path: the folder /no/folder does not exist"),
        ({"path": "/tmp"}, "path: /tmp is a folder"),
        ({"parameters": ["a\nb"]}, r"parameters: 'a\\nb' has characters"),
        ({"parameters": ["x" * 2048]}, "2048 characters are more than the 2047"),
        ({"stub": "/no/stub"}, "stub: there is no /no/stub; install the package systemd-boot-efi"),
        ({"stub": "/bin/busybox"}, "stub: /bin/busybox: the stub is no program for UEFI"),
        ({"os_release": "/no/os-release"}, "os_release: cannot read /no/os-release"),
        (
            {"format": "multiboot", "os_release": "/etc/os-release"},
            "os_release: the format multiboot has no place",
        ),
        ({"signing_key": "/etc/key"}, "signing_key, signing_certificate"),
        ({"format": "nbi"}, "uki, multiboot"),
    ],
)
def test_bad_input_is_one_clear_error_and_nothing_is_written(
    change: dict[str, Any], message: str, module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    module("network_image", options)
    before = snapshot(tmp_path)
    failed = module("network_image", {**options, **change})
    assert failed["failed"]
    assert re.search(message, failed["msg"]), failed["msg"]
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("form", "fields", "message"),
    [
        ("uki", {"efi": False}, "UEFI firmware cannot start .*vmlinuz; build it with CONFIG_EFI_STUB"),
        ("uki", {"release": "5.10.0-9"}, f"has modules of {VERSION}, not of the kernel 5.10.0-9"),
        ("multiboot", {"protocol": 0x209}, "boot protocol 2.09, older than 2.10"),
        ("multiboot", {"highest": 0x4000000}, r"ends beyond byte 67108864"),
    ],
)
def test_a_kernel_that_would_not_boot_is_refused(
    form: str, fields: dict[str, Any], message: str, module: Run, options: dict[str, Any]
) -> None:
    data = bytearray(kernel(**{name: value for name, value in fields.items() if name == "efi"}))
    if "release" in fields:
        data[0x400:0x420] = fields["release"].encode().ljust(32, b"\0")
    struct.pack_into("<H", data, 0x206, fields.get("protocol", 0x20F))
    struct.pack_into("<I", data, 0x22C, fields.get("highest", 0x7FFFFFFF))
    Path(options["kernel"]).write_bytes(data)
    failed = module("network_image", {**options, "format": form})
    assert re.search(message, failed["msg"]), failed["msg"]
    assert not Path(options["path"]).exists()


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    if shutil.which("sbsign") is None or shutil.which("openssl") is None:
        pytest.skip("needs sbsigntool and openssl")
    for name in ("site", "other"):
        argv = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-days",
            "9",
        ]
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        subprocess.run([*argv, *files], check=True, capture_output=True)
    return {"signing_key": str(tmp_path / "site.key"), "signing_certificate": str(tmp_path / "site.pem")}


def test_a_signed_image_stays_until_something_else_than_the_time_changed(
    module: Run, options: dict[str, Any], keys: dict[str, str], tmp_path: Path
) -> None:
    given = {**options, **keys}
    assert module("network_image", given, check=True)["sha256"] is None
    made = module("network_image", given)
    assert (made["changed"], made["signed"]) == (True, True)
    subprocess.run(
        ["sbverify", "--cert", keys["signing_certificate"], options["path"]], check=True, capture_output=True
    )
    time.sleep(1.1)  # a signature that is made now would be another one
    assert not module("network_image", given)["changed"]
    other = {name: path.replace("site.", "other.") for name, path in keys.items()}
    assert "is not signed by" in module("network_image", {**options, **other})["reason"]
    assert module("network_image", {**options, **other, "parameters": ["quiet"]})["changed"]
    assert module("network_image", options)["signed"] is False
    assert not module("network_image", options)["changed"]
    mixed = {**keys, "signing_certificate": str(tmp_path / "other.pem")}
    before = snapshot(tmp_path)
    assert "private key does not match certificate" in module("network_image", {**options, **mixed})["msg"]
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_a_kill_leaves_the_old_or_the_new_image(module: Run, options: dict[str, Any]) -> None:
    given = [{**options, "parameters": [word]} for word in ("one", "two")]
    whole = {module("network_image", one, check=True)["sha256"] for one in given}
    module("network_image", given[0])
    for step in range(8):
        process = start_module("network_image", given[step % 2])
        time.sleep(0.1 + step * 0.08)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert module("network_image", given[0], check=True)["reason"] is None or (
            module("network_image", given[1], check=True)["reason"] is None
        )
    assert module("network_image", given[0])["sha256"] in whole
    assert module("network_image", given[1])["changed"]
    assert os.listdir(Path(options["path"]).parent) == ["image"]


@pytest.mark.slow
@pytest.mark.skipif(
    not CACHED_KERNEL.exists(), reason=f"no kernel at {CACHED_KERNEL}; the virtual lab fetches it"
)
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86")
@pytest.mark.parametrize(("form", "firmware"), [("uki", "uefi"), ("multiboot", "bios")])
def test_a_machine_boots_it_by_the_network_alone(
    form: str, firmware: str, module: Run, options: dict[str, Any], tmp_path: Path
) -> None:
    """By OVMF's PXE client, and by iPXE in the ROM of QEMU's NIC, with no file but this one."""
    if firmware == "uefi" and not OVMF.exists():
        pytest.skip("needs ovmf")
    release = read_kernel_image(CACHED_KERNEL).release
    make_root(tmp_path / "own", version=release)
    module("initrd", {"path": options["initrd"][0], "root": str(tmp_path / "own"), "compression": "gzip"})
    words = [*KERNEL_PARAMETERS, "oneimage.image=network-1"]
    module("network_image", {**options, "format": form, "kernel": str(CACHED_KERNEL), "parameters": words})
    argv = from_network(firmware, Path(options["path"]))
    said = console_until(argv, FIRST_MESSAGE, tmp_path / "console", timeout=180)
    expected = FIRST_MESSAGE + f": kernel {release}, image network-1".encode()
    assert expected in said, said[-2000:].decode("utf-8", "replace")
