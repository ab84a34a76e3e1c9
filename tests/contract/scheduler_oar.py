# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real OAR 2.5 in a sandbox: server, database and frontend on one host, whose nodes are names only.

A job of type ``deploy`` runs its command on the frontend, as on Grid'5000, so that its nodes need not exist.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from scheduler_sandbox import HOSTNAME, Sandbox, wait_for

PACKAGES = ("oar-server", "oar-server-pgsql", "oar-user", "oar-node", "postgresql")
USER = "alice"
NODES = {
    f"{cluster}-{number}.{site}.example.org": cores
    for site, cluster, cores in (("nancy", "griffon", 4), ("rennes", "paradent", 2))
    for number in (1, 2, 3)
}
"""Name -> cores."""

SETTINGS = {
    "DB_BASE_PASSWD": "oar",
    "DB_BASE_PASSWD_RO": "oar",
    # with "localhost" the end of a job is reported to another address family than the server's
    "SERVER_HOSTNAME": HOSTNAME,
    # nodes that are names only do not answer, and would be suspected
    "FINAUD_FREQUENCY": "0",
}
START = r"""
pg_ctlcluster 15 main start -o '-c fsync=off'
oar-database --create --db-is-local
mkdir -p /run/sshd
/usr/sbin/sshd -f /etc/oar/sshd_config
for property in site cluster core; do
    case $property in core) oarproperty --add $property ;; *) oarproperty --add $property --varchar ;; esac
done
useradd --create-home --shell /bin/bash alice
setsid /usr/sbin/Almighty < /dev/null > /dev/null 2>&1 &
"""


@dataclass(frozen=True)
class Oar:
    sandbox: Sandbox

    def start(self) -> None:
        """Start everything and declare the nodes; returns when jobs are taken."""
        settings = "".join(f"-e 's/^{key}=.*/{key}=\"{value}\"/' " for key, value in SETTINGS.items())
        self.sandbox.script(f"sed -i {settings} /etc/oar/oar.conf\n{START}{declarations()}")

    def submit(self, resources: str, command: str) -> str:
        """Submit a job of type deploy; returns its id."""
        said = self.sandbox.run_as(USER, "oarsub", "-t", "deploy", "-l", resources, command)
        match = re.search(r"^OAR_JOB_ID=(\d+)$", said, re.MULTILINE)
        assert match, said
        return match[1]

    def wait(self, job: str, state: str) -> None:
        """Wait until the job is in ``state``, by OAR's own word."""
        argv = ("oarstat", "-J", "-s", "-j", job)
        wait_for(f"job {job} {state}", lambda: json.loads(self.sandbox.run(*argv))[job] == state)

    def described(self, job: str) -> dict[str, Any]:
        """All that OAR says of a job."""
        found: dict[str, Any] = json.loads(self.sandbox.run("oarstat", "-J", "-f", "-j", job))[job]
        return found

    def environment(self, job: str) -> dict[str, str]:
        """What OAR put in the environment of a job whose command was KEEP_ENVIRONMENT."""
        text = wait_for(f"the environment of job {job}", lambda: self.read(f"/home/{USER}/{job}.env"))
        return dict(line.split("=", 1) for line in text.splitlines())

    def read(self, path: str) -> str:
        """The text of a file in the sandbox, empty where there is none."""
        place = self.sandbox.root / path.lstrip("/")
        return place.read_text(encoding="utf-8") if place.exists() else ""


KEEP_ENVIRONMENT = "env | grep ^OAR_ > $OAR_JOB_ID.part; mv $OAR_JOB_ID.part $OAR_JOB_ID.env; sleep 900"


def declarations() -> str:
    """The commands that give OAR a resource for each core of each node."""
    lines, core = [], 0
    for name, cores in NODES.items():
        node, site = name.split(".")[:2]
        for number in range(cores):
            core += 1
            properties = {
                "site": site,
                "cluster": node.partition("-")[0],
                "deploy": "YES",
                "core": core,
                "cpuset": number,
            }
            options = " ".join(f"-p {key}={value}" for key, value in properties.items())
            lines.append(f"oarnodesetting -a -h {name} {options} -s Alive")
    return "\n".join(lines)
