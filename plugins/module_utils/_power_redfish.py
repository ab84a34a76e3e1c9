# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The power switch of one machine by Redfish (DMTF DSP0266): JSON over HTTPS."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

SYSTEMS = "/redfish/v1/Systems"
RESET = "#ComputerSystem.Reset"
RESET_TYPES: Mapping[str, Sequence[str]] = {
    "on": ("On", "ForceOn"),
    "off": ("ForceOff",),
    "soft_off": ("GracefulShutdown",),
    "reset": ("ForceRestart", "PowerCycle"),
}
"""The first that the machine allows is taken."""
BOOT_TARGETS = {"boot_pxe": "Pxe", "boot_disk": "Hdd", "boot_bios": "BiosSetup"}
STATES = {"On": "on", "PoweringOff": "on", "Paused": "on", "Off": "off", "PoweringOn": "off"}
"""A machine that is on its way has not arrived: it counts as what it was."""


class Service:
    """The Redfish service of one BMC."""

    def __init__(
        self,
        address: str,
        port: int,
        *,
        tls: bool = True,
        verify: bool = True,
        ca_path: str | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: float = 60,
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        self.base = f"{'https' if tls else 'http'}://{host}:{port}"
        self.settings: dict[str, Any] = {
            "validate_certs": verify,
            "ca_path": ca_path,
            "url_username": user,
            "url_password": password,
            "force_basic_auth": bool(user),
            "timeout": timeout,
            "use_proxy": False,
            "follow_redirects": "none",  # a password never follows to another host
        }

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, str | None]:
        """The answer's JSON, None if it is empty, and its ETag. Raises ClusterError with what the BMC said."""
        data = None if body is None else json.dumps(body)
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        try:
            with open_url(self.base + path, data, sent, method, **self.settings) as answer:
                text, etag = answer.read(), answer.headers.get("ETag")
        except urllib.error.HTTPError as error:
            raise ClusterError(f"Redfish {method} {path}: {error.code} {reason(error.read())}") from error
        except OSError as error:  # no route, refused, no answer, a certificate that nobody vouches for
            raise ClusterError(f"Redfish at {self.base}: {getattr(error, 'reason', error)}") from error
        try:
            return (json.loads(text) if text.strip() else None), etag
        except ValueError as error:
            raise ClusterError(f"Redfish {method} {path}: the answer is no JSON") from error

    def system(self, name: str | None) -> str:
        """The path of the machine: the one called ``name``, or the only one that the BMC has."""
        if name:
            return f"{SYSTEMS}/{name}"
        members = (self.ask("GET", SYSTEMS)[0] or {}).get("Members", [])
        paths = [str(member["@odata.id"]) for member in members]
        if len(paths) != 1:
            found = ", ".join(path.rpartition("/")[2] for path in paths) or "none"
            raise ClusterError(f"the BMC has {len(paths)} systems ({found}): say which one by system")
        return paths[0]


def reason(body: bytes) -> str:
    """The message of a Redfish error, or the start of whatever came instead."""
    try:
        error = json.loads(body)["error"]
        details = error.get("@Message.ExtendedInfo") or [{}]
        return str(details[0].get("Message") or error["message"])[:200]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return body.decode("utf-8", "replace").strip()[:200]


def act(service: Service, name: str | None, action: str, firmware: str) -> str:
    """Do ``action`` to the machine; what it says for ``status`` is ``on`` or ``off``. Raises ClusterError."""
    path = service.system(name)
    machine, etag = service.ask("GET", path)
    if not isinstance(machine, dict):
        raise ClusterError(f"Redfish GET {path}: the answer describes no system")
    if action == "status":
        return STATES.get(str(machine.get("PowerState")), "unknown")
    if action in BOOT_TARGETS:
        boot = {
            "BootSourceOverrideTarget": BOOT_TARGETS[action],
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideMode": "UEFI" if firmware == "uefi" else "Legacy",
        }
        service.ask("PATCH", path, {"Boot": boot}, {"If-Match": etag} if etag else {})
        return ""
    offered = machine.get("Actions", {}).get(RESET, {})
    allowed = offered.get("ResetType@Redfish.AllowableValues") or RESET_TYPES[action]
    kinds = [kind for kind in RESET_TYPES[action] if kind in allowed]
    if not kinds:
        raise ClusterError(f"it cannot do {action}: it allows {', '.join(allowed)}")
    service.ask(
        "POST", offered.get("target", f"{path}/Actions/ComputerSystem.Reset"), {"ResetType": kinds[0]}
    )
    return ""
