# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Files of hardware lie on the controller: their drivers go into the task's option ``hardware``, which modules take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _hardware_reference
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def read_files(hardware: Any, find: Callable[[str], str]) -> Any:
    """The entries of ``hardware``, those that stand for a file replaced by one for each site that the file tells of.

    ``find`` makes a path of the playbook's absolute. Raises ClusterError naming the file that is unreadable or no such
    document. What is no list is left to the module's own check.
    """
    if not isinstance(hardware, list):
        return hardware
    return [entry for given in hardware for entry in read_entry(given, find)]


def read_entry(entry: Any, find: Callable[[str], str]) -> list[Any]:
    if not isinstance(entry, dict) or not entry.get("file"):
        return [entry]
    rest = {name: value for name, value in entry.items() if name != "file"}
    if rest.keys() & {"drivers", "devices"}:
        raise ClusterError(
            f"hardware: {entry['file']} stands in an entry with drivers or devices; give two entries"
        )
    path = Path(find(str(entry["file"])))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"hardware: cannot read {path}: {error}") from error
    sites = _hardware_reference.read_drivers(text, str(path), rest.pop("site", None))
    return [{**rest, "site": site, "drivers": drivers} for site, drivers in sites.items()]
