# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for the environments of a Kadeploy server. It is not Kadeploy: it answers as a real one was heard to answer.

Heard of Kadeploy 3.3.11 and its clients, by texts, exit codes and headers ([recorded]), or read in its server
(kaenvs.rb, environment.rb, configparser.rb, httpd.rb, fetchfile.rb: [source]). What is neither is refused with
``NotRecorded``. Version ``current`` knows zstd, alias, arch, custom variables and options beside partitions, as the
descriptions of today's sites do ([indirect]); all else is taken to be as in 3.3.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VERSIONS = {"3.3": "3.3.11.stable", "current": "3.9.1.stable"}
TITLES = {
    3: "Invalid client's export",
    5: "Invalid file",
    7: "Invalid environment specification",
    10: "Element already exists",
    14: "No element has been modified",
}
HTTP_TITLES = {401: "Unauthorized", 403: "Forbidden", 404: "File Not Found"}


class NotRecorded(Exception):
    """Nobody knows what Kadeploy would do here."""


class Failure(Exception):
    """``status`` of HTTP; ``number`` is Kadeploy's own, with status 400."""

    def __init__(self, status: int, text: str = "", number: int | None = None) -> None:
        title = TITLES[number] if number is not None else HTTP_TITLES[status]
        super().__init__(f"{title} -- {text}" if text else title)
        self.status = status
        self.number = number


def refuse(number: int, text: str = "") -> Failure:
    return Failure(400, text, number)


@dataclass(frozen=True)
class Settings:
    """``state``: the folder with the records. ``export``: the client offers its own files, as kaenv3 does."""

    state: Path
    version: str = "3.3"
    administrators: tuple[str, ...] = ()

    @classmethod
    def of_environment(cls) -> Settings:
        return cls(
            Path(os.environ["KADEPLOY_STAND_IN_STATE"]),
            os.environ.get("KADEPLOY_STAND_IN_VERSION", "3.3"),
            tuple(filter(None, os.environ.get("KADEPLOY_STAND_IN_ADMINISTRATORS", "").split(","))),
        )


