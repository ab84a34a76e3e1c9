# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A Kadeploy server as a registry of environments, through ``kaenv3`` or its REST API.

Kadeploy changes visibility and destructiveness of a recorded environment in place, and nothing else. It looks records up
by SQL's LIKE, also to change and to delete them, and takes a public environment of somebody else first: every change
here makes sure beforehand that it hits the right record, and afterwards that it did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_fields import (
    FIELDS,
    IN_PLACE,
    TARGETS,
    Field,
    get,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_formats import read, write
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_losses import Loss
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_registry import (
    Entry,
    Image,
    Listing,
    Refresh,
    Registry,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import write_document
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_client import EnvironmentClient
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import (
    NOTHING_MODIFIED,
    KadeployError,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_kaenv import Kaenv
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_notes import Notes, files
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_rest import Access, RestEnvironments

FIRST_CURRENT = (3, 9)
"""The first version of Kadeploy with the current descriptions."""

KADEPLOY_SPEC: dict[str, Any] = {
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "server": {"type": "str"},
    "program": {"type": "str", "default": "kaenv3"},
    "target": {"type": "str", "choices": ["auto", "3.3", "current"], "default": "auto"},
    "notes": {"type": "path"},
}
"""The options of ``registry`` that only a Kadeploy server takes; ``url`` has another meaning for a directory."""

REST_ONLY = ("user", "password", "ca_file")
"""Those that say nothing to kaenv3."""


def open_kadeploy(options: Mapping[str, Any], user: str) -> KadeployRegistry:
    """The registry that ``options`` name (KADEPLOY_SPEC and url); ``user`` is whom this process runs as.

    Raises ClusterError for options that do not go together.
    """
    if options["path"]:
        raise ClusterError(
            "registry.path is for a registry of kind directory; give url, or nothing for kaenv3"
        )
    client: EnvironmentClient
    if options["url"]:
        if options["server"]:
            raise ClusterError("registry.server is for kaenv3; registry.url names the server already")
        access = Access(
            options["url"],
            options["user"] or user,
            options["password"],
            options["ca_file"],
            options["validate_certs"],
        )
        client = RestEnvironments(access)
    else:
        given = [f"registry.{name}" for name in REST_ONLY if options[name]]
        if given:
            raise ClusterError(
                f"{', '.join(given)} without registry.url: kaenv3 works for the user that runs it, {user}, as its "
                "own configuration says; it takes a password on its command line only, where all can read it"
            )
        client = Kaenv(options["program"], options["server"], user)
    notes = Path(options["notes"]) if options["notes"] else None
    return KadeployRegistry(client, options["target"], Notes(notes))


class KadeployRegistry(Registry):
    """``known_target`` is a format of TARGETS, or ``auto`` to go by the server's version."""

    kind = "kadeploy"
    embedded = False

    def __init__(self, client: EnvironmentClient, known_target: str, notes: Notes) -> None:
        self.client = client
        self.known_target = known_target
        self.notes = notes
        self.user = client.user
        self.lost: list[str] = []

    @property
    def target(self) -> str:  # type: ignore[override]
        if self.known_target == "auto":
            self.known_target = target_of(self.client.server_version(), self.client.title)
        return self.known_target

    def remarks(self) -> list[str]:
        return self.lost

    def listing(self, name: str | None = None, owner: str | None = None) -> Listing:
        listing = Listing()
        for record in self.client.records(name, owner):
            found = record.description
            version = found.get("version")
            if not isinstance(found.get("name"), str) or not isinstance(version, int):
                listing.faults.append(
                    f"{self.client.title}: an environment of {record.owner} without name or version"
                )
            elif name in (None, found["name"]) and isinstance(found.get("image"), dict):
                place = f"{self.client.title} {found['name']}@{record.owner}:{version}"
                listing.entries.append(Entry(record.owner, found["name"], version, complete(found), place))
        listing.entries.sort(key=lambda entry: (entry.owner, entry.name, entry.version))
        return listing

    def settle(self, description: dict[str, Any], owner: str, image: Image | None) -> dict[str, Any]:
        """What this server will hold of ``description``; what it cannot hold is in ``remarks``.

        Raises ClusterError where what is left would be refused, or would not deploy the same.
        """
        if owner != self.user:
            raise ClusterError(
                f"{self.client.title} records environments for who asks, {self.user}, not for {owner}; "
                "run as the owner, or set registry.user with registry.url"
            )
        written = write(description, self.target)
        where = f"environment {description['name']} for {TARGETS[self.target].title}"
        refused = [loss for loss in written.losses if is_refused(loss)]
        refused += [] if self.client.exports_files else unreachable(description)
        if refused:
            raise ClusterError(f"{where}: {'; '.join(f'{loss.field}: {loss.reason}' for loss in refused)}")
        known, unknown = known_fields(FIELDS, read(written.text, self.target, where)[0].description)
        known.pop("oneimage", None)
        lost = {path: "Kadeploy does not know it" for path in unknown}
        lost.update((loss.field, loss.reason) for loss in written.losses if loss.field != "oneimage")
        self.lost = [f"{where}: {path} is lost: {reason}" for path, reason in lost.items()]
        settled = complete(known)
        for path, length in TARGETS[self.target].lengths.items():
            if len(get(settled, path) or "") > length:
                settled[path] = settled[path][:length]
        return settled

    def publish(self, entry: Entry, image: Image | None, replaced: Entry | None) -> Entry:
        if replaced is None:
            self.add(entry)
        elif changed_fields(entry, replaced) <= set(IN_PLACE) and self.alone(entry):
            self.alter(entry, replaced)
        else:
            self.exchange(entry, replaced)
        return self.read_back(entry)

    def add(self, entry: Entry) -> None:
        self.client.add(entry.description, write_document(entry.description))
        self.notes.remember(entry)

    def alter(self, entry: Entry, replaced: Entry) -> None:
        key = (entry.name, entry.owner, entry.version)
        if entry.visibility != replaced.visibility:
            self.client.set_visibility(*key, entry.visibility)
        if entry.description["destructive"] != replaced.description["destructive"]:
            self.client.toggle_destructive(*key)

    def exchange(self, entry: Entry, replaced: Entry) -> None:
        """Delete and add. A refusal puts the old one back; a kill between leaves none, which the next run adds."""
        self.remove(replaced)
        try:
            self.add(entry)
        except ClusterError as error:
            try:
                self.add(replaced)
            except ClusterError as second:
                raise ClusterError(
                    f"{error}; and {replaced.title}, which was there before, could not be put back: {second}"
                ) from error
            raise ClusterError(f"{error}; {replaced.title} was put back as it was") from error

    def read_back(self, entry: Entry) -> Entry:
        """``entry`` as Kadeploy now shows it; raises ClusterError if that is not what was to be published."""
        found = next(
            (one for one in self.listing(entry.name, entry.owner).entries if one.version == entry.version),
            None,
        )
        if found is None:
            raise ClusterError(f"{self.client.title} took {entry.title}, but does not show it")
        wrong = changed_fields(found, entry) & entry.description.keys()
        if wrong:
            raise ClusterError(
                f"{self.client.title} took {entry.title}, but shows it with other {', '.join(sorted(wrong))}"
            )
        return found

    def remove(self, entry: Entry) -> None:
        self.refuse_others(entry)
        try:
            self.client.delete(entry.name, entry.owner, entry.version)
        except KadeployError as error:
            if not error.not_found:
                raise
        self.notes.forget(entry)

    def refuse_others(self, entry: Entry) -> None:
        """Raise ClusterError if the name and the owner of ``entry`` mean other records too, by the rules of LIKE."""
        found = self.client.records(entry.name, entry.owner, entry.version)
        others = {str(record.description.get("name")) for record in found} - {entry.name}
        if others or len(found) > 1:
            raise ClusterError(
                f"{self.client.title}: {entry.title} is not changed, since Kadeploy, for which a _ is any character and "
                f"letters have no case, also takes {', '.join(sorted(others)) or 'that of another user'} for it; "
                "have one of them renamed"
            )

    def alone(self, entry: Entry) -> bool:
        """Whether a change in place hits ``entry``, and not a public environment of somebody else like it."""
        self.refuse_others(entry)
        return all(owner == entry.owner for owner in self.client.owners(entry.name, entry.version))

    def refresh(self, entry: Entry, check_mode: bool) -> Refresh:
        """Bring the checksums that Kadeploy keeps of the files of ``entry`` up to date, before a deployment fails on them.

        Raises ClusterError where Kadeploy cannot read a file. In check mode the notes tell, or nothing.
        """
        stale = self.notes.stale(entry)
        if check_mode:
            unknown = [kind for kind, answer in stale.items() if answer is None]
            hint = (
                f"{entry.title}: whether Kadeploy's checksum of {', '.join(unknown)} still holds is not known"
            )
            return Refresh(
                [kind for kind, answer in stale.items() if answer],
                [f"{hint} in check mode"] if unknown else [],
            )
        if not self.alone(entry):
            return Refresh(
                warnings=[
                    f"{entry.title}: its checksums cannot be updated, since a public environment of "
                    "somebody else has its name and version; give it another version"
                ]
            )
        updated = [kind for kind in files(entry.description) if self.update(entry, kind)]
        if any(answer and kind not in updated for kind, answer in stale.items()):
            # of several archives Kadeploy reads none again if the first is the same
            self.exchange(entry, entry)
            updated = [kind for kind, answer in stale.items() if answer or kind in updated]
        elif updated or None in stale.values():
            self.notes.remember(entry)
        return Refresh(updated)

    def update(self, entry: Entry, kind: str) -> bool:
        try:
            self.client.update_checksum(entry.name, entry.owner, entry.version, kind)
        except KadeployError as error:
            if error.number == NOTHING_MODIFIED:
                return False
            raise
        return True

    def verify(self, entry: Entry) -> Iterator[str]:
        for kind, answer in self.notes.stale(entry).items():
            if answer:
                yield f"{kind} of {entry.title} has changed since Kadeploy noted its checksum; deployments will fail"
            elif answer is None:
                yield f"{kind} of {entry.title}: whether it is what Kadeploy noted is not known; give registry.notes"


def target_of(version: str, title: str) -> str:
    """The format that a server of ``version`` reads; raises ClusterError for a version that is none."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise ClusterError(f"{title}: {version[:40]!r} is no version of Kadeploy; set registry.target")
    return "current" if (int(match[1]), int(match[2])) >= FIRST_CURRENT else "3.3"


def is_refused(loss: Loss) -> bool:
    """Whether a loss breaks the record: refused by the target, or a separator in what it keeps in one text."""
    return loss.refused or loss.field.startswith("postinstalls[")


def known_fields(fields: Mapping[str, Field], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """``values`` without the fields that nobody knows, and the paths of these."""
    known: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in values.items():
        if name not in fields:
            unknown.append(name)
            continue
        deeper = fields[name].fields
        if deeper and isinstance(value, dict):
            value, lost = known_fields(deeper, value)
            unknown += [f"{name}/{path}" for path in lost]
        known[name] = value
    return known, unknown


def unreachable(description: Mapping[str, Any]) -> list[Loss]:
    """Files that only a client on their host could serve, which nobody does for the REST API."""
    reason = "is a file of this host, which the server cannot fetch; give server:///PATH or http://"
    return [
        Loss(kind, f"{uri} {reason}")
        for kind, uris in files(description).items()
        for uri in uris
        if uri.startswith(("/", "local://"))
    ]


def changed_fields(one: Entry, other: Entry) -> set[str]:
    left, right = one.description, other.description
    return {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}
