# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy's workflows through its REST API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import KadeployError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_rest import Access, KadeployRest
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_steps import Chain
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow import (
    VERBOSE,
    Order,
    Outcome,
    Running,
    Site,
    broken,
    discarded,
    failure,
    missing,
    read_log,
    read_power,
    refused,
)

ROUTES: Mapping[str, tuple[str, str]] = {
    "deploy": ("POST", "/deployment"),
    "reboot": ("POST", "/reboot"),
    "power": ("PUT", "/power"),
}
PAUSE = 0.5
"""Seconds between two questions about a power status."""

LONGEST = 900
"""Seconds in which all nodes must tell their power status."""

FIELDS: Mapping[str, str] = {
    "key": "ssh_authorized_keys",
    "partition": "deploy_partition",
    "block_device": "block_device",
    "boot_partition": "boot_partition",
    "vlan": "vlan",
    "reformat_tmp": "reformat_tmp_partition",
    "no_kexec": "disable_kexec",
    "disable_bootloader_install": "disable_bootloader_install",
    "disable_disk_partitioning": "disable_disk_partitioning",
    "chain": "automata",
    "custom": "custom_operations",
    "breakpoint": "breakpoint",
    "kind": "kind",
    "state": "status",
    "check_destructive": "check_destructive",
    "force": "force",
}
"""Fields of an Order and their names in a request; what is empty or False is left out."""


def body_of(order: Order, nodes: Sequence[str]) -> dict[str, Any]:
    """The body of the request that starts ``order``."""
    body: dict[str, Any] = {"nodes": list(nodes), "verbose_level": VERBOSE}
    for ours, theirs in FIELDS.items():
        value = getattr(order, ours)
        if value is not None and value is not False and value != {}:
            body[theirs] = value
    if order.block_device and order.partition is None and order.operation == "deploy":
        # without it Kadeploy puts its own partition behind the device
        body["deploy_partition"] = ""
    if order.description is not None:
        body["environment"] = {**order.description, "kind": "anonymous"}
    elif order.environment is not None:
        body["environment"] = {**order.environment, "kind": "database"}
    if order.pxe_profile is not None:
        body["pxe"] = {"profile": order.pxe_profile}
    if order.operation != "deploy":
        body["level"] = order.level
    return body


class RestSite(Site):
    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self.rest = KadeployRest(access)
        self.title = f"Kadeploy at {self.rest.url}"

    def nodes(self) -> list[str]:
        answer = self.rest.request("GET", "/nodes", "list its nodes", {"list": "true"})
        if not isinstance(answer, list):
            raise ClusterError(f"{self.title}: no list of nodes came; is this a Kadeploy server?")
        return [str(node) for node in answer]

    def states(self) -> dict[str, dict[str, Any] | None]:
        answer = self.rest.request("GET", "/nodes", "read the states of its nodes")
        if not isinstance(answer, dict):
            raise ClusterError(f"{self.title}: no states of nodes came; is this a Kadeploy server?")
        return answer

    def automata(self) -> dict[str, Chain]:
        answer = self.rest.request("GET", "/info", "read its configuration")
        return dict(answer["automata"]) if isinstance(answer, dict) and "automata" in answer else {}

    def power(self, nodes: Sequence[str]) -> dict[str, str]:
        what = "ask for the power status"
        answer = self.rest.request("GET", "/power", what, {"nodes": list(nodes)})
        run = RestRunning(self, "/power", answer["wid"], nodes)
        try:
            run.wait()
            return read_power(run.log)
        finally:
            run.clean()

    def statistics(self, filters: Mapping[str, str]) -> str:
        query = {key: value for key, value in filters.items() if key != "operation"}
        operation = filters.get("operation")
        return self.rest.csv(f"/stats/{operation}" if operation else "/stats", "read its statistics", query)

    def console(self, node: str) -> list[str]:
        raise ClusterError("consoles: its REST API shows none; give the server without url, for its commands")

    def start(self, order: Order, nodes: Sequence[str]) -> Running:
        method, route = ROUTES[order.operation]
        what = f"start the {order.operation} of {len(nodes)} nodes"
        answer = self.rest.request(method, route, what, body=body_of(order, nodes))
        if not isinstance(answer, dict) or "wid" not in answer:
            raise ClusterError(f"{self.title}: no id of the workflow came; is this a Kadeploy server?")
        return RestRunning(self, route, str(answer["wid"]), nodes)


class RestRunning(Running):
    def __init__(self, site: RestSite, route: str, wid: str, nodes: Sequence[str]) -> None:
        self.site = site
        self.place = f"{route}/{wid}"
        self.wid = wid
        self.wanted = list(nodes)
        self.log = ""
        self.lists: dict[str, list[str]] = {}
        self.fault: ClusterError | None = None

    def ask(self, path: str = "", what: str = "follow", method: str = "GET") -> Any:
        return self.site.rest.request(method, f"{self.place}{path}", f"{what} {self.wid}")

    def done(self) -> bool:
        answer = self.ask()
        if answer.get("logs"):
            self.log += plain_log(str(self.ask("/logs")))
        if not answer.get("done"):
            return False
        self.lists = answer.get("nodes") or {}
        if answer.get("error"):
            try:
                self.ask("/error", "finish")
                self.fault = ClusterError(
                    f"{self.site.title}: {self.wid} ended with an error that it does not tell"
                )
            except ClusterError as error:
                self.fault = error
        return True

    def wait(self) -> None:
        """Until it is over; raises ClusterError after LONGEST."""
        deadline = time.monotonic() + LONGEST
        while not self.done():
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.site.title}: {self.wid} was not done within {LONGEST} s")
            time.sleep(PAUSE)

    def outcomes(self) -> dict[str, Outcome]:
        log = read_log(self.log)
        if self.fault is not None:
            return refused(self.site.name, self.fault, self.wanted, log)
        states = self.ask("/state")
        states = states if isinstance(states, dict) else {}
        found = {}
        for node in self.wanted:
            state = states.get(node) or {}
            said = state.get("state")
            if said == "brk" or (said != "ko" and node in log.broken):
                found[node] = broken(self.site.name, log, node)
            elif said == "discarded" or node in log.discarded:
                found[node] = discarded(self.site.name)
            elif said == "ko" or node in self.lists.get("ko", []):
                found[node] = failed(self.site.name, state)
            elif said == "ok" or node in self.lists.get("ok", []):
                found[node] = Outcome(self.site.name, "ok")
            else:
                found[node] = missing(self.site.name)
        return found

    def cancel(self) -> None:
        self.clean()

    def clean(self) -> None:
        with contextlib.suppress(KadeployError):
            self.ask(what="forget", method="DELETE")


def failed(site: str, state: Mapping[str, Any]) -> Outcome:
    found = failure(site, str(state.get("error") or "failed, and Kadeploy does not say why"))
    found.macro = found.macro or state.get("macro") or None
    found.micro = found.micro or state.get("micro") or None
    return found


def plain_log(text: str) -> str:
    """Lines ``epoch.fraction|text`` without their times."""
    return "".join(line.partition("|")[2] + "\n" for line in text.splitlines() if "|" in line)
