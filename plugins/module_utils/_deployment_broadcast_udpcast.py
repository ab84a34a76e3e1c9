# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Broadcast by multicast: udp-sender on the server sends once what all nodes of the group take, and again what any missed.

It needs switches that carry multicast between the server and all nodes, which nobody but the site knows.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence

from ansible_collections.oneimage.cluster.plugins.module_utils._command import require
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_server import (
    Served,
    free_port,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Order, Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

GATHER = 30
"""Seconds for which those that are there wait for the others; a node that is dead must not hold them up."""
SILENCE = 10
"""Seconds without a packet after which a node gives up."""
DROPPED_AFTER = 30
"""Questions without an answer after which a node is taken for dead and no more waited for.

udp-sender asks the first ten within milliseconds and then once a second: a node whose disk or processor is busy has 20 s.
"""


class UdpcastBroadcast:
    def __init__(self, order: Order, nodes: Sequence[Target]) -> None:
        self.order = order
        self.addresses = {node.name: node.address for node in nodes}
        self._port = 0
        self._sender: Served | None = None

    def start(self) -> None:
        require("udp-sender", package="udpcast")
        self._port = free_port(self.order.server, (socket.SOCK_DGRAM,), width=2, even=True)
        self._sender = Served(
            "udp-sender",
            [
                *("udp-sender", "--file", self.order.image.path, "--interface", self.order.server),
                *("--portbase", str(self._port), "--nokbd", "--no-progress", "--full-duplex"),
                *("--min-receivers", str(len(self.addresses)), "--max-wait", str(GATHER)),
                *("--retries-until-drop", str(DROPPED_AFTER)),
            ],
        )
        self._sender.wait_until(lambda: "Using" in (self._sender.said() if self._sender else ""))

    def stop(self) -> None:
        if self._sender:
            self._sender.end()
            self._sender = None

    def receive_script(self, node: str) -> str:
        if not self._port:
            raise ClusterError("udpcast: the sender was not started")
        argv = ["udp-receiver", "--portbase", str(self._port), "--interface", self.addresses[node]]
        argv += ["--mcast-rdv-address", self.order.server, "--nokbd", "--no-progress"]
        argv += ["--start-timeout", str(2 * GATHER), "--receive-timeout", str(SILENCE), "--exit-wait", "100"]
        return shlex.join(argv)
