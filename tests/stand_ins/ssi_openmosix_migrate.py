# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for openMosix's migrate(1). It is not openMosix, and how the real one words a refusal is not recorded.

SSI_STAND_IN_STATE is the folder with proc/PID/{where,lock,cantmove}; ``balance`` sends a process to node 3.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(pid: str, target: str) -> int:
    folder = Path(os.environ["SSI_STAND_IN_STATE"]) / "proc" / pid
    if not folder.is_dir():
        print("migrate: No such process", file=sys.stderr)
        return 1
    if (folder / "lock").read_text().strip() != "0" or (folder / "cantmove").read_text().strip():
        print("migrate: Operation not permitted", file=sys.stderr)
        return 1
    part = folder / ".where"
    part.write_text({"home": "0", "balance": "3"}.get(target, target) + "\n")
    part.replace(folder / "where")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
