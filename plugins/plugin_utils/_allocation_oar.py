# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""OAR: ``oarstat -J``, ``oarstat -f`` and the file of resource properties; recorded from OAR 2.5.9."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import quoted
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Claim
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_text import NodeText

STATES = {
    "Launching": None,
    "Running": None,
    "Waiting": "has not started",
    "Hold": "has not started",
    "toLaunch": "has not started",
    "toAckReservation": "has not started",
    "Suspended": "is suspended",
    "Resuming": "is suspended",
    "Finishing": "is over",
    "Terminated": "is over",
    "toError": "is over",
    "Error": "is over",
}
"""The states of a job and why such a job's nodes cannot be used."""
YEAR_10000 = 253402300800
"""The first Unix second that no calendar of Python can say."""
ASK = "ask with oarstat -J -j JOB"
PROPERTY = r"\w+ = '[^'\n]*'"
PROPERTIES = re.compile(rf"{PROPERTY}(?: , {PROPERTY})*")
ADDRESS = re.compile(r"(?<!\S)network_address = '([^'\n]*)'")
JOB_ID = re.compile(r"[0-9]{1,18}")
JOB = re.compile(rf"Job_Id: (?P<job>{JOB_ID.pattern})")
WALLTIME = re.compile(r"(?:^|,)W=([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2})(?:,|$)")
FIELD = re.compile(r"\s+(?P<key>\w+) = (?P<value>.*)")


def is_properties(text: NodeText) -> bool:
    return bool(text.entries) and all(map(PROPERTIES.fullmatch, text.entries))


def read_properties(text: NodeText) -> list[Claim]:
    """One resource per line, its properties in any order; one that is no node (a VLAN, a disk) has no address."""
    addresses = ADDRESS.findall(text.text)
    if len(addresses) != sum(text.entries.values()):
        entry = next(entry for entry in text.entries if not ADDRESS.search(entry))
        raise text.fault(f"{quoted(entry)} has no network_address", entry)
    return [Claim(dict(Counter(filter(None, addresses))))]


def is_oarstat(text: NodeText) -> bool:
    return text.text.lstrip().startswith("{")


def read_oarstat(text: NodeText) -> list[Claim]:
    """The jobs of ``oarstat -J [-f] [-j JOB]``. It says which nodes a job has and how many resources, not which
    resource is whose: each node counts one slot. The node file has the cores."""
    try:
        jobs = json.loads(text.text)
    except json.JSONDecodeError as error:
        raise text.fault(f"no JSON: {error.msg}", line=error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise text.fault(f"no JSON that can be read: {error}") from None
    if not jobs:
        raise text.fault("there is no job: it never was, or oarstat has forgotten it")
    if not isinstance(jobs, dict):
        raise text.fault("JSON, but not of oarstat: no object whose keys are jobs")
    return [json_claim(text, job, fields) for job, fields in jobs.items()]


def json_claim(text: NodeText, job: str, fields: Any) -> Claim:
    if isinstance(fields, str):
        raise text.fault(f"the state of job {quoted(job)} without its nodes (oarstat -s): {ASK}")
    if isinstance(fields, dict) and "resource_id" in fields:
        raise text.fault("the output of oarnodes -J, not of oarstat: it belongs under facts")
    if not JOB_ID.fullmatch(job) or not isinstance(fields, dict) or "state" not in fields:
        raise text.fault(f"JSON, but not of oarstat: {quoted(job)} is no job", f'"{job}"')
    addresses, start = fields.get("assigned_network_address"), fields.get("startTime")
    if not isinstance(addresses or [], list) or not all(isinstance(name, str) for name in addresses or []):
        raise text.fault(f"job {job}: assigned_network_address is no list of names")
    return claim(text, job, fields["state"], addresses or [], expiry(start, walltime(fields)))


def walltime(fields: dict[str, Any]) -> Any:
    """The job's length in seconds; without ``-f`` only the message of oarstat says it, as in ``R=8,W=0:30:0,J=B``."""
    said = WALLTIME.search(str(fields.get("message")))
    if "walltime" in fields or not said:
        return fields.get("walltime")
    hours, minutes, seconds = map(int, said.groups())
    return (hours * 60 + minutes) * 60 + seconds


def expiry(start: Any, walltime: Any) -> int | None:
    """Unix seconds, unless the job's start or its length in seconds is not known yet (0)."""
    if not isinstance(start, int) or not isinstance(walltime, int) or start <= 0 or walltime <= 0:
        return None
    return min(start + walltime, YEAR_10000 - 1)


def claim(text: NodeText, job: str, state: Any, addresses: list[str], expires: int | None = None) -> Claim:
    if not isinstance(state, str) or state not in STATES:
        raise text.fault(f"job {job} is in a state that OAR does not know: {quoted(str(state))}")
    word = STATES[state]
    fault = f"job {job} {word} (state {state})" if word else None
    return Claim(dict.fromkeys(addresses, 1), job, expires, state, fault)


def is_oarstat_text(text: NodeText) -> bool:
    return text.text.startswith("Job_Id: ")


def read_oarstat_text(text: NodeText) -> list[Claim]:
    """The jobs of ``oarstat -f [-j JOB]``; its times carry no zone, so no expiry is read: the JSON has it."""
    jobs: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in text.text.split("\n"):
        if line.startswith("Job_Id:"):
            job = JOB.fullmatch(line.strip())
            if not job:
                raise text.fault(f"{quoted(line)} names no job", line)
            fields = jobs.setdefault(job["job"], {})
        elif match := FIELD.fullmatch(line):
            fields.setdefault(match["key"], match["value"].strip())
    return [
        claim(
            text, job, found.get("state"), list(filter(None, found.get("assigned_hostnames", "").split("+")))
        )
        for job, found in jobs.items()
    ]
