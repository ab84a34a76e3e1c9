from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.kernel_tree import make_root

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_coverage as coverage
from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_modules
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

NIC = "pci:v0000CAFEd00000001sv00000000sd00000000bc02sc00i00"
SITES: list[dict[str, Any]] = [
    {"site": "nancy", "drivers": ["my_nic", "virtio-net", "af_packet"]},
    {
        "site": "rennes",
        "drivers": ["i40e", "my-nic"],
        "devices": [NIC, "02:00.0 0200: 8086:10d3"],
        "as": "builtin",
    },
    {"drivers": ["i40e"]},
]


@pytest.fixture
def tree(tmp_path: Path) -> _initrd_modules.ModuleTree:
    return _initrd_modules.read_tree(make_root(tmp_path), None)


def test_each_site_is_told_where_its_drivers_are(tree: _initrd_modules.ModuleTree) -> None:
    needs = coverage.needs_of(tree, SITES)
    assert coverage.coverage(tree, needs) == {
        "nancy": {"initrd": ["my_nic", "virtio_net"], "builtin": ["af_packet"], "missing": [], "unknown": []},
        "rennes": {
            "initrd": ["my_nic"],
            "builtin": [],
            "missing": ["i40e"],
            "unknown": ["02:00.0 0200: 8086:10d3"],
        },
        "all": {"initrd": [], "builtin": [], "missing": ["i40e"], "unknown": []},
    }
    assert coverage.drivers(tree, needs) == ["my_nic", "virtio_net", "af_packet"]


def test_gaps_are_refused_with_the_sites_that_have_them(tree: _initrd_modules.ModuleTree) -> None:
    coverage.refuse_gaps(tree, coverage.needs_of(tree, SITES[:1]))
    with pytest.raises(ClusterError) as refused:
        coverage.refuse_gaps(tree, coverage.needs_of(tree, SITES))
    assert "driver i40e (rennes, all); device 02:00.0 0200: 8086:10d3 (rennes);" in str(refused.value)


def test_what_is_no_driver_is_refused(tree: _initrd_modules.ModuleTree) -> None:
    with pytest.raises(ClusterError, match=r"hardware: entry 1: '../x' in drivers"):
        coverage.needs_of(tree, [{"drivers": ["../x"]}])
