# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Which way an image goes from the boot server to the nodes of a group, and the server's side of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_bittorrent import (
    BittorrentBroadcast,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_chain import (
    ChainBroadcast,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_http import HttpBroadcast
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_udpcast import (
    UdpcastBroadcast,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Broadcast,
    Order,
    Target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import IMPLEMENTATIONS
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

AUTO = "auto"


@dataclass(frozen=True)
class Method:
    """``server`` are programs that the boot server needs, ``node`` those that the deployment environment has when asked.

    All methods need nginx there, and curl and busybox here. ``most`` is for how many nodes it is chosen by itself.
    """

    make: Callable[[Order, Sequence[Target]], Broadcast]
    server: Mapping[str, str]
    node: Mapping[str, str]
    most: float = 0


METHODS: Mapping[str, Method] = {
    # one stream cannot be had for less
    "http": Method(HttpBroadcast, {}, {}, most=1),
    # as fast as one stream and a hop per node; every node waits for the slowest before it
    "chain": Method(ChainBroadcast, {}, {}, most=200),
    # no node waits for another; each needs room for the image, and a small swarm is slower than a chain
    "bittorrent": Method(
        BittorrentBroadcast,
        {"opentracker": "opentracker", "aria2c": "aria2"},
        {"aria2c": "aria2"},
        most=float("inf"),
    ),
    # whether the switches carry multicast is for the site to say
    "udpcast": Method(UdpcastBroadcast, {"udp-sender": "udpcast"}, {"udp-receiver": "udpcast"}),
}
"""In the order in which they are considered; the last resort is ``FALLBACK``."""
FALLBACK = "chain"


def choose_method(
    nodes: int,
    wanted: str = AUTO,
    *,
    node_programs: Collection[str] = (),
    on_server: Callable[[str], str | None] = shutil.which,
) -> str:
    """The method for ``nodes`` nodes that come together: the one that is ``wanted``, or the best that can be had.

    ``node_programs`` are the programs of the deployment environment. Raises ClusterError for a wanted method that is not
    known, or for which the server or the deployment environment lacks a program.
    """
    if wanted != AUTO:
        if wanted not in METHODS:
            raise ClusterError(f"broadcast: {wanted} is none of {', '.join((AUTO, *METHODS))}")
        faults = lacking(METHODS[wanted], node_programs, on_server)
        if faults:
            raise ClusterError(f"broadcast: {wanted} cannot be used: {'; '.join(faults)}")
        return wanted
    for name, method in METHODS.items():
        if nodes <= method.most and not lacking(method, node_programs, on_server):
            return name
    return FALLBACK


def lacking(
    method: Method, node_programs: Collection[str], on_server: Callable[[str], str | None]
) -> list[str]:
    """What keeps ``method`` from being used, each with its remedy."""
    return [
        *(
            f"the boot server has no {program}, install its package {package}"
            for program, package in method.server.items()
            if not on_server(program)
        ),
        *(
            f"the deployment environment has no {program}, build it with the program (package {package})"
            for program, package in method.node.items()
            if program not in node_programs
        ),
    ]


def make_broadcast(order: Order, implementation: str, nodes: Sequence[Target]) -> Broadcast:
    """The server side of one broadcast to ``nodes``, in the order of a chain, by the name of an implementation or a method.

    Raises ClusterError for a name that is neither.
    """
    known = IMPLEMENTATIONS.get(implementation)
    name = known.broadcast if known else implementation
    if name not in METHODS:
        raise ClusterError(f"{implementation} is no way to broadcast; there are {', '.join(METHODS)}")
    if order.image.size < 1:
        raise ClusterError(f"image: {order.image.path} is empty")
    return METHODS[name].make(order, nodes)
