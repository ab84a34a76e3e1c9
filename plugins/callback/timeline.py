# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: timeline
type: aggregate
short_description: Keep the timelines of boots and deployments
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - Collects the C(timeline) that C(boot_stage_info), C(deployment) and C(deployment_info) return while a playbook runs.
  - At its end writes one JSON record and one HTML page that needs no network, with a bar per node and step, coloured by
    outcome; pointing at a bar shows its evidence.
  - A playbook without boots and deployments leaves nothing.
  - While nodes boot or are deployed, the tasks themselves print how far each one is.
requirements:
  - enabled in the configuration, C(callbacks_enabled=oneimage.cluster.timeline)
options:
  folder:
    description: Where both files go; it is made if it is missing. They are named by the playbook and the time of its start.
    type: path
    default: timelines
    env:
      - name: ONEIMAGE_TIMELINES
    ini:
      - section: callback_timeline
        key: folder
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import check
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline_page import page


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "oneimage.cluster.timeline"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, dict[str, Any]] = {}
        self._name, self._started = "playbook", time.time()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._name = Path(playbook._file_name).stem

    def v2_runner_on_ok(self, result: Any) -> None:
        self._keep(result.result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep(result.result)  # the timeline of what failed is the one that is looked at

    def _keep(self, result: Mapping[str, Any]) -> None:
        """Once, also where several hosts hand on what one of them asked."""
        if "timeline" not in result:
            return
        try:
            record = check(json.loads(json.dumps(result["timeline"])))
        except (ClusterError, TypeError, ValueError):
            return  # another collection's word
        self._records[json.dumps(record, sort_keys=True)] = record

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if not self._records:
            return
        folder = Path(str(self.get_option("folder")))
        began = time.strftime("%Y%m%dT%H%M%S", time.localtime(self._started))
        records = sorted(self._records.values(), key=lambda record: record["started"])
        text = json.dumps(records, indent=1, sort_keys=True) + "\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / f"{self._name}-{began}.json", text.encode())
            write_file(folder / f"{self._name}-{began}.html", page(records, f"{self._name} {began}").encode())
        except (OSError, ClusterError) as error:
            self._display.warning(f"no timeline is kept in {folder}: {error}")
            return
        self._display.display(f"timeline: {folder / f'{self._name}-{began}.html'}")
