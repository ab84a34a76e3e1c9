# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception of these programs, and how a program ends by it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Callable


class SsiError(Exception):
    """What failed, why, and what to do, in one sentence for the user."""


class Usage(SsiError):
    """The command line is wrong."""


def refuse(options: Iterable[str], unsupported: Mapping[str, str]) -> None:
    """SsiError: one of `options` is of those that Kerrighed has and these programs have not."""
    for option in options:
        if option in unsupported:
            raise SsiError(f"Operation not supported: {option} ({unsupported[option]})")


def run(program: Callable[[], int], name: str) -> int:
    """Exit code of `program`; an SsiError becomes `NAME: why` on standard error and exit code 1."""
    try:
        return program()
    except SsiError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{name}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
