# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for cat and stat on a node of an SSI cluster: files of its /proc and file systems that are not here.

``cat PATH`` gives SSI_STAND_IN_STATE/PATH where it is there, and /proc/nodes/nrnodes of the nodes in ``nodes.json``;
``stat … PATH`` gives what ``stat.json`` has for PATH. Everything else goes to the real program.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

STATE = Path(os.environ["SSI_STAND_IN_STATE"])


def numbers() -> str:
    """/proc/nodes/nrnodes [source]: each line counts what is at least that far."""
    states = list(json.loads((STATE / "nodes.json").read_text()).values())
    online = states.count("online")
    return f"ONLINE:{online}\nPRESENT:{online + states.count('present')}\nPOSSIBLE:256\n"


def main(words: list[str]) -> None:
    program, path = os.environ["SSI_STAND_IN_PROGRAM"], words[-1]
    if program == "cat" and path == "/proc/nodes/nrnodes":
        print(numbers(), end="")
    elif program == "cat" and (STATE / path.lstrip("/")).is_file():
        print((STATE / path.lstrip("/")).read_text(), end="")
    elif program == "stat" and path in (known := json.loads((STATE / "stat.json").read_text())):
        print(known[path])
    else:
        os.execv(f"/bin/{program}", [program, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
