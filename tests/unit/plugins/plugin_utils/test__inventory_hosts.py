"""Hosts put into Ansible's inventory at once are what its own interface makes of them one by one."""

from __future__ import annotations

import gc
from typing import Any

import pytest

pytest.importorskip("ansible.template", reason="needs the template trust of ansible-core 2.19")
if not hasattr(pytest.importorskip("ansible.template"), "trust_as_template"):
    pytest.skip("needs the template trust of ansible-core 2.19", allow_module_level=True)

from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, is_trusted_as_template

from ansible_collections.oneimage.cluster.plugins.plugin_utils._inventory_hosts import (
    add_hosts,
    add_to_group,
    collection_paused,
    plain_value,
    untagged,
)

NAMES = ["n3", "localhost", "n1", "n2"]


def before(source: str | None) -> InventoryData:
    """An inventory in which another source has made a host, a group with ancestors, and an empty group."""
    inventory = InventoryData()
    inventory.current_source = "/first/hosts.ini"
    for group in ("site", "rack", "there"):
        inventory.add_group(group)
    inventory.add_child("site", "rack")
    inventory.add_host("n1", "rack")
    inventory.current_source = source
    return inventory


def picture(inventory: InventoryData) -> dict[str, Any]:
    inventory.reconcile_inventory()
    hosts = {
        name: (host.name, host.address, host.vars, sorted(group.name for group in host.groups))
        for name, host in inventory.hosts.items()
    }
    groups = {
        name: (
            [host.name for host in group.hosts],
            [host.name for host in group.get_hosts()],
            sorted(child.name for child in group.child_groups),
            sorted(parent.name for parent in group.parent_groups),
            group.depth,
            sorted(group.host_names),
        )
        for name, group in inventory.groups.items()
    }
    return {"hosts": hosts, "groups": groups, "localhost": inventory.localhost}


@pytest.mark.parametrize("source", ["/second/x.nodes.yml", None])
def test_as_ansible_does_it(source: str | None) -> None:
    ours, theirs = before(source), before(source)
    groups = {"new": NAMES, "rack": NAMES, "there": NAMES[:2], "few": NAMES[2:]}

    add_hosts(ours, NAMES)
    for group, names in groups.items():
        assert add_to_group(ours, group, add_hosts(ours, names)) == group
    for name in NAMES:
        theirs.add_host(name)
    for group, names in groups.items():
        theirs.add_group(group)
        for name in names:
            theirs.add_child(group, name)

    ours_seen, theirs_seen = picture(ours), picture(theirs)
    assert ours_seen.pop("localhost").name == theirs_seen.pop("localhost").name == "localhost"
    assert ours_seen == theirs_seen


def test_hosts_are_distinct_and_share_no_variables() -> None:
    first, second = add_hosts(InventoryData(), ["a", "b"])
    first.vars["x"] = 1
    assert first != second
    assert "x" not in second.vars


def test_text_without_a_brace_is_ordinary_and_any_other_is_no_template() -> None:
    value = plain_value({"plain": "a", "list": ["{{ 1 + 1 }}", "{% if x %}", 3, None, {"in": "b{# c"}]})
    assert is_trusted_as_template(value["plain"])
    foreign = [*value["list"][:2], value["list"][4]["in"]]
    assert not any(map(is_trusted_as_template, foreign))
    assert Templar(loader=DataLoader()).template(value) == {
        "plain": "a",
        "list": ["{{ 1 + 1 }}", "{% if x %}", 3, None, {"in": "b{# c"}],
    }


def test_untagged_values_are_plain_types() -> None:
    class Tagged(str):
        __slots__ = ()

    assert not isinstance(untagged([Tagged("x")])[0], Tagged)
    assert untagged({"a": [1, None, True, 2.5]}) == {"a": [1, None, True, 2.5]}


def test_the_garbage_collection_goes_on_afterwards() -> None:
    with pytest.raises(KeyError), collection_paused():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
