# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Capabilities of a process in four sets, as krgcapset shows and changes them.

Formats and rules: Kerrighed's tools/krgcapset.c and kerrighed/capability/capability.c. krgcapset takes an unknown name for
no capability at all and goes on, and exits with 0 where the kernel refused, so that names are checked before it runs and
the result is read back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_command import Entry, fill
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_files import ask
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_process_rules import failure
from ansible_collections.oneimage.cluster.plugins.module_utils._ssi_text import search

Wishes = Mapping[str, Mapping[str, bool]]
Held = Mapping[str, "frozenset[str]"]
"""The capabilities of a process by set."""


def check_wishes(capabilities: Mapping[str, Any] | None, flavour: str, wishes: Wishes) -> None:
    """Raise ClusterError for a capability or a set that ``flavour`` does not have, before anything runs."""
    if wishes and not capabilities:
        raise ClusterError(f"flavour {flavour} has no capabilities: leave the option capabilities out")
    for kind, wanted in wishes.items():
        for name, value in wanted.items():
            _check_wish(capabilities or {}, flavour, f"capabilities.{kind}.{name}", kind, name, value)


def _check_wish(
    capabilities: Mapping[str, Any], flavour: str, path: str, kind: str, name: str, value: object
) -> None:
    if name not in capabilities["names"]:
        known = ", ".join(capabilities["names"])
        raise ClusterError(f"{path}: unknown capability; flavour {flavour} has {known}")
    unsupported = capabilities["unsupported"].get(name)
    if unsupported:
        raise ClusterError(f"{path}: flavour {flavour} does not support it: {unsupported}")
    if kind not in capabilities["set"]["flags"]:
        raise ClusterError(f"{path}: flavour {flavour} has no such set of capabilities")
    if not isinstance(value, bool):
        raise ClusterError(f"{path}: must be true or false, not {value!r}")


def names_of(octal: str, names: Sequence[str]) -> frozenset[str]:
    """The capabilities in an octal number; ``names`` are in bit order, and a bit without a name is called by its number."""
    value = int(octal or "0", 8)
    return frozenset(
        names[bit] if bit < len(names) else f"bit {bit}"
        for bit in range(value.bit_length())
        if value >> bit & 1
    )


def parse_shown(output: str, sets: Mapping[str, str], names: Sequence[str]) -> dict[str, frozenset[str]]:
    """The sets in krgcapset's output: a header with the octal number, then the names, wrapped at 80 columns.

    The wrap drops the comma. Raises ClusterError where a set is missing, or where number and names disagree: then the
    flavour's bit order is not that of the running kernel.
    """
    found = {}
    for kind, header in sets.items():
        match = search(header, output)
        if match is None:
            raise ClusterError(f"no {kind} capabilities in the output: {output.strip()[:200]!r}")
        lines = re.match(r"(?:\n\t.*)*", output[match.end() :])
        listed = frozenset(re.findall(r"\w+", lines[0] if lines else ""))
        found[kind] = names_of(match["octal"], names)
        if listed and not listed <= found[kind]:
            wrong = ", ".join(sorted(listed - found[kind]))
            raise ClusterError(
                f"{kind} capabilities: {wrong} listed, but not in the octal number 0{match['octal']}; "
                "the flavour's names are in another bit order"
            )
    return found


def read(entry: Entry, capabilities: Mapping[str, Any], pid: int) -> dict[str, frozenset[str]]:
    """The sets of process ``pid``; raises ClusterError where they cannot be read."""
    show = capabilities["show"]
    said = ask(entry, fill(show["argv"], pid=pid))
    failed = failure(said, capabilities["failures"], {"pid": pid})
    if failed:
        raise ClusterError(f"cannot read the capabilities of process {pid}: {failed}")
    return parse_shown(said.out, show["sets"], capabilities["names"])


def wished(now: Held, wishes: Wishes) -> dict[str, frozenset[str]]:
    """The sets as they shall be: ``now``, with the wished ones added or taken away."""
    return {
        kind: (names | {name for name, on in wishes.get(kind, {}).items() if on})
        - {name for name, on in wishes.get(kind, {}).items() if not on}
        for kind, names in now.items()
    }


def check_change(capabilities: Mapping[str, Any], pid: int, now: Held, then: Held) -> None:
    """Raise ClusterError for a change that the kernel would refuse, or would silently take a part of only."""
    for need in capabilities["needs"]:
        if need not in now["effective"]:
            raise ClusterError(
                f"process {pid}: its capabilities stay as they are, since it lacks {need} itself"
            )
    for kind in capabilities["only_lose"]:
        gained = sorted(then[kind] - now[kind])
        if gained:
            raise ClusterError(
                f"process {pid}: {kind} capabilities can only be lost, and {', '.join(gained)} would be gained; "
                "start the process from one that has them"
            )
    for inner, outer in capabilities["within"].items():
        beyond = sorted(then[inner] - then[outer])
        if beyond:
            raise ClusterError(
                f"process {pid}: {inner} would have {', '.join(beyond)}, which {outer} has not; change both"
            )


def change_argv(
    capabilities: Mapping[str, Any],
    pid: int,
    now: Mapping[str, frozenset[str]],
    then: Mapping[str, frozenset[str]],
) -> list[str]:
    """One command for all changes, so that a kill leaves the old capabilities or the new ones."""
    order: Sequence[str] = capabilities["names"]
    template: Sequence[str] = capabilities["set"]["argv"]
    argv = fill([word for word in template if word not in ("{flag}", "{change}")], pid=pid)
    for kind, flag in capabilities["set"]["flags"].items():
        for sign, names in (("+", then[kind] - now[kind]), ("-", now[kind] - then[kind])):
            if names:
                argv += [flag, sign + ",".join(sorted(names, key=order.index))]
    return argv


def change(entry: Entry, capabilities: Mapping[str, Any], pid: int, now: Held, then: Held) -> None:
    """Change the capabilities of process ``pid`` and read them back; raises ClusterError where they are not as wished."""
    argv = change_argv(capabilities, pid, now, then)
    failed = failure(ask(entry, argv), capabilities["failures"], {"pid": pid})
    if failed:
        raise ClusterError(f"cannot change the capabilities of process {pid}: {failed}")
    got = read(entry, capabilities, pid)
    for kind in then:
        wrong = sorted(then[kind] ^ got[kind])
        if wrong:
            raise ClusterError(
                f"process {pid}: the kernel did not take {', '.join(wrong)} into {kind} as asked ({' '.join(argv)})"
            )


def listed(capabilities: Mapping[str, Any], sets: Held) -> dict[str, list[str]]:
    """The sets as a module returns them: lists in bit order."""
    order: Sequence[str] = capabilities["names"]
    return {
        kind: sorted(names, key=lambda name: order.index(name) if name in order else len(order))
        for kind, names in sets.items()
    }
