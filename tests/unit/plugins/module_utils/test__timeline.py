from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import check, of_boot, of_journal
from ansible_collections.oneimage.cluster.plugins.module_utils._timeline_page import page

DEPLOY = {"deployment": "D1"}
STEP = {"node": "n1", "macro": "SetDeploymentEnv", "implementation": "pxe", "attempt": 1}


def entries(*lines: Any) -> list[dict[str, Any]]:
    return [{**DEPLOY, "time": float(time), "event": event, **fields} for time, event, fields in lines]


BEGUN = entries((100, "begin", {"nodes": ["n1", "n2"]}), (100, "enter", STEP))


def test_a_deployment_from_its_journal() -> None:
    record = of_journal(
        BEGUN
        + entries(
            (101, "start", {**STEP, "micro": "reboot"}),
            (102, "said", {**STEP, "micro": "reboot", "message": "told its BMC"}),
            (105, "ok", {**STEP, "micro": "reboot", "seconds": 4.0}),
            (106, "start", {**STEP, "micro": "wait_reboot"}),
            (
                136,
                "failed",
                {**STEP, "micro": "wait_reboot", "message": "it never came", "evidence": ["DHCPACK"]},
            ),
            (
                137,
                "outcome",
                {"node": "n1", "outcome": "ko", "message": "it never came", "advice": "look at it"},
            ),
            (138, "outcome", {"node": "n2", "outcome": "discarded", "message": "in use"}),
        )
    )
    check(record)
    assert (record["title"], record["started"], record["ended"]) == ("deployment D1", 100, 136)
    first, second = record["nodes"]
    assert (first["name"], first["outcome"], first["message"]) == ("n1", "ko", "it never came")
    assert [(one["name"], one["start"], one["end"], one["outcome"]) for one in first["spans"]] == [
        ("reboot", 101, 105, "ok"),
        ("wait_reboot", 106, 136, "ko"),
    ]
    assert first["spans"][0]["evidence"] == ["told its BMC"]
    assert first["spans"][1]["evidence"] == ["it never came", "DHCPACK"]
    assert (
        first["spans"][1]["advice"] == "look at it" and first["spans"][1]["group"] == "SetDeploymentEnv pxe"
    )
    assert second["outcome"] == "discarded" and second["spans"] == []


def test_a_killed_run_and_the_one_that_went_on() -> None:
    record = of_journal(
        BEGUN
        + entries(
            (101, "start", {**STEP, "micro": "reboot"}),
            (120, "begin", {"nodes": ["n1", "n2"]}),
            (121, "enter", {**STEP, "attempt": 2}),
            (122, "brk", {**STEP, "attempt": 2, "micro": "reboot"}),
            (122, "outcome", {"node": "n1", "outcome": "brk"}),
        )
    )
    spans = next(node for node in record["nodes"] if node["name"] == "n1")["spans"]
    assert [(one["name"], one["end"], one["outcome"]) for one in spans] == [
        ("reboot", 121, "ko"),
        ("before reboot", 122, "brk"),
    ]
    assert "did not end" in spans[0]["evidence"][0] and spans[1]["group"].endswith(", attempt 2")


def test_what_is_still_under_way_ends_with_the_journal() -> None:
    record = of_journal(
        BEGUN
        + entries((101, "start", {**STEP, "micro": "reboot"}), (130, "said", {"node": "n2", "message": "x"}))
    )
    node = next(node for node in record["nodes"] if node["name"] == "n1")
    assert (node["outcome"], node["spans"][0]["outcome"], node["spans"][0]["end"]) == ("open", "open", 130)


BOOT = {
    "n1": {
        "stage": "ssh",
        "advice": "",
        "timeline": [
            {"stage": "dhcp", "seconds": 4.0, "evidence": "DHCPACK <b>n1</b>"},
            {"stage": "ssh", "seconds": 50.0, "evidence": "SSH-2.0"},
        ],
    },
    "n2": {"stage": "", "advice": "is its MAC right?", "timeline": []},
}


def test_a_boot_from_its_stages() -> None:
    names = [node["name"] for node in of_boot(dict.fromkeys(("n10", "n9", "a1"), BOOT["n1"]), 0, 1)["nodes"]]
    assert names == ["a1", "n9", "n10"]
    record = check(of_boot(BOOT, 1000.0, 1300.0))
    assert record["title"] == "boot of n1, n2" and (record["started"], record["ended"]) == (1000, 1300)
    dead, alive = record["nodes"]
    assert [(one["name"], one["start"], one["end"]) for one in alive["spans"]] == [
        ("dhcp", 1000, 1004),
        ("ssh", 1004, 1050),
    ]
    assert (dead["outcome"], dead["spans"][0]["name"], dead["spans"][0]["end"]) == (
        "ko",
        "no sign of life",
        1300,
    )
    assert of_boot({f"n{number}": BOOT["n1"] for number in range(9)}, 0, 1)["title"] == "boot of 9 nodes"


class Read(HTMLParser):
    """Where the page would fetch from, its tags and the bars of each node."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.bars: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.fetched += [value for name, value in found.items() if name in ("src", "href")]
        if "data-step" in found:
            self.bars.append((found["data-step"], found["class"].split()[1]))


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    text = page([of_boot(BOOT, 1000.0, 1300.0)], "<Monday>")
    read = Read()
    read.feed(text)
    assert read.fetched == [] and not read.tags & {"script", "link", "img", "iframe"} and "url(" not in text
    assert read.bars == [("no sign of life", "ko"), ("dhcp", "ok"), ("ssh", "ok")]
    assert "&lt;Monday&gt;" in text and "DHCPACK &lt;b&gt;n1" in text and "is its MAC right?" in text
    assert page([of_boot(BOOT, 1000.0, 1300.0)], "<Monday>") == text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "timeline: 1"),
        ({"timeline": 1}, "timeline: nodes must be a list"),
        ({"timeline": 1, "nodes": [{"name": "n1"}]}, "timeline of n1: spans must be a list"),
        (
            {"timeline": 1, "nodes": [{"name": "n1", "spans": [{"name": "x"}]}]},
            "span x: start, end or outcome",
        ),
        (
            {"timeline": 1, "nodes": [{"name": "n1", "spans": [], "outcome": "fine"}]},
            "outcome must be one of",
        ),
    ],
)
def test_no_record(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        check(wrong)
