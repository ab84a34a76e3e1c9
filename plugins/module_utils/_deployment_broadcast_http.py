# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Broadcast by HTTP: every node fetches the image from the boot server's nginx, and goes on where a transfer broke."""

from __future__ import annotations

import urllib.error
from collections.abc import Sequence

from ansible.module_utils.urls import open_url

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_relay import Relay
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import Image, Order, Target
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

ANSWER_SECONDS = 20


class HttpBroadcast:
    """Nothing of its own runs on the server."""

    def __init__(self, order: Order, nodes: Sequence[Target]) -> None:
        self.image = order.image
        self.token = order.base_url.rstrip("/").rpartition("/")[2]
        self.nodes = {node.name: number for number, node in enumerate(nodes)}
        self.addresses = [node.address for node in nodes]

    def start(self) -> None:
        """Raises ClusterError when the image cannot be fetched as the nodes will."""
        check_served(self.image)

    def stop(self) -> None:
        pass

    def receive_script(self, node: str) -> str:
        return self.relay(self.nodes[node]).script()

    def relay(self, _number: int) -> Relay:
        """The part of the node that is ``number`` in the order, from 0 on."""
        return Relay(self.image.url, self.image.size, self.token)


def check_served(image: Image) -> None:
    """Whether ``image.url`` gives a file of its size, any part of it; raises ClusterError."""
    try:
        with open_url(
            image.url,
            headers={"Range": f"bytes={image.size - 1}-"},
            use_proxy=False,
            timeout=ANSWER_SECONDS,
            follow_redirects="none",
        ) as answer:
            status, span = answer.status, answer.headers.get("Content-Range", "")
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise ClusterError(
                f"image: {image.url} is shorter than {image.size} bytes; publish it again"
            ) from error
        raise ClusterError(
            f"image: {image.url} cannot be fetched: the server answers {error.code}; it must serve {image.path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"image: {image.url} cannot be fetched: {error}; is the boot server's nginx up?"
        ) from error
    if status != 206:
        raise ClusterError(
            f"image: {image.url}: the server gives no parts of files (no ranges); serve it by nginx"
        )
    if not span.endswith(f"/{image.size}"):
        raise ClusterError(
            f"image: {image.url} is not {image.size} bytes long ({span}); what is served is not what was registered"
        )
