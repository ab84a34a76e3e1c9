# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Broadcast along a chain: the first node fetches the image from the server, every other one from the node before it."""

from __future__ import annotations

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_http import HttpBroadcast
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_relay import Relay


class ChainBroadcast(HttpBroadcast):
    """The server serves one node, and those that nobody else can help."""

    def relay(self, number: int) -> Relay:
        return Relay(
            self.image.url,
            self.image.size,
            self.token,
            before=self.addresses[:number][::-1],
            after=len(self.addresses) - number - 1,
        )
