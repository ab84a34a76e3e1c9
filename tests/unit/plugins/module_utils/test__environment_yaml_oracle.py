# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import (
    read_documents,
    write_document,
)

pytest.importorskip("hypothesis", reason="hypothesis is installed for the newest Python alone")

from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = (
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.text(alphabet="abc01 :#-'\"\\[]{},%@!&*|>\n~?=.yn", max_size=8)
    | st.sampled_from(
        ["yes", "1e3", "0x1", "1:30", "2020-01-01", "=", "<<", ":a", "null", "Off", ".5", "1_0"]
    )
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXT, VALUE, max_size=4))
def test_a_yaml_library_reads_what_is_written(fields: dict[str, Any]) -> None:
    text = write_document(fields)
    assert yaml.safe_load(text) == fields
    assert read_documents(text, "x") == [fields]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.text(alphabet="ab_-", min_size=1),
        st.text(alphabet="ab c:'\"#,\n\\", max_size=60) | st.lists(st.integers()),
    ),
    st.sampled_from([20, 80]),
    st.booleans(),
)
def test_reads_what_a_yaml_library_writes(fields: dict[str, Any], width: int, flow: bool) -> None:
    text = yaml.safe_dump(fields, width=width, default_flow_style=flow)
    if "? " not in text:  # complex keys, which no description has
        assert read_documents(text, "x") == [yaml.safe_load(text)]
