# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_stop import holders

# as Linux 6.1 writes it
LINES = """\
1: FLOCK  ADVISORY  WRITE 819 fe:00:131 0 EOF
1: -> FLOCK  ADVISORY  WRITE 820 fe:00:131 0 EOF
2: POSIX  ADVISORY  WRITE 821 fe:00:131 0 EOF
3: FLOCK  ADVISORY  READ 822 fe:00:131 0 EOF
4: FLOCK  ADVISORY  WRITE 823 fe:00:132 0 EOF
5: FLOCK  ADVISORY  WRITE 0 fe:01:131 0 EOF
""".splitlines()


@pytest.mark.parametrize(
    ("minor", "inode", "found"), [(0, 131, [819]), (0, 132, [823]), (1, 131, [0]), (0, 130, [])]
)
def test_who_holds_a_file_is_read_from_the_kernels_list(minor: int, inode: int, found: list[int]) -> None:
    assert list(holders(LINES, os.makedev(0xFE, minor), inode)) == found
