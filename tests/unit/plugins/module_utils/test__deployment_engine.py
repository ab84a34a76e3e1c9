"""The engine with micro-steps that only note that they ran: no machine, no clock but for what hangs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_engine import Engine
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_journal import (
    Journal,
    State,
    read_records,
    read_state,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_node import Outcome, Start, Tools
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Image,
    Layout,
    Order,
    StepFailed,
    Target,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_plan import make_plan, parse_hooks
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_steps import MICROS, Traits
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

ORDER = Order(
    id="D1",
    description={"name": "deb"},
    image=Image("/i.tar", "http://s/i.tar", "tar", "gzip", 1, "0" * 64),
    layout=Layout(()),
    folder="/srv",
    base_url="http://s/",
    server="10.0.0.1",
)
ALL = [
    *("switch_pxe", "reboot", "wait_reboot", "send_key_in_deploy_env", "create_partition_table"),
    *("format_deploy_part", "mount_deploy_part", "send_environment", "decompress_environment"),
    *("check_kernel_files", "send_key", "install_bootloader", "sync"),
    *("switch_pxe", "umount_deploy_part", "reboot_from_deploy_env", "wait_reboot"),
]


def nodes(count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"n{n}",
            "mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}",
            "address": f"10.7.{n >> 8}.{n & 255}",
        }
        for n in range(1, count + 1)
    ]


class RecordedBroadcast:
    """Stands in for a server side: notes when it starts and stops."""

    def __init__(self, log: list[tuple[str, tuple[str, ...]]], kind: str, names: tuple[str, ...]) -> None:
        self.log, self.kind, self.names = log, kind, names

    def start(self) -> None:
        self.log.append((f"start {self.kind}", self.names))

    def stop(self) -> None:
        self.log.append((f"stop {self.kind}", self.names))

    def receive_script(self, node: str) -> str:
        return f"receive {node}"


class Case:
    """An engine over micro-steps that note ``node micro``; ``faults`` decides for each whether it fails."""

    def __init__(self, folder: Path, count: int = 1, hooks: Any = None, **options: Any) -> None:
        self.path = folder / "journal.jsonl"
        self.plan = make_plan({"nodes": nodes(count), "broadcast": "http", **options}, Traits())
        self.ran: list[tuple[str, str]] = []
        self.broadcasts: list[tuple[str, tuple[str, ...]]] = []
        self.faults: Callable[[Work, str, int], None] = lambda work, micro, times: None
        self.grace = 60.0
        self.order = replace(ORDER, hooks=parse_hooks(hooks or {}))
        self.table: dict[str, Callable[[Work], None]] = {}
        self.lock = threading.Lock()

    def step(self, name: str) -> Callable[[Work], None]:
        def micro(work: Work) -> None:
            with self.lock:
                self.ran.append((work.node.name, name))
                times = self.ran.count((work.node.name, name))
            self.faults(work, name, times)

        return micro

    def make_broadcast(self, order: Order, kind: str, targets: Sequence[Target]) -> RecordedBroadcast:
        return RecordedBroadcast(self.broadcasts, kind, tuple(target.name for target in targets))

    def run(self, starts: Mapping[str, Start] | None = None) -> dict[str, Outcome]:
        journal = Journal(self.path, "D1")
        table = {**{name: self.step(name) for name in MICROS}, **self.table}
        tools = Tools(table, journal, lambda target: None, self.make_broadcast, self.grace)  # type: ignore[arg-type,return-value]
        if starts is None:
            starts = {node.name: Start() for node in self.plan.nodes}
        try:
            return Engine(self.plan, self.order, tools).run(starts)
        finally:
            journal.close()

    def of(self, node: str) -> list[str]:
        return [name for who, name in self.ran if who == node]

    @property
    def state(self) -> State:
        return read_state(self.path)


def fail(where: str, only: str = "", times: int = 99) -> Callable[[Work, str, int], None]:
    """Fails micro-step ``where`` of node ``only``, or of all, the first ``times`` times."""

    def fault(work: Work, micro: str, count: int) -> None:
        if micro == where and work.node.name in (only or work.node.name) and count <= times:
            raise StepFailed(f"{micro} broke", evidence=["line one"], advice="mend it")

    return fault


def test_all_steps_in_order_and_the_journal_says_so(tmp_path: Path) -> None:
    case = Case(tmp_path, 3)
    outcomes = case.run()
    assert {name: one.outcome for name, one in outcomes.items()} == {"n1": "ok", "n2": "ok", "n3": "ok"}
    for name in outcomes:
        assert case.of(name) == ALL
        assert [step["micro"] for step in case.state.nodes[name].steps] == ALL
        assert [one["macro"] for one in case.state.nodes[name].attempts] == [
            *("SetDeploymentEnv", "BroadcastEnv", "BootNewEnv")
        ]
    everybody = ("n1", "n2", "n3")
    assert case.broadcasts == [("start BroadcastEnvHttp", everybody), ("stop BroadcastEnvHttp", everybody)]


def test_nobody_begins_the_broadcast_before_all_are_there_and_failures_do_not_hold_it_up(
    tmp_path: Path,
) -> None:
    case = Case(tmp_path, 4)
    case.faults = fail("create_partition_table", "n2")
    outcomes = case.run()
    assert [one.outcome for one in outcomes.values()] == ["ok", "ko", "ok", "ok"]
    # the others did not wait for the second attempt of n2
    assert case.broadcasts[0] == ("start BroadcastEnvHttp", ("n1", "n3", "n4"))
    sent = [position for position, (who, name) in enumerate(case.ran) if name == "send_environment"]
    mounted = [position for position, (who, name) in enumerate(case.ran) if name == "mount_deploy_part"]
    assert max(mounted) < min(sent)
    ko = outcomes["n2"]
    assert (ko.macro, ko.implementation, ko.micro) == (
        *("SetDeploymentEnv", "SetDeploymentEnvUntrusted", "create_partition_table"),
    )
    assert (ko.message, ko.evidence, ko.advice) == ("create_partition_table broke", ("line one",), "mend it")


def test_those_whom_one_broadcast_failed_come_again_together_by_the_next_implementation(
    tmp_path: Path,
) -> None:
    case = Case(tmp_path, 4, broadcast="chain")

    def fault(work: Work, micro: str, times: int) -> None:
        if micro == "send_environment":
            assert work.broadcast and work.broadcast.receive_script("x") == "receive x"
            if work.implementation == "BroadcastEnvChain":
                assert [peer.name for peer in work.peers] == ["n1", "n2", "n3", "n4"]
                if work.node.name in ("n2", "n4"):
                    raise StepFailed("the chain broke")

    case.faults = fault
    assert {one.outcome for one in case.run().values()} == {"ok"}
    assert sorted(case.broadcasts) == [
        ("start BroadcastEnvChain", ("n1", "n2", "n3", "n4")),
        ("start BroadcastEnvHttp", ("n2", "n4")),
        ("stop BroadcastEnvChain", ("n1", "n2", "n3", "n4")),
        ("stop BroadcastEnvHttp", ("n2", "n4")),
    ]
    assert case.of("n1") == ALL


def test_retries_start_the_macro_step_anew(tmp_path: Path) -> None:
    case = Case(tmp_path, steps={"BootNewEnv": [{"implementation": "Classical", "retries": 2}]})
    case.faults = fail("reboot_from_deploy_env", times=2)
    assert case.run()["n1"].outcome == "ok"
    assert case.of("n1") == [
        *ALL[:-1],
        *(2 * ["switch_pxe", "umount_deploy_part", "reboot_from_deploy_env"]),
        ALL[-1],
    ]
    assert [(one["attempt"], one["outcome"]) for one in case.state.nodes["n1"].attempts[2:]] == [
        (1, "failed"),
        (2, "failed"),
        (3, "ok"),
    ]


def test_the_fallback_of_the_boot_is_a_hard_reboot(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.faults = fail("reboot_from_deploy_env")
    outcome = case.run()["n1"]
    assert (outcome.outcome, outcome.implementation) == ("ok", "BootNewEnvHardReboot")
    assert case.of("n1")[-3:] == ["switch_pxe", "reboot", "wait_reboot"]


def test_a_post_install_that_fails_is_tried_again_with_its_broadcast(tmp_path: Path) -> None:
    case = Case(tmp_path, 2)
    case.faults = fail("install_bootloader", "n1", times=1)
    assert {one.outcome for one in case.run().values()} == {"ok"}
    assert ("start BroadcastEnvHttp", ("n1",)) in case.broadcasts


def test_a_broadcast_that_cannot_start_fails_its_nodes_with_its_reason(tmp_path: Path) -> None:
    case = Case(tmp_path, 2)

    def broken(order: Order, kind: str, targets: Sequence[Target]) -> RecordedBroadcast:
        raise ClusterError("aria2c is not installed")

    case.make_broadcast = broken  # type: ignore[method-assign]
    outcomes = case.run()
    assert {one.outcome for one in outcomes.values()} == {"ko"}
    assert outcomes["n1"].message == "the broadcast did not start: aria2c is not installed"


def test_what_nobody_foresaw_fails_one_node_only(tmp_path: Path) -> None:
    case = Case(tmp_path, 2)

    def fault(work: Work, micro: str, times: int) -> None:
        if micro == "sync" and work.node.name == "n2":
            raise ZeroDivisionError("oops")

    case.faults = fault
    outcomes = case.run()
    assert [one.outcome for one in outcomes.values()] == ["ok", "ko"]
    assert outcomes["n2"].message == "ZeroDivisionError: oops"


def test_a_micro_step_that_never_ends_is_given_up_and_the_others_finish(tmp_path: Path) -> None:
    case = Case(
        tmp_path,
        3,
        steps={"SetDeploymentEnv": [{"implementation": "Untrusted", "timeout": 0.2, "retries": 0}]},
    )
    case.grace = 0.2
    release = threading.Event()

    def fault(work: Work, micro: str, times: int) -> None:
        if micro == "create_partition_table" and work.node.name == "n2":
            release.wait(60)

    case.faults = fault
    outcomes = case.run()
    release.set()
    assert [one.outcome for one in outcomes.values()] == ["ok", "ko", "ok"]
    assert "given up" in outcomes["n2"].message
    assert ("n2", "format_deploy_part") not in case.ran


def test_a_macro_steps_time_is_over(tmp_path: Path) -> None:
    case = Case(
        tmp_path,
        1,
        steps={"SetDeploymentEnv": [{"implementation": "Untrusted", "timeout": 0.1, "retries": 0}]},
    )
    hang = threading.Event()
    case.faults = lambda work, micro, times: micro == "reboot" and hang.wait(0.2) or None
    outcome = case.run()["n1"]
    assert (outcome.micro, outcome.message) == ("wait_reboot", "its macro-step's time was over")


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("BroadcastEnv", "send_environment"),
        ("BroadcastEnvHttp:install_bootloader", "install_bootloader"),
        ("BootNewEnv:wait_reboot", "wait_reboot"),
        ("SetDeploymentEnv:switch_pxe", "switch_pxe"),
    ],
)
def test_breakpoint_and_resume_from_the_journal_for_chosen_nodes(
    tmp_path: Path, text: str, micro: str
) -> None:
    case = Case(tmp_path, 2, breakpoint=text)
    case.faults = lambda work, name, times: work.notes.update(seen=[*work.notes.get("seen", []), name])
    outcomes = case.run()
    assert {(one.outcome, one.micro) for one in outcomes.values()} == {("brk", micro)}
    before = case.of("n1")
    stopped = case.state.nodes["n1"]
    assert stopped.outcome == "brk" and (stopped.micro, stopped.notes.get("seen", [])) == (micro, before)
    again = Case(tmp_path, 2)
    start = Start(stopped.macro, stopped.implementation, stopped.micro, stopped.notes)
    seen: list[str] = []
    again.faults = lambda work, name, times: seen.extend(work.notes.get("seen", [])[:1])
    assert again.run({"n1": start})["n1"].outcome == "ok"
    assert before + again.of("n1") == ALL
    assert not again.of("n2") and (not before or seen[0] == "switch_pxe")
    assert again.state.nodes["n1"].outcome == "ok" and again.state.nodes["n2"].outcome == "brk"


def test_waves_follow_each_other(tmp_path: Path) -> None:
    case = Case(tmp_path, 5, wave=2)
    assert len(case.run()) == 5
    order = [who for who, name in case.ran if name == "switch_pxe"][::1]
    assert sorted(order[:4]) == ["n1", "n1", "n2", "n2"] and order[8:] == ["n5", "n5"]
    assert [names for event, names in case.broadcasts if event.startswith("start")] == [
        ("n1", "n2"),
        ("n3", "n4"),
        ("n5",),
    ]


def test_as_many_power_ups_at_once_as_allowed(tmp_path: Path) -> None:
    case = Case(tmp_path, 8, power_ups=2)
    inside, most = 0, 0
    pause = threading.Event()

    def fault(work: Work, micro: str, times: int) -> None:
        nonlocal inside, most
        if micro == "reboot":
            with case.lock:
                inside += 1
                most = max(most, inside)
            pause.wait(0.02)
            with case.lock:
                inside -= 1

    case.faults = fault
    assert {one.outcome for one in case.run().values()} == {"ok"}
    assert most == 2


def test_hooks_before_after_and_instead(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"import sys;open({str(log)!r},'a').write(sys.argv[1]+chr(10))"

    def argv(word: str) -> list[str]:
        return [sys.executable, "-c", code, f"{{node}}-{word}"]

    case = Case(
        tmp_path,
        hooks={
            "before_reboot": argv("a"),
            "instead_of_install_bootloader": argv("b"),
            "after_sync": argv("c"),
        },
    )
    assert case.run()["n1"].outcome == "ok"
    assert case.of("n1") == [name for name in ALL if name != "install_bootloader"]
    assert log.read_text().split() == ["n1-a", "n1-b", "n1-c"]


def test_a_hook_that_fails_fails_its_micro_step(tmp_path: Path) -> None:
    case = Case(tmp_path, 1, hooks={"after_wait_reboot": [sys.executable, "-c", "raise SystemExit('no')"]})
    outcome = case.run()["n1"]
    assert (outcome.outcome, outcome.micro) == ("ko", "wait_reboot") and outcome.message.endswith(": no")


def test_said_lines_become_evidence(tmp_path: Path) -> None:
    case = Case(tmp_path)

    def fault(work: Work, micro: str, times: int) -> None:
        if micro == "format_deploy_part":
            work.say("mkfs: No space left on device")
            raise StepFailed("mkfs.ext4 failed with exit code 1")

    case.faults = fault
    outcome = case.run()["n1"]
    assert outcome.evidence == ("mkfs: No space left on device",) and "enlarge it" in outcome.advice


def test_macro_steps_that_do_nothing(tmp_path: Path) -> None:
    dummy = [{"implementation": "Dummy"}]
    case = Case(tmp_path, 2, steps={"SetDeploymentEnv": dummy, "BootNewEnv": dummy})
    assert {(one.outcome, one.implementation) for one in case.run().values()} == {("ok", "BootNewEnvDummy")}
    assert case.of("n1") == ALL[7:13]


def test_many_nodes(tmp_path: Path) -> None:
    case = Case(tmp_path, 300)
    case.faults = fail("send_environment", "n7", times=1)
    outcomes = case.run()
    assert len(outcomes) == 300 and {one.outcome for one in outcomes.values()} == {"ok"}
    assert [len(names) for event, names in case.broadcasts if event.startswith("start")] == [300, 1]


def test_a_node_that_does_not_boot_what_was_deployed_is_brought_back(tmp_path: Path) -> None:
    case = Case(tmp_path, 2)
    case.table = {"return_to_deploy_env": case.step("return_to_deploy_env")}
    # in SetDeploymentEnv it works
    case.faults = lambda work, micro, times: (
        fail("wait_reboot", "n2")(work, micro, times) if times > 1 else None
    )
    outcomes = case.run()
    assert case.of("n1") == ALL and case.of("n2")[-1] == "return_to_deploy_env"
    assert (outcomes["n2"].outcome, outcomes["n2"].micro) == ("ko", "wait_reboot")
    told = case.state.nodes["n2"]
    assert (told.outcome, told.micro) == ("ko", "wait_reboot")


def test_a_micro_step_that_nobody_provides(tmp_path: Path) -> None:
    case = Case(tmp_path)
    journal = Journal(case.path, "D1")
    with pytest.raises(ClusterError, match="no micro-step of this name is provided: check_kernel_files"):
        Engine(case.plan, ORDER, Tools({}, journal, lambda target: None))  # type: ignore[arg-type,return-value]
    journal.close()
    assert read_records(case.path) == ([], 0)
