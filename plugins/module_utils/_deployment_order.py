# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What a deployment writes, where to, and how a micro-step speaks to its node. All other files of the family build on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


class StepFailed(ClusterError):
    """A micro-step failed on one node. The other nodes go on."""

    def __init__(self, message: str, *, evidence: Sequence[str] = (), advice: str = "") -> None:
        super().__init__(message)
        self.evidence = tuple(evidence)
        self.advice = advice


@dataclass(frozen=True)
class Image:
    """The one file that goes to the nodes; ``path`` is where the boot server has it, ``url`` where nodes fetch it."""

    path: str
    url: str
    kind: str
    compression: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Partition:
    """One partition of a layout. ``size`` in MiB, 0 for the rest of the disk; ``role`` as Kadeploy labels them."""

    role: str
    size: int
    type: str = "linux"
    filesystem: str = ""
    label: str = ""


@dataclass(frozen=True)
class Layout:
    """A disk's partitions in order. ``disk`` empty takes the node's first disk.

    ``table`` is ``gpt``, ``mbr`` or ``auto``, by the node's firmware. ``overwrite`` is whose data may go: ``ours``, a table
    that an earlier deployment wrote or an empty disk, or ``any``.
    """

    partitions: tuple[Partition, ...]
    table: str = "auto"
    disk: str = ""
    overwrite: str = "ours"


@dataclass(frozen=True)
class DeploymentBoot:
    """How nodes come into the deployment environment.

    ``tree`` is what TFTP and HTTP serve, as a path on the boot server; ``url`` the same by HTTP; ``kernel`` and ``initrds``
    lie below it. ``parameters`` are all the kernel parameters but ``oneimage.deploy``. ``logs`` is nginx's log folder.
    """

    tree: str
    url: str
    kernel: str
    initrds: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    logs: str = "/var/log/nginx"


@dataclass(frozen=True)
class Order:
    """What is deployed on every node of one deployment.

    ``description`` is the environment in the shape of Kadeploy's current YAML, checked. ``deploy_role`` names the partition
    of the layout that becomes the root. ``keys`` are authorized_keys lines for the deployed system. ``folder`` is the
    deployment's own on the boot server, ``base_url`` the same folder by HTTP; its name cannot be guessed.
    """

    id: str
    description: Mapping[str, Any]
    image: Image
    layout: Layout
    folder: str
    base_url: str
    server: str
    deploy_role: str = "deploy"
    keys: tuple[str, ...] = ()
    reformat_tmp: bool = False
    admin_post_installs: tuple[Mapping[str, Any], ...] = ()
    parameters: tuple[str, ...] = ()
    hooks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    boot: DeploymentBoot | None = None


@dataclass(frozen=True)
class Target:
    """One node of a deployment. ``power`` is what module node_power takes of it; ``facts`` go to post-installs."""

    name: str
    mac: str
    address: str
    firmware: str = "bios"
    loader: str = "ipxe"
    cluster: str = ""
    site: str = ""
    disk: str = ""
    power: Mapping[str, Any] = field(default_factory=dict, repr=False)
    console: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Channel(Protocol):
    """A way to run a POSIX shell script as root on a node that runs the deployment environment or the deployed system."""

    def run(self, script: str, *, timeout: float, stdin: bytes | None = None) -> str:
        """What it printed. Raises StepFailed with the end of its output when its exit code is not 0."""

    def answers(self, timeout: float) -> bool:
        """Whether the node takes a login within ``timeout`` seconds."""


class Broadcast(Protocol):
    """The server side of one broadcast: one image to the nodes that entered ``send_environment`` together.

    The engine calls ``start`` once before the first of them begins and ``stop`` once after the last has ended, whatever its
    outcome. Nodes that come again after a failure get a broadcast of their own, which may run beside an earlier one.
    """

    def start(self) -> None:
        """Raises ClusterError when it cannot serve; then every node of the group fails."""

    def stop(self) -> None:
        """Must bear being called after a ``start`` that failed."""

    def receive_script(self, node: str) -> str:
        """A POSIX shell snippet that writes exactly the image's bytes to stdout on ``node``."""


@dataclass(frozen=True)
class Deadline:
    """When a macro-step must have ended, on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds left. Raises StepFailed when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise StepFailed("its macro-step's time was over")
        return left


@dataclass
class Work:
    """All that one micro-step on one node gets. ``notes`` outlive it: later micro-steps of this node read them.

    ``say`` records a line of evidence in the deployment's journal while the step runs. ``peers`` are the nodes that are in
    the same micro-step, in the order of a chain. ``macro`` and ``implementation`` are those that the step runs in, such as
    ``BootNewEnv`` and ``BootNewEnvHardReboot``: switch_pxe, kexec and wait_reboot mean another system in each.
    ``notes`` hold what JSON can, so that a resumed deployment has them too. ``broadcast`` is there in send_environment.
    """

    order: Order
    node: Target
    channel: Channel
    deadline: Deadline
    notes: dict[str, Any]
    say: Callable[[str], None]
    peers: tuple[Target, ...] = ()
    macro: str = ""
    implementation: str = ""
    broadcast: Broadcast | None = None


MicroStep = Callable[[Work], None]
"""Does its work or raises StepFailed. Must bear being run again on the same node after a failure or a kill."""
