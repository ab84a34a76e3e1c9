# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""YAML files on the controller that users may write themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def read_yaml(path: Path, what: str) -> Any:
    """What is in the file; raises ClusterError, which calls it ``what``, where it cannot be read or is no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot read the {what} {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ClusterError(f"{what} {path} is no YAML: {' '.join(str(error).split())}") from error
