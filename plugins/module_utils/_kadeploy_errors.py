# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""What Kadeploy's refusals mean and what to do about them, as tables.

Numbers are those of its ``error.rb``, exit codes those that its clients were seen to give: the number of the refusal,
1 for what the client itself refuses and for what is not found, 2 for another status of HTTP, 3 for status 500.
"""

from __future__ import annotations

import re

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

INVALID_ENVIRONMENT = 7
EXISTING_ELEMENT = 10
NOTHING_MODIFIED = 14

NUMBERS: dict[int, tuple[str, str]] = {
    0: ("error in configuration files", "tell the administrator of Kadeploy"),
    1: ("invalid workflow id", "the operation is over, or was another user's"),
    2: ("invalid node list", "name nodes that this Kadeploy server knows"),
    3: (
        "invalid client's export",
        "give files that the server can fetch itself: server:///PATH or http://",
    ),
    4: ("invalid option", ""),
    5: ("invalid file", "the Kadeploy server must be able to read the file or to fetch it at its URL"),
    6: ("insufficient rights on the nodes", "reserve the nodes for deployment, and wait until the job runs"),
    7: ("invalid environment", "correct the description"),
    8: ("invalid custom operations", "correct the custom operations"),
    9: ("invalid VLAN", "reserve the VLAN, and name it by its number"),
    10: ("element already exists", "leave version out to have the next version made"),
    11: ("conflicting elements", ""),
    12: ("missing option", ""),
    13: ("conflicting options", ""),
    14: ("no element has been modified", ""),
    15: ("a program failed on the Kadeploy server", "tell the administrator of Kadeploy"),
    20: ("database issue", "tell the administrator of Kadeploy"),
    21: ("cache issue", "tell the administrator of Kadeploy"),
    22: ("the cache is full", "try again later, or with a smaller image"),
    30: ("the last environment deployed was destructive", "deploy the nodes instead of rebooting them"),
}
"""Kadeploy's error numbers: what each says, and what helps."""

STATUSES: dict[int, str] = {
    401: "check user and password",
    403: "this user may not do it",
    404: "it is not there, or this user may not see it",
    405: "this server does not offer it; check the url",
    415: "this server does not take it; check the url",
    500: "an error inside Kadeploy; its server's log says more",
    503: "the server is busy; try again later",
}
"""What helps at a status of HTTP other than 400."""

TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r'use the "public" tag'),
        "only the users in the server's almighty_users may publish public environments; "
        "use visibility shared, or ask one of them",
    ),
    (
        re.compile(r"Checksum of the file .* does not match"),
        "run the module environment on it once more, as its owner, which brings the checksum up to date",
    ),
    (re.compile(r"other user's environment"), "run as the owner"),
    (re.compile(r"The server '.*' does not exist"), "name one that the client's configuration has"),
    (re.compile(r"server is unreachable"), "is the Kadeploy server running, and is this its frontend?"),
    (
        re.compile(r"invalid argument: -u"),
        "kaenv3 takes only letters, digits and _ in a user's name; use registry.url",
    ),
    (
        re.compile(r"NoMethodError"),
        "a fault of this kaenv3 with environments that have no description; name the owner, or use registry.url",
    ),
)
"""Texts whose advice is better than that of their number; the first that fits."""

IN_TEXT = (
    re.compile(r"\[Kadeploy Error #(?P<number>\d+)\]"),
    re.compile(r"\[HTTP Error #(?P<status>\d+) on .*\]"),
    re.compile(r"\(error #(?P<number>\d+)\)"),
)
"""Where the clients' outputs name the number or the status."""


class KadeployError(ClusterError):
    """A refusal of Kadeploy or of its client. ``number`` is Kadeploy's, ``status`` that of HTTP, None if unknown."""

    def __init__(self, message: str, number: int | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.number = number
        self.status = status

    @property
    def not_found(self) -> bool:
        return self.status == 404


def refusal(what: str, text: str, number: int | None = None, status: int | None = None) -> KadeployError:
    """The error of ``what`` was tried, whose answer was ``text``; with advice from the tables."""
    said = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    title, by_number = NUMBERS.get(-1 if number is None else number, ("", ""))
    by_status = STATUSES.get(status or 0, "")
    advice = next((hint for pattern, hint in TEXTS if pattern.search(said)), by_number or by_status)
    if not said:
        said = title or (f"status {status} of HTTP" if status else "no reason given")
    return KadeployError(f"{what}: {said}{'; ' + advice if advice else ''}", number, status)


def client_refusal(what: str, code: int, output: str) -> KadeployError:
    """The error of a client that ended with exit code ``code`` and printed ``output``."""
    number: int | None = None
    status: int | None = None
    for pattern in IN_TEXT:
        match = pattern.search(output)
        if match is None:
            continue
        found = match.groupdict()
        number = int(found["number"]) if found.get("number") else number
        status = int(found["status"]) if found.get("status") else status
        if not pattern.pattern.startswith(r"\(error"):
            output = pattern.sub("", output)
    if output.startswith("Resource not found"):
        status = 404
    elif number is None and status is None and code not in (1, 2, 3) and code in NUMBERS:
        number = code
    elif code == 3 and number is None:
        status = 500
    return refusal(f"{what} (exit code {code})", output, number, status)
