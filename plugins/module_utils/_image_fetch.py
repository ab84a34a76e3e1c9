# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The node's side of image_fetch: what a capture would take, and the capture itself as a stream."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_frames import (
    DATA,
    FAILURE,
    RESULT,
    FrameWriter,
    serve,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_stream import Stage, row, take


def main(job: str, token: str) -> None:
    """The program that the controller sends to the node: does ``job``, one line of JSON, and sends its image."""

    def work(frames: FrameWriter) -> None:
        try:
            told = send(json.loads(job), frames)
        except ClusterError as error:
            frames.send(FAILURE, str(error).encode())
        else:
            frames.send(RESULT, json.dumps(told).encode())

    serve(work, token)


def send(options: dict[str, Any], frames: FrameWriter) -> dict[str, Any]:
    with row([Stage(options["argv"])]) as output:
        taken = take(output, lambda piece: frames.send(DATA, piece))
    return {"sha256": taken.sha256, "size": taken.size}
