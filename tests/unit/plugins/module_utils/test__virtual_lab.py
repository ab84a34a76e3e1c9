"""What a lab's declaration must be, and what follows from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _virtual_lab_acceleration as acceleration,
)
from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_boot_server as boot_server
from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_node as node
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import Lab, parse_lab

FOLDER = Path("/var/lib/labs/a/nodes/n1")


def bmc(**changes: Any) -> dict[str, Any]:
    return {"address": "10.78.0.201", "port": 623, "user": "admin", "password": "secret", **changes}


def one(**changes: Any) -> dict[str, Any]:
    fields = {
        "name": "n1",
        "mac": "52:54:00:78:00:01",
        "address": "10.78.0.11",
        "firmware": "bios",
        "memory": 512,
        "disk": 0,
    }
    return {**fields, "bmc": bmc(), **changes}


def other(**changes: Any) -> dict[str, Any]:
    fields = {
        "name": "n2",
        "mac": "52:54:00:78:00:02",
        "address": "10.78.0.12",
        "bmc": bmc(address="10.78.0.202"),
    }
    return one(**{**fields, **changes})


def options(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": "a",
        "directory": "/var/lib/labs/a",
        "storage": None,
        "cache": "/var/cache/labs",
    }
    fields.update(
        subnet="10.78.0.0/24",
        client_address=None,
        controller_user="root",
        acceleration="tcg",
        probe_kernel=None,
    )
    server = {
        "hostname": "boot",
        "address": "10.78.0.1",
        "release": "bookworm",
        "mirror": None,
        "packages": ["systemd"],
    }
    return {**fields, "boot_server": server, "nodes": [one(), other()], **changes}


def lab(**changes: Any) -> Lab:
    return parse_lab(options(**changes))


def test_defaults_follow_from_name_directory_and_subnet() -> None:
    declared = lab()
    assert (declared.namespace, declared.boot_namespace) == ("oneimage-a", "oneimage-a-boot")
    assert str(declared.storage) == "/var/lib/labs/a/srv"
    assert declared.client_address == "10.78.0.254"
    assert [node.tap for node in declared.nodes] == ["tap525400780001", "tap525400780002"]


def test_macs_are_read_in_any_spelling() -> None:
    assert lab(nodes=[one(mac="52-54-00-AB-CD-EF")]).nodes[0].mac == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Demo"}, "name: 'Demo'"),
        ({"name": "a/b"}, "name: 'a/b'"),
        ({"directory": "lab"}, "directory: 'lab'"),
        ({"directory": "/lab"}, "directory: '/lab'"),
        ({"directory": "/var/lib/../.."}, "directory: "),
        ({"directory": "/var/lib/a lab"}, "directory: '/var/lib/a lab'"),
        ({"directory": "/var/" + "x" * 90}, "longer than the 107 characters"),
        ({"storage": "srv"}, "storage: 'srv'"),
        ({"subnet": "10.78.0.1/24"}, "subnet: 10.78.0.1/24 has host bits set"),
        ({"subnet": "10.78.0.0/30"}, "subnet: 10.78.0.0/30 has an unusable size"),
        ({"subnet": "fd00::/64"}, "subnet: "),
        ({"client_address": "10.79.0.5"}, "client_address: 10.79.0.5 is no host address"),
        (
            {"client_address": "10.78.0.1"},
            "address 10.78.0.1 is used twice: by client_address and by boot_server address",
        ),
        (
            {"nodes": [one(), other(mac="52:54:00:78:00:01")]},
            "mac 52:54:00:78:00:01 is used twice: by node n1 and by node n2",
        ),
        ({"nodes": [one(), other(name="n1")]}, "name n1 is used twice"),
        ({"nodes": [one(), other(address="10.78.0.11")]}, "address 10.78.0.11 is used twice"),
        ({"nodes": [one(), other(bmc=bmc())]}, "address 10.78.0.201 is used twice"),
        ({"nodes": [one(address="10.78.1.11")]}, "node n1 address: 10.78.1.11 is no host address"),
        ({"nodes": [one(address="10.78.0.255")]}, "node n1 address: 10.78.0.255 is no host address"),
        ({"nodes": [one(bmc=bmc(address="bmc1"))]}, "node n1 bmc address: 'bmc1' is no IPv4 address"),
        ({"nodes": [one(bmc=bmc(port=70000))]}, "node n1: bmc port: 70000"),
        ({"nodes": [one(bmc=bmc(password='a"b'))]}, "node n1: bmc password: use 1 to 16 printable"),
        ({"nodes": [one(bmc=bmc(user="a b"))]}, "node n1: bmc user: use 1 to 16 printable"),
        ({"nodes": [one(mac="52:54:00:78:00")]}, "node n1: mac: '52:54:00:78:00' is no unicast MAC"),
        ({"nodes": [one(mac="01:00:5e:00:00:01")]}, "node n1: mac: '01:00:5e:00:00:01' is no unicast MAC"),
        ({"nodes": [one(memory=64)]}, "node n1: memory: 64 MiB"),
        ({"nodes": [one(disk=-1)]}, "node n1: disk: -1 MiB"),
        ({"nodes": [one(name="n1;reboot")]}, "node 'n1;reboot'"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterError) as refused:
        lab(**changes)
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_bios_node_boots_with_the_nics_rom_and_starts_over() -> None:
    command = node.qemu_command(lab().nodes[0], FOLDER, "tcg")
    assert "virtio-net-pci,netdev=net0,mac=52:54:00:78:00:01,bootindex=1" in command
    assert command[command.index("-boot") + 1] == "reboot-timeout=5000"
    assert command[command.index("-m") + 1] == "512"
    assert not [argument for argument in command if "pflash" in argument]


def test_a_uefi_node_has_its_own_variables_and_no_foreign_rom() -> None:
    command = node.qemu_command(lab(nodes=[one(firmware="uefi")]).nodes[0], FOLDER, "tcg")
    assert "virtio-net-pci,netdev=net0,mac=52:54:00:78:00:01,bootindex=1,romfile=" in command
    assert f"if=pflash,format=raw,unit=1,file={FOLDER}/vars.fd" in command


@pytest.mark.parametrize(("accelerator", "processor"), [("kvm", "host"), ("tcg", "max")])
def test_the_processor_follows_the_acceleration(accelerator: str, processor: str) -> None:
    command = node.qemu_command(lab().nodes[0], FOLDER, accelerator)
    assert command[command.index("-accel") + 1].startswith(accelerator)
    assert command[command.index("-cpu") + 1] == processor


def test_power_on_replaces_the_shell_by_the_machine() -> None:
    script = node.power_on_script(lab().nodes[0], FOLDER, "tcg")
    last = shlex.split(script.splitlines()[-1])
    assert last[:2] == ["exec", node.QEMU]
    assert last[2:-1] == node.qemu_command(lab().nodes[0], FOLDER, "tcg")[1:]


def test_the_bmc_knows_its_address_account_and_machine() -> None:
    lines = [line.split() for line in node.bmc_configuration(lab().nodes[0], FOLDER).splitlines()]
    assert ["addr", "10.78.0.201", "623"] in lines
    assert ["user", "2", "true", '"admin"', '"secret"', "admin", "10", "md5"] in lines
    assert ["serial", "15", "127.78.0.201", "9002", "codec", "VM"] in lines
    assert ["startcmd", f'"{FOLDER}/power-on"'] in lines


def test_two_bmcs_never_listen_in_one_place() -> None:
    places = {node.virtual_machine_address(declared) for declared in lab().nodes}
    assert places == {"127.78.0.201", "127.78.0.202"}


def test_the_boot_server_shares_the_storage_at_its_own_path() -> None:
    declared = lab()
    assert declared.boot_server
    command = boot_server.run_command(declared, declared.boot_server, "image:1")
    assert "/var/lib/labs/a/srv:/var/lib/labs/a/srv" in command
    assert "/var/lib/labs/a/nodes:/var/lib/labs/a/nodes:ro" in command  # where the consoles are
    assert command[command.index("--network") + 1] == "ns:/run/netns/oneimage-a-boot"
    assert command[-2:] == ["image:1", "/sbin/init"]


def test_an_image_is_made_anew_when_what_it_is_made_from_changes() -> None:
    server = lab().boot_server
    assert server
    sources = ["deb http://mirror.example/debian bookworm main"]
    changed = lab(boot_server={**options()["boot_server"], "packages": ["systemd", "dnsmasq"]}).boot_server
    assert changed
    names = {
        boot_server.image_of(server, sources),
        boot_server.image_of(server, []),
        boot_server.image_of(changed, sources),
    }
    assert len(names) == 3
    assert boot_server.image_of(server, list(sources)) in names


def test_a_declared_mirror_replaces_the_machines_sources() -> None:
    server = lab(
        boot_server={**options()["boot_server"], "mirror": "http://mirror.example/debian"}
    ).boot_server
    assert server
    assert boot_server.sources(server) == ["deb http://mirror.example/debian bookworm main"]


def test_a_choice_is_remembered_for_one_boot_of_the_machine() -> None:
    auto = lab(acceleration="auto")
    found = acceleration.Acceleration("kvm", "vmlinuz ran under KVM", acceleration.boot_id())
    assert acceleration.remembered(auto, None) is None
    assert acceleration.remembered(auto, found.facts()) == found
    assert acceleration.remembered(auto, {**found.facts(), "boot_id": "another"}) is None
    declared = acceleration.remembered(lab(acceleration="tcg"), found.facts())
    assert declared
    assert (declared.name, declared.reason) == ("tcg", "declared")
    assert acceleration.remembered(auto, declared.facts()) is None