class Description:
    """Validation in the order of ``load_from_desc`` [source]; fault texts as heard [recorded]."""

    def __init__(self, given: Any, version: str) -> None:
        if not isinstance(given, dict):
            raise NotRecorded(f"a description that is no mapping: {given!r}")
        self.left = json.loads(json.dumps(given))
        self.modern = version == "current"
        self.compressions = ["gzip", "bzip2", "xz", *(["zstd"] if self.modern else [])]
        self.kept: dict[str, Any] = {}
        self.load()

    def load(self) -> None:
        top, kept = self.left, self.kept
        kept["name"] = self.value(top, "name", str)
        if self.modern:
            self.keep(kept, "alias", self.value(top, "alias", str, ""))
            self.keep(kept, "arch", self.value(top, "arch", str, ""))
        kept["version"] = self.value(top, "version", int, 1)
        for name in ("description", "author"):
            self.keep(kept, name, self.value(top, name, str, ""))
        kept["visibility"] = self.value(top, "visibility", str, "private", ["public", "private", "shared"])
        kept["destructive"] = self.value(top, "destructive", bool, False)
        kept["os"] = self.value(top, "os", str, None, ["linux", "xen", "other"])
        kept["image"] = self.image()
        if top.get("preinstall"):
            kept["preinstall"] = self.archive(top["preinstall"], "preinstall")
        posts = self.value(top, "postinstalls", list, [])
        self.keep(
            kept, "postinstalls", [self.archive(post, f"postinstalls/{at}") for at, post in enumerate(posts)]
        )
        filesystem = self.value(top, "filesystem", str, "")
        partition_type = self.value(top, "partition_type", int, 0)
        multipart = self.value(top, "multipart", bool, False)
        options = self.options(multipart)
        boot = self.boot(multipart)
        self.keep(kept, "boot", boot)
        self.keep(kept, "filesystem", filesystem)
        kept.update(partition_type=partition_type, multipart=multipart)
        if self.modern:
            self.keep(kept, "custom_variables", self.value(top, "custom_variables", dict, {}))
        self.keep(kept, "options", options)
        self.check_os_values()

    def image(self) -> dict[str, Any]:
        image = self.value(self.left, "image", dict, keep=True)
        found = {"file": self.value(image, "file", str, where="image/")}
        found["kind"] = self.value(image, "kind", str, None, ["tar", "dd", "fsa"], where="image/")
        if found["kind"] == "fsa":
            found["compression"] = self.value(image, "compression", int, 0, list(range(10)), where="image/")
        else:
            found["compression"] = self.value(
                image, "compression", str, None, self.compressions, where="image/"
            )
        return found

    def archive(self, given: dict[str, Any], path: str) -> dict[str, Any]:
        found = {"archive": self.value(given, "archive", str, where=f"{path}/")}
        found["compression"] = self.value(
            given, "compression", str, None, self.compressions, where=f"{path}/"
        )
        found["script"] = self.value(given, "script", str, "none", where=f"{path}/")
        return found

    def options(self, multipart: bool) -> dict[str, Any]:
        given = self.left.get("options")
        if given is None:
            if multipart:
                raise self.fault("The field is mandatory", "options")
            return {}
        if self.modern and "partitions" not in given and not multipart:
            found = dict(given)
            given.clear()
            return found
        partitions = self.value(given, "partitions", list, keep=True, where="options/")
        found = {"partitions": [dict(part) for part in partitions]}
        partitions.clear()
        return found

    def boot(self, multipart: bool) -> dict[str, Any]:
        given = self.left.get("boot") or {}
        found: dict[str, Any] = {}
        for name in ("kernel", "initrd", "kernel_params", "hypervisor", "hypervisor_params"):
            self.keep(found, name, self.value(given, name, str, "", where="boot/"))
        if multipart:
            found["block_device"] = self.value(given, "block_device", str, where="boot/")
            found["partition"] = self.value(given, "partition", int, where="boot/")
        return found

    def check_os_values(self) -> None:
        kept = self.kept
        if kept["image"]["kind"] != "tar":
            return
        for name in (*(["hypervisor"] if kept["os"] == "xen" else []), "kernel", "filesystem"):
            if not (kept if name == "filesystem" else kept.get("boot", {})).get(name):
                raise refuse(
                    7,
                    f"The field '{name}' is mandatory for OS {kept['os']} with the 'tar' image kind",
                )

    def value(
        self,
        given: dict[str, Any],
        name: str,
        kind: type,
        default: Any = None,
        allowed: list[Any] | None = None,
        *,
        where: str = "",
        keep: bool = False,
    ) -> Any:
        found = given.get(name) if keep else given.pop(name, None)
        if found is None:
            if default is None:
                raise self.fault("The field is mandatory", where + name)
            return default
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            title = {int: "Integer", str: "String", list: "Array", dict: "Hash"}.get(kind)
            if title is None:
                raise NotRecorded(f"the text for a {where}{name} that is no {kind.__name__}")
            raise self.fault(f"The field should have the type {title}", where + name)
        if allowed and found not in allowed:
            *most, last = [f"'{item}'" for item in allowed]
            raise self.fault(
                f"Invalid value '{found}', allowed values are: {', '.join(most)} or {last}", where + name
            )
        return found

    @staticmethod
    def fault(text: str, field: str) -> Failure:
        return refuse(7, f"Error[environment description] {text} [field: {field}]")

    @staticmethod
    def keep(found: dict[str, Any], name: str, value: Any) -> None:
        """What is empty is not in the answers (``to_hash``)."""
        if value not in ("", [], {}):
            found[name] = value

    def unused(self) -> list[str]:
        """The fields that nobody asked for, of which kaenv3 warns, as ``custom_variables/X``."""
        return list(leaves(self.left, ""))


def leaves(value: Any, path: str) -> Iterator[str]:
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None:
        yield path
        return
    for key, item in items:
        yield from leaves(item, f"{path}/{key}" if path else str(key))


def like(pattern: str, text: str) -> bool:
    """SQL's LIKE, by which the server looks for names *and* for users, also to change and to delete [source]."""
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, text, re.DOTALL | re.IGNORECASE) is not None


