# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy's workflows through its commands, on a frontend: kadeploy3, kareboot3, kapower3, kanodes3, kastat3, as argv lists.

Options, outputs and files as recorded of 3.3.11.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import (
    read_documents,
    write_document,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import client_refusal
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_kaenv import run_client
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_steps import Chain, force_steps
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
    read_failures,
    read_log,
    read_power,
    refused,
)

PROGRAMS: Mapping[str, str] = {"deploy": "kadeploy3", "reboot": "kareboot3", "power": "kapower3"}

FLAGS: Mapping[str, str] = {
    "key": "--key",
    "block_device": "--block-device",
    "partition": "--partition-number",
    "boot_partition": "--boot-partition",
    "vlan": "--vlan",
    "reformat_tmp": "--reformat-tmp",
    "no_kexec": "--no-kexec",
    "disable_bootloader_install": "--disable-bootloader-install",
    "disable_disk_partitioning": "--disable-disk-partitioning",
    "breakpoint": "--breakpoint",
    "kind": "--reboot-kind",
    "check_destructive": "--check-destructive-tag",
    "force": "--force",
}
"""Fields of an Order and their options; True is an option without a value."""

AUTOMATA = re.compile(r" {4}(?P<cluster>\S+):|(?P<macro> {6}\w+): (?P<instances>.*)")
GRACE = 20
"""Seconds in which a client that is told to stop has its workflow ended."""


class ClientSite(Site):
    """``server`` is a name of the client's configuration, None for its default; ``folder`` holds the programs, None for PATH."""

    def __init__(self, name: str, server: str | None, folder: str | None) -> None:
        self.name = name
        self.server = server
        self.folder = folder
        self.title = " ".join(self.argv("kadeploy3"))

    def argv(self, program: str) -> list[str]:
        path = str(Path(self.folder) / program) if self.folder else program
        return [path, *(["--server", self.server] if self.server else [])]

    def run(self, program: str, what: str, *options: str) -> str:
        argv = self.argv(program)
        return run_client([*argv, *options], f"{' '.join(argv)}: cannot {what}")

    def nodes(self) -> list[str]:
        return list(self.states())

    def states(self) -> dict[str, dict[str, Any] | None]:
        output = self.run("kanodes3", "read the states of its nodes", "--get-nodes-state")
        found: dict[str, dict[str, Any] | None] = {}
        for document in read_documents(output, f"{self.title}: kanodes3"):
            if not isinstance(document, dict):
                raise ClusterError(f"{self.title}: kanodes3 printed no states of nodes")
            found.update(document)
        return found

    def automata(self) -> dict[str, Chain]:
        return read_info(self.run("kadeploy3", "read its configuration", "--server-info"))

    def power(self, nodes: Sequence[str]) -> dict[str, str]:
        machines = [word for node in nodes for word in ("--machine", node)]
        return read_power(self.run("kapower3", "ask for the power status", *machines, "--status"))

    def statistics(self, filters: Mapping[str, str]) -> str:
        names = {
            "operation": "--operation",
            "wid": "--workflow-id",
            "date_min": "--date-min",
            "date_max": "--date-max",
        }
        options = [word for key, value in filters.items() for word in (names[key], value)]
        return self.run("kastat3", "read its statistics", "--all", *options)

    def console(self, node: str) -> list[str]:
        return [*self.argv("kaconsole3"), "--machine", node]

    def start(self, order: Order, nodes: Sequence[str]) -> Running:
        return ClientRunning(self, order, nodes)


