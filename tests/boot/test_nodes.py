"""Each node runs the image that was declared for it, the way that was declared, and is a node of its own."""

from __future__ import annotations

import hashlib
from typing import Any

from testinfra.host import Host

Declaration = dict[str, Any]


def words(node: Host) -> dict[str, str]:
    """/proc/cmdline as a dict; a word without `=` has an empty value."""
    return dict(word.partition("=")[::2] for word in node.file("/proc/cmdline").content_string.split())


def test_command_line_names_the_declared_boot(node: Host, declaration: Declaration) -> None:
    found = words(node)
    assert found["oneimage.root_mode"] == declaration["node_root_mode"]
    assert found["oneimage.image"].startswith(f"{declaration['oneimage_image']}")
    assert found["BOOTIF"].lower() == f"01-{declaration['node_mac'].replace(':', '-')}"
    server, _colon, path = found["nfsroot"].split(",")[0].partition(":")
    assert server == declaration["oneimage_server"]
    assert path.startswith(f"{declaration['oneimage_storage']}/roots/{declaration['oneimage_image']}")


def test_root_is_mounted_as_declared(node: Host, declaration: Declaration) -> None:
    kind, source, options = node.check_output("findmnt --noheadings --output FSTYPE,SOURCE,OPTIONS /").split(
        maxsplit=2
    )
    nfsroot = words(node)["nfsroot"].split(",")[0]
    assert "rw" in options.split(",")
    if declaration["node_root_mode"] == "nfs_ro":
        assert kind == "overlay"
    else:
        assert (kind, source) in {("nfs", nfsroot), ("nfs4", nfsroot)}


def test_kernel_is_the_one_whose_modules_the_root_holds(node: Host) -> None:
    release = node.check_output("uname -r")
    assert node.file(f"/lib/modules/{release}/modules.dep").exists


def test_image_id_is_the_one_that_was_booted(node: Host) -> None:
    release = dict(
        line.split("=", 1) for line in node.file("/etc/os-release").content_string.splitlines() if "=" in line
    )
    assert (
        f"{release['IMAGE_ID']}-{release['IMAGE_VERSION']}".replace('"', "") == words(node)["oneimage.image"]
    )


def test_firmware_is_the_declared_one(node: Host, declaration: Declaration) -> None:
    assert node.file("/sys/firmware/efi").exists == (declaration["node_firmware"] == "uefi")


def test_loader_is_the_declared_one(node: Host, declaration: Declaration) -> None:
    # PXELINUX alone tells the kernel what it loaded.
    assert ("BOOT_IMAGE" in words(node)) == (declaration["node_loader"] == "pxelinux")


def test_kernel_came_over_the_loaders_protocol(boot_server: Host, declaration: Declaration) -> None:
    log = boot_server.file("/var/log/nginx/access.log").content_string
    asked = f"{declaration['node_address']} - - "
    fetched = any(
        line.startswith(asked) and "/vmlinuz" in line and '" 200 ' in line for line in log.splitlines()
    )
    assert fetched == (declaration["node_loader"] == "ipxe")


def test_initrd_is_the_declared_generators(node: Host, declaration: Declaration) -> None:
    # initramfs-tools keeps a folder for the shutdown; the native init leaves none.
    assert node.file("/run/initramfs").exists == (declaration["node_initrd"] != "native")
    assert node.file("/run/oneimage/image_id").content_string.strip() == words(node)["oneimage.image"]


def test_no_unit_failed(node: Host) -> None:
    assert node.check_output("systemctl --failed --plain --no-legend") == ""


def test_name_and_machine_id_are_the_nodes_own(node: Host, declaration: Declaration) -> None:
    assert node.check_output("hostname") == declaration["inventory_hostname"]
    machine_id = hashlib.md5(declaration["node_mac"].encode()).hexdigest()
    assert node.file("/etc/machine-id").content_string.strip() == machine_id


def test_journal_is_volatile(node: Host) -> None:
    assert not node.file("/var/log/journal").exists


def test_nodes_share_no_host_key(nodes: dict[str, Host]) -> None:
    keys = {
        name: node.check_output("ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null")
        for name, node in nodes.items()
    }
    assert all(keys.values())
    assert len(set(keys.values())) == len(keys)


def test_published_root_holds_no_identity(boot_server: Host, declaration: Declaration, node: Host) -> None:
    root = words(node)["nfsroot"].split(",")[0].partition(":")[2]
    assert boot_server.check_output(f"find {root}/etc/ssh -name 'ssh_host_*'") == ""
    assert boot_server.file(f"{root}/etc/machine-id").content_string.strip() == ""


def test_what_a_node_writes_stays_where_it_belongs(
    boot_server: Host, declaration: Declaration, node: Host
) -> None:
    root = words(node)["nfsroot"].split(",")[0].partition(":")[2]
    name = f"/opt/written-by-{declaration['inventory_hostname']}"
    try:
        node.run_expect([0], f"touch {name}")
        assert boot_server.file(root + name).exists == (declaration["node_root_mode"] == "nfs_rw")
    finally:
        node.run(f"rm -f {name}")


def test_exports_are_limited_to_the_subnet(boot_server: Host, declaration: Declaration) -> None:
    exports = boot_server.check_output(f"showmount --no-headers --exports {declaration['oneimage_server']}")
    assert exports
    assert "*" not in exports and "0.0.0.0" not in exports
