"""Whatever a text says, it is nodes with valid names or one ClusterError; what was listed comes back."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="requirements-test.txt installs it")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import HOST_NAME
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_formats import FORMATS, parse

NAMES = st.from_regex(r"[a-z]{1,6}-[0-9]{1,3}(\.[a-z]{1,5}){0,2}", fullmatch=True)
SLOTS = st.dictionaries(NAMES, st.integers(min_value=1, max_value=9), min_size=1, max_size=8)
MANGLED = st.builds(
    lambda sample, at, length, piece: sample[:at] + piece + sample[at + length :],
    st.sampled_from([known.sample for known in FORMATS.values()]),
    st.integers(0, 90),
    st.integers(0, 9),
    st.text("[]{}()\"'n1-,:;/*+=@!&^ \t\r\n\0\x1b\u2028é$`.", max_size=6),
)


@given(st.one_of(st.text(max_size=60), MANGLED), st.sampled_from(["auto", *FORMATS]))
def test_foreign_text_is_valid_names_or_one_error(text: str, name: str) -> None:
    try:
        found = parse(text, source="s", format=name)
    except ClusterError as error:
        assert str(error).startswith("s")
        assert str(error).isprintable()
    else:
        assert found
        assert all(allocation.nodes for allocation in found)
        assert all(HOST_NAME.fullmatch(node) for allocation in found for node in allocation.nodes)


@given(st.binary(max_size=60))
def test_bytes_never_raise_anything_else(data: bytes) -> None:
    try:
        assert parse(data, source="s")
    except ClusterError as error:
        assert str(error).isprintable()


WRITERS = {
    "hosts": lambda slots: "".join(f"{name}\n" * count for name, count in slots.items()),
    "sge": lambda slots: "".join(f"{name} {count} all.q@{name} UNDEFINED\n" for name, count in slots.items()),
    "lsf_mcpu": lambda slots: " ".join(f"{name} {count}" for name, count in slots.items()),
    "machinefile": lambda slots: "".join(f"{name} slots={count}\n" for name, count in slots.items()),
    "pbs_exec_host": lambda slots: "+".join(f"{name}/0*{count}" for name, count in slots.items()),
    "pbs_exec_vnode": lambda slots: "+".join(f"({name}:ncpus={count})" for name, count in slots.items()),
    "oar_properties": lambda slots: "".join(
        f" core = '1' , network_address = '{name}' \n" * count for name, count in slots.items()
    ),
}


@given(SLOTS, st.sampled_from(sorted(WRITERS)))
def test_nodes_and_slots_come_back_in_their_order(slots: dict[str, int], name: str) -> None:
    (allocation,) = parse(WRITERS[name](slots), source="s")
    assert (allocation.format, list(allocation.nodes.items())) == (name, list(slots.items()))
