"""Tests that ask running nodes; the lab was brought up and the nodes were booted by the playbooks before.

The inventory is the one that ONEIMAGE_INVENTORY names, the demo's unless set. Every node in it is asked through testinfra's
ssh backend: a node needs no Python.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = os.environ.get("ONEIMAGE_INVENTORY", str(CHECKOUT / "inventories" / "lab"))
NEEDLESS = [
    *("/usr/lib/udev/hwdb.d/**", "/usr/share/doc/**", "/usr/share/zoneinfo/**", "/usr/share/perl/**"),
    *("/usr/lib/x86_64-linux-gnu/perl/**", "/usr/lib/x86_64-linux-gnu/gconv/**"),
]
"""What captures leave out: a third of the files, which an emulated node sends for a minute."""


@functools.cache
def declared() -> list[dict[str, Any]]:
    """The declared variables of the nodes and the boot server, one dict per host."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "declared.json"
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = [
            program,
            "-i",
            INVENTORY,
            "-e",
            f"declared_path={path}",
            Path(__file__).with_name("declared.yml"),
        ]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=CHECKOUT)
        return json.loads(path.read_text())


def host_of(variables: dict[str, Any], folder: Path) -> Host:
    """A host that testinfra asks by ssh, the way the inventory says."""
    config = folder / f"ssh_config_{variables['inventory_hostname']}"
    words = variables["ansible_ssh_common_args"].replace('"', "").split("-o ")
    options = [word.strip().replace("=", " ", 1) for word in words if word.strip()]
    config.write_text("\n".join([f"Host {variables['ansible_host']}", "User root", *options]) + "\n")
    return testinfra.get_host(
        f"ssh://{variables['ansible_host']}",
        ssh_config=str(config),
        ssh_identity_file=variables["ansible_ssh_private_key_file"],
        timeout=90,  # an emulated node that is busy takes its time to greet
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "declaration" in metafunc.fixturenames:
        nodes = [host for host in declared() if "nodes" in host["group_names"]]
        metafunc.parametrize(
            "declaration", nodes, ids=lambda node: node["inventory_hostname"], scope="session"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that give nodes another image come last: the others ask for the declared one. Disks are written at the end."""
    last = ("test_capture.py", "test_deploy.py", "test_kernel.py")
    items.sort(key=lambda item: last.index(item.path.name) + 1 if item.path.name in last else 0)


@pytest.fixture(scope="session")
def node(declaration: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Host:
    return host_of(declaration, tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def boot_server(tmp_path_factory: pytest.TempPathFactory) -> Host:
    variables = next(host for host in declared() if "boot_server" in host["group_names"])
    return host_of(variables, tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    folder = tmp_path_factory.mktemp("ssh")
    return {
        host["inventory_hostname"]: host_of(host, folder)
        for host in declared()
        if "nodes" in host["group_names"]
    }
