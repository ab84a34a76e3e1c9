# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deploy.yml refuses before it writes anything or touches a node. That it deploys is shown in tests/boot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from adhoc import run_playbook
from conftest import snapshot

NODE = {
    "node_mac": "52:54:00:00:00:01",
    "node_address": "10.99.0.11",
    "node_bmc": {"driver": "command", "commands": {"status": ["false"]}},
}


def refused(folder: Path, reserved: dict[str, Any] | None = None, **variables: Any) -> str:
    """What the playbook printed when it failed; nothing below ``folder``'s storage may have changed."""
    storage = folder / "storage"
    (storage / "boot").mkdir(parents=True, exist_ok=True)
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups: dict[str, Any] = {
        "nodes": {"hosts": {"n1": NODE}},
        "builder": {"hosts": {"server": here}},
        "boot_server": {"hosts": {"server": here}},
        **({"reserved": {"hosts": reserved}} if reserved else {}),
    }
    (folder / "hosts.yml").write_text(json.dumps(groups))
    extra = {
        "oneimage_storage": str(storage),
        "oneimage_subnet": "10.99.0.0/24",
        "oneimage_server": "10.99.0.1",
        "deployment_root": str(folder / "root"),
        **variables,
    }
    before = snapshot(storage)
    done = run_playbook("playbooks/deploy.yml", str(folder / "hosts.yml"), extra)
    assert done.returncode != 0, done.stdout
    assert snapshot(storage) == before
    return " ".join(done.stdout.split())


def test_a_node_outside_the_reservation_is_refused_first(tmp_path: Path) -> None:
    out = refused(tmp_path, {"n2": {"node_job": "7"}}, deployment_environment="none")
    assert "n1" in out.partition("msg")[2]
    assert "reserved" in out.partition("msg")[2]
    assert "Check the image" not in out


def test_an_environment_that_is_not_registered_is_named(tmp_path: Path) -> None:
    registry = tmp_path / "storage" / "registry" / "environments"
    registry.mkdir(parents=True)
    out = refused(tmp_path, deployment_environment="nobody-has-it")
    assert "nobody-has-it" in out.partition("msg")[2]


@pytest.mark.parametrize("field", ["sha256", "kernel"])
def test_an_image_that_is_not_as_described_is_refused(tmp_path: Path, field: str) -> None:
    image, tree = tmp_path / "image.tar.gz", tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz").write_bytes(b"kernel")
    subprocess.run(["tar", "-C", tree, "-czf", image, "."], check=True)
    description: dict[str, Any] = {
        "name": "mine",
        "os": "linux",
        "filesystem": "ext4",
        "image": {"file": f"server://{image}", "kind": "tar", "compression": "gzip"},
        "boot": {"kernel": "/boot/vmlinuz" if field == "sha256" else "/boot/bzImage"},
    }
    if field == "sha256":
        description["oneimage"] = {"sha256": "0" * 64}
    out = refused(tmp_path, deployment_description=description)
    assert {"sha256": "0" * 64, "kernel": "/boot/bzImage is not in the image"}[field] in out
    assert str(image) in out


def test_a_root_without_a_kernel_for_the_deployment_environment_is_named(tmp_path: Path) -> None:
    (tmp_path / "root/boot").mkdir(parents=True)
    out = refused(tmp_path, deployment_environment="mine", deployment_verify_image=False)
    assert f"deployment_root: {tmp_path}/root/boot holds 0 kernels" in out
