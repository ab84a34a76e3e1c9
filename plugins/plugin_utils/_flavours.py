# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Flavours of SSI clusters: YAML files on the controller, shipped or the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_flavour import check_flavour
from ansible_collections.oneimage.cluster.plugins.plugin_utils._yaml_file import read_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "roles/ssi_cluster/vars/flavours"


def resolve(flavour: Any, base: Path) -> dict[str, Any]:
    """A checked flavour of a name, a path (relative ones below ``base``) or a mapping; raises ClusterError."""
    if isinstance(flavour, Mapping):
        return check_flavour(flavour)
    if not isinstance(flavour, str) or not flavour:
        raise ClusterError(f"flavour: {flavour!r} is neither a name, nor a file, nor a mapping")
    if "/" in flavour or flavour.endswith((".yml", ".yaml")):
        return read_flavour(base / Path(flavour).expanduser())
    shipped = {file.stem: file for file in SHIPPED.glob("*.yml")}
    if flavour not in shipped:
        raise ClusterError(
            f"unknown flavour {flavour!r}; there are {', '.join(sorted(shipped))}; give the path of a file for your own"
        )
    return read_flavour(shipped[flavour])


def read_flavour(path: Path) -> dict[str, Any]:
    return check_flavour(read_yaml(path, "flavour"), str(path))
