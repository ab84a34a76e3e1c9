# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Slurm in a sandbox: one slurmd per node, all of them on one host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scheduler_sandbox import HOSTNAME, Sandbox, wait_for

PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd")
USER = "alice"
NODES = {
    **dict.fromkeys(("node01", "node02", "node03", "node07"), 4),
    **dict.fromkeys(("gpu-1", "gpu-2"), 2),
}
"""Name -> CPUs."""

PORT = 17001
CONFIGURATION = f"""
ClusterName=test
SlurmctldHost={HOSTNAME}
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=1
"""
# munged refuses sockets in folders that its unit would have made
START = """
install -d -o munge -g munge -m 755 /run/munge
runuser -u munge -- /usr/sbin/munged
install -d -o slurm -g slurm /var/lib/slurm/slurmctld /var/log/slurm
# version 2, which the autodetection takes where it finds nothing, wants a mounted hierarchy that nobody uses here
echo CgroupPlugin=cgroup/v1 > /etc/slurm/cgroup.conf
useradd --create-home --shell /bin/bash alice
slurmctld
"""


@dataclass(frozen=True)
class Slurm:
    sandbox: Sandbox

    def start(self) -> None:
        """Start everything; returns when every node is idle."""
        lines = [
            f"NodeName={name} NodeHostname={HOSTNAME} NodeAddr=127.0.0.1 Port={PORT + number} CPUs={cpus}"
            for number, (name, cpus) in enumerate(NODES.items())
        ]
        lines.append("PartitionName=batch Nodes=ALL Default=YES MaxTime=60 State=UP")
        configuration = CONFIGURATION + "\n".join(lines) + "\n"
        self.sandbox.run("tee", "/etc/slurm/slurm.conf", stdin=configuration)
        self.sandbox.script(
            START + "".join(f"mkdir /var/lib/slurm/{name}\nslurmd -N {name}\n" for name in NODES)
        )
        idle = ("sinfo", "--noheader", "--Node", "--states", "idle", "--format", "%N")
        wait_for("idle nodes", lambda: len(self.sandbox.run(*idle).split()) == len(NODES))

    def submit(self, command: str, *options: str) -> str:
        """Submit a batch job of one command; returns its id."""
        said = self.sandbox.run_as(USER, "sbatch", *options, "--wrap", command)
        match = re.search(r"^Submitted batch job (\d+)$", said, re.MULTILINE)
        assert match, said
        return match[1]

    def wait(self, job: str, state: str) -> None:
        """Wait until the job is in ``state``, by Slurm's own word, such as ``RUNNING``."""
        argv = ("scontrol", "show", "job", job)
        wait_for(f"job {job} {state}", lambda: f"JobState={state} " in self.sandbox.run(*argv))

    def environment(self, job: str) -> dict[str, str]:
        """What Slurm put in the environment of a job whose command was KEEP_ENVIRONMENT."""
        place = self.sandbox.root / f"home/{USER}/{job}.env"
        text = wait_for(f"the environment of job {job}", lambda: place.exists() and place.read_text())
        return dict(line.split("=", 1) for line in str(text).splitlines())


KEEP_ENVIRONMENT = (
    "env | grep ^SLURM_ > $SLURM_JOB_ID.part; mv $SLURM_JOB_ID.part $SLURM_JOB_ID.env; sleep 900"
)
