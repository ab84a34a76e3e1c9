# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""A deployment from its options to its result: check, lock, publish, run, remember. The module is this and its main()."""

from __future__ import annotations

import contextlib
import shutil
import signal
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_history as history
from ansible_collections.oneimage.cluster.plugins.module_utils import _power
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import write_file
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_boot_steps import (
    MICRO_STEPS as BOOT_STEPS,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast import make_broadcast
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_broadcast_steps import (
    MICRO_STEPS as BROADCAST_STEPS,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_channel import Doors, make_key
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_console import (
    kept_at,
    kept_consoles,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_disk_steps import (
    MICRO_STEPS as DISK_STEPS,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_engine import Engine
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_folder import (
    SERVED,
    Folder,
    held,
    parse_id,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_install_steps import (
    MICRO_STEPS as INSTALL_STEPS,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import (
    Journal,
    Progress,
    State,
    read_records,
    read_state,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_layout import check_layout
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_node import Start, Tools
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    DeploymentBoot,
    Image,
    Layout,
    MicroStep,
    Order,
    Partition,
    Target,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import (
    Plan,
    least,
    make_plan,
    parse_hooks,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_source import (
    Source,
    bring_archives,
    check_served,
    find_source,
    image_file,
    publish_image,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import (
    FILESYSTEMS,
    MACROS,
    Traits,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._environment import current_user
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset_fold import fold
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import of_journal

MICRO_STEPS: Mapping[str, MicroStep] = {
    **BOOT_STEPS,
    **DISK_STEPS,
    **BROADCAST_STEPS,
    **INSTALL_STEPS,
}

OUTCOMES = ("ok", "ko", "brk", "discarded")


@dataclass
class Deployment:
    """What is to be done, checked. ``starts`` are the nodes to work on, ``state`` is what an earlier run's journal says."""

    id: str
    options: Mapping[str, Any]
    folder: Folder
    source: Source
    plan: Plan
    state: State
    starts: dict[str, Start] = field(default_factory=dict)
    discarded: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.starts)


def prepare(options: Mapping[str, Any]) -> Deployment:
    """Check everything and find out what there is to do, without a write; raises ClusterError."""
    deployment = parse_id(options["id"] or f"D-{uuid.uuid4()}")
    for name in ("deployments", "ok_file", "ko_file"):
        if options[name] and not Path(options[name]).is_absolute():
            raise ClusterError(f"{name}: {options[name]} is no absolute path")
    boot = Path(options["boot"]["tree"])
    if not boot.is_dir():
        raise ClusterError(f"boot.tree: the folder {boot} does not exist on this host")
    layout = parse_layout(options["layout"])
    check_layout(layout, options["partition"])
    parse_hooks(options["hooks"])
    source, warnings = find_source(options["environment"])
    plan = make_plan(options, traits_of(options, source, layout))
    least(options["min_ok"], len(plan.nodes))
    switches = [{**node.power, "name": node.name} for node in plan.nodes if node.power]
    _power.parse_targets(switches, _power.Order(state="status"))
    check_boot_files(options, plan)
    folder = Folder(Path(options["deployments"]), deployment)
    state = earlier_state(folder)
    if options["resume"] and not state.nodes:
        raise ClusterError(f"resume: there is no deployment {deployment} in {options['deployments']}")
    check_same(state, order_of(source, options))
    made = Deployment(deployment, options, folder, source, plan, state, warnings=warnings)
    made.starts = find_starts(made)
    return made


def earlier_state(folder: Folder) -> State:
    return read_state(folder.journal) if folder.journal.is_file() else State()


def parse_layout(given: Mapping[str, Any]) -> Layout:
    partitions = tuple(
        Partition(**{name: value for name, value in item.items() if value is not None})
        for item in given["partitions"] or ()
    )
    return Layout(partitions, given["table"], given["disk"] or "", given["overwrite"])


def traits_of(options: Mapping[str, Any], source: Source, layout: Layout) -> Traits:
    description = source.description
    role = next((one for one in layout.partitions if one.role == options["partition"]), None)
    traits = Traits(
        kind=description["image"]["kind"],
        os=description["os"],
        filesystem=(role.filesystem if role else "") or description.get("filesystem") or "",
        kernel=(description.get("boot") or {}).get("kernel") or "",
        roles=tuple(one.role for one in layout.partitions),
        keys=bool(options["keys"]),
        reformat_tmp=options["reformat_tmp"],
        vlan="set_vlan" in options["hooks"],
        pre_installs=bool(description.get("preinstall")),
        admin_post_installs=bool(options["admin_post_installs"]),
        user_post_installs=bool(description.get("postinstalls")),
    )
    if traits.kind == "tar" and not traits.roles:
        raise ClusterError(
            "layout.partitions: a tar image needs a partition; only a dd image can be a whole disk"
        )
    if traits.kind == "tar" and traits.filesystem not in FILESYSTEMS:
        raise ClusterError(
            f"layout: the deployment environment makes no {traits.filesystem or 'file system without a name'},"
            f" only {', '.join(FILESYSTEMS)}"
        )
    return traits


def check_boot_files(options: Mapping[str, Any], plan: Plan) -> None:
    """The deployment environment must be there before the first node is told to boot it; raises ClusterError."""
    used = {micro for step in plan.steps[MACROS[0]] for micro in step.micros}
    if not used & {"switch_pxe", "send_deployment_kernel"} - set(replaced_steps(options)):
        return
    boot = options["boot"]
    files = [boot["kernel"] or "", *(boot["initrds"] or ())]
    if not boot["kernel"]:
        raise ClusterError(
            "boot.kernel: name the kernel of the deployment environment, which nodes boot first"
        )
    missing = [name for name in files if not (Path(boot["tree"]) / name).is_file()]
    if missing:
        raise ClusterError(
            f"boot: the deployment environment is not there: {', '.join(missing)} in {boot['tree']}"
        )


def replaced_steps(options: Mapping[str, Any]) -> Iterator[str]:
    mark = "instead_of_"
    return (name[len(mark) :] for name in options["hooks"] if name.startswith(mark))


def order_of(source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal and the history say of a deployment."""
    return {
        "environment": source.description["name"],
        "owner": source.owner,
        "version": source.description.get("version"),
        "sha256": source.sha256,
        "user": options["environment"]["user"] or current_user(),
    }


def check_same(state: State, order: Mapping[str, Any]) -> None:
    """A rerun must mean the same environment; raises ClusterError."""
    for name in ("environment", "owner", "version", "sha256"):
        before, now = state.order.get(name), order[name]
        if state.order and before and now and before != now:
            raise ClusterError(
                f"id: deployment {state.deployment} was of another environment ({name} {before}, not {now}); take another id"
            )


def find_starts(made: Deployment) -> dict[str, Start]:
    """Where each node begins that is not done yet: chosen by what the journal of an earlier run says of it."""
    starts = {}
    for node in made.plan.nodes:
        start = where(made.state.nodes.get(node.name), made.options["resume"], made.plan)
        if start is not None:
            starts[node.name] = start
    return starts


def where(progress: Progress | None, resume: bool, plan: Plan) -> Start | None:
    """A node that stopped at a breakpoint goes on from there if it is told to; one that failed begins anew.

    One whose engine was killed begins anew too, since nobody knows what still runs on it; unless its disk was complete,
    then it is booted once more, by the last implementation, which asks least of the node.
    """
    if progress is None or progress.outcome in ("ko", "discarded"):
        return Start()
    if progress.outcome == "ok":
        return None
    if progress.outcome == "brk":
        at = Start(progress.macro, progress.implementation, progress.micro, progress.notes)
        return at if resume else None
    if progress.macro == MACROS[-1]:
        return Start(progress.macro, plan.steps[MACROS[-1]][-1].name, "", progress.notes)
    return Start()


def carry_out(made: Deployment) -> None:
    """Lock, publish, run, remember. Raises ClusterError before the first node is touched, or not at all."""
    top = made.folder.top
    with held(top, made.id, [node for node in made.plan.nodes if node.name in made.starts]) as busy:
        # another process may have ended it meanwhile
        made.state = earlier_state(made.folder)
        made.starts = {name: start for name, start in find_starts(made).items() if name in made.starts}
        if busy:
            discard(made, busy)
        if not made.starts:
            return
        made.folder.make()
        served = made.folder.served(Path(made.options["boot"]["tree"]))
        source = publish_image(made.source, served)
        public = make_key(made.folder.key, f"oneimage deployment {made.id}")
        # the user's too: a node that failed boots the environment again, with nobody to send them
        lines = "".join(f"{key.strip()}\n" for key in (public, *made.options["keys"])).encode()
        write_file(served / "authorized_keys", lines)
        check_served(f"{base_url(made.options)}/{SERVED}/{served.name}/authorized_keys", lines)
        order = make_order(made, source, served)
        journal = Journal(made.folder.journal, made.id)
        doors = Doors(made.folder.key, made.id)
        try:
            doors.open()
            journal.write(
                "begin",
                order=order_of(source, made.options),
                nodes=list(made.starts),
                steps=shown_steps(made.plan),
            )
            for name, message in made.discarded.items():
                journal.write("outcome", node=name, outcome="discarded", message=message)
            history.record(made.folder.history, read_state(made.folder.journal))
            tools = Tools(MICRO_STEPS, journal, doors.channel, make_broadcast)
            nodes = [node for node in made.plan.nodes if node.name in made.starts]
            with ended_by_signal(made.id), kept_consoles(made.folder.path, nodes):
                Engine(made.plan, order, tools).run(made.starts)
            journal.write("end")
        finally:
            journal.close()
            doors.close()
            made.state = read_state(made.folder.journal)
            history.record(made.folder.history, made.state)
        tidy(made, served)


def discard(made: Deployment, busy: Mapping[str, str]) -> None:
    """Refuse nodes that another deployment works on, or leave them out if that is wanted; raises ClusterError."""
    names = [f"{name} (in {holder or 'another deployment'})" for name, holder in sorted(busy.items())]
    if made.options["busy"] == "refuse":
        raise ClusterError(
            f"nodes are in a deployment that is under way: {', '.join(names)}; wait for it, leave them out,"
            " or set busy to discard"
        )
    for name, holder in busy.items():
        made.discarded[name] = f"it is in deployment {holder}, which is under way"
        made.starts.pop(name, None)


def make_order(made: Deployment, source: Source, served: Path) -> Order:
    options = made.options
    boot = options["boot"]
    url = f"{base_url(options)}/{SERVED}/{served.name}"
    kind = source.description["image"]
    name = image_file(source)
    image = Image(
        str(served / name), f"{url}/{name}", kind["kind"], kind["compression"], source.size, source.sha256
    )
    return Order(
        id=made.id,
        description=bring_archives(source.description, made.folder.path),
        image=image,
        layout=parse_layout(options["layout"]),
        folder=str(served),
        base_url=url,
        server=options["server"],
        deploy_role=options["partition"],
        keys=tuple(options["keys"]),
        reformat_tmp=options["reformat_tmp"],
        admin_post_installs=tuple(options["admin_post_installs"]),
        parameters=tuple(options["parameters"]),
        hooks=options["hooks"],
        boot=DeploymentBoot(
            tree=boot["tree"],
            url=base_url(options) + "/",
            kernel=boot["kernel"] or "",
            initrds=tuple(boot["initrds"] or ()),
            parameters=tuple(boot["parameters"] or ()),
            logs=boot["logs"],
        ),
    )


def base_url(options: Mapping[str, Any]) -> str:
    return (options["boot"]["url"] or f"http://{options['server']}").rstrip("/")


@contextlib.contextmanager
def ended_by_signal(deployment: str) -> Iterator[None]:
    """A polite end of the module ends what serves nodes too; an impolite one is for the next run to mend."""

    def stop(number: int, frame: Any) -> None:
        raise ClusterError(
            f"deployment {deployment} was told to end; run it again with this id, and it goes on"
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tidy(made: Deployment, served: Path) -> None:
    """When every node is ok nothing needs the key and the image any more; a node that failed may still boot by them."""
    if all(progress.outcome == "ok" for progress in made.state.nodes.values()):
        shutil.rmtree(served, ignore_errors=True)
        for path in (
            made.folder.key,
            made.folder.key.with_suffix(".pub"),
            *made.folder.path.glob("archive-*"),
        ):
            path.unlink(missing_ok=True)


def shown_steps(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The steps of a plan as data."""
    return {
        macro: [
            {
                "implementation": step.name,
                "micros": list(step.micros),
                "timeout": step.timeout,
                "retries": step.retries,
            }
            for step in steps
        ]
        for macro, steps in plan.steps.items()
    }


def result(made: Deployment) -> dict[str, Any]:
    """What the module returns."""
    nodes = {node.name: report(made, node) for node in made.plan.nodes}
    lists = {name: [node for node, one in nodes.items() if one["outcome"] == name] for name in OUTCOMES}
    journal = made.folder.journal
    timeline = {"timeline": of_journal(read_records(journal)[0])} if journal.is_file() else {}
    return {
        **timeline,
        "changed": made.changed,
        "deployment": made.id,
        "environment": made.source.title,
        "journal": str(journal),
        "key": str(made.folder.key) if made.folder.key.is_file() else None,
        "steps": shown_steps(made.plan),
        "nodes": nodes,
        **lists,
    }


def report(made: Deployment, node: Target) -> dict[str, Any]:
    """What became of one node."""
    if node.name in made.discarded:
        told = {"console": None, "outcome": "discarded", "message": made.discarded[node.name]}
        return {**tables(Progress()), **told}
    progress = made.state.nodes.get(node.name, Progress())
    kept = kept_at(made.folder.path, node)
    console = {"console": str(kept) if kept.is_file() else None}
    return {**tables(progress), **console, "outcome": progress.outcome or None}


def tables(progress: Progress) -> dict[str, Any]:
    seconds = {macro: 0.0 for macro in MACROS}
    for attempt in progress.attempts:
        seconds[attempt["macro"]] += attempt.get("seconds", 0.0)
    return {
        **{
            name: getattr(progress, name)
            for name in ("macro", "implementation", "micro", "message", "advice")
        },
        "evidence": list(progress.evidence),
        "seconds": {macro: round(spent, 3) for macro, spent in seconds.items()},
        "steps": progress.steps,
    }


def shortfall(made: Deployment, answer: Mapping[str, Any]) -> str:
    """Why the module fails, empty if enough nodes are ok. A node at the breakpoint that was asked for is no failure."""
    good = len(answer["ok"]) + (len(answer["brk"]) if made.plan.breakpoint or not made.starts else 0)
    wanted = least(made.options["min_ok"], len(made.plan.nodes))
    if good >= wanted:
        return ""
    told: dict[str, list[str]] = {}
    for node in (node for name in ("ko", "brk", "discarded") for node in answer[name]):
        one = answer["nodes"][node]
        place = "/".join(part for part in (one["implementation"], one["micro"]) if part)
        told.setdefault(f"{one['outcome']} {place}: {one['message']}", []).append(node)
    lines = [f"{fold(nodes)}: {text}" for text, nodes in told.items()]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"{len(answer['ok'])} of {len(made.plan.nodes)} nodes are ok, {wanted} are wanted: {'; '.join(lines[:SHOWN])}{more}"


SHOWN = 10
"""How many different faults an error tells."""


def write_lists(options: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """The files of ok nodes and of all others, one name a line. Raises ClusterError."""
    others = [node for name in OUTCOMES[1:] for node in answer[name]]
    for name, nodes in (("ok_file", answer["ok"]), ("ko_file", others)):
        if options[name]:
            write_file(Path(options[name]), "".join(f"{node}\n" for node in nodes).encode())


def difference(made: Deployment) -> dict[str, str]:
    """One line per node for --diff: what it was of this deployment, and what is done with it."""

    def before(node: Target) -> str:
        progress = made.state.nodes.get(node.name)
        return (progress.outcome or "unfinished") if progress else "not deployed"

    def after(node: Target) -> str:
        start = made.starts.get(node.name)
        if start is None:
            return before(node)
        return f"{made.source.title}, from {start.macro}" + (f":{start.micro}" if start.micro else "")

    return {
        "before": "".join(f"{node.name}: {before(node)}\n" for node in made.plan.nodes),
        "after": "".join(f"{node.name}: {after(node)}\n" for node in made.plan.nodes),
    }
