# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories of the plugin ``nodes`` as ansible-inventory prints them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inventory_run import ansible


def listed(
    folder: Path, *sources: dict[str, Any], environment: Mapping[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    """What ``ansible-inventory --list`` prints for ``sources``, in this process's environment and ``environment``."""
    done = run(folder, sources, environment or {}, options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refusal(folder: Path, *sources: dict[str, Any], environment: Mapping[str, str] | None = None) -> str:
    """What ansible-inventory says when it refuses ``sources``, in one line."""
    done = run(folder, sources, environment or {}, {})
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return " ".join(done.stderr.split())


def run(
    folder: Path, sources: tuple[dict[str, Any], ...], environment: Mapping[str, str], options: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    file = folder / "test.nodes.yml"
    declared = {"plugin": "oneimage.cluster.nodes", "sources": list(sources), **options}
    file.write_text(json.dumps(declared), encoding="utf-8")  # JSON is YAML
    return ansible("ansible-inventory", "-i", file, "--list", environment={**os.environ, **environment})


def hosts(inventory: dict[str, Any], group: str = "reserved") -> list[str]:
    """The hosts of a group, sorted; none where there is no such group."""
    return sorted(inventory.get(group, {}).get("hosts", []))


def host_variable(inventory: dict[str, Any], name: str) -> dict[str, Any]:
    """Host -> its variable ``name``, for the hosts that have it."""
    variables = inventory["_meta"]["hostvars"]
    return {host: values[name] for host, values in variables.items() if name in values}