def options_of(order: Order, folder: Path) -> list[str]:
    """The options of ``order``; files that they name are written into ``folder``."""
    options: list[str] = []
    for ours, flag in FLAGS.items():
        value = getattr(order, ours)
        if value is True:
            options.append(flag)
        elif value is not None and value is not False:
            options += [flag, str(value)]
    if order.description is not None:
        options += ["--env-file", written(folder / "environment.yml", write_document(order.description))]
    elif order.environment is not None:
        given = order.environment
        options += ["--env-name", given["name"], "--env-user", given["user"]]
        options += ["--env-version", str(given["version"])]
    if order.chain is not None:
        options += ["--force-steps", force_steps(order.chain)]
    if order.custom:
        options += ["--custom-steps", written(folder / "custom.yml", write_document(order.custom))]
    if order.pxe_profile is not None:
        options += ["--set-pxe-profile", written(folder / "profile", order.pxe_profile)]
    if order.operation == "power":
        options.append(f"--{order.state}")
    if order.operation != "deploy":
        options += ["--op-level", order.level]
    return options


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


class ClientRunning(Running):
    """The client is a process of its own session, which goes on if this module is ended."""

    def __init__(self, site: ClientSite, order: Order, nodes: Sequence[str]) -> None:
        self.site = site
        self.wanted = list(nodes)
        self.folder = Path(tempfile.mkdtemp(prefix="oneimage-kadeploy-"))
        files = {name: str(self.folder / name) for name in ("ok", "ko", "wid")}
        machines = written(self.folder / "nodes", "\n".join(nodes) + "\n")
        self.argv = [
            *site.argv(PROGRAMS[order.operation]),
            *("--file", machines, "--verbose-level", str(VERBOSE)),
            *("--output-ok-nodes", files["ok"], "--output-ko-nodes", files["ko"]),
            *("--write-workflow-id", files["wid"]),
            *options_of(order, self.folder),
        ]
        try:
            with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
                self.process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, "LC_ALL": "C.UTF-8"},
                    start_new_session=True,
                )
        except OSError as error:
            self.clean()
            raise ClusterError(f"cannot run {self.argv[0]}: {error.strerror}") from error

    def text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def identify(self) -> str | None:
        self.wid = self.text("wid").strip() or None
        return self.wid

    def done(self) -> bool:
        self.identify()
        return self.process.poll() is not None

    def outcomes(self) -> dict[str, Outcome]:
        site, output = self.site.name, self.text("out")
        log = read_log(output)
        code = self.process.returncode
        if code:
            # 0 says nothing about nodes, anything else that there was no operation, or no end of it
            error = client_refusal(f"{self.site.title}: failed", code, self.text("err").strip() or output)
            return refused(site, error, self.wanted, log)
        lists = {name: set(self.text(name).split()) for name in ("ok", "ko")}
        failures = read_failures(output, self.wanted)
        found = {}
        for node in self.wanted:
            if node in log.broken and node not in lists["ko"]:
                found[node] = broken(site, log, node)
            elif node in lists["ok"]:
                found[node] = Outcome(site, "ok")
            elif node in lists["ko"]:
                found[node] = failure(site, failures.get(node) or "failed, and kadeploy3 does not say why")
            elif node in log.discarded:
                found[node] = discarded(site)
            else:
                found[node] = missing(site)
        return found

    def cancel(self) -> None:
        """The client has the server end the workflow when it is interrupted."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def clean(self) -> None:
        """The client itself has the server forget it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_info(text: str) -> dict[str, Chain]:
    """The automata in what ``--server-info`` prints: ``cluster:``, below it ``Macro: name,retries,timeout; ...``."""
    found: dict[str, Chain] = {}
    cluster: Chain = {}
    _head, _title, rest = text.partition("Automata configuration:\n")
    for line in rest.partition("  Deployment environment:")[0].splitlines():
        match = AUTOMATA.fullmatch(line)
        if match is None:
            continue
        if match["cluster"]:
            cluster = found.setdefault(match["cluster"], {})
            continue
        fields = [one.strip().split(",") for one in match["instances"].split(";")]
        cluster[match["macro"].strip()] = [
            {"name": name, "retries": int(retries), "timeout": int(timeout)}
            for name, retries, timeout in (one for one in fields if len(one) == 3)
        ]
    return found