class Server:
    """The routes ``/environments``; ``export`` tells whether the client serves its own files."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.file = settings.state / "environments.json"

    @contextmanager
    def records(self) -> Iterator[list[dict[str, Any]]]:
        self.settings.state.mkdir(parents=True, exist_ok=True)
        with (self.settings.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = json.loads(self.file.read_text()) if self.file.exists() else []
            before = json.dumps(found)
            yield found
            if json.dumps(found) != before:
                partial = self.file.with_suffix(".part")
                partial.write_text(json.dumps(found, indent=1))
                partial.rename(self.file)

    def get(self, user: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        name, owner, version = params.get("name"), params.get("username"), params.get("version")
        everything = user in self.settings.administrators
        wanted = owner or (None if everything else user)
        with self.records() as records:
            found = select(
                records,
                name,
                wanted,
                version if version is not None else ("last" if params.get("last") else "all"),
                private=everything or wanted == user,
                public=not owner,
            )
        if not found and (name or version is not None):
            raise Failure(404)
        return [{**record["description"], "user": record["user"]} for record in found]

    def post(self, user: str, params: dict[str, Any], export: bool = False) -> dict[str, Any]:
        description = Description(params["environment"], self.settings.version).kept
        if params["environment"].get("user", user) != user:
            raise NotRecorded("adding an environment for another user")
        sums = self.checksums(description, export)
        if description["visibility"] == "public" and user not in self.settings.administrators:
            raise Failure(403, 'Only administrators can use the "public" tag')
        with self.records() as records:
            others = select(records, description["name"], user, str(description["version"]))
            if others:
                old = others[0]["description"]
                raise refuse(
                    10,
                    f"An environment with the name {old['name']} and the version {old['version']} "
                    f"has already been recorded for the user {others[0]['user']}",
                )
            records.append({"user": user, "description": description, "checksums": sums})
        return description

    def put(self, user: str, path: list[str], params: dict[str, Any], export: bool = False) -> dict[str, Any]:
        owner, name, version = path_parts(path)
        administrator = user in self.settings.administrators
        if not administrator and user != owner:
            raise Failure(403, "Only administrators are allowed to modify other user's environment")
        if params.get("visibility") == "public" and owner not in self.settings.administrators:
            raise Failure(403, 'Only administrators can use the "public" tag')
        if version is None and not params.get("last"):
            raise Failure(404)
        with self.records() as records:
            # others' public environments are found too, and stand in front [source]
            found = select(records, name, owner, version or "last", public=True)
            if not found:
                raise Failure(404)
            return self.modify(found[0], params, export)

    def modify(self, record: dict[str, Any], params: dict[str, Any], export: bool) -> dict[str, Any]:
        description = record["description"]
        before = json.dumps(record)
        known = {"visibility", "toggle_destructive", "last"}
        checks = {f"update_{name}_checksum": name for name in ("image", "preinstall", "postinstalls")}
        if unknown := set(params) - known - set(checks):
            raise NotRecorded(f"a change of {unknown}")
        if params.get("visibility"):
            description["visibility"] = params["visibility"]
        if params.get("toggle_destructive"):
            description["destructive"] = not description["destructive"]
        for parameter, name in checks.items():
            if params.get(parameter):
                self.refresh(record, name, export)
        if json.dumps(record) == before:
            raise refuse(14)
        return dict(description)

    def refresh(self, record: dict[str, Any], name: str, export: bool) -> None:
        """The first archive whose checksum is the same ends it all, also for those behind it [source]."""
        sums = record["checksums"]
        if name not in sums:
            return
        files = files_of(record["description"])[name]
        for index, uri in enumerate(files):
            found = checksum(uri, export)
            if sums[name][index] == found:
                raise refuse(14)
            sums[name][index] = found

    def delete(self, user: str, path: list[str], params: dict[str, Any]) -> list[dict[str, Any]]:
        owner, name, version = path_parts(path)
        if user != owner and user not in self.settings.administrators:
            raise Failure(403, "Only administrators are allowed to delete other user's environment")
        with self.records() as records:
            found = select(records, name, owner, version or ("last" if params.get("last") else "all"))
            if not found:
                raise Failure(404)
            first = found[0]["description"]
            for record in list(records):
                same = (record["user"], record["description"]["name"]) == (found[0]["user"], first["name"])
                if same and (
                    not (version or params.get("last"))
                    or record["description"]["version"] == first["version"]
                ):
                    records.remove(record)
        return [record["description"] for record in found]

    @staticmethod
    def checksums(description: dict[str, Any], export: bool) -> dict[str, list[str]]:
        return {
            name: [checksum(uri, export) for uri in files]
            for name, files in files_of(description).items()
            if files
        }

    def stale(self, user: str, name: str) -> str | None:
        """What kadeploy3 would say before it deploys the latest version [recorded: checksum-and-busy.txt]."""
        with self.records() as records:
            record = select(records, name, user, "last")[0]
        for kind, files in files_of(record["description"]).items():
            for uri, known in zip(files, record["checksums"].get(kind, [])):
                if checksum(uri, True) != known:
                    return f"Invalid file -- Checksum of the file '{uri}' does not match (an update is necessary)"
        return None


def path_parts(path: list[str]) -> tuple[str, str, str | None]:
    if len(path) not in (2, 3):
        raise NotRecorded(f"a change of /environments/{'/'.join(path)}")
    return path[0], path[1], path[2] if len(path) == 3 else None


def files_of(description: dict[str, Any]) -> dict[str, list[str]]:
    preinstall = description.get("preinstall")
    return {
        "image": [description["image"]["file"]],
        "preinstall": [preinstall["archive"]] if preinstall else [],
        "postinstalls": [post["archive"] for post in description.get("postinstalls", [])],
    }


def select(
    records: list[dict[str, Any]],
    name: str | None,
    owner: str | None,
    version: str,
    private: bool = True,
    public: bool = False,
) -> list[dict[str, Any]]:
    """As ``get_from_db`` [source]; sorted by visibility and name [recorded]. ``version``: a number, all or last."""
    found = []
    for record in records:
        description = record["description"]
        seen = public and record["user"] != owner and description["visibility"] == "public"
        if owner and not like(owner, record["user"]) and not seen:
            continue
        if name and not like(name, description["name"]):
            continue
        if not private and description["visibility"] == "private":
            continue
        if version in ("all", "last") or str(description["version"]) == str(version):
            found.append(record)
    if version == "last":
        best: dict[tuple[str, str], dict[str, Any]] = {}
        for record in found:
            key = (record["user"], record["description"]["name"])
            if key not in best or best[key]["description"]["version"] < record["description"]["version"]:
                best[key] = record
        found = list(best.values())
    order = ("public", "private", "shared")
    return sorted(
        found,
        key=lambda record: (
            order.index(record["description"]["visibility"]),
            record["description"]["name"],
            -record["description"]["version"],
        ),
    )


def checksum(uri: str, export: bool) -> str:
    """MD5 of what the server reads itself, the ETag of what it fetches over HTTP, the client's files included [source]."""
    parts = urlsplit(uri)
    scheme = parts.scheme or "local"
    if scheme == "server":
        if not os.access(parts.path, os.R_OK):
            raise refuse(5, f"Unable to grab the file {parts.path}")
        return hashlib.md5(Path(parts.path).read_bytes(), usedforsecurity=False).hexdigest()
    if scheme == "local":
        if not export:
            raise refuse(
                3,
                f"There is no way to retrieve {uri} from the Kadeploy server. "
                "Consider using a server:// or a http:// URL",
            )
        status = Path(parts.path).stat()
        return f'"{status.st_ino:x}-{status.st_size:x}-{int(status.st_mtime):x}"'
    if scheme in ("http", "https"):
        return etag(uri)
    raise refuse(5, f"Unable to grab the file '{uri}', unknown protocol {scheme}")


def etag(uri: str) -> str:
    # kaenv3 is started many times, and half of its start would be these
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(uri, method="HEAD"), timeout=20) as answer:
            return str(answer.headers["ETag"])
    except urllib.error.HTTPError as error:
        raise refuse(5, f"Unable to get the checksum of {uri} (http error #{error.code})") from error
