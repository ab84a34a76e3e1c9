from __future__ import annotations

import threading
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _power
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._power import Order, Target

IPMI = {
    "name": "n1",
    "driver": "ipmi",
    "address": "10.0.0.11",
    "port": 623,
    "user": "admin",
    "password": "hush",
}
OWN = {"name": "v1", "driver": "command", "commands": {"status": ["echo", "on"]}}


@pytest.mark.parametrize(
    ("action", "fields", "words"),
    [
        ("status", {}, ["chassis", "power", "status"]),
        ("on", {}, ["chassis", "power", "on"]),
        ("boot_pxe", {}, ["chassis", "bootdev", "pxe"]),
        ("boot_disk", {"firmware": "uefi"}, ["chassis", "bootdev", "disk", "options=efiboot"]),
    ],
)
def test_ipmi_commands_hold_no_secret(action: str, fields: dict[str, Any], words: list[str]) -> None:
    argv, environment = _power.ipmi_command(Target(**{**IPMI, **fields}), action)
    assert argv == ["ipmitool", "-I", "lanplus", "-H", "10.0.0.11", "-p", "623", "-U", "admin", "-E", *words]
    assert environment == {"IPMI_PASSWORD": "hush"}
    assert "hush" not in repr(Target(**IPMI))


def test_cipher_suite() -> None:
    argv, _environment = _power.ipmi_command(Target(**IPMI, cipher_suite=3), "status")
    assert argv[argv.index("-C") + 1] == "3"


@pytest.mark.parametrize(
    ("items", "order", "said"),
    [
        ([IPMI, IPMI], Order("on"), "two nodes are named n1"),
        ([IPMI, {**IPMI, "name": "n2"}], Order("on"), "nodes n1 and n2 have the same BMC 10.0.0.11 port 623"),
        ([{**IPMI, "address": None}], Order("on"), 'node n1: address "" is no name or address of a BMC'),
        ([{**IPMI, "address": "-oX"}], Order("on"), 'node n1: address "-oX" is no name'),
        ([{**IPMI, "port": 0}], Order("on"), "node n1: port 0 is no port"),
        ([OWN], Order("cycle"), "node v1: commands has no on, off, which this needs"),
        ([{"name": "v1", "driver": "command"}], Order("status"), "node v1: commands has no status"),
        (
            [{**OWN, "commands": {"status": ["x"], "on": ["x"]}}],
            Order("on", boot_device="pxe"),
            "commands has no boot_pxe",
        ),
    ],
)
def test_refused(items: list[dict[str, Any]], order: Order, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        _power.parse_targets(items, order)


@pytest.mark.parametrize(
    ("printed", "state"),
    [
        ("Chassis Power is on", "on"),
        ("Chassis Power is off\n", "off"),
        ("ON", "on"),
        ("on its way: off", "off"),
    ],
)
def test_status_words(printed: str, state: str) -> None:
    assert (
        _power.status(Target("v1", "command", commands={"status": ["echo", printed]}), Order("status"))
        == state
    )


def test_status_that_says_nothing() -> None:
    target = Target("v1", "command", commands={"status": ["echo", "offline"]})
    with pytest.raises(ClusterError, match='neither "on" nor "off": \'offline\''):
        _power.status(target, Order("status"))


def test_attempts_are_counted() -> None:
    target = Target("v1", "command", commands={"status": ["false"]})
    with pytest.raises(
        ClusterError, match=r"status: false failed with exit code 1: it printed nothing \(2 attempts\)"
    ):
        _power.status(target, Order("status", retries=1))


def test_each_power_up_books_its_own_slot() -> None:
    gate = _power.Gate(0.02)
    gate.wait()
    first = gate.opens
    threads = [threading.Thread(target=gate.wait) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.opens - first >= 4 * 0.02 - 1e-6


def test_one_failure_stops_nobody() -> None:
    targets = [
        Target("bad", "command", commands={"status": ["false"]}),
        Target("good", "command", commands={"status": ["echo", "off"]}),
        Target("silent", "command", commands={"status": ["true"]}),
    ]
    outcomes = _power.power(targets, Order("status", retries=0))
    assert (outcomes["good"].before, outcomes["good"].error) == ("off", None)
    assert _power.failures(outcomes).startswith(
        "2 of 3 nodes failed: bad: status: false failed with exit code 1"
    )
    assert "silent: the status command says neither" in _power.failures(outcomes)
    assert _power.listing(outcomes, "before") == "bad: unknown\ngood: off\nsilent: unknown\n"
