# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import functools
import shlex
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._image_archive import (
    Plan,
    difference,
    result,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_publish import discard
from ansible_collections.oneimage.cluster.plugins.modules.image_fetch import OPTIONS
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_channel import check_connection
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_fetch import (
    carry_out,
    check,
    make_job,
    make_plan,
    unchanged,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_receive import Progress
from ansible_collections.oneimage.cluster.plugins.plugin_utils._image_transfer import Job, Way, transfer

display = Display()


class ActionModule(ActionBase):
    """Asks the node what it would send; unless that is what lies here, streams it over a channel of its own."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        returned: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec=OPTIONS)[1]
        dest = Path(self._loader.path_dwim(options["dest"]))
        try:
            check_connection(self._connection)
            asked = {**self._task.args, "compression": check(options, dest)}
            # only of this host's own root can the image be a part
            asked["dest"] = str(dest) if self._connection.transport == "local" else ""
            looked = self._execute_module(module_args=asked, task_vars=task_vars)
            if looked.get("failed"):
                return {**returned, **looked}
            plan = make_plan(looked["capture"], dest, options)
            job = make_job(looked["capture"], looked["options"], options)
            plan, manifest = self._fetch(
                plan, job, options, (task_vars or {}).get("inventory_hostname", "node")
            )
        except ClusterError as error:
            return {**returned, "failed": True, "msg": str(error)}
        returned.update(result(plan, manifest))
        if plan.reason and self._task.diff:
            returned["diff"] = difference(plan)
        return returned

    def _fetch(
        self, plan: Plan, job: Job, options: dict[str, Any], host: str
    ) -> tuple[Plan, dict[str, Any] | None]:
        """What the plan has become, and the manifest of an image that was taken."""
        known = plan.reason is not None or plan.capture.fingerprint is not None
        if known and (plan.reason is None or self._task.check_mode):
            return plan, None
        progress = Progress(display.display, host, interval=options["progress"])
        take = functools.partial(transfer, self._way(options), job, progress=progress)
        if self._task.check_mode:
            same, manifest = unchanged(plan, take(discard)), None
        else:
            manifest = carry_out(plan, job, take)
            same = manifest is None
        if plan.reason is None and not same:
            reason = f"{plan.capture.source} changed since {plan.dest} was made"
            plan = dataclasses.replace(plan, reason=reason)
        return plan, manifest

    def _way(self, options: dict[str, Any]) -> Way:
        """As ``_low_level_execute_command`` puts a command together, which would keep its output in memory."""
        connection = self._connection
        become = connection.become
        users = self._get_remote_user(), self.get_become_option("become_user")
        if not C.BECOME_ALLOW_SAME_USER and users[0] == users[1] and any(users):
            become = None

        def wrap(command: str) -> str:
            if become:
                command = become.build_become_command(command, connection._shell)
            shell = self._play_context.executable
            return f"{shell} -c {shlex.quote(command)}" if connection.allow_executable and shell else command

        return Way(connection, become, wrap, options["own_connection"], options["timeout"])
