# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for kadeploy3, kareboot3, kapower3, kaconsole3, kanodes3 and kastat3. They are no Kadeploy: kadeploy_workflows.py.

``kadeploy_programs.py PROGRAM OPTIONS``. Options as in the ``-h`` of 3.3.11, outputs, files and exit codes as recorded. In
the environment as for kaenv3, and KADEPLOY_STAND_IN_SITE, the domain of the nodes; KADEPLOY_STAND_IN_DOWN for a server
that is not there.
"""

from __future__ import annotations

import argparse
import os
import pwd
import select
import signal
import sys
import time
import tty
from pathlib import Path
from typing import Any, NoReturn

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kadeploy_server import Failure, NotRecorded, Settings  # noqa: E402
from kadeploy_workflows import MACROS, Workflow, Workflows, statistics  # noqa: E402
from kaenv3 import NOT_RECORDED, Options, Psych, fail, psych  # noqa: E402

TITLES = {"deploy": "Deployment", "reboot": "Reboot operation", "power": "Power operation"}
SENTENCES = {"deploy": "deployment", "reboot": "reboot operation", "power": "power operation"}
KINDS = {"kadeploy3": "deploy", "kareboot3": "reboot", "kapower3": "power"}


def workflow_options(kind: str) -> Options:
    parser = Options(add_help=False, allow_abbrev=False)
    for names in ("-S --server", "-f --file", "-n --output-ko-nodes", "-o --output-ok-nodes", "--breakpoint"):
        parser.add_argument(*names.split())
    parser.add_argument("-m", "--machine", action="append", default=[])
    parser.add_argument("-V", "--verbose-level", type=int, default=3)
    parser.add_argument("--write-workflow-id")
    parser.add_argument("--custom-steps")
    parser.add_argument("--force", action="store_true")
    if kind == "power":
        for flag in ("on", "off", "status"):
            parser.add_argument(f"--{flag}", dest="status", action="store_const", const=flag)
        parser.add_argument("-l", "--op-level", default="soft")
        return parser
    for names in ("-b --block-device", "-p --partition-number", "-e --env-name", "-u --env-user", "-k --key"):
        parser.add_argument(*names.split())
    parser.add_argument("--env-version", type=int)
    parser.add_argument("--vlan")
    parser.add_argument("-w", "--set-pxe-profile")
    if kind == "reboot":
        parser.add_argument("-r", "--reboot-kind", default="simple")
        parser.add_argument("-l", "--op-level", default="soft")
        parser.add_argument("-c", "--check-destructive-tag", action="store_true")
        return parser
    parser.add_argument("-I", "--server-info", action="store_true")
    for names in ("-a --env-file", "-c --boot-partition", "-r --reformat-tmp", "--force-steps"):
        parser.add_argument(*names.split())
    for flag in ("--no-kexec", "--disable-bootloader-install", "--disable-disk-partitioning"):
        parser.add_argument(flag, action="store_true")
    return parser


def params_of(kind: str, options: argparse.Namespace, nodes: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {"nodes": nodes, "breakpoint": options.breakpoint, "force": options.force}
    given["export"] = True
    if options.custom_steps:
        given["custom_operations"] = yaml.safe_load(Path(options.custom_steps).read_text())
    if kind == "power":
        return {**given, "status": options.status, "level": options.op_level}
    if options.key:
        if not os.access(options.key, os.R_OK):
            fail(f"The file {options.key} cannot be read")
        given["ssh_authorized_keys"] = options.key
    if options.env_name:
        database = {"name": options.env_name, "user": options.env_user, "version": options.env_version}
        given["environment"] = {**database, "kind": "database"}
    if kind == "reboot":
        return {**given, "kind": options.reboot_kind, "level": options.op_level}
    if options.env_file:
        given["environment"] = {**yaml.safe_load(Path(options.env_file).read_text()), "kind": "anonymous"}
    if options.force_steps:
        given["automata"] = automata(options.force_steps)
    return given


def automata(text: str) -> dict[str, Any]:
    chain = {}
    for part in text.split("&"):
        macro, _bar, instances = part.partition("|")
        chain[macro] = [
            {"name": name, "retries": int(retries), "timeout": int(timeout)}
            for name, retries, timeout in (one.split(":") for one in instances.split(","))
        ]
    if tuple(chain) != MACROS:
        fail("Option parsing error: invalid argument: --force-steps " + text)
    return chain


def server_info(site: Workflows) -> None:
    """[source]: nobody recorded it."""
    print("Kadeploy server configuration:")
    info = site.info()
    print(f"  Custom PXE boot method: {info['pxe']}\n  Automata configuration:")
    for cluster, macros in info["automata"].items():
        print(f"    {cluster}:")
        for macro, steps in macros.items():
            shown = "; ".join(",".join(str(value) for value in step.values()) for step in steps)
            print(f"      {macro}: {shown}")
    print("  Deployment environment:\n    Supported file systems:")
    for cluster, names in info["supported_fs"].items():
        print(f"      {cluster}: {','.join(names)}")


def workflow(site: Workflows, kind: str, user: str, arguments: list[str]) -> None:
    options = workflow_options(kind).parse_args(arguments)
    if getattr(options, "server_info", False):
        server_info(site)
        return
    nodes = list(options.machine)
    if options.file:
        nodes += [line for line in Path(options.file).read_text().splitlines() if line]
    if not nodes:
        fail("No node is chosen")
    files = (options.output_ok_nodes, options.output_ko_nodes, options.write_workflow_id)
    for file in filter(None, files):
        Path(file).write_text("")
    unknown = [node for node in nodes if node not in site.nodes]
    if unknown:
        fail(f"The nodes {', '.join(unknown)} does not belongs to any server")
    work = site.create(kind, user, params_of(kind, options, nodes))
    if options.write_workflow_id:
        Path(options.write_workflow_id).write_text(work.wid)
    print(f"{TITLES[kind]} #{work.wid} started", flush=True)
    signal.signal(signal.SIGINT, lambda *_arguments: interrupted(site, work))
    while not work.shown()["done"]:
        time.sleep(0.1)
    if work.failure:
        raise work.failure
    print("\n".join(work.log))
    print(f"{TITLES[kind]} #{work.wid} done\n")
    report(kind, work, options)


def interrupted(site: Workflows, work: Workflow) -> NoReturn:
    """The client ends its workflow [source]."""
    site.note("ended.log", work.wid)
    sys.exit(1)


def report(kind: str, work: Workflow, options: argparse.Namespace) -> None:
    for title, names, file in (
        ("is successful", work.ok, options.output_ok_nodes),
        ("failed", work.ko, options.output_ko_nodes),
    ):
        if not names:
            continue
        print(f"The {SENTENCES[kind]} {title} on nodes")
        for name in names:
            print(name if title != "failed" else f"{name} ({work.states.get(name, {}).get('error', '')})")
        if file:
            Path(file).write_text("\n".join(names) + "\n")


def nodes_states(site: Workflows, arguments: list[str]) -> None:
    parser = Options(add_help=False, allow_abbrev=False)
    parser.add_argument("-S", "--server")
    parser.add_argument("-s", "--get-nodes-state", action="store_true", required=True)
    parser.parse_args(arguments)
    text = yaml.dump(psych(site.states()), Dumper=Psych, sort_keys=False)
    # Ruby writes nothing for nil
    print("---\n" + text.replace(": null\n", ":\n"), end="")


def table(site: Workflows, arguments: list[str]) -> None:
    parser = Options(add_help=False, allow_abbrev=False)
    for names in ("-S --server", "-o --operation", "-w --workflow-id", "-x --date-min", "-y --date-max"):
        parser.add_argument(*names.split())
    parser.add_argument("-a", "--all", action="store_true", required=True)
    options = parser.parse_args(arguments)
    if options.date_min or options.date_max:
        raise NotRecorded("statistics by date")
    print(statistics(site, options.operation, options.workflow_id), end="")


def console(arguments: list[str]) -> None:
    """Shows what KADEPLOY_STAND_IN_STATE/console-NODE gets, until ESC is typed four times; wants a terminal [source]."""
    parser = Options(add_help=False, allow_abbrev=False)
    parser.add_argument("-S", "--server")
    parser.add_argument("-m", "--machine", required=True)
    options = parser.parse_args(arguments)
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        fail("kaconsole3 needs a terminal")
    tty.setraw(0)
    shown = Path(os.environ["KADEPLOY_STAND_IN_STATE"], f"console-{options.machine}")
    typed, offset = b"", 0
    while typed[-4:] != b"\x1b" * 4:
        text = shown.read_bytes()[offset:] if shown.exists() else b""
        os.write(1, text)
        offset += len(text)
        if text.endswith(b"HANGUP\r\n"):
            return
        if select.select([0], [], [], 0.05)[0]:
            typed += os.read(0, 64)
    shown.with_name(shown.name + ".left").touch()


def main(program: str, arguments: list[str]) -> None:
    if os.environ.get("KADEPLOY_STAND_IN_DOWN"):
        fail("The localhost server is unreachable")
    settings = Settings.of_environment()
    site = Workflows(settings, os.environ["KADEPLOY_STAND_IN_SITE"])
    user = os.environ.get("KADEPLOY_STAND_IN_USER") or pwd.getpwuid(os.geteuid()).pw_name
    if program == "kaconsole3":
        console(arguments)
    elif program in KINDS:
        workflow(site, KINDS[program], user, arguments)
    elif program == "kanodes3":
        nodes_states(site, arguments)
    else:
        table(site, arguments)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except NotRecorded as error:
        fail(f"stand-in: not recorded: {error}", NOT_RECORDED)
    except Failure as failure:
        fail(f"{failure}\n[Kadeploy Error #{failure.number}]", failure.number or 2)
