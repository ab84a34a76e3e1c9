# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for Kadeploy's kaenv3. It is not Kadeploy: see kadeploy_server.py for what it knows and from where.

Options as in ``kaenv3 -h`` of 3.3.11, outputs and exit codes as recorded. In the environment: KADEPLOY_STAND_IN_STATE
(folder of the records), KADEPLOY_STAND_IN_USER, KADEPLOY_STAND_IN_ADMINISTRATORS (a,b), KADEPLOY_STAND_IN_VERSION
(3.3, current), KADEPLOY_STAND_IN_SERVERS (the names that -S knows).
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kadeploy_server import VERSIONS, Description, Failure, NotRecorded, Server, Settings  # noqa: E402

NOT_RECORDED = 99
CHANGES = {
    "set_visibility_tag": None,
    "toggle_destructive_tag": "toggle_destructive",
    "update_image_checksum": "update_image_checksum",
    "update_preinstall_checksum": "update_preinstall_checksum",
    "update_postinstalls_checksum": "update_postinstalls_checksum",
}


def fail(text: str, code: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


class Options(argparse.ArgumentParser):
    """Faults as Ruby's OptionParser words them [recorded for an invalid option]."""

    def error(self, message: str) -> NoReturn:
        match = re.match(r"unrecognized arguments: (\S+)", message)
        if match:
            fail(f"Option parsing error: invalid option: {match[1]}")
        fail(f"stand-in: not recorded: {message}", NOT_RECORDED)


def parse() -> argparse.Namespace:
    parser = Options(add_help=False, allow_abbrev=False)
    parser.add_argument("-v", "--version", action="store_true")
    parser.add_argument("-S", "--server")
    parser.add_argument("-a", "--add")
    parser.add_argument("-d", "--delete")
    parser.add_argument("-l", "--list", nargs="?", const="")
    parser.add_argument("-p", "--print")
    parser.add_argument("-s", "--all-versions", action="store_true")
    parser.add_argument("-t", "--visibility-tag")
    parser.add_argument("-u", "--env-user")
    parser.add_argument("--env-version")
    for name in CHANGES:
        parser.add_argument("--" + name.replace("_", "-"))
    options = parser.parse_args()
    for name, given, form in (
        ("-u", options.env_user, r"\w+"),
        ("--env-version", options.env_version, r"\d+"),
        ("-t", options.visibility_tag, "public|private|shared"),
    ):
        if given is not None and not re.fullmatch(form, given):
            fail(f"Option parsing error: invalid argument: {name} {given}")
    return options


class Quoted(str):
    """A text that psych puts in double quotes: one that starts with a slash, as recorded."""


class Psych(yaml.SafeDumper):
    """Ruby's YAML writer."""


Psych.add_representer(
    Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def psych(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: psych(item) for key, item in value.items()}
    if isinstance(value, list):
        return [psych(item) for item in value]
    return Quoted(value) if isinstance(value, str) and value.startswith("/") else value


def print_full(environment: dict[str, Any]) -> None:
    text = yaml.dump(psych(environment), Dumper=Psych, sort_keys=False, allow_unicode=True)
    print("---\n" + text, end="")


def print_short(environment: dict[str, Any]) -> None:
    if "description" not in environment:
        # the client asks for the size of what is not there, and Ruby ends it [source]
        fail("undefined method `size' for nil:NilClass (NoMethodError)")
    name, owner = environment["name"], environment["user"]
    room = 80 - (max(21, len(name)) + 7 + max(11, len(owner)) + 3)
    text = environment["description"]
    text = text[: room - 3] + "..." if len(text) > room else text
    width = max(0, 7 - max(0, len(name) - 21))
    print(f"{name:<21} {environment['version']:<{width}} {owner:<11} {text}")


def add(server: Server, user: str, path: str, version: str) -> None:
    if not os.access(path, os.R_OK):
        fail(f"Invalid file (error #5)\nUnable to grab the file {os.path.abspath(path)}")
    try:
        given = yaml.load(
            Path(path).read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark or error.problem_mark
        place = f"at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        fail(f"Invalid YAML file '{path}'\n({path}): {error.problem} {error.context} {place}")
    try:
        checked = Description(given, version)
    except Failure as failure:
        title, text = str(failure).split(" -- ", 1)
        fail(f"{title} (error #{failure.number})\n{text}")
    for field in checked.unused():
        print(f"Warning[env_desc]: Unused field '{field}'")
    server.post(user, {"environment": given}, export=True)


def show(server: Server, user: str, options: argparse.Namespace) -> None:
    listing = options.list is not None
    params: dict[str, Any] = {} if options.all_versions else {"last": True}
    given = {
        "username": options.env_user,
        "version": options.env_version,
        "name": options.list or options.print,
    }
    params.update({key: value for key, value in given.items() if value})
    found = server.get(user, params)
    if not found:
        print("No environment has been found")
    elif listing:
        print(f"{'Name':<21} {'Version':<7} {'User':<11} Description")
        print(f"{'####':<21} {'#######':<7} {'####':<11} ###########")
        for environment in found:
            print_short(environment)
    else:
        if options.env_user is None:
            found = [environment for environment in found if environment["user"] == user] or found
        for environment in found:
            print_full({key: value for key, value in environment.items() if key != "user"})


def change(server: Server, user: str, options: argparse.Namespace, name: str) -> None:
    target = getattr(options, name)
    path = [options.env_user or user, target]
    if options.env_version:
        path.append(options.env_version)
    params: dict[str, Any] = {} if options.all_versions else {"last": True}
    if name == "set_visibility_tag":
        if not options.visibility_tag:
            fail("You must define the visibility value")
        params["visibility"] = options.visibility_tag
    else:
        params[CHANGES[name]] = True
    try:
        server.put(user, path, params, export=True)
    except Failure as failure:
        say(failure, "PUT", path)


def remove(server: Server, user: str, options: argparse.Namespace) -> None:
    path = [options.env_user or user, options.delete]
    if options.env_version:
        path.append(options.env_version)
    try:
        server.delete(user, path, {} if options.all_versions else {"last": True})
    except Failure as failure:
        say(failure, "DELETE", path)


def say(failure: Failure, method: str, path: list[str]) -> NoReturn:
    """Exit codes: the number of a 400, 1 for a 404, 2 for another status of HTTP [recorded]."""
    place = "/".join(["/environments", *path])
    if failure.status == 400:
        fail(f"{failure}\n[Kadeploy Error #{failure.number}]", failure.number or 2)
    if failure.status == 404:
        fail(f"Resource not found {place}")
    fail(f"{failure}\n[HTTP Error #{failure.status} on {method} {place}]", 2)


def run(options: argparse.Namespace) -> None:
    settings = Settings.of_environment()
    user = os.environ.get("KADEPLOY_STAND_IN_USER") or pwd.getpwuid(os.geteuid()).pw_name
    servers = os.environ.get("KADEPLOY_STAND_IN_SERVERS", "site1,site2").split(",")
    if options.server and options.server not in servers:
        fail(f"The server '{options.server}' does not exist")
    server = Server(settings)
    changes = [name for name in CHANGES if getattr(options, name)]
    if options.version:
        print(f"Kadeploy version: {VERSIONS[settings.version]}")
    elif options.add:
        add(server, user, options.add, settings.version)
    elif options.delete:
        remove(server, user, options)
    elif options.list is not None or options.print:
        show(server, user, options)
    elif changes:
        change(server, user, options, changes[0])
    else:
        fail("You must choose an operation")


if __name__ == "__main__":
    parsed = parse()
    try:
        run(parsed)
    except NotRecorded as error:
        fail(f"stand-in: not recorded: {error}", NOT_RECORDED)
    except Failure as failure:
        say(failure, "POST" if parsed.add else "GET", [])
