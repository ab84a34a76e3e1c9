# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The options of module ``deployment``, which its action plugin reads too."""

from __future__ import annotations

from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _power
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_layout import TYPES
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import MACROS
from ansible_collections.oneimage.cluster.plugins.module_utils._node import FIRMWARES, LOADERS

STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
STEP = {
    "type": "list",
    "elements": "dict",
    "options": {
        "implementation": {"type": "str", "required": True},
        "timeout": {"type": "float"},
        "retries": {"type": "int"},
    },
}
NODE = {
    "name": {"type": "str", "required": True},
    "mac": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "firmware": {"type": "str", "choices": list(FIRMWARES), "default": "bios"},
    "loader": {"type": "str", "choices": list(LOADERS), "default": "ipxe"},
    "cluster": {"type": "str", "default": ""},
    "site": {"type": "str", "default": ""},
    "disk": {"type": "str", "default": ""},
    "power": {"type": "dict", "options": _power.OPTIONS},
    "console": {"type": "str", "default": ""},
    "facts": {"type": "dict", "default": {}},
}
PARTITION = {
    "role": {"type": "str", "required": True},
    "size": {"type": "int", "required": True},
    "type": {"type": "str", "choices": list(TYPES), "default": "linux"},
    "filesystem": {"type": "str", "default": ""},
    "label": {"type": "str", "default": ""},
}
LAYOUT = {
    "disk": {"type": "str"},
    "table": {"type": "str", "choices": ["auto", "gpt", "mbr"], "default": "auto"},
    "overwrite": {"type": "str", "choices": ["ours", "any"], "default": "ours"},
    "partitions": {
        "type": "list",
        "elements": "dict",
        "options": PARTITION,
        "default": [{"role": "swap", "size": 1024, "type": "swap"}, {"role": "deploy", "size": 0}],
    },
}
ENVIRONMENT = {
    "registry": {"type": "path", "default": "/srv/oneimage/registry"},
    "name": {"type": "str"},
    "owner": {"type": "str"},
    "version": {"type": "int"},
    "user": {"type": "str"},
    "description": {"type": "dict"},
}
BOOT = {
    "tree": {"type": "path", "default": "/srv/oneimage/boot"},
    "url": {"type": "str"},
    "kernel": {"type": "str"},
    "initrds": STRINGS,
    "parameters": STRINGS,
    "programs": STRINGS,
    "logs": {"type": "path", "default": "/var/log/nginx"},
}
OPTIONS: dict[str, Any] = {
    "id": {"type": "str"},
    "environment": {"type": "dict", "required": True, "options": ENVIRONMENT},
    "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODE},
    "layout": {"type": "dict", "default": {}, "options": LAYOUT, "apply_defaults": True},
    "partition": {"type": "str", "default": "deploy"},
    "steps": {"type": "dict", "default": {}, "options": dict.fromkeys(MACROS, STEP)},
    "broadcast": {
        "type": "str",
        "choices": ["auto", "http", "chain", "bittorrent", "udpcast"],
        "default": "auto",
    },
    "kexec": {"type": "bool", "default": False},
    "wave": {"type": "int", "default": 0},
    "wave_pause": {"type": "float", "default": 0},
    "power_ups": {"type": "int", "default": 0},
    "breakpoint": {"type": "str"},
    "resume": {"type": "bool", "default": False},
    "min_ok": {"type": "str", "default": "100%"},
    "busy": {"type": "str", "choices": ["refuse", "discard"], "default": "refuse"},
    "keys": {**STRINGS, "no_log": False},
    "reformat_tmp": {"type": "bool", "default": False},
    "admin_post_installs": {"type": "list", "elements": "dict", "default": []},
    "parameters": STRINGS,
    "hooks": {"type": "dict", "default": {}},
    "boot": {"type": "dict", "default": {}, "options": BOOT, "apply_defaults": True},
    "server": {"type": "str", "required": True},
    "deployments": {"type": "path", "default": "/srv/oneimage/deployments"},
    "ok_file": {"type": "path"},
    "ko_file": {"type": "path"},
    "progress": {"type": "int", "default": 10},
}
