# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that came to this node lately, from another one or from a checkpoint: an empty file each, as old as that is."""

from __future__ import annotations

import contextlib
import os
import time

from ssi import node

FOLDER = f"{node.RUN}/arrived"
# Seconds for which the balancer leaves a process where it came to: the move itself is a load, on both nodes.
REST = 60.0


def note(pid: int) -> None:
    os.makedirs(FOLDER, exist_ok=True)
    with open(f"{FOLDER}/{pid}", "w", encoding="ascii"):
        pass


def rests(pid: int) -> bool:
    """Whether the process has come to this node lately."""
    try:
        return time.time() - os.stat(f"{FOLDER}/{pid}").st_mtime < REST
    except FileNotFoundError:
        return False


def count(seconds: float) -> int:
    """How many came within the last seconds. Files that say nothing any more are removed."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(FOLDER):
            age = time.time() - entry.stat().st_mtime
            found += age < seconds
            if age >= REST:
                os.unlink(entry.path)
    return found
