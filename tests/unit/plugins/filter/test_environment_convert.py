# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.filter.environment_convert import environment_convert

OLD = """name : old
tarball : /images/old.tgz|tgz
kernel: /vmlinuz
fdisktype : 83
filesystem : ext3
environment_kind : other
"""


def test_text_to_text_with_what_is_lost() -> None:
    text = OLD.replace("kernel:", "kernel :")
    result = environment_convert(text, "3.3")
    assert "partition_type: 131\n" in result["text"] and "visibility: shared\n" in result["text"]
    assert result["lost"] == [] and result["warnings"] == []
    modern = {**result["description"], "alias": "o"}
    assert environment_convert(modern, 3.1)["lost"] == [
        {"field": "alias", "reason": "Kadeploy 3.1 has no such field", "refused": False}
    ]


@pytest.mark.parametrize(
    ("value", "options", "fault"),
    [
        (OLD, {}, "boot/kernel is mandatory for image/kind tar"),
        (OLD, {"to": "4"}, "unknown target '4'; known: kadeploy2, 3.1, 3.3, current"),
        (OLD, {"source": "4"}, "unknown source '4'"),
        (["x"], {}, "takes a description as text or as a dict"),
        ("name:\n\tx", {}, "description, line 2: a tab"),
    ],
)
def test_bad_input(value: object, options: dict[str, str], fault: str) -> None:
    with pytest.raises(AnsibleFilterError, match="^environment_convert: ") as caught:
        environment_convert(value, **options)
    assert fault in str(caught.value)
