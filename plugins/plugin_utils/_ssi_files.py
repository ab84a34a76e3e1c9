# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The files of a flavour, rendered from the list of nodes: their text is Jinja, so that a new flavour needs no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

ENGINE = SandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def render_files(files: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``[{path, content, src, mode}]`` with the content rendered; raises ClusterError that names the file."""
    rendered = []
    for file in files:
        content = file["content"]
        try:
            text = None if content is None else ENGINE.from_string(content).render(fields)
        except TemplateError as error:
            raise ClusterError(f"the flavour's file {file['path']}: {error}") from error
        rendered.append({**file, "content": text})
    return rendered
