# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The section ``process`` of a flavour: how it names, moves, keeps and restarts a process."""

from __future__ import annotations

from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _schema as schema

SETS = ("effective", "permitted", "inheritable_permitted", "inheritable_effective")
"""The sets of capabilities of a process; a child's permitted and effective ones are its parent's inheritable ones."""

texts = schema.listing(schema.text())
name_of_set = schema.text("|".join(SETS), f"set of capabilities ({', '.join(SETS)})")
a_file = schema.template("pid")
bounds: tuple[schema.Check, Any] = (schema.mapping(schema.integer(0, 2**32)), {})

REFUSALS: tuple[schema.Check, Any] = (
    schema.listing(
        schema.section(
            file=a_file, match=schema.regex(), means=schema.text(), at_least=bounds, at_most=bounds
        )
    ),
    [],
)
"""Reasons to refuse before anything runs: ``match`` is in the file, and a number of it, if bounds are given, beyond them."""

FAILURES: tuple[schema.Check, Any] = (
    schema.listing(schema.section(match=schema.regex(), means=schema.text())),
    [],
)
"""What a program prints where it failed, whatever its exit code, and what that means to the user."""

CAPABILITIES = schema.section(
    names=texts,
    unsupported=(schema.mapping(schema.text()), {}),
    needs=(texts, []),
    only_lose=(schema.listing(name_of_set), []),
    within=(schema.mapping(name_of_set), {}),
    show=schema.section(argv=schema.argv("pid"), sets=schema.mapping(schema.regex("octal"))),
    set=schema.section(argv=schema.argv("pid", "flag", "change"), flags=schema.mapping(schema.text())),
    refusals=REFUSALS,
    failures=FAILURES,
)

WHERE = schema.section(
    file=(schema.maybe(a_file), None),
    argv=(schema.maybe(schema.argv("pid")), None),
    match=schema.regex(),
    none=(schema.maybe(schema.regex()), None),
    nodes=(
        schema.maybe(
            schema.section(
                folder=schema.text(),
                name=schema.text(),
                node_id=schema.regex("node_id"),
                match=schema.regex(),
            )
        ),
        None,
    ),
)

MIGRATE = schema.section(
    argv=schema.argv("pid", "node_id"),
    targets=(schema.mapping(schema.maybe(schema.text())), {}),
    needs=(texts, []),
    refusals=REFUSALS,
    failures=FAILURES,
)

CHECKPOINT = schema.section(
    argv=schema.argv("pid", "description"),
    options=(schema.mapping(schema.argv("signal")), {}),
    unfreeze=(schema.maybe(schema.argv("pid")), None),
    needs=(texts, []),
    refusals=REFUSALS,
    failures=FAILURES,
    folder=schema.text(r"/[^\0]*", "absolute path"),
    shared=texts,
    version_folder=schema.template("identifier", "version"),
    description_file=schema.text(),
    member=schema.template("pid"),
    identifier=schema.regex("value"),
    version=schema.regex("value"),
    description=schema.regex("value"),
    date=schema.regex("value"),
)

RESTART = schema.section(
    argv=schema.argv("identifier", "version"),
    done=(schema.maybe(schema.regex()), None),
    failures=FAILURES,
)

LOCK = schema.section(file=a_file, match=schema.regex("locked"), on=schema.text(), off=schema.text())

PROCESS = schema.section(
    capabilities=(schema.maybe(CAPABILITIES), None),
    where=WHERE,
    lock=(schema.maybe(LOCK), None),
    migrate=(schema.maybe(MIGRATE), None),
    checkpoint=(schema.maybe(CHECKPOINT), None),
    restart=(schema.maybe(RESTART), None),
)


def check_process(section: Any, where: str = "process") -> dict[str, Any]:
    """The section with everything that it leaves out; raises ClusterError that names the first wrong field."""
    checked: dict[str, Any] = PROCESS(section, where)
    return checked
