# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Outputs and exit codes are those that Kadeploy 3.3.11 was seen to give."""

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import (
    NUMBERS,
    STATUSES,
    client_refusal,
    refusal,
)


@pytest.mark.parametrize(
    ("code", "output", "number", "status", "said"),
    [
        (
            10,
            "Element already exists -- An environment with the name X and the version 1 has already been recorded "
            "for the user U\n[Kadeploy Error #10]",
            10,
            None,
            "leave version out",
        ),
        (
            5,
            "Invalid file -- Checksum of the file 'server:///srv/img/my.tgz' does not match (an update is necessary)\n"
            "[Kadeploy Error #5]",
            5,
            None,
            "once more",
        ),
        (14, "No element has been modified\n[Kadeploy Error #14]", 14, None, "No element has been modified"),
        (
            1,
            "Invalid environment specification (error #7)\n"
            "Error[environment description] The field is mandatory [field: os]",
            7,
            None,
            "(error #7) | Error[environment description] The field is mandatory [field: os]; correct the description",
        ),
        (1, "Resource not found /environments", None, 404, "Resource not found /environments"),
        (1, "The server 'site9' does not exist", None, None, "name one that the client's configuration has"),
        (1, "Option parsing error: invalid option: --bogus", None, None, "invalid option: --bogus"),
        (
            2,
            'Forbidden -- Only administrators can use the "public" tag\n'
            "[HTTP Error #403 on PUT /environments/a/x]",
            None,
            403,
            "almighty_users",
        ),
        (3, "[Internal Server Error]\nboom", None, 500, "server's log"),
        (
            6,
            "You do not have sufficient rights to perform the operation on all the nodes\n[Kadeploy Error #6]",
            6,
            None,
            "reserve",
        ),
        (3, "Invalid client's export -- There is no way\n[Kadeploy Error #3]", 3, None, "server:///PATH"),
        (20, "", 20, None, "database issue"),
    ],
)
def test_exit_codes(code: int, output: str, number: int | None, status: int | None, said: str) -> None:
    error = client_refusal("kaenv3: cannot add x", code, output)
    assert (error.number, error.status) == (number, status)
    assert said in str(error)
    assert str(error).startswith(f"kaenv3: cannot add x (exit code {code}): ")
    assert "\n" not in str(error) and "[Kadeploy Error" not in str(error)


def test_a_refusal_without_words_is_put_into_words() -> None:
    assert str(refusal("x", "", 30)).startswith("x: the last environment deployed was destructive; deploy")
    assert str(refusal("x", "", None, 503)) == "x: status 503 of HTTP; the server is busy; try again later"
    assert str(refusal("x", "")) == "x: no reason given"


def test_not_found_is_told_from_other_refusals() -> None:
    assert refusal("x", "File Not Found", None, 404).not_found
    assert not refusal("x", "Invalid file", 5, 400).not_found


def test_tables_are_whole() -> None:
    assert set(NUMBERS) == {*range(16), 20, 21, 22, 30}
    assert all(title and title == title.strip() for title, _advice in NUMBERS.values())
    assert 400 not in STATUSES
