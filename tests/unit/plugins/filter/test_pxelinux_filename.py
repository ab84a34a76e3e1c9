from __future__ import annotations

import pytest

AnsibleFilterError = pytest.importorskip("ansible.errors").AnsibleFilterError

from ansible_collections.oneimage.cluster.plugins.filter.pxelinux_filename import pxelinux_filename


def test_a_name() -> None:
    assert pxelinux_filename("10.11.12.101") == "0A0B0C65"


def test_no_name() -> None:
    with pytest.raises(
        AnsibleFilterError, match="pxelinux_filename: .*is no IPv4 address, MAC, UUID or subnet"
    ):
        pxelinux_filename("node1")
