from __future__ import annotations

from datetime import datetime

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_stage import (
    STAGES,
    dnsmasq_events,
    nginx_events,
    observe,
    report_events,
    stage_of_file,
)

TREE = "/srv/oneimage/boot"
NODE = {"name": "node1", "mac": "52:54:00:77:00:01", "address": "10.77.0.11"}
OTHER = {"name": "node2", "mac": "52:54:00:77:00:02", "address": "10.77.0.12"}
POWERED = datetime.fromisoformat("2026-11-21T11:28:00+00:00").timestamp()
# As the daemons of a booting lab logged them.
DNSMASQ = [
    f"{POWERED - 90:.6f} boot dnsmasq-dhcp[415]: DHCPACK(eth0) 10.77.0.11 52:54:00:77:00:01 node1",
    f"{POWERED + 4.2:.6f} boot dnsmasq-dhcp[415]: DHCPDISCOVER(eth0) 52:54:00:77:00:01",
    f"{POWERED + 5.1:.6f} boot dnsmasq-dhcp[415]: DHCPACK(eth0) 10.77.0.11 52:54:00:77:00:01 node1",
    f"{POWERED + 6.0:.6f} boot dnsmasq-tftp[415]: sent {TREE}/undionly.kpxe to 10.77.0.11",
    f"{POWERED + 6.1:.6f} boot dnsmasq-tftp[415]: sent /elsewhere/undionly.kpxe to 10.77.0.12",
]
NGINX = [
    '10.77.0.11 - - [21/Nov/2026:11:28:09 +0000] "GET /ipxe/boot.ipxe HTTP/1.1" 200 766 "-" "iPXE/1.21.1"',
    '10.77.0.11 - - [21/Nov/2026:11:28:12 +0000] "GET /images/demo-0/vmlinuz?once=1 HTTP/1.1" 200 9 "-" "iPXE/1.21.1"',
    '10.77.0.12 - - [21/Nov/2026:11:28:12 +0000] "GET /images/demo-0/vmlinuz HTTP/1.1" 404 162 "-" "iPXE/1.21.1"',
]
REPORTS = [
    "2026-11-21T11:28:20+00:00 52:54:00:77:00:01 initrd 10.77.0.11",
    "2026-11-21T11:28:21+00:00 52:54:00:77:00:02 failed-network 10.77.0.12",
]


def events() -> list:
    return [*dnsmasq_events(DNSMASQ, TREE), *nginx_events(NGINX), *report_events(REPORTS)]


def test_a_boot_is_followed_through_all_logs() -> None:
    found = observe([NODE, OTHER], events(), {}, since=POWERED, now=POWERED + 60)
    passed = {step["stage"]: step["seconds"] for step in found["node1"]["timeline"]}
    assert passed == {"dhcp": 5.1, "loader": 6.0, "kernel": 12.0, "initrd": 20.0}
    assert found["node1"]["stage"] == "initrd"
    assert found["node1"]["evidence"] == REPORTS[0]
    assert "is the root exported" in found["node1"]["advice"]


def test_a_node_that_was_not_seen_is_advised_on() -> None:
    found = observe([NODE, OTHER], events(), {}, since=POWERED, now=POWERED + 60)
    assert found["node2"]["stage"] == ""
    assert found["node2"]["timeline"] == []
    assert "no DHCP request" in found["node2"]["advice"]


def test_a_greeting_of_ssh_ends_the_boot() -> None:
    found = observe([NODE], events(), {"10.77.0.11": "SSH-2.0-OpenSSH_9.2"}, since=POWERED, now=POWERED + 60)
    assert (found["node1"]["stage"], found["node1"]["seconds"]) == ("ssh", 60.0)
    assert found["node1"]["advice"] == ""


def test_lines_from_before_the_power_came_do_not_count() -> None:
    found = observe([NODE], events(), {}, since=POWERED + 100, now=POWERED + 160)
    assert found["node1"]["stage"] == ""


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("pxelinux.0", "loader"),
        ("ldlinux.c32", "loader"),
        ("pxelinux.cfg/01-52-54-00-77-00-01", "loader"),
        ("snponly.efi", "loader"),
        ("ipxe/mac-52-54-00-77-00-01.ipxe", "loader"),
        ("images/demo-0/vmlinuz", "kernel"),
        ("images/demo-0/initrd-native", "kernel"),
        ("images/demo-0/readme", ""),
    ],
)
def test_a_file_proves_a_stage(path: str, stage: str) -> None:
    assert stage_of_file(path) == stage
    assert stage in (*STAGES, "")


@pytest.mark.parametrize("line", ["", "\x00\xff", "10.77.0.11 - - [torn", "2026-11-21 x initrd 1"])
def test_foreign_lines_are_passed_over(line: str) -> None:
    assert [*dnsmasq_events([line], TREE), *nginx_events([line]), *report_events([line])] == []
